"""The local store: a server's answers without a server, for development and tests.

It keeps events in this process, at most ``rows_max`` rows (the oldest go, which is said once), and
answers with the codes, fields and rows of the server. Rollups and the graph need a server.
"""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, NoReturn, Optional

from plumbline.delivery import Receipt, local_address
from plumbline.errors import ServerError
from plumbline.forking import renew_after_fork
from plumbline.values import NUMBER_CHARS_MAX

logger = logging.getLogger("plumbline")

ROWS_MAX = 100_000
METRICS_BYTES_MAX = 102_400
CRN_BYTES_MAX = 1024
DEPTH_MAX = 32
TIME_MS_MIN = 946_684_800_000  # 2000-01-01
EVENT_AHEAD_MS_MAX = 86_400_000

_UUID = re.compile(r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")
_REQUIRED = {
    "track_metrics": (
        "modelDeploymentCrn",
        "predictionUuid",
        "startTimestampMs",
        "endTimestampMs",
        "metrics",
    ),
    "delayed_metrics": ("predictionUuid", "metrics"),
    "aggregate_metrics": ("modelDeploymentCrn", "startTimestampMs", "endTimestampMs", "metrics"),
    "project_created": ("projectCrn", "projectName", "userName"),
    "model_built": (
        "projectCrn",
        "modelCrn",
        "modelName",
        "modelBuildCrn",
        "buildNumber",
        "userName",
    ),
    "model_deployed": ("modelBuildCrn", "modelDeploymentCrn", "userName", "status"),
}

_STATUSES = ("deploying", "deployed", "stopping", "stopped", "unknown")
_STATUS_WORDS = "deploying, deployed, stopping, stopped or unknown"


class Filters(NamedTuple):
    """What to read; an empty tuple or None narrows nothing. Times are milliseconds, inclusive."""

    model_crns: tuple[str, ...] = ()
    model_build_crns: tuple[str, ...] = ()
    model_deployment_crns: tuple[str, ...] = ()
    prediction_uuids: tuple[str, ...] = ()
    start_timestamp_ms: Optional[int] = None
    end_timestamp_ms: Optional[int] = None
    kind: Optional[str] = None
    keys: tuple[str, ...] = ()


class _Row:
    """A prediction (with a UUID) or an aggregate (without)."""

    __slots__ = ("crn", "end_ms", "labels", "metrics", "start_ms", "uuid")

    def __init__(self, crn: str, start_ms: int, end_ms: int, uuid: str, metrics: str) -> None:
        self.crn = crn
        self.start_ms = start_ms
        self.end_ms = end_ms
        self.uuid = uuid
        self.metrics = metrics
        self.labels: list[str] = []


class LocalStore:
    """Events of this process. Any thread may call; a forked child has a copy of its own."""

    def __init__(self, rows_max: int = ROWS_MAX) -> None:
        self._rows_max = rows_max
        self._lock = threading.RLock()
        self._number = 0
        self._rows: dict[int, _Row] = {}  # in order of insertion
        self._first: dict[str, int] = {}  # the row that a prediction's labels go to
        self._waiting: dict[str, list[str]] = {}  # labels that came before their prediction
        self._seen: dict[tuple[Any, ...], str] = {}  # identity -> content
        self._deployments: dict[str, dict[str, Any]] = {}
        self._is_full = False
        renew_after_fork(self)

    def after_fork_in_child(self) -> None:
        """Another process, another lock."""
        self._lock = threading.RLock()

    def post(self, events: list[bytes]) -> Receipt:
        """Takes events as ``POST /v1/events`` does; a single one that is refused is an error."""
        accepted = duplicate = 0
        rejected: list[dict[str, Any]] = []
        with self._lock:
            for index, event in enumerate(events):
                try:
                    is_new = self._take(local_address(event))
                except ServerError as error:
                    note = {"index": index, "code": error.code, "message": error.message}
                    rejected.append({**note, "field": error.field} if error.field else note)
                else:
                    accepted += is_new
                    duplicate += not is_new
            batch = self._number if accepted else None
        return Receipt(
            batch, len(events), accepted, duplicate, rejected[:100], len(rejected), [], 0
        )

    def rows(self, filters: Filters) -> Iterator[dict[str, Any]]:
        """Yields rows as ``/read-metrics`` has them, of the moment of the first."""
        with self._lock:
            found = [
                self._answer(row, filters)
                for row in self._rows.values()
                if self._matches(row, filters)
            ]
        yield from found

    def deployment_crn(self, number: int) -> str:
        """Returns the CRN of a deployment by its number. Raises ServerError 404."""
        with self._lock:
            for crn, deployment in self._deployments.items():
                if deployment["modelDeploymentId"] == number:
                    return crn
        raise ServerError(404, "not_found", f"no deployment has the number {number}")

    def deployments(self) -> list[dict[str, Any]]:
        """Returns the catalog as ``GET /v1/deployments`` has it."""
        with self._lock:
            return [dict(deployment) for deployment in self._deployments.values()]

    def deployment(self, crn: str) -> dict[str, Any]:
        """Returns one deployment. Raises ServerError 404."""
        with self._lock:
            if crn not in self._deployments:
                raise ServerError(404, "not_found", "no such deployment")
            return dict(self._deployments[crn])

    # ---- taking -------------------------------------------------------------------------------

    def _take(self, text: bytes) -> bool:
        """Stores an event; False when it is known already. Raises ServerError."""
        event = _parse(text)
        for name, spelling in (("start", "startTimeStampMs"), ("end", "endTimeStampMs")):
            if spelling in event:  # as answers and older clients spell it
                event.setdefault(f"{name}TimestampMs", event.pop(spelling))
        kind = event.get("event")
        if "event" in event and not isinstance(kind, str):
            _refuse("invalid_field", "must be text", "event")
        if kind not in _REQUIRED:
            _refuse("unknown_event", f"not an event: {json.dumps(kind)}", "event")
        for field in _REQUIRED[kind]:
            if field not in event:
                _refuse("missing_field", f"{kind} needs it", field)
        _check(event)
        if kind == "track_metrics":
            return self._take_prediction(event)
        if kind == "delayed_metrics":
            return self._take_label(event)
        if kind == "aggregate_metrics":
            return self._take_aggregate(event)
        if kind == "model_deployed":
            return self._take_deployed(event)
        name = event["projectCrn" if kind == "project_created" else "modelBuildCrn"]
        return self._is_new((kind, name), event, None)

    def _take_prediction(self, event: dict[str, Any]) -> bool:
        uuid = event["predictionUuid"].lower()
        crn, start_ms = event["modelDeploymentCrn"], event["startTimestampMs"]
        content = {**event, "predictionUuid": uuid}
        if not self._is_new(("track_metrics", uuid, crn, start_ms), content, "predictionUuid"):
            return False
        deployment = self._deployment(crn)
        for member in ("modelBuildCrn", "modelCrn"):
            deployment[member] = deployment[member] or event.get(member) or ""
        deployment["lastPredictionMs"] = max(deployment["lastPredictionMs"] or 0, start_ms)
        metrics = _compact(event["metrics"])
        row = self._insert(_Row(crn, start_ms, event["endTimestampMs"], uuid, metrics))
        if self._first.setdefault(uuid, row) == row:
            self._rows[row].labels += self._waiting.pop(uuid, [])
        return True

    def _take_label(self, event: dict[str, Any]) -> bool:
        uuid = event["predictionUuid"].lower()
        identity = ("delayed_metrics", uuid, event["eventId"].lower()) if "eventId" in event else ()
        if identity and not self._is_new(identity, event["metrics"], "eventId"):
            return False
        row = self._rows.get(self._first.get(uuid, -1))
        labels = self._waiting.setdefault(uuid, []) if row is None else row.labels
        labels.append(_compact(event["metrics"]))
        if len(self._waiting) > self._rows_max:
            del self._waiting[next(iter(self._waiting))]
        self._number += 1
        return True

    def _take_aggregate(self, event: dict[str, Any]) -> bool:
        crn, start_ms = event["modelDeploymentCrn"], event["startTimestampMs"]
        if "eventId" in event:
            identity = ("aggregate_metrics", crn, start_ms, event["eventId"].lower())
            if not self._is_new(identity, event, "eventId"):
                return False
        self._deployment(crn)
        metrics = _compact(event["metrics"])
        self._insert(_Row(crn, start_ms, event["endTimestampMs"], "", metrics))
        return True

    def _take_deployed(self, event: dict[str, Any]) -> bool:
        crn, build = event["modelDeploymentCrn"], event["modelBuildCrn"]
        known = self._deployments.get(crn, {}).get("modelBuildCrn") or build
        if known != build:
            message = f"deployment {crn} is known with the build {known}"
            raise ServerError(409, "conflict", message, "modelBuildCrn")
        identity = ("model_deployed", crn, event["status"], event.get("statusAtMs"))
        if not self._is_new(identity, event, None):
            return False
        deployment = self._deployment(crn)
        for member in ("modelBuildCrn", "modelCrn", "projectCrn", "modelDeploymentId", "modelName"):
            deployment[member] = event.get(member) or deployment[member]
        deployment["status"] = event["status"]
        return True

    def _is_new(self, identity: tuple[Any, ...], content: Any, field: Optional[str]) -> bool:
        text = json.dumps(content, sort_keys=True)
        known = self._seen.setdefault(identity, text)
        if known is text:
            self._number += 1
            while len(self._seen) > 2 * self._rows_max:
                del self._seen[next(iter(self._seen))]
            return True
        if known != text:
            message = "an event of this identity is stored with other content"
            raise ServerError(409, "conflict", message, field)
        return False

    def _deployment(self, crn: str) -> dict[str, Any]:
        return self._deployments.setdefault(
            crn,
            {
                "modelDeploymentCrn": crn,
                "modelBuildCrn": "",
                "modelCrn": "",
                "projectCrn": "",
                "modelDeploymentId": None,
                "firstSeenMs": time.time_ns() // 1_000_000,
                "modelName": "",
                "status": "",
                "environment": "",
                "trainingData": "unknown",
                "lastPredictionMs": None,
            },
        )

    def _insert(self, row: _Row) -> int:
        self._number += 1
        self._rows[self._number] = row
        if len(self._rows) > self._rows_max:
            number = next(iter(self._rows))
            oldest = self._rows.pop(number)
            if self._first.get(oldest.uuid) == number:
                del self._first[oldest.uuid]
            if not self._is_full:
                self._is_full = True
                logger.warning(
                    "plumbline: the local store keeps %d rows; the oldest go", self._rows_max
                )
        return self._number

    # ---- answering ----------------------------------------------------------------------------

    def _matches(self, row: _Row, filters: Filters) -> bool:
        deployment = self._deployments[row.crn]
        narrowing = (
            (filters.model_deployment_crns, row.crn),
            (filters.model_build_crns, deployment["modelBuildCrn"]),
            (filters.model_crns, deployment["modelCrn"]),
            (tuple(uuid.lower() for uuid in filters.prediction_uuids), row.uuid),
        )
        if any(wanted and value not in wanted for wanted, value in narrowing):
            return False
        if filters.kind and (filters.kind == "prediction") != bool(row.uuid):
            return False
        start_ms, end_ms = filters.start_timestamp_ms, filters.end_timestamp_ms
        return (start_ms is None or row.start_ms >= start_ms) and (
            end_ms is None or row.start_ms <= end_ms
        )

    def _answer(self, row: _Row, filters: Filters) -> dict[str, Any]:
        metrics: dict[str, Any] = json.loads(row.metrics)
        for label in row.labels:
            metrics.update(json.loads(label))
        if filters.keys:
            metrics = {key: value for key, value in metrics.items() if key in filters.keys}
        deployment = self._deployments[row.crn]
        return {
            "modelDeploymentCrn": row.crn,
            "modelBuildCrn": deployment["modelBuildCrn"],
            "modelCrn": deployment["modelCrn"],
            "startTimeStampMs": row.start_ms,
            "endTimeStampMs": row.end_ms,
            "predictionUuid": row.uuid,
            "metrics": metrics,
        }


def _refuse(code: str, message: str, field: Optional[str]) -> NoReturn:
    raise ServerError(413 if code == "too_large" else 400, code, message, field)


def _parse(text: bytes) -> dict[str, Any]:
    def number(digits: str) -> float:
        if len(digits) > NUMBER_CHARS_MAX or float(digits) in (float("inf"), float("-inf")):
            raise ServerError(400, "invalid_value", "a number is too large to be kept")
        return float(digits)

    def integer(digits: str) -> int:
        number(digits)
        return int(digits)

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) < len(pairs):
            raise ServerError(400, "invalid_value", "a key is there twice")
        return members

    def constant(name: str) -> NoReturn:
        raise ServerError(400, "invalid_value", f"{name} is not JSON")

    try:
        event = json.loads(
            text,
            parse_float=number,
            parse_int=integer,
            parse_constant=constant,
            object_pairs_hook=once,
        )
    except (ValueError, RecursionError) as error:
        _refuse("invalid_json", str(error), None)
    if not isinstance(event, dict):
        _refuse("not_an_object", "an event is a JSON object", None)
    if _depth(event) > DEPTH_MAX:
        _refuse("invalid_value", f"is nested more than {DEPTH_MAX} deep", None)
    return event


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0


