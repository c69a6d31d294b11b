"""Who is speaking: identities of events, the replica, the server and the deployment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Optional
from urllib.parse import urlsplit

from plumbline.errors import PlumblineError

DEV_DEPLOYMENT_CRN = "crn:cdp:ml:::workspace:dev/model-deployment"
DEV_BUILD_CRN = "crn:cdp:ml:::workspace:dev/model-build"
DEV_MODEL_CRN = "crn:cdp:ml:::workspace:dev/model"

CHANCE_BYTES = 10  # in one UUID
CHANCES = 256

# The digit that has the bits 10, then two bits of a random digit.
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
_REPLICA_VARIABLE = re.compile(r"^.+_\d+_(\d+)_SERVICE_HOST$")


class _Chance:
    """Random texts of 20 hexadecimal digits, from the system's source. Any thread may take one.

    Asking the system lets other threads run, and a prediction would have to wait for them: the
    sender's most of all. So it is asked for many at a time. A forked child has its own, also when
    nobody told Python of the fork.
    """

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._pid = 0

    def take(self) -> str:
        """Returns a text that nobody else gets."""
        if self._pid != os.getpid():
            self._texts = []
            self._pid = os.getpid()
        try:
            return self._texts.pop()  # one step, which no thread comes between
        except IndexError:
            digits = os.urandom(CHANCE_BYTES * CHANCES).hex()
            width = 2 * CHANCE_BYTES
            texts = [digits[at : at + width] for at in range(0, len(digits), width)]
            text = texts.pop()
            self._texts = texts
            return text


_chance = _Chance()


def uuid7(timestamp_ms: int) -> str:
    """Returns a new version 7 UUID (RFC 9562) of this time, in milliseconds since 1970.

    The server finds a prediction faster by such a UUID, as it says when the prediction began.
    """
    time = "%012x" % (timestamp_ms & 0xFFFFFFFFFFFF)
    chance = _chance.take()
    variant = _VARIANT[chance[3]]
    return f"{time[:8]}-{time[8:]}-7{chance[:3]}-{variant}{chance[4:7]}-{chance[7:19]}"


def host_name() -> str:
    """Returns the name of this host, in a container the name of the pod."""
    if hasattr(os, "uname"):
        return os.uname().nodename
    return os.environ.get("COMPUTERNAME", "")


def server_url(environ: Mapping[str, str]) -> Optional[str]:
    """Returns where to post: ``PLUMBLINE_URL``, else beside ``CDSW_API_URL``, else None.

    Raises PlumblineError when there is no host to be found in ``CDSW_API_URL``.
    """
    url = environ.get("PLUMBLINE_URL", "").strip()
    if url:
        return url.rstrip("/")
    api_url = environ.get("CDSW_API_URL", "")
    try:
        parts = urlsplit(api_url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        raise PlumblineError(f"not the URL of a server: {api_url!r}") from None
    if not parts.hostname:
        return None
    return f"{parts.scheme or 'https'}://monitoring.{parts.hostname}{port}"


def deployment_ids(environ: Mapping[str, str]) -> list[int]:
    """Returns the numbers that name this replica's deployment; empty outside a replica.

    They stand in variables of the form ``<NAME>_<n>_<id>_SERVICE_HOST``; more than one means that
    the environment does not say which deployment this is.
    """
    found = (_REPLICA_VARIABLE.match(name) for name in environ)
    return sorted({int(match.group(1)) for match in found if match})
