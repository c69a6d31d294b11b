"""The client: events, metrics, rollups, deployments and lineage of one server."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Optional, TypeVar, Union
from urllib.parse import quote
from uuid import UUID

from plumbline import identity
from plumbline.delivery import Deployments, Receipt, address, post_events
from plumbline.errors import PlumblineError, Problem, ServerError, Unreachable, ValueNotAllowed
from plumbline.local import Filters, LocalStore
from plumbline.prediction import Prediction
from plumbline.reporting import OnError, Reporter
from plumbline.sender import Sender, SenderOptions, Stats
from plumbline.transport import Query, Transport, bare_key
from plumbline.values import Encoder

if TYPE_CHECKING:
    import pandas

logger = logging.getLogger("plumbline")

T = TypeVar("T")
Texts = Union[str, Iterable[str], None]
Uuids = Union[str, UUID, Iterable[Union[str, UUID]], None]
Row = dict[str, Any]

RETRY_S_MIN = 0.1
RETRY_S_MAX = 2.0


class Client:
    """Tracks events and reads them back. Any thread may use it, and so may forked children.

    What is not given comes from the environment, at once; the network is not touched before the
    first event or read.

    :param url: of the server; else ``PLUMBLINE_URL``, else ``monitoring.`` before the host of
        ``CDSW_API_URL``. Without any, events stay in this process (``local``); in a replica they
        go to ``spill_dir`` and an error is logged.
    :param api_key: else ``PLUMBLINE_API_KEY``.
    :param model_deployment_crn: what predictions and aggregates are about unless a call says
        otherwise; else ``PLUMBLINE_MODEL_DEPLOYMENT_CRN``, else the deployment whose number stands
        in a variable ``<NAME>_<n>_<id>_SERVICE_HOST``, whose CRN the server is asked for.
    :param sync: send in the call, and return the receipt (or raise) when the server has answered.
        In a replica that has no URL events are spilled all the same, without a receipt.
    :param local: keep everything in this process, whatever is configured: at most 100,000 rows
        and 64 MiB, of which the oldest go.
    :param nan: what NaN and infinity become: ``"error"`` (a ValueNotAllowed that names the path)
        or ``"null"``; else ``PLUMBLINE_NAN``.
    :param on_error: called with a Problem for events that were not stored, mostly in the sender's
        thread; what it raises is logged.
    :param buffer_bytes: memory for events that wait for the server; as much again where this
        client's deployment is known by its number, for what is about it.
    :param linger_ms: how long an event may wait for others to go with it, at most 200.
    :param timeout: seconds for one answer of the server; in synchronous mode and for reads also
        how long a busy or absent server is tried again.
    :param exit_timeout: seconds that the end of the process waits for events to be sent.
    :param spill_dir: folder for events that the buffer can't take or that are left at exit; else
        ``PLUMBLINE_SPILL_DIR``. Without it such events are counted, logged and lost.
    :param spill_bytes: the most that this process keeps there unsent; with what was sent already
        its file may be twice as large, and 64 MiB.
    :param replica: what predictions say they came from; else the host name.
    :param ca_bundle: file of certificates to trust; else ``PLUMBLINE_CA_BUNDLE``, else
        ``REQUESTS_CA_BUNDLE``, else those of the system.
    """

    def __init__(
        self,
        url: Optional[str] = None,
        *,
        api_key: Optional[str] = None,
        model_deployment_crn: Optional[str] = None,
        sync: bool = False,
        local: bool = False,
        nan: Optional[str] = None,
        on_error: Optional[OnError] = None,
        buffer_bytes: int = 16 << 20,
        linger_ms: int = 100,
        timeout: float = 30.0,
        exit_timeout: float = 5.0,
        spill_dir: Optional[str] = None,
        spill_bytes: int = 1 << 30,
        replica: Optional[str] = None,
        ca_bundle: Optional[str] = None,
    ) -> None:
        if not 0 <= linger_ms <= 200:
            raise ValueError(f"linger_ms must be from 0 to 200, not {linger_ms}")
        environ = os.environ
        self.encoder = Encoder(nan) if nan else _environment_encoder()
        self._replica = _json(identity.host_name() if replica is None else replica)
        self._own_address = b""
        self._is_sync = sync
        self._timeout = timeout
        self._exit_timeout = exit_timeout
        self._reporter = Reporter(on_error)
        self._local_rejected = 0
        self._deployments = Deployments()
        self._store: Optional[LocalStore] = None
        self._transport: Optional[Transport] = None
        self._sender: Optional[Sender] = None
        self._own_sender: Optional[Sender] = None  # for what is about a deployment known by number
        self._senders: list[Sender] = []  # both, or one that is both

        wrong = ""
        if not url and not local:
            url, wrong = _environment_url()
        self._why_no_server = wrong or "PLUMBLINE_URL is not set"
        numbers = identity.deployment_ids(environ)
        self._deployment = self._find_deployment(model_deployment_crn, numbers)
        spill_dir = spill_dir or environ.get("PLUMBLINE_SPILL_DIR") or None
        if url and not local:
            self._transport = Transport(
                url,
                api_key=_environment_key() if api_key is None else api_key,
                timeout=timeout,
                ca_bundle=ca_bundle
                or environ.get("PLUMBLINE_CA_BUNDLE")
                or environ.get("REQUESTS_CA_BUNDLE", ""),
            )
        elif local or not (numbers or wrong):
            self._store = LocalStore()
            if not isinstance(self._deployment, str):  # nobody knows the number here
                self._deployment = identity.DEV_DEPLOYMENT_CRN
            if not local:
                logger.warning("plumbline: PLUMBLINE_URL is not set: metrics stay in this process")
            return
        else:
            spill_dir = spill_dir or _own_folder()
            logger.error("plumbline: %s: metrics go to %s", self._why_no_server, spill_dir)
        options = SenderOptions(
            buffer_bytes, linger_ms / 1000, exit_timeout, spill_dir, spill_bytes
        )
        known = (self._transport, self._deployments, options, self._reporter, self._senders)
        self._sender = self._own_sender = Sender(*known)
        if isinstance(self._deployment, int):  # what has to wait for its CRN holds up nothing else
            self._own_sender = Sender(*known)

    @staticmethod
    def _find_deployment(crn: Optional[str], numbers: list[int]) -> Union[str, int, None]:
        crn = crn or os.environ.get("PLUMBLINE_MODEL_DEPLOYMENT_CRN", "").strip()
        if crn or not numbers:
            return crn or None
        if len(numbers) > 1:
            logger.error(
                "plumbline: the environment names several deployments (%s); "
                "set PLUMBLINE_MODEL_DEPLOYMENT_CRN",
                ", ".join(map(str, numbers)),
            )
            return None
        return numbers[0]

    # ---- tracking -----------------------------------------------------------------------------

    @property
    def model_deployment_crn(self) -> Optional[str]:
        """The deployment that this client is for; None while the server was not asked for it."""
        if isinstance(self._deployment, int):
            return self._deployments.known(self._deployment)
        return self._deployment

    def prediction(
        self,
        *,
        model_deployment_crn: Optional[str] = None,
        model_build_crn: Optional[str] = None,
        model_crn: Optional[str] = None,
        failures: bool = True,
    ) -> Prediction:
        """Returns a prediction to track: ``with client.prediction() as prediction: ...``.

        It is sent at the end of the block. When the block raises, it is sent with
        ``failed: true`` and what was tracked until then, or not at all with ``failures=False``.
        Inside, ``plumbline.track_metric`` notes metrics of it.
        """
        crns = (model_deployment_crn, model_build_crn, model_crn)
        return Prediction(self.encoder, self._end_prediction, crns, failures)

    def track_prediction(
        self,
        metrics: Mapping[str, Any],
        *,
        prediction_uuid: str,
        start_timestamp_ms: int,
        end_timestamp_ms: int,
        model_deployment_crn: Optional[str] = None,
        model_build_crn: Optional[str] = None,
        model_crn: Optional[str] = None,
        failed: bool = False,
    ) -> Optional[Receipt]:
        """Tracks a prediction whose times (milliseconds since 1970) and UUID are known.

        ``plumbline.uuid7(start_timestamp_ms)`` makes a UUID. Returns the receipt in synchronous
        mode, else None. Raises ValueNotAllowed, which names the path.
        """
        return self._submit(
            self._prediction_text(
                self._metrics_text(metrics),
                self.encoder.encode(prediction_uuid, "predictionUuid"),
                self.encoder.encode(start_timestamp_ms, "startTimestampMs"),
                self.encoder.encode(end_timestamp_ms, "endTimestampMs"),
                (model_deployment_crn, model_build_crn, model_crn),
                failed,
            ),
            is_own=not model_deployment_crn,
        )

    def track_delayed_metrics(
        self,
        metrics: Mapping[str, Any],
        prediction_uuid: str,
        *,
        event_id: Optional[str] = None,
    ) -> Optional[Receipt]:
        """Adds values that are known later, such as ground truth, to a prediction.

        They become members of its ``metrics``; the last write of a key wins. ``event_id`` (a UUID)
        makes the same call harmless when a job repeats it. Returns and raises as track_prediction.
        """
        return self._submit(
            b'{"event":"delayed_metrics","predictionUuid":%s,"eventId":%s,"metrics":%s}'
            % (
                self.encoder.encode(prediction_uuid, "predictionUuid"),
                self.encoder.encode(event_id or _event_id(), "eventId"),
                self._metrics_text(metrics),
            )
        )

    def track_aggregate_metrics(
        self,
        metrics: Mapping[str, Any],
        start_timestamp_ms: int,
        end_timestamp_ms: int,
        model_deployment_crn: Optional[str] = None,
        *,
        event_id: Optional[str] = None,
    ) -> Optional[Receipt]:
        """Tracks values of a deployment over a span of time (milliseconds since 1970).

        Each call is an aggregate of its own, also with the same values, unless ``event_id`` (a
        UUID) says that it is the same. Returns and raises as track_prediction; without any
        deployment it is a PlumblineError.
        """
        deployment = model_deployment_crn or self._deployment_now()
        if deployment is None:
            raise PlumblineError(
                "which deployment is this about? Give model_deployment_crn "
                "or set PLUMBLINE_MODEL_DEPLOYMENT_CRN"
            )
        return self._submit(
            address(deployment)
            + b'"event":"aggregate_metrics","startTimestampMs":%s,"endTimestampMs":%s,'
            b'"eventId":%s,"replica":%s,"metrics":%s}'
            % (
                self.encoder.encode(start_timestamp_ms, "startTimestampMs"),
                self.encoder.encode(end_timestamp_ms, "endTimestampMs"),
                self.encoder.encode(event_id or _event_id(), "eventId"),
                self._replica,
                self._metrics_text(metrics),
            ),
            is_own=not model_deployment_crn,
        )

    def _deployment_now(self) -> Union[str, int, None]:
        return self.model_deployment_crn or self._deployment

    def _metrics_text(self, metrics: Mapping[str, Any]) -> bytes:
        try:
            items = metrics.items()
        except AttributeError:
            name = type(metrics).__name__
            raise ValueNotAllowed("metrics", f"must be a mapping, not {name}") from None
        members = [self.encoder.member(key, value) for key, value in items]
        return b"{" + b",".join(members) + b"}"

    def _prediction_text(
        self,
        metrics: bytes,
        uuid: bytes,
        start_ms: bytes,
        end_ms: bytes,
        crns: tuple[Optional[str], Optional[str], Optional[str]],
        failed: bool,
    ) -> bytes:
        """Puts an event together; all that is bytes is JSON already."""
        more = b',"failed":true' if failed else b""
        for name, crn in ((b"modelBuildCrn", crns[1]), (b"modelCrn", crns[2])):
            if crn:
                more += b',"%s":%s' % (name, _json(crn))
        return (
            b'%s"event":"track_metrics","predictionUuid":%s,"startTimestampMs":%s,'
            b'"endTimestampMs":%s,"replica":%s%s,"metrics":%s}'
            % (
                address(crns[0]) if crns[0] else self._address(),
                uuid,
                start_ms,
                end_ms,
                self._replica,
                more,
                metrics,
            )
        )

    def _address(self) -> bytes:
        """Returns how an event begins that is about this client's deployment."""
        found = self._own_address
        if not found:
            deployment = self._deployment_now()
            found = b"{" if deployment is None else address(deployment)
            if isinstance(deployment, str):  # a number may be known by its CRN the next time
                self._own_address = found
        return found

    def _end_prediction(self, prediction: Prediction, failed: bool) -> None:
        event = self._prediction_text(
            prediction.metrics_text(),
            b'"%s"' % prediction.uuid.encode(),
            b"%d" % prediction.start_timestamp_ms,
            b"%d" % prediction.end_timestamp_ms,
            prediction.crns,
            failed,
        )
        if prediction.crns[0] is None and self._deployment is None and self._sender is not None:
            self._sender.lose(
                Problem(
                    "no_deployment",
                    "which deployment is this? Set PLUMBLINE_MODEL_DEPLOYMENT_CRN",
                    event=event,
                )
            )
            return
        try:
            prediction.receipt = self._submit(event, is_own=not prediction.crns[0])
        except PlumblineError:
            if not failed:
                raise
            logger.exception("plumbline: a failed prediction could not be sent")

    def _submit(self, event: bytes, *, is_own: bool = False) -> Optional[Receipt]:
        """Sends an event; ``is_own``: one about this client's deployment, whatever that is."""
        if self._is_sync and (self._transport is not None or self._store is not None):
            receipt = self._post_now([event])
            for note in receipt.rejected:
                status = {"too_large": 413, "conflict": 409}.get(note["code"], 400)
                raise ServerError(status, note["code"], note["message"], note.get("field"))
            return receipt
        sender = self._own_sender if is_own else self._sender
        if sender is not None:
            sender.put(event)
        else:
            for problem in self._local().post([event]).problems([event]):
                self._local_rejected += 1
                self._reporter.report(problem, self._local_rejected, 0)
        return None

    def post_events(self, events: Iterable[Mapping[str, Any]]) -> Receipt:
        """Sends events of any kind, as ``POST /v1/events`` has them, in one request.

        Returns the receipt, which may have rejected some. Raises ServerError when all are refused
        together, Unreachable when there was no answer within the client's timeout.
        """
        return self._post_now([self.encoder.encode(event, "event") for event in events])

    def _post_now(self, events: Sequence[bytes]) -> Receipt:
        if self._store is not None:
            return self._store.post(list(events))
        transport = self._remote()
        return self._retrying(lambda: post_events(transport, self._deployments, events))

    # ---- lineage ------------------------------------------------------------------------------

    def project_created(
        self, project_crn: str, project_name: str, user_name: str, **optional: Any
    ) -> Receipt:
        """Tells of a project. ``optional``: ``created_at_ms``, ``description``, ``metadata``.

        Sent in the call, as the other two; the same again is harmless. Raises ServerError when it
        is refused, Unreachable.
        """
        return self._tell(
            "project_created",
            {"project_crn": project_crn, "project_name": project_name, "user_name": user_name},
            optional,
        )

    def model_built(
        self,
        project_crn: str,
        model_crn: str,
        model_name: str,
        model_build_crn: str,
        build_number: int,
        user_name: str,
        **optional: Any,
    ) -> Receipt:
        """Tells of a build and what it was trained on.

        ``optional``: ``linking_file`` (the text of ``lineage.yaml``), ``inputs`` (a list of
        ``{"typeName": ..., "qualifiedName": ...}``), ``namespace``, ``project_name``,
        ``created_at_ms``, ``image_tag``, ``image_hash``, ``metadata`` and the others of
        the server's ``/openapi.yaml``, in snake case. The receipt's warnings say what is odd in the
        linking file; one that can't be read is a ServerError (``invalid_linking_file``). Without a
        server it is not read.
        """
        required = {
            "project_crn": project_crn,
            "model_crn": model_crn,
            "model_name": model_name,
            "model_build_crn": model_build_crn,
            "build_number": build_number,
            "user_name": user_name,
        }
        return self._tell("model_built", required, optional)

    def model_deployed(
        self,
        model_build_crn: str,
        model_deployment_crn: str,
        user_name: str,
        status: str,
        **optional: Any,
    ) -> Receipt:
        """Tells of a deployment's status: deploying, deployed, stopping, stopped or unknown.

        ``optional``: ``status_at_ms``, ``model_deployment_id``, ``model_crn``, ``model_name``,
        ``project_crn``, ``cpu_millicores``, ``memory_mb``, ``replicas`` and others, in snake case.
        """
        required = {
            "model_build_crn": model_build_crn,
            "model_deployment_crn": model_deployment_crn,
            "user_name": user_name,
            "status": status,
        }
        return self._tell("model_deployed", required, optional)

    def _tell(self, kind: str, required: dict[str, Any], optional: dict[str, Any]) -> Receipt:
        members = {"event": kind, **required, **optional}
        event = {_camel(name): value for name, value in members.items() if value is not None}
        receipt = self.post_events([event])
        for note in receipt.rejected:
            status = 409 if note["code"] == "conflict" else 400
            raise ServerError(status, note["code"], note["message"], note.get("field"))
        return receipt

    def lineage(
        self,
        type_name: str,
        qualified_name: str,
        *,
        direction: str = "BOTH",
        depth: int = 3,
    ) -> dict[str, Any]:
        """Returns what an entity came from and what came from it, as Apache Atlas has it.

        ``direction`` is BOTH, INPUT or OUTPUT, ``depth`` counts data sets (0: no limit).
        """
        path = f"/api/atlas/v2/lineage/uniqueAttribute/type/{quote(type_name, safe='')}"
        query: Query = [
            ("attr:qualifiedName", qualified_name),
            ("direction", direction),
            ("depth", depth),
        ]
        return self._get(path, query)

    # ---- reading ------------------------------------------------------------------------------

    def read_metrics(
        self,
        model_deployment_crn: Optional[str] = None,
        start_timestamp_ms: Optional[int] = None,
        end_timestamp_ms: Optional[int] = None,
        model_crn: Optional[str] = None,
        model_build_crn: Optional[str] = None,
    ) -> dict[str, list[Row]]:
        """Returns ``{"metrics": [row, ...]}`` in the order of insertion.

        The CRNs narrow together; both times are inclusive, in milliseconds since 1970, and are
        compared with a row's start. What this process tracked before is sent first and is in the
        answer. A row has ``modelDeploymentCrn, modelBuildCrn, modelCrn, startTimeStampMs,
        endTimeStampMs, predictionUuid, metrics``; an aggregate's ``predictionUuid`` is "".
        Raises ServerError, Unreachable.
        """
        return {
            "metrics": list(
                self.rows(
                    model_deployment_crn=model_deployment_crn,
                    model_build_crn=model_build_crn,
                    model_crn=model_crn,
                    start_timestamp_ms=start_timestamp_ms,
                    end_timestamp_ms=end_timestamp_ms,
                )
            )
        }

    def rows(
        self,
        *,
        model_deployment_crn: Texts = None,
        model_build_crn: Texts = None,
        model_crn: Texts = None,
        prediction_uuid: Uuids = None,
        start_timestamp_ms: Optional[int] = None,
        end_timestamp_ms: Optional[int] = None,
        kind: Optional[str] = None,
        key: Texts = None,
        page_rows: Optional[int] = None,
    ) -> Iterator[Row]:
        """Yields rows as read_metrics has them, while they arrive.

        Several values of one filter widen it. ``kind`` is "prediction" or "aggregate"; ``key``
        names the top-level metrics to return. With ``page_rows`` the answer comes in pages of so
        many rows, which a lost connection does not start over; all pages show what the first
        could see for certain, which may lack rows that were committed a moment before.
        """
        filters = _filters(
            model_crn,
            model_build_crn,
            model_deployment_crn,
            prediction_uuid,
            start_timestamp_ms,
            end_timestamp_ms,
            kind,
            key,
        )
        if self._store is not None:
            yield from self._store.rows(filters, page_rows)
            return
        for chunk in self._chunks(filters, page_rows):
            yield from _parse_lines(chunk)

    def read_metrics_df(
        self,
        model_deployment_crn: Texts = None,
        start_timestamp_ms: Optional[int] = None,
        end_timestamp_ms: Optional[int] = None,
        model_crn: Texts = None,
        model_build_crn: Texts = None,
        *,
        kind: Optional[str] = None,
        key: Texts = None,
        page_rows: Optional[int] = None,
    ) -> pandas.DataFrame:
        """Returns the rows as a DataFrame; needs pandas (``plumbline[pandas]``).

        Columns are the members of a row, with ``metrics`` flattened as ``pandas.json_normalize``
        does: ``metrics.probability``, ``metrics.input.tenure``. What a row lacks is NaN; lists
        stay lists; times stay milliseconds since 1970. Arguments are those of rows.
        """
        from plumbline.frame import FrameBuilder

        filters = _filters(
            model_crn,
            model_build_crn,
            model_deployment_crn,
            (),
            start_timestamp_ms,
            end_timestamp_ms,
            kind,
            key,
        )
        builder = FrameBuilder()
        if self._store is not None:
            builder.add(self._store.rows(filters, page_rows))
        else:
            for chunk in self._chunks(filters, page_rows):
                builder.add(_parse_lines(chunk))
        return builder.frame()

    def _chunks(self, filters: Filters, page_rows: Optional[int]) -> Iterator[bytes]:
        """Yields NDJSON, whole lines at a time."""
        transport = self._remote()
        self._flush_before_read()
        query = _query(filters)
        if page_rows is None:
            chunks, _ = self._retrying(lambda: transport.lines("/v1/metrics", query))
            yield from chunks
            return
        query.append(("limit", page_rows))
        cursor: Optional[str] = None
        while True:
            page_query = [*query, ("cursor", cursor)] if cursor else query

            def page(page_query: Query = page_query) -> tuple[list[bytes], Optional[str]]:
                chunks, following = transport.lines("/v1/metrics", page_query)
                return list(chunks), following

            page_chunks, cursor = self._retrying(page)
            yield from page_chunks
            if not cursor:
                return

    def _flush_before_read(self) -> None:
        if not self.flush(self._timeout):
            logger.warning("plumbline: the read may lack events that still wait to be sent")

    def rollups(
        self,
        window: str,
        *,
        model_deployment_crn: Optional[str] = None,
        model_build_crn: Optional[str] = None,
        model_crn: Optional[str] = None,
        metric: Texts = None,
        quantile: Iterable[float] = (),
        kind: Optional[str] = None,
        start_timestamp_ms: Optional[int] = None,
        end_timestamp_ms: Optional[int] = None,
    ) -> dict[str, Any]:
        """Returns every metric by minute, hour or day: ``{"window": "1m", "series": [...]}``.

        ``window`` is "1m", "1h" or "1d"; exactly one CRN; metrics are named by the path of keys
        joined by dots; quantiles are from 0 to 1. Needs a server.
        """
        query: list[tuple[str, Union[str, int, float]]] = [("window", window)]
        single = {
            "model_deployment_crn": model_deployment_crn,
            "model_build_crn": model_build_crn,
            "model_crn": model_crn,
            "kind": kind,
            "start_timestamp_ms": start_timestamp_ms,
            "end_timestamp_ms": end_timestamp_ms,
        }
        query += [(name, value) for name, value in single.items() if value is not None]
        query += [("metric", name) for name in _texts(metric)]
        query += [("quantile", value) for value in quantile]
        return self._get("/v1/rollups", query)

    def deployments(self) -> list[dict[str, Any]]:
        """Returns the catalog: each deployment with its build, model and project, "" if unknown."""
        if self._store is not None:
            return self._store.deployments()
        found: list[dict[str, Any]] = self._get("/v1/deployments", ())["deployments"]
        return found

    def deployment(self, model_deployment_crn: str) -> dict[str, Any]:
        """Returns one deployment of the catalog. Raises ServerError with status 404."""
        if self._store is not None:
            return self._store.deployment(model_deployment_crn)
        return self._get(f"/v1/deployments/{quote(model_deployment_crn, safe='')}", ())

    def _get(self, path: str, query: Query) -> dict[str, Any]:
        transport = self._remote()
        self._flush_before_read()
        answer = self._retrying(lambda: transport.get(path, query))
        if not isinstance(answer, dict):
            raise ServerError(200, "not_plumbline", "the answer is no object")
        return answer

    # ---- sending and the end ------------------------------------------------------------------

    def flush(self, timeout: Optional[float] = None) -> bool:
        """Waits until what was tracked before is stored or rejected, at most ``timeout`` seconds.

        Returns False when some of it still waits.
        """
        limit = None if timeout is None else time.monotonic() + timeout
        is_done = True
        for sender in self._senders:
            left = None if limit is None else max(limit - time.monotonic(), 0.0)
            is_done = sender.flush(left) and is_done
        return is_done

    def stats(self) -> Stats:
        """Returns how many events wait and what became of the others, since the process began."""
        counts = [sender.stats() for sender in self._senders] or [Stats(0, 0, 0, 0, 0, 0)]
        return Stats(*map(sum, zip(*counts)))

    def close(self, timeout: Optional[float] = None) -> None:
        """Sends what waits, for ``timeout`` seconds (default: ``exit_timeout``), and stops.

        What is left then goes to ``spill_dir``, or is counted, logged and lost. The end of the
        process does this by itself, also in children of ``multiprocessing``; not on a signal that
        kills it, nor on ``os._exit``.
        """
        limit = time.monotonic() + (self._exit_timeout if timeout is None else timeout)
        for sender in self._senders:
            sender.hurry(limit)
        for sender in self._senders:
            sender.close(max(limit - time.monotonic(), 0.0))

    def __enter__(self) -> Client:
        """Returns the client itself."""
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        """Closes it."""
        self.close()

    def _local(self) -> LocalStore:
        assert self._store is not None
        return self._store

    def _remote(self) -> Transport:
        if self._transport is None:
            raise PlumblineError(f"this needs a server: {self._why_no_server}")
        return self._transport

    def _retrying(self, call: Callable[[], T]) -> T:
        """Calls until there is an answer other than "not now", for at most the timeout."""
        limit = time.monotonic() + self._timeout
        wait_s = RETRY_S_MIN
        while True:
            try:
                return call()
            except (ServerError, Unreachable) as error:
                if isinstance(error, ServerError):
                    if not error.is_busy:
                        raise
                    wait_s = max(wait_s, error.retry_after or 0)
                if time.monotonic() + wait_s > limit:
                    raise
            time.sleep(wait_s)
            wait_s = min(wait_s * 2, RETRY_S_MAX)


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _event_id() -> str:
    return identity.uuid7(time.time_ns() // 1_000_000)


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


def _texts(value: Texts) -> tuple[str, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)


def _uuids(value: Uuids) -> tuple[str, ...]:
    if value is None:
        return ()
    values = (value,) if isinstance(value, (str, UUID)) else value
    return tuple(map(str, values))


def _filters(
    model_crn: Texts,
    model_build_crn: Texts,
    model_deployment_crn: Texts,
    prediction_uuid: Uuids,
    start_timestamp_ms: Optional[int],
    end_timestamp_ms: Optional[int],
    kind: Optional[str],
    key: Texts,
) -> Filters:
    return Filters(
        _texts(model_crn),
        _texts(model_build_crn),
        _texts(model_deployment_crn),
        _uuids(prediction_uuid),
        start_timestamp_ms,
        end_timestamp_ms,
        kind,
        _texts(key),
    )


def _query(filters: Filters) -> list[tuple[str, Union[str, int, float]]]:
    query: list[tuple[str, Union[str, int, float]]] = []
    query += [("model_crn", crn) for crn in filters.model_crns]
    query += [("model_build_crn", crn) for crn in filters.model_build_crns]
    query += [("model_deployment_crn", crn) for crn in filters.model_deployment_crns]
    query += [("prediction_uuid", uuid) for uuid in filters.prediction_uuids]
    query += [("key", key) for key in filters.keys]
    if filters.start_timestamp_ms is not None:
        query.append(("start_timestamp_ms", filters.start_timestamp_ms))
    if filters.end_timestamp_ms is not None:
        query.append(("end_timestamp_ms", filters.end_timestamp_ms))
    if filters.kind:
        query.append(("kind", filters.kind))
    return query


def _parse_lines(chunk: bytes) -> list[Row]:
    """Parses whole lines of NDJSON at once: no line end stands inside a row."""
    rows: list[Row] = json.loads(b"[" + chunk.rstrip(b"\n").replace(b"\n", b",") + b"]")
    return rows


def _environment_encoder() -> Encoder:
    """A mistake in the environment is logged: it must not cost a prediction."""
    try:
        return Encoder(os.environ.get("PLUMBLINE_NAN") or "error")
    except ValueError as error:
        logger.error("plumbline: PLUMBLINE_NAN: %s", error)
        return Encoder()


def _environment_url() -> tuple[Optional[str], str]:
    """Returns where the environment says to post, and what is wrong with it."""
    name = "PLUMBLINE_URL" if os.environ.get("PLUMBLINE_URL") else "CDSW_API_URL"
    try:
        url = identity.server_url(os.environ)
        if url is not None:
            Transport(url)
    except PlumblineError as error:
        return None, f"{name}: {error}"
    return url, ""


def _environment_key() -> str:
    """Returns the key, or none where it can't be one: then the server says what it wants."""
    try:
        return bare_key(os.environ.get("PLUMBLINE_API_KEY", ""))
    except PlumblineError as error:
        logger.error("plumbline: PLUMBLINE_API_KEY: %s", error)
        return ""


def _own_folder() -> Optional[str]:
    """Returns a folder below the temporary one that only this user can write to, if there is."""
    import tempfile

    user = os.getuid() if hasattr(os, "getuid") else "user"
    path = os.path.join(tempfile.gettempdir(), f"plumbline-spill-{user}")
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
        is_ours = not hasattr(os, "getuid") or os.lstat(path).st_uid == os.getuid()
    except OSError as error:
        logger.error("plumbline: %s; set PLUMBLINE_SPILL_DIR", error)
        return None
    if not is_ours or os.path.islink(path):
        logger.error("plumbline: %s is somebody else's; set PLUMBLINE_SPILL_DIR", path)
        return None
    return path
