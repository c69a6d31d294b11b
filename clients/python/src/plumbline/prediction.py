"""One prediction while it is being made."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar, Token
from types import TracebackType
from typing import TYPE_CHECKING, Any, Optional

from plumbline.errors import OutsidePrediction
from plumbline.identity import uuid7

if TYPE_CHECKING:
    from plumbline.delivery import Receipt
    from plumbline.values import Encoder

_current: ContextVar[Optional[Prediction]] = ContextVar("plumbline_prediction", default=None)

End = Callable[["Prediction", bool], None]


class Prediction:
    """A prediction being tracked; a context manager, see :meth:`plumbline.Client.prediction`.

    ``uuid`` names it for ever, labels included; ``start_timestamp_ms`` and, after its end,
    ``end_timestamp_ms`` are milliseconds since 1970 (the duration is measured by a clock that is
    never set back); ``receipt`` is there in synchronous mode.
    """

    __slots__ = (
        "_began_ns",
        "_encoder",
        "_end",
        "_failures",
        "_members",
        "_token",
        "crns",
        "end_timestamp_ms",
        "receipt",
        "start_timestamp_ms",
        "uuid",
    )

    def __init__(
        self,
        encoder: Encoder,
        end: End,
        crns: tuple[Optional[str], Optional[str], Optional[str]],
        failures: bool,
    ) -> None:
        self._encoder = encoder
        self._end = end
        self._failures = failures
        self._members: Optional[dict[str, bytes]] = {}
        self._token: Optional[Token[Optional[Prediction]]] = None
        self.crns = crns  # of deployment, build and model, where the call names them
        self.receipt: Optional[Receipt] = None
        self._began_ns = time.monotonic_ns()
        self.start_timestamp_ms = time.time_ns() // 1_000_000
        self.end_timestamp_ms = self.start_timestamp_ms
        self.uuid = uuid7(self.start_timestamp_ms)

    def track(self, key: str, value: Any) -> None:
        """Notes a metric as it is now; a key that comes again replaces the earlier value.

        Raises ValueNotAllowed, which names the path, and OutsidePrediction after the end.
        """
        members = self._members
        if members is None:
            raise OutsidePrediction(f"prediction {self.uuid} is over; it takes no more metrics")
        members[key] = self._encoder.member(key, value)

    def metrics_text(self) -> bytes:
        """Returns what was tracked, as JSON, and takes no more."""
        members, self._members = self._members or {}, None
        return b"{" + b",".join(members.values()) + b"}"

    def __enter__(self) -> Prediction:
        """Makes it the one that ``track_metric`` means in this context."""
        self._token = _current.set(self)
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        """Ends and sends it."""
        passed_ns = time.monotonic_ns() - self._began_ns
        self.end_timestamp_ms = self.start_timestamp_ms + passed_ns // 1_000_000
        if self._token is not None:
            with suppress(ValueError):  # entered in another context: there it is not ours to undo
                _current.reset(self._token)
        if kind is None or self._failures:
            self._end(self, kind is not None)
        else:
            self._members = None


def current_prediction() -> Prediction:
    """Returns the prediction that is being made in this context.

    Raises OutsidePrediction where there is none, as in a thread that was started without the
    context of the call: start it with ``contextvars.copy_context().run``. ``asyncio`` tasks and
    ``asyncio.to_thread`` carry the context along.
    """
    prediction = _current.get()
    if prediction is None:
        raise OutsidePrediction(
            "there is no prediction here; a thread needs the context of the one that started it: "
            "contextvars.copy_context().run"
        )
    return prediction


def track_metric(key: str, value: Any) -> None:
    """Notes a metric of the prediction that is being made, as the value is now.

    Raises ValueNotAllowed, which names the path, and OutsidePrediction (see current_prediction).
    """
    (_current.get() or current_prediction()).track(key, value)
