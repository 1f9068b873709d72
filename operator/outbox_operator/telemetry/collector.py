"""How the SDK's exporter talks to a collector: without taking what it does not use.

It looks at the status of an answer and at none of its bytes. requests would read them all first,
those of a redirect even before it leaves it alone, and has no end for an answer whose bytes come
one by one or that says `100 Continue` for ever. A server, or whatever stands at its address, could
take the memory of the process or its thread.
"""

from __future__ import annotations

import http.client
import io
import time
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Final
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

_MOST_BYTES: Final = 64 * 1024
_MOST_SECONDS: Final = 1.0
"""Of reading what follows a head, so that the connection is used again."""
_PART: Final = 16 * 1024
_SHOWN_CHARACTERS: Final = 100


class BoundedSession(requests.Session):
    """A session whose answers have a status, headers and no content, and are none without end.

    Keeps no cookies, and goes nowhere else when told to.
    """

    def __init__(self) -> None:
        super().__init__()
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        for scheme in ("http://", "https://"):
            self.mount(scheme, _Adapter())

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """Send a request, whose timeout is also for the whole head of the answer.

        Raises:
            requests.RequestException: There was no answer, or one that leads elsewhere: the SDK
                would take it for a success.
        """
        answer = super().send(request, **{**options, "stream": True})
        end = time.monotonic() + _MOST_SECONDS
        try:
            while time.monotonic() < end and answer.raw.read1(_PART):
                pass
        except (urllib3.exceptions.HTTPError, OSError):
            pass  # the status is there
        finally:
            answer.close()
        if 300 <= answer.status_code < 400:
            where = urlsplit(answer.headers.get("Location", ""))
            host = where.netloc.rpartition("@")[2][:_SHOWN_CHARACTERS]
            raise requests.RequestException(
                f"wanted a status of 2xx, found {answer.status_code}"
                + (f" to {where.scheme}://{host}" if host else "")
            )
        return answer

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Follow none; requests would read its content."""


class _Adapter(HTTPAdapter):
    """Makes the connections below, to the collector or to a proxy."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **options: Any) -> urllib3.ProxyManager:
        manager: urllib3.ProxyManager = super().proxy_manager_for(*args, **options)
        manager.pool_classes_by_scheme = _POOLS
        return manager


class _Answer(io.RawIOBase):
    """The bytes of one answer: so many, and within the socket's timeout together."""

    def __init__(self, raw: io.RawIOBase, sock: Any) -> None:
        self._raw, self._sock = raw, sock
        self._left = _MOST_BYTES
        self._seconds = sock.gettimeout()
        self._end = time.monotonic() + self._seconds if self._seconds is not None else None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._left <= 0:
            raise OSError(f"the answer has more than {_MOST_BYTES} bytes")
        if self._end is None:
            return self._take(buffer)
        seconds = self._end - time.monotonic()
        if seconds <= 0:
            raise TimeoutError(f"the answer took more than {self._seconds:g} s")
        self._sock.settimeout(seconds)
        try:
            return self._take(buffer)
        finally:
            self._sock.settimeout(self._seconds)  # for the next request

    def _take(self, buffer: Any) -> int | None:
        taken = self._raw.readinto(buffer)
        self._left -= taken or 0
        return taken

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: Any, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp = io.BufferedReader(_Answer(self.fp.detach(), sock))


class _Connection(urllib3.connection.HTTPConnection):
    response_class = _Response


class _TlsConnection(urllib3.connection.HTTPSConnection):
    response_class = _Response


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


_POOLS: Final = {"http": _Pool, "https": _TlsPool}