def _check(event: Mapping[str, Any]) -> None:
    """Checks the members that all kinds of events share, as the server does."""
    for field, value in event.items():
        if field.endswith("Crn"):
            _check_crn(field, value)
        elif field in ("predictionUuid", "eventId"):
            if not isinstance(value, str):
                _refuse("invalid_field", "must be a UUID as text", field)
            if not _UUID.match(value):
                _refuse("invalid_field", f"not a UUID: {json.dumps(value[:64])}", field)
        elif field in ("startTimestampMs", "endTimestampMs"):
            _check_time(field, value)
        elif field == "failed" and event["event"] == "track_metrics":
            if not isinstance(value, bool):
                _refuse("invalid_field", "must be true or false", field)
        elif field == "status" and event["event"] == "model_deployed":
            if value not in _STATUSES:
                _refuse("invalid_field", f"must be {_STATUS_WORDS}, not {json.dumps(value)}", field)
        elif field in ("buildNumber", "modelDeploymentId"):
            if not isinstance(value, int) or isinstance(value, bool):
                _refuse("invalid_field", "must be a whole number", field)
        elif field == "metrics":
            if not isinstance(value, dict):
                _refuse("invalid_field", "must be an object", field)
            size = len(_compact(value).encode())
            if size > METRICS_BYTES_MAX:
                _refuse(
                    "too_large",
                    f"takes {size} bytes without white space, more than the limit of "
                    f"{METRICS_BYTES_MAX}; send fewer or shorter values",
                    field,
                )
    start_ms, end_ms = event.get("startTimestampMs"), event.get("endTimestampMs")
    if start_ms is not None and end_ms is not None and end_ms < start_ms:
        _refuse("invalid_field", f"{end_ms} is before the start, {start_ms}", "endTimestampMs")


def _check_crn(field: str, value: Any) -> None:
    if not isinstance(value, str):
        _refuse("invalid_field", "must be text", field)
    if len(value.encode()) > CRN_BYTES_MAX:
        _refuse("invalid_field", f"must have at most {CRN_BYTES_MAX} bytes", field)
    if not value and field == "modelDeploymentCrn":
        _refuse("invalid_field", "must not be empty", field)


def _check_time(field: str, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        _refuse("invalid_field", "must be a whole number of milliseconds since 1970", field)
    if value < TIME_MS_MIN:
        _refuse(
            "invalid_field",
            f"{value} is before 2000-01-01T00:00:00.000Z; send milliseconds since 1970",
            field,
        )
    if value > time.time_ns() // 1_000_000 + EVENT_AHEAD_MS_MAX:
        _refuse(
            "invalid_field",
            f"{value} is too far in the future; send milliseconds since 1970",
            field,
        )


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
