"""Events on disk: where they go when the buffer is full, or when the process ends too early.

A file is ``plumbline-<pid>[-<n>].ndjson``, an event a line. Whoever holds its lock (``flock``) owns
it; a file that nobody has locked was left by a process that is gone, and is taken over by whoever
comes first. What was sent from a file is not marked in it: after a crash it is sent again, which is
harmless, as every event has its identity.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Container, Iterator
from typing import Optional

if sys.platform != "win32":
    import fcntl

READ_BYTES_MIN = 64 * 1024
COPY_BYTES = 1 << 20
NAME_PREFIX = "plumbline-"
NAME_SUFFIX = ".ndjson"


class Spill:
    """One locked file; appended to by any thread under the caller's lock, read by one thread."""

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self.size = os.fstat(fd).st_size  # bytes
        self.sent = 0  # bytes from the front that need not be kept
        self._fd = fd

    @classmethod
    def create(cls, folder: str) -> Spill:
        """Makes and locks an empty file of this process. Raises OSError."""
        os.makedirs(folder, mode=0o700, exist_ok=True)
        for number in range(10000):
            end = f"-{number}" if number else ""
            path = os.path.join(folder, f"{NAME_PREFIX}{os.getpid()}{end}{NAME_SUFFIX}")
            spill = cls._open(path, os.O_CREAT)
            if spill is not None and spill.size == 0:
                return spill
            if spill is not None:
                spill.close()  # left by a process that had this number; it is claimed elsewhere
        raise OSError(f"{folder} is full of files of process {os.getpid()}")

    @classmethod
    def claim(cls, folder: str, without: Container[str] = ()) -> Iterator[Spill]:
        """Yields, locked, the files of processes that are gone. Raises nothing.

        ``without`` has paths of files that are not wanted.
        """
        try:
            names = sorted(os.listdir(folder))
        except OSError:
            return
        for name in names:
            path = os.path.join(folder, name)
            if name.startswith(NAME_PREFIX) and name.endswith(NAME_SUFFIX) and path not in without:
                try:
                    spill = cls._open(path, 0)
                except OSError:
                    continue  # somebody else's
                if spill is not None:
                    yield spill

    @classmethod
    def _open(cls, path: str, flags: int) -> Optional[Spill]:
        """Opens and locks; None when another process has the lock or deleted the file.

        Raises OSError.
        """
        if sys.platform == "win32":
            raise OSError("files can't be locked here")
        try:
            fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | flags, 0o600)
        except FileNotFoundError:
            return None
        spill = None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(fd).st_nlink:
                spill = cls(path, fd)
        except BlockingIOError:
            pass
        finally:  # a file system without locks says so each time
            if spill is None:
                os.close(fd)
        return spill

    @property
    def is_done(self) -> bool:
        """Whether everything in it was sent."""
        return self.sent >= self.size

    @property
    def left(self) -> int:
        """How many bytes were not sent."""
        return self.size - self.sent

    def append(self, event: bytes) -> None:
        """Adds one event. Raises OSError and leaves the file as it was when the disk is full."""
        self._write(event + b"\n")

    def copy(self, other: Spill, start: int, end: int) -> None:
        """Adds what stands in another file from ``start`` to ``end``, both where a line begins.

        Raises OSError and leaves the file as it was.
        """
        size = self.size
        try:
            while start < end:
                data = os.pread(other._fd, min(COPY_BYTES, end - start), start)
                if not data:
                    raise OSError(f"{other.path} ends too early")
                self._write(data)
                start += len(data)
        except OSError:
            os.ftruncate(self._fd, size)
            self.size = size
            raise

    def _write(self, data: bytes) -> None:
        written = os.write(self._fd, data)
        if written < len(data):
            os.ftruncate(self._fd, self.size)
            raise OSError("the disk is full")
        self.size += len(data)

    def read(self, bytes_max: int) -> tuple[list[bytes], int]:
        """Returns the next unsent events, at least one, and where they end in the file.

        What stands behind the last line end was cut off when its process died: it comes as no
        event, only in the offset. Raises OSError.
        """
        size = self.size
        length = max(bytes_max, READ_BYTES_MIN)
        while True:
            data = os.pread(self._fd, min(length, size - self.sent), self.sent)
            end = data.rfind(b"\n") + 1
            if end:
                return data[: end - 1].split(b"\n"), self.sent + end
            if self.sent + len(data) >= size or not data:
                return [], size
            length *= 2

    def delete(self) -> None:
        """Removes the file and gives up the lock."""
        try:
            os.unlink(self.path)
        finally:
            self.close()

    def leave(self) -> None:
        """Gives up the lock, and removes the file if everything in it was sent. Raises OSError."""
        if self.is_done:
            self.delete()
        else:
            self.close()

    def close(self) -> None:
        """Gives up the lock; after a fork, the child's share of it. The file stays."""
        os.close(self._fd)
