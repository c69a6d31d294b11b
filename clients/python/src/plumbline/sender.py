"""The background sender: a bounded buffer, batches, retries, spill files, fork and exit.

::

    put() --> buffer (memory) ---+--> batch --> POST --> delivered or rejected
                |                |
                +--> spill file -+       while the file holds anything, put() appends to it,
                     (when full)         so that events are sent in the order of their calls

An event leaves the buffer or the file only when the server has answered for it. Events that could
be kept nowhere are counted, logged and reported: never silently lost.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from typing import NamedTuple, Optional

from plumbline.delivery import Deployments, addressable, post_events
from plumbline.errors import Problem, ServerError, Unreachable
from plumbline.forking import renew_after_fork
from plumbline.reporting import Reporter
from plumbline.spill import Spill
from plumbline.transport import Transport

logger = logging.getLogger("plumbline")

EVENT_BYTES = 64  # what an event takes in the buffer besides its text
BATCH_BYTES_MAX = 1 << 20
BATCH_EVENTS_MAX = 5000
RETRY_S_MIN = 0.1
RETRY_S_MAX = 10.0
RETRY_AFTER_S_MAX = 60.0  # longer than that no server is believed
RETRY_CLOSING_S_MAX = 0.25  # at exit there is no time to be patient
SHORTEN_BYTES_MIN = 64 << 20  # what was sent of a file is not worth less work
CLAIM_S = 30.0  # between two looks for files of processes that are gone


class SenderOptions(NamedTuple):
    """How a sender behaves; see :class:`plumbline.Client` for what each means."""

    buffer_bytes: int = 16 << 20
    linger_s: float = 0.1
    exit_s: float = 5.0
    spill_dir: Optional[str] = None
    spill_bytes: int = 1 << 30


class Stats(NamedTuple):
    """Counts of events since the process, or the fork, began; ``waiting`` is of now."""

    waiting: int
    delivered: int
    duplicate: int
    rejected: int
    spilled: int
    dropped: int


class Sender:
    """Hands events to the server in the background. Any thread may call; forks are taken care of.

    Without a ``transport`` there is nobody to send to: everything goes to the spill folder, for a
    later process that knows the server. ``peers`` are the senders of one client, which each enters:
    at exit they share the time that there is.
    """

    def __init__(
        self,
        transport: Optional[Transport],
        deployments: Deployments,
        options: SenderOptions,
        reporter: Reporter,
        peers: Optional[list[Sender]] = None,
    ) -> None:
        self._peers = [] if peers is None else peers
        self._peers.append(self)
        self._transport = transport
        self._deployments = deployments
        self._options = options
        self._reporter = reporter
        self._spill: Optional[Spill] = None  # guarded by _lock
        # The thread's own: of a process that is gone, and what becomes this one's.
        self._left_over: Optional[Spill] = None
        self._shorter: Optional[Spill] = None
        self._begin()
        renew_after_fork(self)

    def _begin(self) -> None:
        """Everything that a process has for itself."""
        self._lock = threading.Lock()
        self._wake = threading.Condition(self._lock)  # the thread waits on it for work
        self._settled = threading.Condition(self._lock)  # flush() waits on it
        self._thread: Optional[threading.Thread] = None
        # All guarded by _lock.
        self._queue: list[bytes] = []
        self._bytes = 0  # of the queue and of what the thread took from it
        self._put = 0  # events accepted by put()
        self._done = 0  # of those, how many need no more work, in their order
        self._wake_at = sys.maxsize  # _bytes at which the thread wants to be woken
        self._flush_to = 0  # do not linger until so many are done
        self._close_at: Optional[float] = None  # monotonic; what is not sent by then is kept
        self._is_over = False  # the thread has done what it could
        self._is_closed = False
        self._is_registered = False  # for the end of the process
        self._delivered = self._duplicate = self._rejected = self._spilled = self._dropped = 0
        # The thread's own.
        self._taken: list[bytes] = []  # in memory, taken from the queue and not yet sent
        self._ends_itself = False  # closed by itself, in on_error
        self._trouble = ""  # what was said about the server being away
        self._claim_at = 0.0  # 0 until the folder was looked through once
        self._shorten_at = SHORTEN_BYTES_MIN  # how much of the file has to be sent before that
        self._aside: dict[str, float] = {}  # files that can't be sent now, and until when

    def after_fork_in_child(self) -> None:
        """Starts anew: what waits in the buffer is the parent's to send."""
        for spill in (self._spill, self._left_over, self._shorter):
            if spill is not None:
                spill.close()  # the lock stays with the parent
        self._spill = self._left_over = self._shorter = None
        if self._transport is not None:
            self._transport.forget_connections()
        self._reporter.begin()
        self._begin()

    # ---- handing over -------------------------------------------------------------------------

    def put(self, event: bytes) -> None:
        """Takes an event; never waits for the network. One that can't be kept is reported."""
        problem = None
        with self._lock:
            size = len(event) + EVENT_BYTES
            is_room = self._bytes + size <= self._options.buffer_bytes and self._spill is None
            if is_room and not self._is_closed and (self._thread is not None or self._start()):
                self._queue.append(event)
                self._bytes += size
                self._put += 1
                if self._bytes >= self._wake_at:
                    self._wake.notify()
            else:
                problem = self._overflow(event)
        if problem is not None:
            self._report(problem)

    def lose(self, problem: Problem) -> None:
        """Counts and reports an event that can't be sent, whoever would take it."""
        with self._lock:
            self._dropped += problem.count
        self._report(problem)

    def _overflow(self, event: bytes) -> Optional[Problem]:
        """Writes an event to the spill file. The lock is held."""
        code, why = "buffer_full", "the buffer is full and no spill_dir is set"
        if self._is_closed:
            code, why = "not_delivered", "the client is closed and no spill_dir is set"
        elif self._transport is None:
            code, why = "no_server", "no server is known and no spill_dir is set"
        if self._options.spill_dir:
            try:
                if self._spill is None:
                    self._spill = Spill.create(self._options.spill_dir)
                if self._spill.left + len(event) > self._options.spill_bytes:
                    raise OSError(f"it has more than {self._options.spill_bytes} bytes")
                self._spill.append(event)
                self._put += 1
                self._spilled += 1
                return None
            except OSError as error:
                code, why = "spill_failed", f"{self._options.spill_dir}: {error}"
        self._dropped += 1
        return Problem(code, f"an event is lost: {why}", event=event)

    def _start(self) -> bool:
        """Starts the thread and sees to the end of the process. The lock is held.

        Returns False when there is nobody to send to, or no time left to do it in.
        """
        if self._transport is None:
            return False
        thread = threading.Thread(target=self._run, name="plumbline-sender", daemon=True)
        try:
            thread.start()
            self._thread = thread
        except RuntimeError as error:
            if sys.is_finalizing() or not threading.main_thread().is_alive():
                self._is_closed = True
                return False
            self._say_trouble(error)  # there is no room for a thread: the next event tries again
        if self._is_registered:
            return True
        self._is_registered = True
        atexit.register(self._at_exit)
        # A child of multiprocessing ends without atexit, but runs these. (A child, only: elsewhere
        # they run before other people's atexit functions.)
        process = sys.modules.get("multiprocessing.process")
        if process is not None and process.parent_process() is not None:
            from multiprocessing.util import Finalize

            Finalize(None, self._at_exit, exitpriority=10)
        return True

    def flush(self, timeout: Optional[float] = None) -> bool:
        """Waits until everything put before is delivered or rejected, at most ``timeout`` seconds.

        Returns False when some of it still waits; at once in ``on_error`` in the sender's thread.
        """
        limit = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            if self._transport is None or self._is_inside():
                return self._done >= self._put
            target = self._put
            self._flush_to = max(self._flush_to, target)
            self._wake.notify()
            while self._done < target and not self._is_closed:
                left = None if limit is None else limit - time.monotonic()
                if left is not None and left <= 0:
                    break
                if self._thread is None and self._start() and self._thread is None:
                    left = RETRY_S_MIN if left is None else min(left, RETRY_S_MIN)
                self._settled.wait(left)
            return self._done >= target

    def stats(self) -> Stats:
        """Returns the counts of now."""
        with self._lock:
            return Stats(
                self._put - self._done,
                self._delivered,
                self._duplicate,
                self._rejected,
                self._spilled,
                self._dropped,
            )

    # ---- the end ------------------------------------------------------------------------------

    def hurry(self, limit: float) -> None:
        """Lets it know that close() will come, and want to be done by ``limit`` (monotonic)."""
        with self._lock:
            self._close_at = limit if self._close_at is None else min(limit, self._close_at)
            self._wake.notify()

    def close(self, timeout: Optional[float] = None) -> None:
        """Sends what waits, for at most ``timeout`` seconds; the rest is spilled, or lost aloud.

        In ``on_error`` in a sender's thread it returns at once, and the thread sees to it.
        """
        timeout = self._options.exit_s if timeout is None else timeout
        try:
            with self._lock:
                self._close_at = time.monotonic() + timeout
                thread = None if self._is_closed else self._thread
                self._wake.notify()
                self._ends_itself = thread is not None and not self._is_over and self._is_inside()
            if thread is not None and not self._ends_itself:
                thread.join(timeout)
        finally:  # a signal may raise in the wait, as the one after the recipe's SIGTERM does
            if not self._ends_itself:
                self._end()

    def _end(self) -> None:
        """Sees to what was not sent, once."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            left, problem = self._keep_rest()
            self._settled.notify_all()
        atexit.unregister(self._at_exit)
        if problem is not None:
            self._report(problem)
        if left:
            logger.warning(
                "plumbline: %d events were not delivered; they are in %s",
                left,
                self._options.spill_dir,
            )

    def _at_exit(self) -> None:
        limit = time.monotonic() + self._options.exit_s
        for peer in self._peers:
            peer.hurry(limit)
        self.close(max((self._close_at or limit) - time.monotonic(), 0.0))

    def _is_inside(self) -> bool:
        """Says whether this is a thread of the client's own, which must wait for no other."""
        current = threading.current_thread()
        return any(peer._thread is current for peer in self._peers)

    def _keep_rest(self) -> tuple[int, Optional[Problem]]:
        """Puts what is only in memory before what is in the file. The lock is held."""
        rest = self._taken + self._queue
        self._queue = []
        self._taken = []
        left = self._put - self._done
        old, self._spill = self._spill, None
        if not rest:
            if old is not None:
                old.leave()
            return left, None
        if not self._options.spill_dir:
            self._dropped += len(rest)
            self._put -= len(rest)
            message = f"{len(rest)} events could not be delivered in time and no spill_dir is set"
            return 0, Problem("not_delivered", message, count=len(rest))
        kept = 0
        problem = None
        try:
            with closing(Spill.create(self._options.spill_dir)) as new:
                for event in rest:
                    new.append(event)
                    kept += 1
                if old is not None:
                    new.copy(old, old.sent, old.size)
                    old.sent = old.size
        except OSError as error:
            lost = len(rest) - kept  # what was in the old file stays there
            if lost:
                problem = Problem("spill_failed", f"events are lost: {error}", count=lost)
            self._dropped += lost
            self._put -= lost
            left -= lost
        self._spilled += kept
        if old is not None:
            with suppress(OSError):  # what can't be deleted is sent again, which is harmless
                old.leave()
        return left, problem

    # ---- the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while True:
                try:
                    self._work()
                    break
                except Exception:  # a fault of ours; what waits is tried again
                    logger.exception("plumbline: the sender failed")
                if not self._pause(RETRY_S_MAX):
                    break
        finally:
            if self._transport is not None:
                self._transport.close()
            if self._left_over is not None:
                self._left_over.close()
                self._left_over = None
            with self._lock:
                self._is_over = True
            if self._ends_itself:
                self._end()

    def _work(self) -> None:
        is_going = True
        while is_going and self._await_work():
            events = self._taken[:BATCH_EVENTS_MAX]
            if events:
                events = events[: _fitting(events)]
                is_going = self._deliver(events) and self._finish(events)
            elif self._spill is not None:
                is_going = self._send_spill(self._spill)
            if is_going and self._options.spill_dir and self._close_at is None:
                is_going = self._send_left_over(self._options.spill_dir)
        # A short job has had no other moment for what was left by the jobs before it.
        while is_going and self._options.spill_dir and self._claim_at == 0 and self._has_time():
            is_going = self._send_left_over(self._options.spill_dir)

    def _await_work(self) -> bool:
        """Waits for events and lingers for more of them; False when there will be none.

        Where events keep coming, no call of put() has to wake the thread: it looks by itself once
        every linger. Only after one without any event it wants to be woken by the next.
        """
        with self._lock:
            if self._taken:
                return not self._is_closed
            if self._spill is None and self._left_over is None:
                self._linger()
            while not self._queue and self._spill is None:
                if self._close_at is not None:
                    return False
                if self._left_over is not None:
                    break
                wait_s = None
                if self._options.spill_dir:
                    wait_s = self._claim_at - time.monotonic()
                    if wait_s <= 0:
                        break  # a look at what others left
                self._wake_at = 0
                self._wake.wait(wait_s)
                self._wake_at = sys.maxsize
                self._linger()
            self._taken, self._queue = self._queue, []
            return not self._is_closed

    def _linger(self) -> None:
        """Waits a little, unless somebody flushes or closes, or there is a batch. Has the lock."""
        limit = time.monotonic() + self._options.linger_s
        self._wake_at = BATCH_BYTES_MAX
        while (
            self._bytes < BATCH_BYTES_MAX
            and self._flush_to <= self._done
            and self._close_at is None
        ):
            left = limit - time.monotonic()
            if left <= 0:
                break
            self._wake.wait(left)
        self._wake_at = sys.maxsize

    def _finish(self, events: Sequence[bytes]) -> bool:
        """What was taken first is done; False when close() has seen to it already."""
        size = sum(map(len, events)) + EVENT_BYTES * len(events)
        with self._lock:
            if self._is_closed:
                return False
            del self._taken[: len(events)]
            self._bytes -= size
            self._done += len(events)
            self._settled.notify_all()
        return True

    def _send_spill(self, spill: Spill) -> bool:
        """Sends the next events of this process's own file; False when told to stop."""
        try:
            events, end = spill.read(BATCH_BYTES_MAX)
        except OSError as error:
            return self._lose_spill(spill, error)
        if not self._deliver(events):
            return False
        with self._lock:
            if self._is_closed:
                return False
            spill.sent = end
            self._done += len(events)
            if spill.is_done or self._take_back(spill):
                self._spill = None
                with suppress(OSError):  # what can't be deleted is sent again, which is harmless
                    spill.delete()
            self._settled.notify_all()
        if self._spill is spill:
            self._shorten(spill)
        return True

    def _shorten(self, spill: Spill) -> None:
        """Gives back what the sent part of the file takes, once that is more than the rest.

        Else it would grow for ever while events keep coming as fast as they are sent. put() waits
        for no more than what came while the rest was copied.
        """
        if spill.sent < max(spill.left, self._shorten_at):
            return
        assert self._options.spill_dir
        try:
            new = self._shorter = Spill.create(self._options.spill_dir)
        except OSError:
            self._shorten_at = 2 * spill.sent
            return
        old: Spill = new  # which of both goes
        try:
            middle = spill.size
            new.copy(spill, spill.sent, middle)
            with self._lock:
                if not self._is_closed:
                    new.copy(spill, middle, spill.size)
                    self._spill, old = new, spill
            self._shorten_at = SHORTEN_BYTES_MIN
        except OSError:  # not now, as the disk is full
            self._shorten_at = 2 * spill.sent
        self._shorter = None
        with suppress(OSError):
            old.delete()

    def _take_back(self, spill: Spill) -> bool:
        """Moves the rest of the file to the buffer if that can take it. The lock is held.

        Else the file would never end while events keep coming. A batch at most: put() waits here.
        """
        room = self._options.buffer_bytes - self._bytes
        if spill.left > min(room, BATCH_BYTES_MAX):
            return False
        try:
            events, end = spill.read(spill.left)
        except OSError:
            return False  # the next read says so
        size = sum(map(len, events)) + EVENT_BYTES * len(events)
        if end < spill.size or size > room:
            return False
        self._queue += events  # it was empty: while there is a file, nothing comes into it
        self._bytes += size
        return True

    def _lose_spill(self, spill: Spill, error: OSError) -> bool:
        with self._lock:
            if self._is_closed:
                return False
            count = self._put - self._done - len(self._queue)
            self._done += count
            self._dropped += count
            self._spill = None
            spill.close()
            self._settled.notify_all()
        self._report(Problem("spill_failed", f"{spill.path} can't be read: {error}", count=count))
        return True

    def _send_left_over(self, folder: str) -> bool:
        """Sends the next events that a process which is gone left; False when told to stop.

        One batch at a time and one attempt, so that this process's own events do not wait long.
        """
        now = time.monotonic()
        if self._left_over is None and now >= self._claim_at:
            self._aside = {path: until for path, until in self._aside.items() if until > now}
            self._left_over = next(Spill.claim(folder, self._aside), None)
            if self._left_over is None:
                self._claim_at = now + CLAIM_S
        spill = self._left_over
        if spill is None:
            return True
        try:
            if not spill.is_done and not self._send_part(spill, folder):
                return not self._is_closed
            if spill.is_done:
                self._left_over = None
                spill.delete()
        except OSError as error:
            self._set_aside(spill)
            self._report(Problem("spill_failed", f"{spill.path} can't be read: {error}"))
        return True

    def _send_part(self, spill: Spill, folder: str) -> bool:
        """Sends the next events of a file that was left; False when it had to be set aside."""
        assert self._transport is not None
        events, end = spill.read(BATCH_BYTES_MAX)
        if not events:
            message = f"{spill.path} ends in the middle of an event"
            self._report(Problem("spill_damaged", message))
        try:
            known, unknown = addressable(self._transport, self._deployments, events)
        except (ServerError, Unreachable) as error:
            self._say_trouble(error)
            known = unknown = []
            is_sent = False
        else:
            is_sent = self._deliver(known, is_once=True)
        if not is_sent:
            self._set_aside(spill)
            self._claim_at = time.monotonic() + CLAIM_S  # the others would fare no better
            return False
        if unknown:
            if not known and spill.sent == 0:  # most likely all of it
                self._set_aside(spill)
                return False
            self._keep_apart(unknown, folder)
        spill.sent = end
        return True

    def _keep_apart(self, events: Sequence[bytes], folder: str) -> None:
        """Writes events that the server can't take yet to a file of their own. Raises OSError."""
        apart = Spill.create(folder)
        self._aside[apart.path] = time.monotonic() + CLAIM_S
        try:
            for event in events:
                apart.append(event)
        finally:
            apart.close()

    def _set_aside(self, spill: Spill) -> None:
        """Leaves a file to whoever has more luck with it; this process tries again later."""
        self._left_over = None
        self._aside[spill.path] = time.monotonic() + 2 * CLAIM_S
        spill.close()

    def _has_time(self) -> bool:
        return not self._is_closed and time.monotonic() < (self._close_at or 0)

    # ---- delivering ---------------------------------------------------------------------------

    def _deliver(self, events: Sequence[bytes], is_once: bool = False) -> bool:
        """Sends until the server has answered for each; False when told to stop before that.

        A batch that is refused as a whole is halved until the guilty event is alone. With
        ``is_once`` it is False, too, as soon as there is a reason to wait.
        """
        parts = [events] if events else []
        wait_s = RETRY_S_MIN
        while parts:
            part = parts[-1]
            at_least_s = 0.0  # what the server asks for
            try:
                self._send(part)
            except ServerError as error:
                if error.is_refusal:
                    parts.pop()
                    if len(part) > 1:
                        middle = len(part) // 2
                        parts += [part[middle:], part[:middle]]
                    else:
                        self._reject(
                            [
                                Problem(
                                    error.code,
                                    error.message,
                                    status=error.status,
                                    field=error.field,
                                    event=part[0],
                                )
                            ],
                            1,
                        )
                    continue
                at_least_s = min(error.retry_after or 0, RETRY_AFTER_S_MAX)
                self._say_trouble(error)
            except Unreachable as error:
                self._say_trouble(error)
            except Exception as error:  # a fault of ours must not end the thread: events stay
                logger.exception("plumbline: sending failed")
                self._say_trouble(error)
            else:
                parts.pop()
                wait_s = RETRY_S_MIN
                continue
            if is_once or not self._pause(wait_s, at_least_s):
                return False
            wait_s = min(wait_s * 2, RETRY_S_MAX)
        return True

    def _send(self, events: Sequence[bytes]) -> None:
        assert self._transport is not None
        receipt = post_events(self._transport, self._deployments, events)
        if self._trouble:
            logger.warning("plumbline: %s takes events again", self._transport.url)
            self._trouble = ""
        with self._lock:
            self._delivered += receipt.accepted + receipt.spooled
            self._duplicate += receipt.duplicate
        self._reject(receipt.problems(events), receipt.rejected_count)

    def _pause(self, wait_s: float, at_least_s: float = 0.0) -> bool:
        """Waits before the next attempt, shorter at exit; False when there is no time left."""
        chance = os.urandom(1)[0] / 255
        until = time.monotonic() + max(wait_s * (0.5 + 0.5 * chance), at_least_s * (1 + chance / 4))
        with self._lock:
            while True:
                now = time.monotonic()
                if self._is_closed:
                    return False
                if self._close_at is not None:
                    until = min(until, now + RETRY_CLOSING_S_MAX, self._close_at)
                    if now >= self._close_at:
                        return False
                if now >= until:
                    return True
                self._wake.wait(until - now)

    def _say_trouble(self, error: Exception) -> None:
        """Logs once, until things change, that events have to wait."""
        code, level = "unreachable", logging.WARNING
        if isinstance(error, ServerError):
            code = str(error.status)
            if error.status in (401, 403):
                code, level = "denied", logging.ERROR
            elif not error.is_busy:
                level = logging.ERROR
        if code != self._trouble:
            self._trouble = code
            logger.log(level, "plumbline: events wait, retrying: %s", error)

    # ---- reporting ----------------------------------------------------------------------------

    def _reject(self, problems: Iterable[Problem], count: int) -> None:
        with self._lock:
            self._rejected += count
        for problem in problems:
            self._report(problem)

    def _report(self, problem: Problem) -> None:
        rejected = sum(peer._rejected for peer in self._peers)
        dropped = sum(peer._dropped for peer in self._peers)
        self._reporter.report(problem, rejected, dropped)


def _fitting(events: Sequence[bytes]) -> int:
    """Returns how many of the first events make a batch, at least one."""
    size = 0
    for index, event in enumerate(events):
        size += len(event)
        if size > BATCH_BYTES_MAX and index:
            return index
    return len(events)
