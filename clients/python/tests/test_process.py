"""Importing, forks, signals and the end of a process, each in a process of its own."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from conftest import Proxy, Script, Scripted, wait_until

from plumbline import Client

START = """
import os, signal, sys, threading, time
import plumbline
client = plumbline.default_client()

def track(n):
    with client.prediction() as prediction:
        prediction.track("n", n)
"""


def stored(client: Client, crn: str) -> list[int]:
    rows = client.read_metrics(crn)["metrics"]
    return sorted(row["metrics"]["n"] for row in rows if "n" in row["metrics"])


def test_import_loads_little_and_touches_no_network(script: Script) -> None:
    out = script.run(
        """
import socket, sys
def no(*args, **kwargs): raise AssertionError("a socket")
socket.socket.__init__ = no
before = set(sys.modules)
import plumbline, plumbline_compat, cml.metrics_v1, cml.models_v1, cml.utils_v1, cdsw
@plumbline.track_predictions
def predict(): pass
@cml.models_v1.cml_model(metrics=True)
def predict(): pass
names = {name.split(".")[0] for name in set(sys.modules) - before}
print(sorted(names & {"urllib3", "http", "httpx", "requests", "ssl", "numpy", "pandas", "asyncio"}))
import threading
print(threading.active_count())
""",
        PLUMBLINE_URL="http://192.0.2.1:1",
    ).stdout
    assert out == "[]\n1\n"


def test_environment_that_is_nonsense_fails_no_prediction(script: Script, tmp_path: Path) -> None:
    err = script.run(
        """
import plumbline
@plumbline.track_predictions
def predict():
    plumbline.track_metric("n", 1)
    return 1
assert predict() == predict() == 1
""",
        PLUMBLINE_URL="nonsense",
        PLUMBLINE_NAN="nonsense",
        PLUMBLINE_MODEL_DEPLOYMENT_CRN="crn:a",
        TMPDIR=str(tmp_path),
    ).stderr
    assert err.count("PLUMBLINE_URL: not the URL of a server: 'nonsense'") == 1
    assert err.count("PLUMBLINE_NAN: nan must be") == 1
    (file,) = tmp_path.glob("plumbline-spill-*/*.ndjson")
    assert len(file.read_text().splitlines()) == 2


def test_nowhere_to_send_and_nowhere_to_spill(script: Script, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    err = script.run(
        START + "track(1)\nassert client.stats().dropped == 1\n",
        MODEL_7_42_SERVICE_HOST="10.0.0.1",
        PLUMBLINE_SPILL_DIR=str(tmp_path / "file"),
    ).stderr
    assert "spill_failed" in err


def test_clean_exit_delivers_all(
    script: Script, server_client: Client, server_url: str, crn: str
) -> None:
    text = START + "for n in range(5000): track(n)\n"
    err = script.run(text, PLUMBLINE_URL=server_url, PLUMBLINE_MODEL_DEPLOYMENT_CRN=crn).stderr
    assert err == ""
    assert stored(server_client, crn) == list(range(5000))


def test_exit_after_an_exception_delivers_too(
    script: Script, server_client: Client, server_url: str, crn: str
) -> None:
    text = START + "track(1)\nraise SystemExit(3)\n"
    script.run(text, 3, PLUMBLINE_URL=server_url, PLUMBLINE_MODEL_DEPLOYMENT_CRN=crn)
    assert stored(server_client, crn) == [1]


def test_nothing_is_lost_between_flush_and_exit(
    script: Script, server_client: Client, server_url: str, crn: str
) -> None:
    text = START + "track(1)\nassert plumbline.flush(60)\ntrack(2)\n"
    script.run(text, PLUMBLINE_URL=server_url, PLUMBLINE_MODEL_DEPLOYMENT_CRN=crn)
    assert stored(server_client, crn) == [1, 2]


def test_flush_then_hard_exit(
    script: Script, server_client: Client, server_url: str, crn: str
) -> None:
    text = START + "track(1)\nassert plumbline.flush(60)\nos._exit(0)\n"
    script.run(text, PLUMBLINE_URL=server_url, PLUMBLINE_MODEL_DEPLOYMENT_CRN=crn)
    assert stored(server_client, crn) == [1]


def test_server_down_at_exit_is_said(script: Script, proxy: Proxy) -> None:
    text = START + "client._sender._options = client._sender._options._replace(exit_s=0.3)\n"
    text += "for n in range(7): track(n)\n"
    err = script.run(text, PLUMBLINE_URL=proxy.url, PLUMBLINE_MODEL_DEPLOYMENT_CRN="crn:a").stderr
    assert "not_delivered: 7 events could not be delivered in time" in err


def test_server_down_at_exit_spills_and_the_next_process_sends(
    script: Script, proxy: Proxy, server_client: Client, crn: str, tmp_path: Path
) -> None:
    folder = tmp_path / "spill"
    environ: dict[str, Any] = {
        "PLUMBLINE_URL": proxy.url,
        "PLUMBLINE_MODEL_DEPLOYMENT_CRN": crn,
        "PLUMBLINE_SPILL_DIR": str(folder),
    }
    text = START + "client._sender._options = client._sender._options._replace(exit_s=0.3)\n"
    err = script.run(text + "for n in range(7): track(n)\n", **environ).stderr
    assert f"plumbline: 7 events were not delivered; they are in {folder}" in err
    assert len(list(folder.iterdir())) == 1
    proxy.up()
    wait = f"while os.listdir({str(folder)!r}): time.sleep(0.01)\n"
    script.run(START + "track(7)\n" + wait, **environ)
    assert stored(server_client, crn) == list(range(8))


def test_sigterm_by_the_recipe(
    script: Script, server_client: Client, server_url: str, crn: str
) -> None:
    process = script.start(
        START
        + """
signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
for n in range(1000): track(n)
print("ready")
while True: time.sleep(0.0001)
""",
        PLUMBLINE_URL=server_url,
        PLUMBLINE_MODEL_DEPLOYMENT_CRN=crn,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert stored(server_client, crn) == list(range(1000))


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_second_signal_while_the_end_waits(
    script: Script, proxy: Proxy, tmp_path: Path, second: signal.Signals
) -> None:
    folder = tmp_path / "spill"
    process = script.start(
        START
        + """
signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
of_client = client._sender
of_client._options = of_client._options._replace(exit_s=60.0)
for n in range(7): track(n)
def say():
    while of_client._close_at is None: time.sleep(0.01)
    print("waits")
threading.Thread(target=say, daemon=True).start()
print("ready")
while True: time.sleep(0.01)
""",
        PLUMBLINE_URL=proxy.url,
        PLUMBLINE_MODEL_DEPLOYMENT_CRN="crn:a",
        PLUMBLINE_SPILL_DIR=str(folder),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "waits\n"
    process.send_signal(second)
    _, err = process.communicate(timeout=30)
    assert f"7 events were not delivered; they are in {folder}" in err
    (file,) = folder.iterdir()
    lines = file.read_text().splitlines()
    assert [json.loads(line)["metrics"]["n"] for line in lines] == list(range(7))


def test_sigterm_while_tracking(
    script: Script, server_client: Client, server_url: str, crn: str
) -> None:
    process = script.start(
        START
        + """
signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
print("ready")
n = 0
try:
    while True:
        track(n)
        n += 1
        if n % 2000 == 0: client.flush()    # a busy machine sends slower than this tracks
finally:
    print(n)
""",
        PLUMBLINE_URL=server_url,
        PLUMBLINE_MODEL_DEPLOYMENT_CRN=crn,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    wait_until(lambda: len(stored(server_client, crn)) > 100)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    found = stored(server_client, crn)
    # The one that the signal interrupted may be there (as failed, or whole, or empty) or not.
    assert found[: int(out)] == list(range(int(out)))
    assert len(found) <= int(out) + 1


def test_preload_fork_with_a_full_queue(
    script: Script, proxy: Proxy, server_client: Client, crn: str
) -> None:
    process = script.start(
        START
        + """
