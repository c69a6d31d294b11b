"""A daemon with a PostgreSQL of its own, for tests and benchmarks."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]


@contextlib.contextmanager
def running_daemon() -> Iterator[str]:
    """Yields the URL of a new daemon; it and its data are gone afterwards.

    ``TEST_DAEMON`` in the environment is its binary, else ``build/plumbline``.
    """
    folder = tempfile.mkdtemp(prefix="plumbline-python-")
    os.chmod(folder, 0o755)  # for PostgreSQL's user
    binary = Path(os.environ.get("TEST_DAEMON", "build/plumbline"))
    command = [str(REPOSITORY / binary), "serve", "--listen", "127.0.0.1:0"]
    environ = {k: v for k, v in os.environ.items() if not k.startswith("PLUMBLINE_")}
    daemon = subprocess.Popen(
        [*command, "--data-dir", folder + "/var"],
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
    )
    log: list[str] = []
    assert daemon.stderr is not None
    try:
        address = None
        for line in daemon.stderr:
            log.append(line)
            found = re.search(r"event=serving address=(\S+)", line)
            if found:
                address = found.group(1)
                break
        assert address, "the daemon did not start:\n" + "".join(log)
        threading.Thread(target=log.extend, args=(daemon.stderr,), daemon=True).start()
        yield f"http://{address}"
    finally:
        daemon.terminate()
        daemon.wait(60)
        shutil.rmtree(folder, ignore_errors=True)
