"""HTTP: one request, one answer, and errors by what the caller can do about them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Optional, Union
from urllib.parse import urlencode, urlsplit

from plumbline.errors import PlumblineError, ServerError, Unreachable
from plumbline.forking import no_fork

if TYPE_CHECKING:
    from urllib3 import HTTPResponse, ProxyManager
    from urllib3.poolmanager import PoolManager

Query = Iterable[tuple[str, Union[str, int, float]]]

CONNECTIONS_MAX = 64  # kept open, of those that so many threads at once made necessary


class Transport:
    """Talks to one server over connections that are kept open. Any thread may use it.

    ``timeout`` is in seconds, for each wait on the network. No socket is opened and no HTTP library
    loaded before the first request. White space around ``url`` and ``api_key`` does not matter;
    PlumblineError when one of them can't be what it should.
    """

    def __init__(
        self, url: str, *, api_key: str = "", timeout: float = 30.0, ca_bundle: str = ""
    ) -> None:
        url = url.strip()
        try:
            parts = urlsplit(url)
            is_url = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:  # brackets, or a port that is no number
            is_url = False
        if not is_url:
            raise PlumblineError(f"not the URL of a server: {url!r}")
        self.url = url.rstrip("/")
        self._timeout = timeout
        self._ca_bundle = ca_bundle
        self._headers = {"User-Agent": "plumbline-python/0.1.0"}
        if api_key := bare_key(api_key):
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._pool: Optional[Union[PoolManager, ProxyManager]] = None

    def forget_connections(self) -> None:
        """Leaves all connections to whoever else has them: after a fork, the parent."""
        self._pool = None

    def close(self) -> None:
        """Closes the connections that nobody uses; another request opens new ones."""
        manager, self._pool = self._pool, None
        if manager is not None:
            # clear() leaves it to finalizers, which at exit have run before this.
            for key in list(manager.pools.keys()):
                manager.pools[key].close()

    def get(self, path: str, query: Query = (), *, accept: str = "application/json") -> Any:
        """Returns the parsed JSON of a GET. Raises ServerError or Unreachable."""
        return self._parse(self._request("GET", path, query, headers={"Accept": accept}))

    def post(self, path: str, body: bytes, content_type: str = "application/json") -> Any:
        """Returns the parsed JSON of a POST. Raises ServerError or Unreachable."""
        return self._parse(
            self._request("POST", path, (), body=body, headers={"Content-Type": content_type})
        )

    def lines(self, path: str, query: Query) -> tuple[Iterator[bytes], Optional[str]]:
        """Streams NDJSON: returns chunks that end where a line ends, and the next page's cursor.

        The chunks raise Unreachable when the answer breaks off before its end.
        """
        response = self._request(
            "GET", path, query, headers={"Accept": "application/x-ndjson"}, stream=True
        )
        return self._chunks(response), response.headers.get("Plumbline-Next-Cursor")

    def _request(
        self,
        method: str,
        path: str,
        query: Query,
        *,
        headers: dict[str, str],
        body: Optional[bytes] = None,
        stream: bool = False,
    ) -> HTTPResponse:
        pool = self._connections()
        from urllib3.exceptions import HTTPError

        text = urlencode(list(query))
        url = self.url + path + ("?" + text if text else "")
        try:
            response: HTTPResponse = pool.request(
                method,
                url,
                body=body,
                headers={**self._headers, **headers},
                preload_content=not stream,
                redirect=False,
                retries=False,
            )  # type: ignore[assignment]
            if response.status >= 300:
                raise _server_error(response)
        except HTTPError as error:
            raise Unreachable(f"{self.url}: {_reason(error)}") from error
        return response

    def _connections(self) -> Union[PoolManager, ProxyManager]:
        pool = self._pool
        if pool is None:
            with no_fork:  # which lets one thread in
                pool = self._pool = self._pool or self._make_pool()
        return pool

    def _make_pool(self) -> Union[PoolManager, ProxyManager]:
        import encodings.idna  # noqa: F401 - looking up a host name would import it
        from urllib.request import getproxies, proxy_bypass

        import urllib3

        options: dict[str, Any] = {
            "timeout": urllib3.Timeout(connect=min(self._timeout, 5.0), read=self._timeout),
            "maxsize": CONNECTIONS_MAX,
        }
        if self._ca_bundle:
            options["ca_certs"] = self._ca_bundle
        parts = urlsplit(self.url)
        proxy = getproxies().get(parts.scheme)
        if proxy and not proxy_bypass(parts.hostname or ""):
            if "://" not in proxy:  # curl and others take it so
                proxy = "http://" + proxy
            return urllib3.ProxyManager(proxy, **options)
        return urllib3.PoolManager(**options)

    def _parse(self, response: HTTPResponse) -> Any:
        try:
            return json.loads(response.data)
        except ValueError:
            raise ServerError(
                response.status, "not_plumbline", f"{self.url} does not answer with JSON"
            ) from None

    def _chunks(self, response: HTTPResponse) -> Iterator[bytes]:
        from urllib3.exceptions import HTTPError

        rest = b""
        is_complete = False
        try:
            for chunk in response.stream(1 << 20):
                end = chunk.rfind(b"\n") + 1
                if end:
                    yield rest + chunk[:end]
                    rest = chunk[end:]
                else:
                    rest += chunk
            is_complete = True
        except HTTPError as error:
            raise Unreachable(f"{self.url}: the answer broke off: {_reason(error)}") from error
        finally:
            if is_complete:
                response.release_conn()
            else:  # the reader went away: what is still to come is of no use
                response.close()
        if rest:
            yield rest


def bare_key(text: str) -> str:
    """Returns an API key without the white space that files leave around it.

    Raises PlumblineError, without the text, when no header can hold it.
    """
    key = text.strip()
    if not (key.isascii() and key.isprintable()):
        raise PlumblineError("not an API key: it has characters that no header can hold")
    return key


def _reason(error: Exception) -> str:
    """Returns the words of urllib3 without the addresses of its objects."""
    text = str(error)
    return text.split(">: ", 1)[1] if text.startswith("<") and ">: " in text else text


def _server_error(response: HTTPResponse) -> ServerError:
    code, message, field = "not_plumbline", response.reason or "no reason given", None
    try:
        body = json.loads(response.data)
        if "errorCode" in body:  # Apache Atlas's shape
            code, message = str(body["errorCode"]), str(body["errorMessage"])
        else:
            error = body["error"]
            code, message, field = str(error["code"]), str(error["message"]), error.get("field")
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    response.release_conn()
    seconds = response.headers.get("Retry-After", "")
    retry_after = float(seconds) if seconds.isdigit() else None
    return ServerError(response.status, code, message, field, retry_after)
