"""What can go wrong; everything raised here is a :class:`PlumblineError`."""

from __future__ import annotations

import json
from typing import Any, Optional


class PlumblineError(Exception):
    """The base of all errors of this package."""


class ValueNotAllowed(PlumblineError, ValueError):
    """A value that can't be sent as JSON.

    ``path`` names it the way the server does: ``metrics.explanation.tenure``, ``metrics.ids[3]``.
    """

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path


class OutsidePrediction(PlumblineError, RuntimeError):
    """``track_metric`` was called where no prediction is being tracked.

    A thread that was started without the caller's context is such a place: start it with
    ``contextvars.copy_context().run``.
    """


class Unreachable(PlumblineError):
    """No answer came: connection refused, reset, timed out, or the answer broke off."""


class ServerError(PlumblineError):
    """The server's answer was an error.

    ``status`` is the HTTP status, ``code``, ``message`` and ``field`` are the server's own words
    (``field`` may be None), ``retry_after`` is in seconds (None when the server named none).
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        field: Optional[str] = None,
        retry_after: Optional[float] = None,
    ) -> None:
        where = f"{field}: " if field else ""
        super().__init__(f"{status} {code}: {where}{message}")
        self.status = status
        self.code = code
        self.message = message
        self.field = field
        self.retry_after = retry_after

    @property
    def is_refusal(self) -> bool:
        """True when the fault is in the request, so that sending it again can't help."""
        return self.status in (400, 409, 413, 415, 422)

    @property
    def is_busy(self) -> bool:
        """True when the same request may succeed a little later."""
        return self.status == 429 or self.status >= 500


class Problem:
    """What ``on_error`` is called with: events that were not stored, and why.

    ``code`` and ``message`` are the server's words or, for what never reached it, one of ours:
    ``buffer_full``, ``spill_failed``, ``spill_damaged``, ``not_delivered``, ``no_deployment``,
    ``no_server``.
    ``status`` is the HTTP status (None without an answer), ``field`` what in the event is meant,
    ``count`` how many events this is about, ``event`` the one that it is about when it is one.
    """

    __slots__ = ("_event", "code", "count", "field", "message", "status")

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: Optional[int] = None,
        field: Optional[str] = None,
        count: int = 1,
        event: Optional[bytes] = None,
    ) -> None:
        self.code = code
        self.message = message
        self.status = status
        self.field = field
        self.count = count
        self._event = event

    @property
    def event(self) -> Optional[Any]:
        """The event as it was sent, parsed anew at each call; None when several are meant."""
        return None if self._event is None else json.loads(self._event)

    def __repr__(self) -> str:
        return f"Problem({self.code!r}, {self.message!r}, field={self.field!r}, count={self.count})"
