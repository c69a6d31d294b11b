"""Telling people about events that were not stored: a log line now and then, on_error of each."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Optional

from plumbline.errors import Problem

logger = logging.getLogger("plumbline")

REMIND_S = 60.0  # between two log lines about events that were lost on this side

OnError = Callable[[Problem], None]


class Reporter:
    """Reports problems. Any thread may call, with no lock held: ``on_error`` may do anything."""

    def __init__(self, on_error: Optional[OnError]) -> None:
        self._on_error = on_error
        self._said: dict[str, float] = {}  # code -> monotonic time

    def begin(self) -> None:
        """Forgets what was said: another process may say it again."""
        self._said = {}

    def report(self, problem: Problem, rejected: int, dropped: int) -> None:
        """Logs what the server refuses once a code, what is lost on this side once a while.

        ``rejected`` and ``dropped`` are how many events there were so far.
        """
        now = time.monotonic()
        last = self._said.get(problem.code)
        if last is None or (problem.status is None and now - last >= REMIND_S):
            self._said[problem.code] = now
            where = f"{problem.field}: " if problem.field else ""
            logger.error(
                "plumbline: %s: %s%s (so far %d rejected, %d lost)",
                problem.code,
                where,
                problem.message,
                rejected,
                dropped,
            )
        if self._on_error is not None:
            try:
                self._on_error(problem)
            except BaseException as error:
                # Leaving the process is for its main thread; the sender's would only end itself.
                is_leaving = not isinstance(error, Exception)
                if is_leaving and threading.current_thread() is threading.main_thread():
                    raise
                logger.exception("plumbline: on_error failed")