for n in range(1000): track(n)          # the master has tracked, and nothing could be sent
children = []
for child in range(3):
    pid = os.fork()
    if pid == 0:
        assert client.stats() == (0, 0, 0, 0, 0, 0), client.stats()
        for n in range(100): track(1000 + 100 * child + n)
        sys.exit(0)
    children.append(pid)
print("forked")
sys.stdin.readline()
for pid in children:
    assert os.waitpid(pid, 0)[1] == 0
""",
        PLUMBLINE_URL=proxy.url,
        PLUMBLINE_MODEL_DEPLOYMENT_CRN=crn,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "forked\n"
    proxy.up()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "not_delivered" not in err
    assert stored(server_client, crn) == list(range(1300))
    rows = server_client.read_metrics(crn)["metrics"]
    assert len({row["predictionUuid"] for row in rows}) == 1300


def test_fork_with_an_open_connection(script: Script, scripted: Scripted) -> None:
    """Two processes on one socket would read each other's answers."""
    script.run(
        START
        + """
def send(n):
    track(n)
    assert client.flush(60)

send(0)                                 # the connection is there, and kept
ours, theirs = os.pipe()
for child in (1, 2):
    pid = os.fork()
    if pid == 0:
        for n in range(10): send(100 * child + n)
        os.write(theirs, b"x")          # the parent goes on with its own meanwhile
        sys.exit(0)
    for n in range(10): send(1000 * child + n)
    os.read(ours, 1)
    assert os.waitpid(pid, 0)[1] == 0
    send(1000 * child + 10)             # what the child closed was not this one
""",
        PLUMBLINE_URL=scripted.url,
        PLUMBLINE_MODEL_DEPLOYMENT_CRN="crn:a",
    )
    by_process: dict[int, set[Any]] = {}
    for n, peers in scripted.peers.items():
        process = n // 100 if 100 <= n < 1000 else 0
        by_process.setdefault(process, set()).update(peers)
    assert {process: len(peers) for process, peers in by_process.items()} == {0: 1, 1: 1, 2: 1}
    assert len(set.union(*by_process.values())) == 3
    assert len(scripted.events) == 1 + 2 * 21


def test_fork_while_locks_are_held(script: Script, server_url: str, crn: str) -> None:
    script.run(
        START
        + """
done = threading.Event()
def busy():
    n = 0
    while not done.is_set():
        track(n)
        n += 1
for _ in range(2): threading.Thread(target=busy, daemon=True).start()
for _ in range(12):
    pid = os.fork()
    if pid == 0:
        track(-1)
        os._exit(0 if client.flush(60) else 1)
    assert os.waitpid(pid, 0)[1] == 0
done.set()
""",
        PLUMBLINE_URL=server_url,
        PLUMBLINE_MODEL_DEPLOYMENT_CRN=crn,
    )


def test_fork_while_the_sender_imports(
    script: Script, server_client: Client, server_url: str, crn: str
) -> None:
    """A module's lock that a thread of the parent has would never be free in the child."""
    script.run(
        START
        + """
importing = threading.Event()
class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "urllib3.connection":
            importing.set()
            time.sleep(0.5)
sys.meta_path.insert(0, Slow())
track(0)
assert importing.wait(60)
pid = os.fork()
track(1 if pid else 2)
assert client.flush(60)
if pid: assert os.waitpid(pid, 0)[1] == 0
""",
        PLUMBLINE_URL=server_url,
        PLUMBLINE_MODEL_DEPLOYMENT_CRN=crn,
    )
    assert stored(server_client, crn) == [0, 1, 2]


