"""What the tests share: a daemon with its own PostgreSQL, and ways to come between."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Optional

import pytest
from daemon import REPOSITORY, running_daemon

import plumbline

CLIENTS = Path(__file__).resolve().parents[2]
SOURCES = f"{CLIENTS / 'python/src'}:{CLIENTS / 'python-compat/src'}"
CHURN = REPOSITORY / "tests/data/churn"


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Writes "passed failed skipped" where tools/test looks for it."""
    path = os.environ.get("TEST_COUNTS")
    reporter: Any = session.config.pluginmanager.get_plugin("terminalreporter")
    if path and reporter is not None:
        counts = {name: len(reports) for name, reports in reporter.stats.items()}
        failed = counts.get("failed", 0) + counts.get("error", 0)
        Path(path).write_text(f"{counts.get('passed', 0)} {failed} {counts.get('skipped', 0)}\n")


def wait_until(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    """Waits for a condition; fails when it does not come true."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "what the test waits for did not happen"
        time.sleep(0.005)


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """A daemon of its own, with a private PostgreSQL."""
    with running_daemon() as url:
        yield url


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the machine's environment says where to send."""
    for name in list(os.environ):
        if name.startswith(("PLUMBLINE_", "CDSW_")) or name.endswith("_SERVICE_HOST"):
            monkeypatch.delenv(name)


@pytest.fixture
def crn() -> str:
    """A deployment that no other test knows."""
    return f"crn:test:{plumbline.uuid7(0)}"


@pytest.fixture
def make_client() -> Iterator[Callable[..., plumbline.Client]]:
    """Makes clients that are closed at the end, without time to deliver anything more."""
    made: list[plumbline.Client] = []

    def make(*args: Any, **settings: Any) -> plumbline.Client:
        made.append(plumbline.Client(*args, **settings))
        return made[-1]

    yield make
    for client in made:
        client.close(0)


@pytest.fixture(params=["server", "local"])
def client(
    request: pytest.FixtureRequest, crn: str, make_client: Callable[..., plumbline.Client]
) -> plumbline.Client:
    """A client of the daemon, then one of the local store: both have to answer the same."""
    if request.param == "local":
        return make_client(local=True, model_deployment_crn=crn)
    return make_client(request.getfixturevalue("server_url"), model_deployment_crn=crn)


@pytest.fixture
def server_client(
    server_url: str, crn: str, make_client: Callable[..., plumbline.Client]
) -> plumbline.Client:
    """A client of the daemon."""
    return make_client(server_url, model_deployment_crn=crn)


class Proxy:
    """Stands between client and daemon: can be down, and can hold answers back."""

    def __init__(self, url: str) -> None:
        host, port = url.removeprefix("http://").split(":")
        self._target = (host, int(port))
        self._listener: Optional[socket.socket] = None
        self._pairs: list[socket.socket] = []
        self._lock = threading.Lock()
        self.delay_s = 0.0
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"

    def up(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self._port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def down(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        with self._lock:
            for end in self._pairs:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            self._pairs.clear()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.create_connection(self._target)
            with self._lock:
                self._pairs += [near, far]
            threading.Thread(target=self._copy, args=(near, far), daemon=True).start()

    def _copy(self, near: socket.socket, far: socket.socket) -> None:
        with selectors.DefaultSelector() as selector, near, far:
            selector.register(near, selectors.EVENT_READ, far)
            selector.register(far, selectors.EVENT_READ, near)
            try:
                while True:
                    for key, _ in selector.select():
                        data = key.fileobj.recv(1 << 16)  # type: ignore[union-attr]
                        if not data:
                            return
                        if key.fileobj is far and self.delay_s:
                            time.sleep(self.delay_s)
                        key.data.sendall(data)
            except OSError:
                return


@pytest.fixture
def proxy(server_url: str) -> Iterator[Proxy]:
    """A proxy to the daemon that is down until it is told otherwise."""
    proxy = Proxy(server_url)
    yield proxy
    proxy.down()


class Scripted:
    """A server that answers as a test says, and remembers what it was sent."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], list[dict[str, Any]]]] = []
        self.answer: Callable[[str, list[dict[str, Any]]], tuple[int, Any]] = self.accept
        self.url = ""
        self.headers: dict[str, str] = {}
        self.connections = 0
        self.peers: dict[int, list[tuple[str, int]]] = {}  # by an event's metric n: who sent it

    @staticmethod
    def accept(path: str, events: list[dict[str, Any]]) -> tuple[int, Any]:
        count = len(events)
        body = {"batch": 1, "received": count, "accepted": count, "duplicate": 0, "rejected": []}
        return 200, {**body, "warnings": []}

    @property
    def events(self) -> list[dict[str, Any]]:
        return [
            event for path, _, events in self.requests for event in events if path == "/v1/events"
        ]


def refusal(status: int, code: str, message: str, field: Optional[str] = None) -> tuple[int, Any]:
    """An error as Plumbline answers it."""
    return status, {"error": {"code": code, "message": message, "field": field}}


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    """A scripted server."""
    script = Scripted()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # or each answer takes 40 ms

        def setup(self) -> None:
            super().setup()
            script.connections += 1

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            events = [json.loads(line) for line in body.splitlines()]
            for event in events:
                peers = script.peers.setdefault(event.get("metrics", {}).get("n", -1), [])
                peers.append(self.client_address)
            status, answer = script.answer(self.path, events)
            script.requests.append((self.path, dict(self.headers), events))
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            for name, value in script.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    script.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield script
    server.shutdown()
    server.server_close()


class Script:
    """A Python process of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[subprocess.Popen[str]] = []

    def stop(self) -> None:
        for process in self._started:
            if process.poll() is None:
                process.kill()
                process.communicate()

    def start(self, text: str, **environ: str) -> subprocess.Popen[str]:
        path = self._folder / "script.py"
        path.write_text(text)
        process = subprocess.Popen(
            [sys.executable, "-X", "dev", "-W", "error::ResourceWarning", str(path)],
            env={**os.environ, "PYTHONPATH": SOURCES, "PYTHONUNBUFFERED": "1", **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._started.append(process)
        return process

    def run(self, text: str, code: int = 0, **environ: str) -> subprocess.CompletedProcess[str]:
        process = self.start(text, **environ)
        out, err = process.communicate(timeout=120)
        assert process.returncode == code, f"exit code {process.returncode}\n{out}\n{err}"
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.fixture
def script(tmp_path: Path) -> Iterator[Script]:
    """Runs Python code in a process of its own."""
    script = Script(tmp_path)
    yield script
    script.stop()
