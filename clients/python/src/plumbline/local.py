"""The local store: a server's answers without a server, for development and tests.

It keeps events in this process, at most ``rows_max`` rows and ``bytes_max`` bytes: when it is full
the oldest rows go, with their labels and identities, which is said once; deployments, builds and
projects stay, and new ones are refused (``too_many_deployments``) once they fill half of it. It
answers with the codes, fields and rows of the server. Linking files are not read here, which takes
a parser of YAML: any text is taken, without warnings, and a build counts as trained on something
when the model's name stands in it before a colon. Rollups and the graph need a server.
"""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, NamedTuple, Optional, Union

from plumbline.checking import (
    INT64_MAX,
    NAME_BYTES_MAX,
    check,
    is_same,
    is_same_double,
    is_uuid,
    parse,
    quote_text,
    refuse,
    write,
)
from plumbline.delivery import Receipt, local_address
from plumbline.errors import ServerError
from plumbline.forking import renew_after_fork

logger = logging.getLogger("plumbline")

ROWS_MAX = 100_000
BYTES_MAX = 64 << 20
LABELS_MAX = 1000  # of one prediction
LIMIT_MAX = 1_000_000_000

# What a thing takes in memory besides the texts of its event; the texts of a row's CRN are shared.
ROW_BYTES = 900
LABEL_BYTES = 800
FACT_BYTES = 700

Identity = tuple[Any, ...]


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


class _Label(NamedTuple):
    identity: Identity  # empty: it has none
    metrics: bytes


class _Row:
    """A prediction (with a UUID) or an aggregate (without)."""

    __slots__ = (
        "crn",
        "end_ms",
        "failed",
        "identity",
        "labels",
        "metrics",
        "replica",
        "start_ms",
        "uuid",
    )

    def __init__(self, event: dict[str, Any], crn: str, uuid: str, identity: Identity) -> None:
        self.crn = crn
        self.start_ms: int = event["startTimestampMs"]
        self.end_ms: int = event["endTimestampMs"]
        self.uuid = uuid
        self.metrics = write(event["metrics"]).encode()
        self.failed: bool = event.get("failed", False)
        self.replica: str = event.get("replica", "")
        self.identity = identity
        self.labels: list[_Label] = []

    @property
    def size(self) -> int:
        """How many bytes it takes, labels included."""
        own = ROW_BYTES + len(self.metrics) + 4 * len(self.replica)
        return own + _size_of(self.labels)

    def is_same(self, event: dict[str, Any]) -> bool:
        """Says whether an event of this identity has the same content."""
        return (
            self.end_ms == event["endTimestampMs"]
            and self.failed == event.get("failed", False)
            and self.replica == event.get("replica", "")
            and is_same(parse(self.metrics), event["metrics"])
        )


class _Waiting(NamedTuple):
    """Labels that came before their prediction; ``number`` is when the first of them did."""

    number: int
    labels: list[_Label]


class _Fact(NamedTuple):
    """A lineage event, with what later ones of its identity supplied."""

    members: bytes
    received_ms: int


class _Deployment:
    """What the catalog knows of a deployment."""

    __slots__ = (
        "build_crn",
        "crn",
        "facts",
        "first_seen_ms",
        "is_declared",
        "last_prediction_ms",
        "model_crn",
        "number",
        "project_crn",
        "says_model",
    )

    def __init__(self, crn: str) -> None:
        self.crn = crn
        self.build_crn = self.model_crn = self.project_crn = ""
        self.number: Optional[int] = None
        self.first_seen_ms = _now_ms()
        self.last_prediction_ms: Optional[int] = None
        self.is_declared = False  # by model_deployed, which knows better than predictions
        self.says_model = False  # so does one of them, which knows better than the build
        self.facts: list[Identity] = []  # its model_deployed


