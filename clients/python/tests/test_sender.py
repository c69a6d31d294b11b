"""The sender when things go wrong: server away, slow, refusing; buffer full; files on disk."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Proxy, Scripted, refusal, wait_until

import plumbline
from plumbline import Client, Problem, sender, spill
from plumbline.spill import Spill

MakeClient = Callable[..., Client]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same waits, shorter."""
    monkeypatch.setattr(sender, "RETRY_S_MIN", 0.01)
    monkeypatch.setattr(sender, "RETRY_S_MAX", 0.1)
    monkeypatch.setattr(sender, "CLAIM_S", 0.05)


def track(client: Client, n: int, **metrics: Any) -> None:
    with client.prediction() as prediction:
        prediction.track("n", n)
        for key, value in metrics.items():
            prediction.track(key, value)


def numbers(events: list[dict[str, Any]]) -> list[int]:
    return [event["metrics"]["n"] for event in events]


def stored(client: Client) -> list[int]:
    rows = client.read_metrics(client.model_deployment_crn)["metrics"]
    return [row["metrics"]["n"] for row in rows]


# ---- a server that is away ----------------------------------------------------------------------


def test_server_down_at_start(
    proxy: Proxy, crn: str, make_client: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    client = make_client(proxy.url, model_deployment_crn=crn)
    for n in range(100):
        track(client, n)
    assert not client.flush(0.5)
    assert client.stats().waiting == 100
    proxy.up()
    assert client.flush(60)
    assert stored(client) == list(range(100))
    assert client.stats() == plumbline.Stats(0, 100, 0, 0, 0, 0)
    said = [r.getMessage() for r in caplog.records]
    assert len([text for text in said if "events wait, retrying" in text]) == 1
    assert len([text for text in said if "takes events again" in text]) == 1


def test_server_down_in_the_middle(proxy: Proxy, crn: str, make_client: MakeClient) -> None:
    client = make_client(proxy.url, model_deployment_crn=crn, linger_ms=1)
    proxy.up()
    done = threading.Event()

    def flap() -> None:
        while not done.is_set():
            time.sleep(0.03)
            proxy.down()
            time.sleep(0.01)
            proxy.up()

    flapper = threading.Thread(target=flap)
    flapper.start()
    for n in range(500):
        track(client, n)
        time.sleep(0.001)
    done.set()
    flapper.join()
    assert client.flush(60)
    assert stored(client) == list(range(500))
    stats = client.stats()
    # What was stored when the connection broke came again, and counted once.
    assert stats.delivered + stats.duplicate == 500
    assert (stats.rejected, stats.dropped) == (0, 0)


def test_answer_that_is_lost_counts_once(proxy: Proxy, crn: str, make_client: MakeClient) -> None:
    proxy.up()
    proxy.delay_s = 0.5
    client = make_client(proxy.url, model_deployment_crn=crn, linger_ms=0, timeout=0.2)
    track(client, 1)
    client.track_aggregate_metrics({"n": 2}, 1596185125125, 1596185125125)
    time.sleep(0.4)
    proxy.delay_s = 0
    assert client.flush(60)
    assert sorted(stored(client)) == [1, 2]


def test_slow_server_does_not_slow_the_caller(scripted: Scripted, make_client: MakeClient) -> None:
    gate = threading.Event()

    def slow(path: str, events: list[dict[str, Any]]) -> tuple[int, Any]:
        gate.wait(60)
        return scripted.accept(path, events)

    scripted.answer = slow
    client = make_client(scripted.url, model_deployment_crn="crn:a", linger_ms=0)
    for n in range(2000):
        track(client, n)
    assert scripted.requests == []  # all of them were tracked before one was answered
    assert not client.flush(0.05)
    gate.set()
    assert client.flush(60)
    assert numbers(scripted.events) == list(range(2000))


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_busy_server_is_tried_again(
    scripted: Scripted, make_client: MakeClient, status: int
) -> None:
    left = [3]

    def busy(path: str, events: list[dict[str, Any]]) -> tuple[int, Any]:
        left[0] -= 1
        if left[0] >= 0:
            return refusal(status, "not_stored", "not now")
        return scripted.accept(path, events)

    scripted.answer = busy
    client = make_client(scripted.url, model_deployment_crn="crn:a")
    track(client, 1)
    assert client.flush(60)
    sent = [events for _, _, events in scripted.requests]
    assert len(sent) == 4
    assert sent[1:] == sent[:-1]  # the same event, identity and all
    assert client.stats().delivered == 1


def test_back_off_grows_until_the_server_answers(
    scripted: Scripted, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "RETRY_S_MAX", 0.05)
    waits: list[float] = []
    pause = sender.Sender._pause

    def note(self: sender.Sender, wait_s: float, at_least_s: float = 0.0) -> bool:
        waits.append(wait_s)
        return pause(self, wait_s, at_least_s)

    monkeypatch.setattr(sender.Sender, "_pause", note)
    client = make_client(scripted.url, model_deployment_crn="crn:a")
    for n in range(2):
        left = [5]

        def busy(path: str, events: list[dict[str, Any]], left: list[int] = left) -> Any:
            left[0] -= 1
            if left[0] >= 0:
                return refusal(503, "not_stored", "not now")
            return scripted.accept(path, events)

        scripted.answer = busy
        track(client, n)
        assert client.flush(60)
    assert waits == [0.01, 0.02, 0.04, 0.05, 0.05] * 2


def test_retry_after_is_the_least_to_wait(
    scripted: Scripted, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "RETRY_AFTER_S_MAX", 1.0)
    times: list[float] = []

    def busy(path: str, events: list[dict[str, Any]]) -> tuple[int, Any]:
        times.append(time.monotonic())
        if len(times) <= 2:
            return refusal(503, "not_stored", "not now")
        return scripted.accept(path, events)

    scripted.answer = busy
    scripted.headers = {"Retry-After": "1"}
    client = make_client(scripted.url, model_deployment_crn="crn:a", linger_ms=0)
    track(client, 1)
    assert client.flush(60)
    assert len(times) == 3
    assert min(times[1] - times[0], times[2] - times[1]) >= 1.0


def test_waiting_sender_is_not_woken_by_each_event(
    proxy: Proxy, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would cost every prediction a switch of threads while the server is away."""
    monkeypatch.setattr(sender, "BATCH_BYTES_MAX", 1000)
    monkeypatch.setattr(sender, "RETRY_S_MIN", 60.0)
    client = make_client(proxy.url, model_deployment_crn="crn:a", linger_ms=0)
    track(client, 0)
    of_client = client._sender
    assert of_client is not None
    wait_until(lambda: of_client._trouble)
    woken: list[int] = []
    monkeypatch.setattr(of_client._wake, "notify", lambda: woken.append(1))
    for n in range(100):
        track(client, n)
    assert woken == []
    monkeypatch.undo()


def test_close_while_others_track(scripted: Scripted, make_client: MakeClient) -> None:
    for _ in range(20):
        problems: list[Problem] = []
        client = make_client(
            scripted.url, model_deployment_crn="crn:a", linger_ms=0, on_error=problems.append
        )
        scripted.requests.clear()
        go = threading.Event()

        def busy(client: Client = client, go: threading.Event = go) -> None:
            go.wait(60)
            for n in range(50):
                track(client, n)

        threads = [threading.Thread(target=busy) for _ in range(2)]
        for thread in threads:
            thread.start()
        go.set()
        client.close()
        for thread in threads:
            thread.join()
        sent = [event["predictionUuid"] for event in scripted.events]
        assert len(sent) == len(set(sent))
        # Each was sent, or was said not to be.
        assert len(sent) + sum(problem.count for problem in problems) == 100
        assert client.stats().waiting == 0


class Clock:
    """The time of a sender: it passes only while the sender waits for it."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.at_step: Callable[[], None] = lambda: None  # called 20 times in each wait

    def monotonic(self) -> float:
        return self.now_s

    def govern(self, of_client: sender.Sender, monkeypatch: pytest.MonkeyPatch) -> None:
        real_wait = of_client._wake.wait

        def wait(timeout: Any = None) -> bool:
            if timeout is None:
                return real_wait()
            of_client._lock.release()
            begin_s = self.now_s
            try:
                for step in range(1, 21):
                    self.now_s = begin_s + timeout * step / 20
                    self.at_step()
            finally:
                of_client._lock.acquire()
            return False

        monkeypatch.setattr(sender, "time", self)
        monkeypatch.setattr(of_client._wake, "wait", wait)


@pytest.mark.parametrize("linger_ms", [None, 0, 200])
def test_unsent_for_at_most_200_ms(
    scripted: Scripted, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch, linger_ms: Any
) -> None:
    with pytest.raises(ValueError, match="from 0 to 200"):
        make_client(scripted.url, linger_ms=201)
    settings = {} if linger_ms is None else {"linger_ms": linger_ms}
    client = make_client(scripted.url, model_deployment_crn="crn:a", **settings)
    of_client = client._sender
    assert of_client is not None
    clock = Clock()
    put_s: list[float] = []
    arrived_s: dict[int, float] = {}

    def put() -> None:
        put_s.append(clock.now_s)
        track(client, len(put_s) - 1)

    def arrive(path: str, events: list[dict[str, Any]]) -> tuple[int, Any]:
        for n in numbers(events):
            arrived_s.setdefault(n, clock.now_s)
        if len(put_s) < 200:  # one that comes while the sender is busy
            put()
        return scripted.accept(path, events)

    def step() -> None:
        if len(put_s) < 200:
            put()

    clock.govern(of_client, monkeypatch)
    scripted.answer = arrive
    put()  # it waits for nobody: the first wait of the sender has no end
    wait_until(lambda: len(arrived_s) == 1 or len(put_s) > 1)
    clock.at_step = step
    wait_until(lambda: len(arrived_s) == 200)  # nobody flushed
    waited_s = [arrived_s[n] - put_s[n] for n in range(200)]
    assert max(waited_s) <= 0.2 + 1e-6
    assert linger_ms is None or max(waited_s) <= linger_ms / 1000 + 1e-6
    monkeypatch.undo()


def test_connection_is_kept_and_events_go_in_batches(
    scripted: Scripted, make_client: MakeClient
) -> None:
    client = make_client(scripted.url, model_deployment_crn="crn:a", api_key="secret")
    for n in range(1000):
        track(client, n)
    assert client.flush(60)
    for n in range(1000, 1010):
        track(client, n)
        assert client.flush(60)
    assert 10 < len(scripted.requests) < 60
    assert scripted.connections == 1
    assert numbers(scripted.events) == list(range(1010))
    _, headers, events = scripted.requests[0]
    assert headers["Authorization"] == "Bearer secret"
    assert events[0]["replica"] == os.uname().nodename


# ---- a server that refuses ----------------------------------------------------------------------


def test_synchronous_threads_keep_their_connections(
    scripted: Scripted, make_client: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    everybody = threading.Barrier(16)

    def answer(path: str, events: list[dict[str, Any]]) -> tuple[int, Any]:
        everybody.wait(60)
        return scripted.accept(path, events)

    scripted.answer = answer
    client = make_client(scripted.url, model_deployment_crn="crn:a", sync=True)

    def work() -> None:
        for n in range(5):
            track(client, n)

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(scripted.events) == 80
    assert scripted.connections == 16
    assert "pool is full" not in caplog.text  # urllib3 would say so for each


@pytest.mark.parametrize("status", [401, 403])
def test_denied_events_are_kept_and_said_once(
    scripted: Scripted, make_client: MakeClient, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    scripted.answer = lambda path, events: refusal(status, "denied", "the key was revoked")
    client = make_client(scripted.url, model_deployment_crn="crn:a")
    track(client, 1)
    wait_until(lambda: len(scripted.requests) >= 5)
    said = [r for r in caplog.records if "the key was revoked" in r.getMessage()]
    assert [record.levelname for record in said] == ["ERROR"]
    assert client.stats().waiting == 1
    scripted.answer = scripted.accept
    assert client.flush(60)
    assert client.stats().delivered == 1


@pytest.mark.parametrize(("status", "code"), [(400, "invalid_field"), (413, "too_large")])
def test_refusal_of_one_event_spares_the_others(
    scripted: Scripted,
    make_client: MakeClient,
    status: int,
    code: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def picky(path: str, events: list[dict[str, Any]]) -> tuple[int, Any]:
        if any(event["metrics"]["n"] in (3, 7) for event in events):
            return refusal(status, code, "the server's own words", "metrics")
        return scripted.accept(path, events)

    scripted.answer = picky
    problems: list[Problem] = []
    client = make_client(scripted.url, model_deployment_crn="crn:a", on_error=problems.append)
    for n in range(10):
        track(client, n)
    assert client.flush(60)
    stats = client.stats()
    assert (stats.delivered, stats.rejected, stats.dropped) == (8, 2, 0)
    assert [(p.status, p.code, p.field, p.message) for p in problems] == [
        (status, code, "metrics", "the server's own words")
    ] * 2
    assert [p.event["metrics"]["n"] for p in problems if p.event] == [3, 7]
    said = [r for r in caplog.records if "the server's own words" in r.getMessage()]
    assert len(said) == 1


def test_rejects_beyond_the_list_are_counted(scripted: Scripted, make_client: MakeClient) -> None:
    def reject(path: str, events: list[dict[str, Any]]) -> tuple[int, Any]:
        count = len(events)
        note = {"index": 0, "code": "conflict", "message": "other content"}
        return 200, {
            "batch": None,
            "received": count,
            "accepted": 0,
            "duplicate": 0,
            "rejected": [note],
            "rejectedCount": count,
            "warnings": [],
        }

    scripted.answer = reject
    problems: list[Problem] = []
    client = make_client(scripted.url, model_deployment_crn="crn:a", on_error=problems.append)
    for n in range(150):
        track(client, n)
    assert client.flush(60)
    assert client.stats().rejected == 150
    assert sum(problem.count for problem in problems) == 150


def test_on_error_that_raises_is_survived(scripted: Scripted, make_client: MakeClient) -> None:
    def angry(problem: Problem) -> None:
        raise RuntimeError("no")

    scripted.answer = lambda path, events: refusal(400, "invalid_field", "no")
    client = make_client(scripted.url, model_deployment_crn="crn:a", on_error=angry)
    track(client, 1)
    assert client.flush(60)
    scripted.answer = scripted.accept
    track(client, 2)
    assert client.flush(60)
    assert client.stats().delivered == 1


def test_on_error_may_flush_and_close(scripted: Scripted, make_client: MakeClient) -> None:
    scripted.answer = lambda path, events: refusal(400, "invalid_field", "no")
    flushed: list[bool] = []

    def meddle(problem: Problem) -> None:
        flushed.append(client.flush())
        client.close()
        raise SystemExit

    client = make_client(scripted.url, model_deployment_crn="crn:a", on_error=meddle)
    track(client, 1)
    track(client, 2)
    assert client.flush(20)
    of_client = client._sender
    assert of_client is not None
    wait_until(lambda: of_client._is_closed)
    assert flushed == [False, False]
    assert client.stats() == plumbline.Stats(0, 0, 0, 2, 0, 0)


def test_thread_that_can_not_be_started_is_tried_again(
    scripted: Scripted, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    client = make_client(scripted.url, model_deployment_crn="crn:a")
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", full)
        track(client, 1)
        assert not client.flush(0.1)
    assert client.flush(20)
    track(client, 2)
    assert client.flush(20)
    assert numbers(scripted.events) == [1, 2]
    assert client.stats() == plumbline.Stats(0, 2, 0, 0, 0, 0)


def test_something_else_that_answers_is_no_reason_to_lose_events(
    scripted: Scripted, make_client: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    scripted.answer = lambda path, events: (200, {"hello": "world"})
    client = make_client(scripted.url, model_deployment_crn="crn:a")
    track(client, 1)
    wait_until(lambda: len(scripted.requests) >= 2)
    assert "the answer is no receipt" in caplog.text
    scripted.answer = lambda path, events: refusal(404, "not_found", "no such path")
    wait_until(lambda: "no such path" in caplog.text)
    scripted.answer = scripted.accept
    assert client.flush(60)
    assert client.stats().delivered == 1


def test_spooled_is_delivered(scripted: Scripted, make_client: MakeClient) -> None:
    scripted.answer = lambda path, events: (
        202,
        {"batch": None, "received": 1, "spooled": 1, "rejected": []},
    )
    client = make_client(scripted.url, model_deployment_crn="crn:a")
    track(client, 1)
    assert client.flush(60)
    assert client.stats().delivered == 1


# ---- a full buffer ------------------------------------------------------------------------------


def test_full_buffer_is_bounded_and_said(
    proxy: Proxy, make_client: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    problems: list[Problem] = []
    client = make_client(
        proxy.url, model_deployment_crn="crn:a", buffer_bytes=100_000, on_error=problems.append
    )
    for n in range(500):
        track(client, n, text="x" * 1000)
    stats = client.stats()
    assert 50 < stats.waiting < 100
    assert stats.waiting + stats.dropped == 500
    assert {problem.code for problem in problems} == {"buffer_full"}
    assert sum(problem.count for problem in problems) == stats.dropped
    assert len([r for r in caplog.records if "buffer_full" in r.getMessage()]) == 1


def test_memory_is_bounded_while_the_server_is_away(
    proxy: Proxy, tmp_path: Path, make_client: MakeClient
) -> None:
    client = make_client(
        proxy.url, model_deployment_crn="crn:a", buffer_bytes=1 << 20, spill_dir=str(tmp_path)
    )
    track(client, 0)
    sender_of = client._sender
    assert sender_of is not None
    for n in range(20_000):
        track(client, n, text="x" * 1000)
    held = sum(map(len, sender_of._queue)) + sum(map(len, sender_of._taken))
    assert held <= 1 << 20
    stats = client.stats()
    assert (stats.waiting, stats.dropped) == (20_001, 0)
    assert sum(f.stat().st_size for f in tmp_path.iterdir()) > 19_000_000


def test_full_buffer_spills_and_keeps_the_order(
    proxy: Proxy, crn: str, tmp_path: Path, make_client: MakeClient
) -> None:
    client = make_client(
        proxy.url, model_deployment_crn=crn, buffer_bytes=20_000, spill_dir=str(tmp_path)
    )
    for n in range(1000):
        track(client, n)
    stats = client.stats()
    assert (stats.waiting, stats.dropped) == (1000, 0)
    assert stats.spilled > 500
    (file,) = tmp_path.iterdir()
    assert file.name == f"plumbline-{os.getpid()}.ndjson"
    assert file.stat().st_mode & 0o777 == 0o600
    proxy.up()
    assert client.flush(60)
    for n in range(1000, 1010):
        track(client, n)
    assert stored(client) == list(range(1010))
    assert list(tmp_path.iterdir()) == []


def test_spill_has_a_limit(proxy: Proxy, tmp_path: Path, make_client: MakeClient) -> None:
    problems: list[Problem] = []
    client = make_client(
        proxy.url,
        model_deployment_crn="crn:a",
        buffer_bytes=0,
        spill_dir=str(tmp_path),
        spill_bytes=5000,
        on_error=problems.append,
    )
    for n in range(100):
        track(client, n)
    stats = client.stats()
    assert stats.spilled + stats.dropped == 100
    assert 0 < stats.dropped == len(problems)
    assert problems[0].code == "spill_failed"
    (file,) = tmp_path.iterdir()
    assert file.stat().st_size <= 5000


def test_spilling_ends_while_events_keep_coming(
    scripted: Scripted, tmp_path: Path, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "BATCH_BYTES_MAX", 10_000)
    taken: list[int] = []
    has_ended = threading.Event()

    def answer(path: str, events: list[dict[str, Any]]) -> tuple[int, Any]:
        """There is always one more event by the time of an answer."""
        if not list(tmp_path.iterdir()):
            has_ended.set()
        elif len(scripted.requests) < 500:
            track(client, 1000 + len(scripted.requests))
        taken.extend(numbers(events))
        return scripted.accept(path, events)

    scripted.answer = lambda path, events: refusal(503, "not_stored", "not now")
    client = make_client(
        scripted.url, model_deployment_crn="crn:a", buffer_bytes=10_000, spill_dir=str(tmp_path)
    )
    for n in range(1000):
        track(client, n)
    assert list(tmp_path.iterdir())
    scripted.answer = answer
    assert has_ended.wait(60)
    assert client.flush(60)
    assert taken == sorted(taken)
    assert client.stats().dropped == 0


def test_what_was_sent_leaves_room_in_the_file(
    proxy: Proxy, crn: str, tmp_path: Path, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "BATCH_BYTES_MAX", 1)
    client = make_client(
        proxy.url,
        model_deployment_crn=crn,
        buffer_bytes=0,
        spill_dir=str(tmp_path),
        spill_bytes=5000,
    )
    spill = Spill.create(str(tmp_path))
    spill.append(b"x" * 4990)
    spill.sent = spill.size
    spill.append(b"{}")
    assert spill.left == 3
    client._sender._spill = spill  # type: ignore[union-attr]
    track(client, 1)
    assert client.stats().dropped == 0


def test_file_does_not_grow_while_events_keep_coming(
    scripted: Scripted, tmp_path: Path, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "BATCH_BYTES_MAX", 10_000)
    monkeypatch.setattr(sender, "SHORTEN_BYTES_MIN", 30_000)
    monkeypatch.setattr(spill, "READ_BYTES_MIN", 1)
    taken: list[int] = []
    sizes: list[int] = []
    writes_fail: list[int] = []

    def answer(path: str, events: list[dict[str, Any]]) -> tuple[int, Any]:
        """As many events come as were sent."""
        taken.extend(numbers(events))
        sizes.append(sum(file.stat().st_size for file in tmp_path.iterdir()))
        if len(sizes) < 200:
            for n in range(len(events)):
                track(client, 1000 + len(taken) - len(events) + n)
        return scripted.accept(path, events)

    def copy(self: Spill, other: Spill, start: int, end: int) -> None:
        if not writes_fail:
            writes_fail.append(1)
            raise OSError(errno.ENOSPC, "No space left on device")
        whole(self, other, start, end)

    whole = Spill.copy
    monkeypatch.setattr(Spill, "copy", copy)
    scripted.answer = lambda path, events: refusal(503, "not_stored", "not now")
    client = make_client(
        scripted.url, model_deployment_crn="crn:a", buffer_bytes=1000, spill_dir=str(tmp_path)
    )
    for n in range(1000):
        track(client, n)
    at_first = sum(file.stat().st_size for file in tmp_path.iterdir())
    scripted.answer = answer
    wait_until(lambda: len(sizes) >= 200)
    assert client.flush(60)
    assert writes_fail
    assert taken == list(range(len(taken)))
    assert len(taken) > 5000
    assert max(sizes) < 4 * at_first
    wait_until(lambda: not list(tmp_path.iterdir()))
    assert client.stats().dropped == 0


def test_folder_that_can_not_be_made(proxy: Proxy, tmp_path: Path, make_client: MakeClient) -> None:
    (tmp_path / "file").write_text("")
    problems: list[Problem] = []
    client = make_client(
        proxy.url,
        model_deployment_crn="crn:a",
        buffer_bytes=0,
        spill_dir=str(tmp_path / "file"),
        on_error=problems.append,
    )
    track(client, 1)
    assert [problem.code for problem in problems] == ["spill_failed"]
    assert client.stats().dropped == 1


# ---- files on disk ------------------------------------------------------------------------------


def test_folder_without_locks(
    proxy: Proxy, tmp_path: Path, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_lock(fd: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_lock)
    problems: list[Problem] = []
    client = make_client(
        proxy.url,
        model_deployment_crn="crn:a",
        buffer_bytes=0,
        spill_dir=str(tmp_path),
        on_error=problems.append,
    )
    before = len(os.listdir("/proc/self/fd"))
    for n in range(100):
        track(client, n)
    assert len(os.listdir("/proc/self/fd")) < before + 50
    assert [problem.code for problem in problems] == ["spill_failed"] * 100
    assert "No locks available" in problems[0].message


def test_close_spills_what_is_left_in_order(
    proxy: Proxy, crn: str, tmp_path: Path, make_client: MakeClient
) -> None:
    client = make_client(
        proxy.url, model_deployment_crn=crn, buffer_bytes=20_000, spill_dir=str(tmp_path)
    )
    for n in range(200):
        track(client, n)
    client.close(0.1)
    (file,) = tmp_path.iterdir()
    assert numbers([json.loads(line) for line in file.read_text().splitlines()]) == list(range(200))

    proxy.up()
    heir = make_client(proxy.url, model_deployment_crn=crn, spill_dir=str(tmp_path))
    track(heir, 200)
    wait_until(lambda: not list(tmp_path.iterdir()))
    assert sorted(stored(heir)) == list(range(201))


def test_close_copies_a_large_file_in_blocks(
    proxy: Proxy, tmp_path: Path, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = make_client(
        proxy.url, model_deployment_crn="crn:a", buffer_bytes=2000, spill_dir=str(tmp_path)
    )
    for n in range(1000):
        track(client, n)
    written: list[int] = []
    write = os.write

    def count(fd: int, data: bytes) -> int:
        written.append(write(fd, data))
        return written[-1]

    monkeypatch.setattr(os, "write", count)
    client.close(0)
    monkeypatch.undo()
    assert len(written) < 20
    (file,) = tmp_path.iterdir()
    assert numbers([json.loads(line) for line in file.read_text().splitlines()]) == list(
        range(1000)
    )


@pytest.mark.parametrize("room", [0, 1, 3], ids=["none", "for some", "for all but the copy"])
def test_disk_that_is_full_at_the_end(
    room: int,
    proxy: Proxy,
    tmp_path: Path,
    make_client: MakeClient,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    problems: list[Problem] = []
    client = make_client(
        proxy.url,
        model_deployment_crn="crn:a",
        replica="r",
        buffer_bytes=1000,
        spill_dir=str(tmp_path),
        on_error=problems.append,
    )
    for n in range(20):
        track(client, n)
    in_memory = 20 - client.stats().spilled
    assert in_memory == 3
    left = [room]
    write = os.write

    def full(fd: int, data: bytes) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        left[0] -= 1
        return write(fd, data)

    monkeypatch.setattr(os, "write", full)
    client.close(0)
    monkeypatch.undo()
    assert sum(problem.count for problem in problems) == client.stats().dropped == 3 - room
    assert client.stats().spilled == 17 + room
    assert f"{17 + room} events were not delivered; they are in" in caplog.text
    kept = [json.loads(line) for file in tmp_path.iterdir() for line in file.open()]
    assert sorted(numbers(kept)) == [*range(room), *range(3, 20)]
    for file in tmp_path.iterdir():  # nobody has them any more
        with file.open() as one:
            fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_file_of_a_living_process_is_left_alone(
    scripted: Scripted, tmp_path: Path, make_client: MakeClient
) -> None:
    file = tmp_path / "plumbline-1.ndjson"
    file.write_text('{"event":"delayed_metrics"}\n')
    with open(file) as living:
        fcntl.flock(living, fcntl.LOCK_EX)
        client = make_client(scripted.url, model_deployment_crn="crn:a", spill_dir=str(tmp_path))
        track(client, 1)
        assert client.flush(60)
        time.sleep(0.2)
        assert file.exists()
    wait_until(lambda: not file.exists())
    assert {"event": "delayed_metrics"} in scripted.events


def test_file_that_was_cut_off(scripted: Scripted, tmp_path: Path, make_client: MakeClient) -> None:
    (tmp_path / "plumbline-1.ndjson").write_text('{"metrics":{"n":1}}\n{"metrics":{"n"')
    (tmp_path / "unrelated.txt").write_text("mine")
    problems: list[Problem] = []
    client = make_client(
        scripted.url,
        model_deployment_crn="crn:a",
        spill_dir=str(tmp_path),
        on_error=problems.append,
    )
    track(client, 2)
    wait_until(lambda: len(list(tmp_path.iterdir())) == 1)
    assert sorted(numbers(scripted.events)) == [1, 2]
    assert [problem.code for problem in problems] == ["spill_damaged"]
    assert (tmp_path / "unrelated.txt").exists()


def test_name_that_is_taken_gets_a_number(tmp_path: Path) -> None:
    first = Spill.create(str(tmp_path))
    second = Spill.create(str(tmp_path))
    assert os.path.basename(second.path) == f"plumbline-{os.getpid()}-1.ndjson"
    assert list(Spill.claim(str(tmp_path))) == []
    second.append(b"{}")
    second.close()
    (claimed,) = Spill.claim(str(tmp_path))
    assert claimed.read(1) == ([b"{}"], 3)
    claimed.delete()
    first.delete()
    assert list(tmp_path.iterdir()) == []


def test_event_longer_than_a_read(tmp_path: Path) -> None:
    spill = Spill.create(str(tmp_path))
    long = b'"' + b"x" * 300_000 + b'"'
    spill.append(long)
    spill.append(b"{}")
    events, end = spill.read(1000)
    assert [len(event) for event in events] == [len(long), 2]
    assert end == spill.size
    spill.delete()


# ---- the deployment's number --------------------------------------------------------------------


def test_crn_that_is_null_is_none(
    scripted: Scripted,
    make_client: MakeClient,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    scripted.answer = lambda path, events: (200, {"modelDeploymentCrn": None})
    monkeypatch.setenv("MODEL_7_42_SERVICE_HOST", "10.0.0.1")
    client = make_client(scripted.url)
    track(client, 1)
    wait_until(lambda: len(scripted.requests) >= 2)
    assert client.model_deployment_crn is None
    assert scripted.events == []
    assert "the answer has no CRN" in caplog.text


def test_proxy_without_a_scheme(
    scripted: Scripted, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", scripted.url.removeprefix("http://"))
    scripted.answer = lambda path, events: scripted.accept(path, events)
    client = make_client("http://ml.example", model_deployment_crn="crn:a", sync=True, timeout=5)
    assert client.track_aggregate_metrics({"n": 1}, 1596185125125, 1596185125125)
    ((path, _, _),) = scripted.requests
    assert path == "http://ml.example/v1/events"


def test_deployment_is_asked_for_by_its_number_until_known(
    scripted: Scripted, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = threading.Event()

    def answer(path: str, events: list[dict[str, Any]]) -> tuple[int, Any]:
        if path != "/get-model-deployment-crn":
            return scripted.accept(path, events)
        if known.is_set():
            return 200, {"modelDeploymentCrn": "crn:found"}
        return refusal(404, "not_found", "no deployment has this number")

    scripted.answer = answer
    monkeypatch.setenv("MODEL_7_42_SERVICE_HOST", "10.0.0.1")
    client = make_client(scripted.url)
    track(client, 1)
    assert client.model_deployment_crn is None
    wait_until(lambda: len(scripted.requests) >= 3)
    assert scripted.events == []
    known.set()
    assert client.flush(60)
    track(client, 2)
    client.track_aggregate_metrics({"n": 3}, 1596185125125, 1596185125125)
    assert client.flush(60)
    assert client.model_deployment_crn == "crn:found"
    assert {event["modelDeploymentCrn"] for event in scripted.events} == {"crn:found"}
    assert all("modelDeploymentID" not in event for event in scripted.events)
    asked = [events for path, _, events in scripted.requests if path != "/v1/events"]
    assert asked[-1] == [{"modelDeploymentID": 42}]
    assert numbers(scripted.events) == [1, 2, 3]


def test_unknown_number_holds_up_nothing_else(
    scripted: Scripted, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = threading.Event()

    def answer(path: str, events: list[dict[str, Any]]) -> tuple[int, Any]:
        if path == "/v1/events":
            return scripted.accept(path, events)
        if known.is_set():
            return 200, {"modelDeploymentCrn": "crn:found"}
        return refusal(404, "not_found", "no deployment has this number")

    scripted.answer = answer
    monkeypatch.setenv("MODEL_7_42_SERVICE_HOST", "10.0.0.1")
    problems: list[Problem] = []
    client = make_client(scripted.url, buffer_bytes=2000, on_error=problems.append)
    label = plumbline.uuid7(1596185125125)

    def send(n: int) -> None:
        with client.prediction(model_deployment_crn="crn:b") as prediction:
            prediction.track("n", n)
        client.track_delayed_metrics({"n": n}, label)
        client.track_aggregate_metrics({"n": n}, 1596185125125, 1596185125125, "crn:c")

    for n in range(20):  # more than the buffer takes
        track(client, n)
    held = client.stats().waiting
    assert 0 < held < 20
    for n in range(5):
        send(n)
        assert not client.flush(0)
        wait_until(lambda n=n: len(scripted.events) == 3 * n + 3)  # type: ignore[misc]
    wait_until(lambda: client.stats() == plumbline.Stats(held, 15, 0, 0, 0, 20 - held))
    assert {problem.code for problem in problems} == {"buffer_full"}
    known.set()
    assert client.flush(60)
    own = [e for e in scripted.events if e.get("modelDeploymentCrn") == "crn:found"]
    assert numbers(own) == list(range(held))
    for n in range(held, 100):
        track(client, n)
        assert client.flush(60)
    own = [e for e in scripted.events if e.get("modelDeploymentCrn") == "crn:found"]
    assert numbers(own) == list(range(100))


def test_end_with_an_unknown_number_takes_the_time_once(
    scripted: Scripted, tmp_path: Path, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted.answer = lambda path, events: refusal(404, "not_found", "not yet")
    monkeypatch.setenv("MODEL_7_42_SERVICE_HOST", "10.0.0.1")
    client = make_client(scripted.url, spill_dir=str(tmp_path))
    limits: list[float] = []
    hurry = sender.Sender.hurry

    def watch(of_client: sender.Sender, limit: float) -> None:
        limits.append(limit)
        hurry(of_client, limit)

    monkeypatch.setattr(sender.Sender, "hurry", watch)
    track(client, 1)
    client.track_delayed_metrics({"n": 2}, plumbline.uuid7(1596185125125))
    client.close(0.3)
    assert len(limits) == 2
    assert limits[0] == limits[1]
    assert time.monotonic() >= limits[0]
    left = [json.loads(file.read_text()) for file in tmp_path.iterdir()]
    assert sorted(numbers(left)) == [1, 2]


def test_number_is_kept_on_disk(
    scripted: Scripted, tmp_path: Path, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted.answer = lambda path, events: refusal(404, "not_found", "not yet")
    monkeypatch.setenv("MODEL_7_42_SERVICE_HOST", "10.0.0.1")
    client = make_client(scripted.url, spill_dir=str(tmp_path))
    track(client, 1)
    client.close(0.1)
    monkeypatch.delenv("MODEL_7_42_SERVICE_HOST")
    scripted.answer = lambda path, events: (
        (200, {"modelDeploymentCrn": "crn:found"})
        if path == "/get-model-deployment-crn"
        else scripted.accept(path, events)
    )
    heir = make_client(scripted.url, model_deployment_crn="crn:other", spill_dir=str(tmp_path))
    track(heir, 2)
    wait_until(lambda: len(scripted.events) == 2)
    found = {e["metrics"]["n"]: e["modelDeploymentCrn"] for e in scripted.events}
    assert found == {1: "crn:found", 2: "crn:other"}


def test_left_over_of_an_unknown_deployment_stops_nothing_else(
    scripted: Scripted, tmp_path: Path, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "CLAIM_S", 0.5)
    by_number = '{"modelDeploymentID":5,"metrics":{"n":%d}}\n'
    by_crn = '{"modelDeploymentCrn":"crn:b","metrics":{"n":%d}}\n'
    (tmp_path / "plumbline-1.ndjson").write_text(by_number % 1)
    (tmp_path / "plumbline-2.ndjson").write_text(by_crn % 2 + by_number % 3 + by_crn % 4)
    known = threading.Event()

    def answer(path: str, events: list[dict[str, Any]]) -> tuple[int, Any]:
        if path == "/v1/events":
            return scripted.accept(path, events)
        if known.is_set():
            return 200, {"modelDeploymentCrn": "crn:found"}
        return refusal(404, "not_found", "no deployment has this number")

    scripted.answer = answer
    client = make_client(scripted.url, model_deployment_crn="crn:a", spill_dir=str(tmp_path))
    track(client, 0)
    wait_until(lambda: set(numbers(scripted.events)) == {0, 2, 4})
    for n in range(10, 15):
        track(client, n)
        assert client.flush(20)
    assert len(list(tmp_path.iterdir())) == 2
    known.set()
    wait_until(lambda: not list(tmp_path.iterdir()))
    assert set(numbers(scripted.events)) == {0, 1, 2, 3, 4, *range(10, 15)}


def test_left_over_waits_while_the_server_refuses_only_it(
    scripted: Scripted, tmp_path: Path, make_client: MakeClient
) -> None:
    (tmp_path / "plumbline-1.ndjson").write_text('{"metrics":{"n":1}}\n')

    def answer(path: str, events: list[dict[str, Any]]) -> tuple[int, Any]:
        if 1 in numbers(events):
            return refusal(500, "internal", "a fault")
        return scripted.accept(path, events)

    scripted.answer = answer
    client = make_client(scripted.url, model_deployment_crn="crn:a", spill_dir=str(tmp_path))
    track(client, 0)
    wait_until(lambda: [1] in [numbers(events) for _, _, events in scripted.requests])
    track(client, 2)
    assert client.flush(20)
    scripted.answer = scripted.accept
    wait_until(lambda: not list(tmp_path.iterdir()))


def test_left_over_waits_while_its_deployment_can_not_be_asked_for(
    scripted: Scripted, tmp_path: Path, make_client: MakeClient
) -> None:
    file = tmp_path / "plumbline-1.ndjson"
    file.write_text('{"modelDeploymentID":7,"metrics":{"n":1}}\n{"metrics":{"n":2}}\n')
    inode = file.stat().st_ino
    asked = threading.Event()

    def answer(path: str, events: list[dict[str, Any]]) -> tuple[int, Any]:
        if path == "/get-model-deployment-crn":
            asked.set()
            return refusal(503, "not_stored", "not now")
        return scripted.accept(path, events)

    scripted.answer = answer
    client = make_client(scripted.url, model_deployment_crn="crn:a", spill_dir=str(tmp_path))
    track(client, 0)
    assert asked.wait(60)
    track(client, 3)
    assert client.flush(60)
    assert numbers(scripted.events) == [0, 3]  # a busy server is no reason to take the file apart
    assert [one.stat().st_ino for one in tmp_path.iterdir()] == [inode]


def test_write_that_is_cut_off_is_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = Spill.create(str(tmp_path))
    file.append(b"one")
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:2]))
    with pytest.raises(OSError, match="the disk is full"):
        file.append(b"two")
    monkeypatch.undo()
    file.append(b"three")
    assert file.read(100) == ([b"one", b"three"], 10)
    file.delete()


def test_close_gives_up_a_left_over_at_once(
    scripted: Scripted, tmp_path: Path, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "BATCH_BYTES_MAX", 1)
    monkeypatch.setattr("plumbline.spill.READ_BYTES_MIN", 20)
    line = '{"metrics":{"n":1}}\n'
    (tmp_path / "plumbline-1.ndjson").write_text(line * 1000)
    gate = threading.Event()

    def answer(path: str, events: list[dict[str, Any]]) -> tuple[int, Any]:
        if len(scripted.requests) == 3:
            gate.wait(60)
        return scripted.accept(path, events)

    scripted.answer = answer
    client = make_client(scripted.url, model_deployment_crn="crn:a", spill_dir=str(tmp_path))
    track(client, 1)
    of_client = client._sender
    assert of_client is not None
    wait_until(lambda: len(scripted.requests) == 3 and of_client._left_over)
    of_client._claim_at = 1.0  # as after a look through the folder
    looks: list[int] = []
    await_work = of_client._await_work

    def look() -> bool:
        looks.append(1)
        return await_work()

    monkeypatch.setattr(of_client, "_await_work", look)
    closing = threading.Thread(target=client.close, args=(60,))
    closing.start()
    wait_until(lambda: of_client._close_at is not None)
    gate.set()
    closing.join()
    assert len(looks) <= 2
    assert [spill.path for spill in Spill.claim(str(tmp_path))] == [
        str(tmp_path / "plumbline-1.ndjson")
    ]


def test_short_job_sends_what_others_left(
    scripted: Scripted, tmp_path: Path, make_client: MakeClient
) -> None:
    for n in (1, 2):
        (tmp_path / f"plumbline-{n}.ndjson").write_text(f'{{"metrics":{{"n":{n}}}}}\n')
    client = make_client(scripted.url, model_deployment_crn="crn:a", spill_dir=str(tmp_path))
    track(client, 0)
    client.close(60)
    assert numbers(scripted.events) == [0, 1, 2]
    assert list(tmp_path.iterdir()) == []


def test_close_is_the_end(scripted: Scripted, make_client: MakeClient) -> None:
    problems: list[Problem] = []
    client = make_client(scripted.url, model_deployment_crn="crn:a", on_error=problems.append)
    track(client, 1)
    client.close()
    assert numbers(scripted.events) == [1]
    track(client, 2)
    assert [problem.code for problem in problems] == ["not_delivered"]
    client.close()
    assert client.stats() == plumbline.Stats(0, 1, 0, 0, 0, 1)