def test_fork_leaves_the_spill_to_the_parent(
    script: Script, proxy: Proxy, server_client: Client, crn: str, tmp_path: Path
) -> None:
    folder = tmp_path / "spill"
    process = script.start(
        START
        + f"""
client._sender._options = client._sender._options._replace(buffer_bytes=2000)
for n in range(100): track(n)
pid = os.fork()
if pid == 0:
    for n in range(100, 200): track(n)
    assert len(os.listdir({str(folder)!r})) == 2
    sys.exit(0)
print("forked")
assert os.waitpid(pid, 0)[1] == 0
""",
        PLUMBLINE_URL=proxy.url,
        PLUMBLINE_MODEL_DEPLOYMENT_CRN=crn,
        PLUMBLINE_SPILL_DIR=str(folder),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "forked\n"
    proxy.up()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    script.run(
        START + f"track(200)\nwhile os.listdir({str(folder)!r}): time.sleep(0.01)\n",
        PLUMBLINE_URL=proxy.url,
        PLUMBLINE_MODEL_DEPLOYMENT_CRN=crn,
        PLUMBLINE_SPILL_DIR=str(folder),
    )
    assert stored(server_client, crn) == list(range(201))


def test_child_does_not_keep_the_files_of_a_parent_that_dies(
    script: Script, proxy: Proxy, tmp_path: Path
) -> None:
    folder = tmp_path / "spill"
    done = script.run(
        START
        + f"""
from plumbline.spill import Spill
client._sender._options = client._sender._options._replace(buffer_bytes=2000)
for n in range(100): track(n)
parent = os.getpid()
if os.fork() != 0: os.kill(parent, signal.SIGKILL)
found, limit = [], time.monotonic() + 20
while not found and time.monotonic() < limit:  # its threads die one after the other
    time.sleep(0.001)
    found = list(Spill.claim({str(folder)!r}))
(spill,) = found
print(len(spill.read(1 << 20)[0]) > 50)
spill.close()
os._exit(0)
""",
        code=-signal.SIGKILL,
        PLUMBLINE_URL=proxy.url,
        PLUMBLINE_MODEL_DEPLOYMENT_CRN="crn:a",
        PLUMBLINE_SPILL_DIR=str(folder),
    )
    assert done.stdout == "True\n", done.stderr


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_process_child(
    script: Script, server_client: Client, server_url: str, crn: str, method: str
) -> None:
    script.run(
        f"""
import multiprocessing
import plumbline

def work(first):
    for n in range(first, first + 100):
        with plumbline.default_client().prediction() as prediction:
            prediction.track("n", n)

if __name__ == "__main__":
    context = multiprocessing.get_context({method!r})
    work(0)
    children = [context.Process(target=work, args=(100 * n,)) for n in (1, 2)]
    for child in children: child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0
    with context.Pool(2) as pool:
        pool.map(work, (300, 400))
        pool.close()
        pool.join()
""",
        PLUMBLINE_URL=server_url,
        PLUMBLINE_MODEL_DEPLOYMENT_CRN=crn,
    )
    assert stored(server_client, crn) == list(range(500))


def test_events_of_other_peoples_exit_functions(
    script: Script, server_client: Client, server_url: str, crn: str, tmp_path: Path
) -> None:
    """What comes after the sender's end is spilled, or said to be lost."""
    text = START + "import atexit\natexit.register(lambda: track(2))\n"
    environ: dict[str, Any] = {
        "PLUMBLINE_URL": server_url,
        "PLUMBLINE_MODEL_DEPLOYMENT_CRN": crn,
    }
    err = script.run(text + "track(1)\n", **environ).stderr
    assert "not_delivered" in err
    assert stored(server_client, crn) == [1]
    folder = tmp_path / "spill"
    script.run(text + "track(1)\n", **environ, PLUMBLINE_SPILL_DIR=str(folder))
    (file,) = folder.iterdir()
    assert json.loads(file.read_text())["metrics"] == {"n": 2}


def test_replica_without_a_server_spills(script: Script, tmp_path: Path) -> None:
    text = START + "track(1)\nassert not plumbline.flush(1)\n"
    err = script.run(text, MODEL_7_42_SERVICE_HOST="10.0.0.1", TMPDIR=str(tmp_path)).stderr
    assert err.count("PLUMBLINE_URL is not set") == 1
    (file,) = tmp_path.glob("plumbline-spill-*/*.ndjson")
    assert json.loads(file.read_text())["modelDeploymentID"] == 42