class LocalStore:
    """Events of this process. Any thread may call; a forked child has a copy of its own."""

    def __init__(self, rows_max: int = ROWS_MAX, bytes_max: int = BYTES_MAX) -> None:
        self._rows_max = rows_max
        self._bytes_max = bytes_max
        self._lock = threading.RLock()
        self._number = 0
        # Both in order of insertion; a dict would take long to find its first when many are gone.
        self._rows: OrderedDict[int, _Row] = OrderedDict()
        self._first: dict[str, int] = {}  # the row that a prediction's labels go to
        self._waiting: OrderedDict[str, _Waiting] = OrderedDict()  # by UUID
        self._known: dict[Identity, Union[_Row, _Label]] = {}
        self._facts: dict[Identity, _Fact] = {}
        self._deployments: dict[str, _Deployment] = {}
        self._row_bytes = 0  # of rows and labels
        self._fact_bytes = 0  # of all else
        self._is_full = False
        renew_after_fork(self)

    def after_fork_in_child(self) -> None:
        """Another process, another lock."""
        self._lock = threading.RLock()

    def post(self, events: list[bytes]) -> Receipt:
        """Takes events as ``POST /v1/events`` does those of NDJSON: none of them raises."""
        accepted = duplicate = 0
        rejected: list[dict[str, Any]] = []
        warnings: list[dict[str, Any]] = []
        with self._lock:
            for index, event in enumerate(events):
                try:
                    is_new = self._take(local_address(event), index, warnings)
                except ServerError as error:
                    rejected.append(_note(index, error.code, error.message, error.field))
                else:
                    accepted += is_new
                    duplicate += not is_new
                self._make_room()
            batch = self._number if accepted else None
        return Receipt(
            batch,
            len(events),
            accepted,
            duplicate,
            rejected[:100],
            len(rejected),
            warnings[:100],
            0,
        )

    def rows(self, filters: Filters, limit: Optional[int] = None) -> Iterator[dict[str, Any]]:
        """Yields rows as ``/v1/metrics`` has them, of the moment of the first.

        ``limit`` is only looked at as the server does: all pages are one. Raises ServerError.
        """
        _check_filters(filters, limit)
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
            for crn in reversed(self._deployments):  # of two that say the same, the later
                if self._deployments[crn].number == number:
                    return crn
        refuse(
            "not_found",
            f"no deployment with modelDeploymentID {number} is known: "
            "a model_deployed event makes it known",
            "modelDeploymentID",
        )

    def deployments(self) -> list[dict[str, Any]]:
        """Returns the catalog as ``GET /v1/deployments`` has it."""
        with self._lock:
            return [self._describe(deployment) for deployment in self._deployments.values()]

    def deployment(self, crn: str) -> dict[str, Any]:
        """Returns one deployment. Raises ServerError 404."""
        with self._lock:
            if crn not in self._deployments:
                refuse("not_found", f"no deployment has the CRN {quote_text(crn)}")
            return self._describe(self._deployments[crn])

    # ---- taking -------------------------------------------------------------------------------

    def _take(self, text: bytes, index: int, warnings: list[dict[str, Any]]) -> bool:
        """Stores an event; False when it is known already. Raises ServerError."""
        kind, event, unknown = check(parse(text))
        for name in unknown:
            message = f"not a field of {kind}, ignored"
            warnings.append(_note(index, "unknown_field", message, name))
        if kind == "track_metrics":
            return self._take_prediction(event)
        if kind == "delayed_metrics":
            return self._take_label(event)
        if kind == "aggregate_metrics":
            return self._take_aggregate(event)
        if kind == "model_deployed":
            is_new = self._take_deployed(event)
            if is_new and self._is_cpu_assumed(self._deployments[event["modelDeploymentCrn"]]):
                message = (
                    "neither this event nor the build says how much CPU the deployment has: it is "
                    "entered as 0"
                )
                warnings.append(_note(index, "cpu_assumed", message, "cpuMillicores"))
            return is_new
        if kind == "project_created":
            return self._take_fact((kind, event["projectCrn"]), event, "projectCrn")
        return self._take_built(event)

    def _take_prediction(self, event: dict[str, Any]) -> bool:
        uuid = event["predictionUuid"].lower()
        deployment = self._deployment(event["modelDeploymentCrn"])
        if not deployment.is_declared:
            deployment.build_crn = deployment.build_crn or event.get("modelBuildCrn", "")
            deployment.model_crn = deployment.model_crn or event.get("modelCrn", "")
        identity = ("prediction", uuid, deployment.crn, event["startTimestampMs"])
        known = self._known.get(identity)
        if isinstance(known, _Row):
            if known.is_same(event):
                return False
            refuse(
                "conflict",
                "a prediction with this predictionUuid, modelDeploymentCrn and startTimestampMs "
                "is stored with other content",
                "predictionUuid",
            )
        row = _Row(event, deployment.crn, uuid, identity)
        deployment.last_prediction_ms = max(deployment.last_prediction_ms or 0, row.start_ms)
        number = self._insert(row)
        if self._first.setdefault(uuid, number) == number and uuid in self._waiting:
            row.labels += self._waiting.pop(uuid).labels
        return True

    def _take_label(self, event: dict[str, Any]) -> bool:
        uuid = event["predictionUuid"].lower()
        identity: Identity = ()
        if "eventId" in event:
            identity = ("label", uuid, event["eventId"].lower())
            known = self._known.get(identity)
            if isinstance(known, _Label):
                if is_same(parse(known.metrics), event["metrics"]):
                    return False
                refuse(
                    "conflict",
                    "delayed metrics with this eventId and predictionUuid are stored with other "
                    "content",
                    "eventId",
                )
        row = self._rows.get(self._first.get(uuid, -1))
        waiting = self._waiting.get(uuid)
        labels = row.labels if row else waiting.labels if waiting else []
        if len(labels) >= LABELS_MAX:
            refuse(
                "too_many_labels",
                "the limit labels_per_prediction_max is reached: this prediction takes no further "
                "delayed metrics",
                "predictionUuid",
            )
        self._number += 1
        if not row and not waiting:
            self._waiting[uuid] = _Waiting(self._number, labels)
        label = _Label(identity, write(event["metrics"]).encode())
        labels.append(label)
        self._row_bytes += _size_of([label])
        if identity:
            self._known[identity] = label
        return True

    def _take_aggregate(self, event: dict[str, Any]) -> bool:
        deployment = self._deployment(event["modelDeploymentCrn"])
        event.pop("failed", None)  # a prediction's member, no content of this
        identity: Identity = ()
        if "eventId" in event:
            event_id = event["eventId"].lower()
            identity = ("aggregate", deployment.crn, event["startTimestampMs"], event_id)
            known = self._known.get(identity)
            if isinstance(known, _Row):
                if known.is_same(event):
                    return False
                refuse(
                    "conflict",
                    "aggregate metrics with this eventId, modelDeploymentCrn and startTimestampMs "
                    "are stored with other content",
                    "eventId",
                )
        self._insert(_Row(event, deployment.crn, "", identity))
        return True

    def _take_deployed(self, event: dict[str, Any]) -> bool:
        deployment = self._deployment(event["modelDeploymentCrn"])
        if deployment.is_declared and deployment.build_crn != event["modelBuildCrn"]:
            refuse(
                "conflict",
                "this deployment is known with another modelBuildCrn: a deployment's build never "
                "changes, deploy the other build under a new modelDeploymentCrn",
                "modelBuildCrn",
            )
        identity = ("model_deployed", deployment.crn, event["status"], event.get("statusAtMs"))
        if not self._take_fact(identity, event, "modelDeploymentCrn, status and statusAtMs"):
            return False
        if identity not in deployment.facts:
            deployment.facts.append(identity)
        deployment.is_declared = True
        deployment.build_crn = event["modelBuildCrn"]
        deployment.says_model = deployment.says_model or "modelCrn" in event
        deployment.model_crn = event.get("modelCrn", deployment.model_crn)
        deployment.project_crn = event.get("projectCrn", deployment.project_crn)
        deployment.number = event.get("modelDeploymentId", deployment.number)
        self._complete(deployment, self._built(deployment))
        return True

    def _take_built(self, event: dict[str, Any]) -> bool:
        crn = event["modelBuildCrn"]
        is_new = self._take_fact(("model_built", crn), event, "modelBuildCrn")
        if is_new:
            for deployment in self._deployments.values():
                if deployment.build_crn == crn:
                    self._complete(deployment, event)
        return is_new

    def _complete(self, deployment: _Deployment, built: dict[str, Any]) -> None:
        """Takes model and project from the build where no model_deployed says them."""
        if deployment.is_declared and built:
            if not deployment.says_model:
                deployment.model_crn = built["modelCrn"]
            deployment.project_crn = deployment.project_crn or built["projectCrn"]

    def _take_fact(self, identity: Identity, event: dict[str, Any], words: str) -> bool:
        """Adds what is new to what is known of an identity; False when nothing is."""
        fact = self._facts.get(identity)
        known = parse(fact.members) if fact else {}
        new = []
        for name, value in event.items():
            is_late = name == "namespace" and "linkingFile" in known  # it would name other tables
            if name in known:
                if is_same_double(known[name], value):
                    continue
            elif not is_late:
                new.append(name)
                continue
            message = f'an event with this {words} is stored with another "{name}"'
            refuse("conflict", message, name)
        if fact and not new:
            return False
        members = write({**known, **{name: event[name] for name in new}}).encode()
        old_size = len(fact.members) if fact else -FACT_BYTES
        self._grow(len(members) - old_size)
        self._facts[identity] = _Fact(members, fact.received_ms if fact else _now_ms())
        self._number += 1
        return True

    def _deployment(self, crn: str) -> _Deployment:
        found = self._deployments.get(crn)
        if found is None:
            self._grow(FACT_BYTES + 4 * len(crn))
            found = self._deployments[crn] = _Deployment(crn)
        return found

    def _insert(self, row: _Row) -> int:
        self._number += 1
        self._rows[self._number] = row
        self._row_bytes += row.size
        if row.identity:
            self._known[row.identity] = row
        return self._number

    # ---- limits -------------------------------------------------------------------------------

    def _grow(self, size: int) -> None:
        """Counts what stays for ever. Raises ServerError when there is too much of it."""
        if self._fact_bytes + size > self._bytes_max // 2:
            refuse(
                "too_many_deployments",
                f"the local store keeps {self._bytes_max // 2} bytes of deployments, builds and "
                "projects: a new one can't be added",
            )
        self._fact_bytes += size

    def _make_room(self) -> None:
        """Lets the oldest rows, and labels without one, go until the others fit."""
        while True:
            row = next(iter(self._rows), None)
            uuid = next(iter(self._waiting), None)
            if len(self._rows) > self._rows_max:
                uuid = None
            elif len(self._waiting) > self._rows_max:
                row = None
            elif self._row_bytes + self._fact_bytes <= self._bytes_max:
                return
            if uuid is not None and (row is None or self._waiting[uuid].number < row):
                self._forget(self._waiting.pop(uuid).labels)
            elif row is not None:
                self._drop_row(row)
            else:
                return
            if not self._is_full:
                self._is_full = True
                logger.warning(
                    "plumbline: the local store keeps %d rows and %d bytes; the oldest go",
                    self._rows_max,
                    self._bytes_max,
                )

    def _drop_row(self, number: int) -> None:
        row = self._rows.pop(number)
        if self._first.get(row.uuid) == number:
            del self._first[row.uuid]
        self._known.pop(row.identity, None)
        self._row_bytes -= row.size - _size_of(row.labels)
        self._forget(row.labels)

    def _forget(self, labels: list[_Label]) -> None:
        for label in labels:
            self._known.pop(label.identity, None)
        self._row_bytes -= _size_of(labels)

    # ---- answering ----------------------------------------------------------------------------

    def _matches(self, row: _Row, filters: Filters) -> bool:
        deployment = self._deployments[row.crn]
        narrowing = (
            (filters.model_deployment_crns, row.crn),
            (filters.model_build_crns, deployment.build_crn),
            (filters.model_crns, deployment.model_crn),
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
            metrics.update(json.loads(label.metrics))
        if filters.keys:
            metrics = {key: value for key, value in metrics.items() if key in filters.keys}
        deployment = self._deployments[row.crn]
        return {
            "modelDeploymentCrn": row.crn,
            "modelBuildCrn": deployment.build_crn,
            "modelCrn": deployment.model_crn,
            "startTimeStampMs": row.start_ms,
            "endTimeStampMs": row.end_ms,
            "predictionUuid": row.uuid,
            "metrics": metrics,
        }

    def _describe(self, deployment: _Deployment) -> dict[str, Any]:
        history = self._history(deployment)
        built = self._built(deployment)
        model_name = _last(history, "modelName")
        if model_name is None and history:
            model_name = built.get("modelName")
        environment = _last(history, "environment")
        return {
            "modelDeploymentCrn": deployment.crn,
            "modelBuildCrn": deployment.build_crn,
            "modelCrn": deployment.model_crn,
            "projectCrn": deployment.project_crn,
            "modelDeploymentId": deployment.number,
            "firstSeenMs": deployment.first_seen_ms,
            "modelName": model_name or "",
            "status": history[-1]["status"] if history else "unknown",
            "environment": "" if environment is None else _as_text(environment),
            "trainingData": "known" if _is_trained(built) else "unknown",
            "lastPredictionMs": deployment.last_prediction_ms,
        }

    def _history(self, deployment: _Deployment) -> list[dict[str, Any]]:
        """Returns what was said of a deployment, in the order of its statuses."""
        facts = [self._facts[identity] for identity in deployment.facts]
        said = [(fact.received_ms, parse(fact.members)) for fact in facts]
        said.sort(key=lambda one: one[1].get("statusAtMs", one[0]))
        return [members for _, members in said]

    def _built(self, deployment: _Deployment) -> dict[str, Any]:
        fact = self._facts.get(("model_built", deployment.build_crn))
        return parse(fact.members) if fact else {}

    def _is_cpu_assumed(self, deployment: _Deployment) -> bool:
        if "defaultCpuMillicores" in self._built(deployment):
            return False
        return _last(self._history(deployment), "cpuMillicores") is None


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _note(index: int, code: str, message: str, field: Optional[str]) -> dict[str, Any]:
    note = {"index": index, "code": code, "message": message}
    return {**note, "field": field} if field else note


def _size_of(labels: list[_Label]) -> int:
    return sum(LABEL_BYTES + len(label.metrics) for label in labels)


def _last(history: list[dict[str, Any]], member: str) -> Any:
    """Returns what was said of a member last; None: nothing."""
    return next((members[member] for members in reversed(history) if member in members), None)


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _is_trained(built: dict[str, Any]) -> bool:
    if built.get("inputs"):
        return True
    key = rf"""(^|[\s{{,"']){re.escape(built.get("modelName", ""))}["']?\s*:"""
    return "linkingFile" in built and re.search(key, built["linkingFile"]) is not None


def _check_filters(filters: Filters, limit: Optional[int]) -> None:
    """Refuses what ``GET /v1/metrics`` refuses. Raises ServerError."""
    for name, crns in (
        ("model_crn", filters.model_crns),
        ("model_build_crn", filters.model_build_crns),
        ("model_deployment_crn", filters.model_deployment_crns),
    ):
        for crn in crns:
            size = len(crn.encode())
            if not 0 < size <= NAME_BYTES_MAX:
                message = f'"{name}" must have from 1 to {NAME_BYTES_MAX} bytes: it has {size}'
                refuse("invalid_parameter", message, name)
    for uuid in filters.prediction_uuids:
        if not is_uuid(uuid):
            message = f'"prediction_uuid" is not a UUID: {quote_text(uuid)}'
            refuse("invalid_parameter", message, "prediction_uuid")
    if filters.kind and filters.kind not in ("prediction", "aggregate"):
        message = f'"kind" must be prediction or aggregate: {quote_text(filters.kind)}'
        refuse("invalid_parameter", message, "kind")
    start_ms, end_ms = filters.start_timestamp_ms, filters.end_timestamp_ms
    _check_number("start_timestamp_ms", start_ms, -INT64_MAX - 1, INT64_MAX)
    _check_number("end_timestamp_ms", end_ms, -INT64_MAX - 1, INT64_MAX)
    _check_number("limit", limit, 1, LIMIT_MAX)
    if start_ms is not None and end_ms is not None and end_ms < start_ms:
        message = f"the end ({end_ms}) is before the start ({start_ms})"
        refuse("invalid_parameter", message, "end_timestamp_ms")


def _check_number(name: str, value: Optional[int], least: int, most: int) -> None:
    if value is None:
        return
    text = str(value)  # as it would stand in the URL
    if not text.removeprefix("-").isdecimal() or not text.isascii() or len(text) > 20:
        refuse("invalid_parameter", f'"{name}" must be a whole number: {quote_text(text)}', name)
    if not least <= int(text) <= most:
        refuse("invalid_parameter", f'"{name}" must be from {least} to {most}: {text}', name)
