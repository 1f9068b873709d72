"""Deliver events to an HTTP endpoint as CloudEvents 1.0.

A handler for the runtime. What a request looks like is in `http_request`, what an answer means in
`http_outcome`; here are the connections, the Secrets, and what can go wrong on the way.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Generic, TypeVar

import aiohttp

from outbox_operator.adapters.network import network_problem
from outbox_operator.consumer.handlers.http_connector import HeadFirstConnector
from outbox_operator.consumer.handlers.http_outcome import outcome
from outbox_operator.consumer.handlers.http_request import (
    binary_request,
    structured_request,
    with_fixed,
)
from outbox_operator.consumer.handlers.types import (
    Context,
    Outcome,
    ReceivedEvent,
    RetryAfter,
    Unanswered,
)
from outbox_operator.consumer.handlers.webhook_signature import keys, signature_headers
from outbox_operator.errors import CredentialsError, HandlerUnavailableError
from outbox_operator.wire.config import HttpHandlerConfig

CONNECT_SECONDS: Final = 10.0

_SECRET_SECONDS: Final = 10.0
_EXCERPT_CHARACTERS: Final = 300
_BODY_BYTES: Final = 16 * 1024
_BODY_SECONDS: Final = 0.25
"""How long the rest of an answer may take, so that the connection can be used again."""
_HEADER_BYTES: Final = 64 * 1024
"""Of one header of an answer."""


T = TypeVar("T")


class HttpHandler:
    """POSTs each event to one URL.

    Args:
        config: Where and how.
        connections: Most requests at the same time.
    """

    wants_connection = False
    needs_inbox: tuple[str, ...] = ()
    largest_batch = 1

    def __init__(self, config: HttpHandlerConfig, *, connections: int) -> None:
        self._config = config
        self._connections = connections
        self._request = structured_request if config.mode == "Structured" else binary_request
        self._session: aiohttp.ClientSession | None = None
        self._authorization = _Secret(config.bearer_token_file, "the bearer token", _bearer)
        self._keys = _Secret(config.signing_key_file, "the signing keys", keys)
        self._tls = _trust(config.ca_file)

    @property
    def name(self) -> str:
        """The URL; it holds no credentials."""
        return self._config.url

    def batch(self, event_type: str) -> int:
        """Return 1: a request carries one event."""
        return 1

    def retry(self, event_type: str) -> None:
        """Return None: an endpoint has no way of its own."""

    def shares_call(self, event_type: str, other: str) -> bool:
        """Return False: a request carries one event."""
        return False

    async def start(self) -> None:
        """Do nothing: connections are made as they are needed."""

    async def prepare(self, connection: object) -> None:
        """Do nothing: no endpoint sees the connection."""

    async def handle_batch(
        self, events: Sequence[ReceivedEvent], context: Context
    ) -> Sequence[Outcome]:
        """POST the events, in one request each."""
        return [await self.handle(event, context) for event in events]

    async def handle(self, event: ReceivedEvent, context: Context) -> Outcome:
        """POST the event.

        Raises:
            HandlerUnavailableError: No connection could be made.
            CredentialsError: The file of a Secret cannot be read.
        """
        headers, body = self._request(event, context)
        if self._config.headers:
            headers = with_fixed(headers, self._config.headers)
        authorization, signing_keys = self._authorization.read(), self._keys.read()
        if authorization is not None:
            headers = with_fixed(headers, {"Authorization": authorization})
        if signing_keys is not None:
            signed = signature_headers(event.id, body, signing_keys, int(time.time()))
            headers = with_fixed(headers, signed)
        limit = self._config.timeout_seconds
        try:
            response = await self._open().post(
                self._config.url,
                data=body,
                headers=headers,
                allow_redirects=False,
            )
            # With the status the event is decided on, whatever becomes of the rest.
            return outcome(
                response.status,
                response.headers.get("Retry-After"),
                " ".join((await _start_of_body(response)).split())[:_EXCERPT_CHARACTERS],
                dt.datetime.now(dt.UTC),
            )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise HandlerUnavailableError(
                f"handler {self._config.url}: {_describe(error)}"
            ) from error
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            return Unanswered(f"the connection broke: {_reason(error)}")
        except TimeoutError:
            return RetryAfter(reason=f"no answer within {limit:g} s")
        except aiohttp.ClientError as error:
            return RetryAfter(reason=f"no whole answer: {str(error) or type(error).__name__}")

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            limit = self._config.timeout_seconds
            # Well before the whole time is over, so that it is known what took so long: names,
            # connection and TLS say nothing about the event, an endpoint that does not answer may.
            connect = min(limit / 2, CONNECT_SECONDS)
            self._session = aiohttp.ClientSession(
                connector=HeadFirstConnector(limit=self._connections, trust=self._tls),
                timeout=aiohttp.ClientTimeout(total=limit, connect=connect),
                # Events belong to nobody's browser: no cookies are kept between them.
                cookie_jar=aiohttp.DummyCookieJar(),
                # Of the body we show some words at most; nobody is to make us unpack it.
                auto_decompress=False,
                headers={"User-Agent": "outbox-operator", "Accept-Encoding": "identity"},
                max_line_size=_HEADER_BYTES,
                max_field_size=_HEADER_BYTES,
            )
        return self._session


async def _start_of_body(response: aiohttp.ClientResponse) -> str:
    """Return what an answer says to people, and let go of its connection."""
    if response.content.at_eof():
        response.release()
        return ""
    start = b""
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            while len(start) < _BODY_BYTES:
                chunk = await response.content.read(_BODY_BYTES - len(start))
                if not chunk:
                    break
                start += chunk
    except (aiohttp.ClientError, OSError):
        pass  # a body that breaks off; TimeoutError is an OSError
    finally:
        if response.content.at_eof():
            response.release()
        else:
            response.close()
    return "" if "Content-Encoding" in response.headers else start.decode(errors="replace")


def _bearer(token: bytes) -> str:
    """Make an Authorization header; raises ValueError if that is no token."""
    text = token.strip()
    if not text:
        raise ValueError("it is empty")
    if not (text.isascii() and text.decode("ascii").isprintable()):
        raise ValueError("wanted printable ASCII on one line, found other bytes")
    return f"Bearer {text.decode('ascii')}"


class _Secret(Generic[T]):
    """What a file of a Secret holds; the kubelet replaces it when the Secret changes.

    Args:
        path: The file; None: there is none.
        what: For messages.
        parse: Makes of its bytes what is needed; raises ValueError, which says nothing of them.
    """

    def __init__(self, path: str | None, what: str, parse: Callable[[bytes], T]) -> None:
        self._path = None if path is None else Path(path)
        self._what = what
        self._parse = parse
        self._value: T | None = None
        self._look = 0.0
        self.read()

    def read(self) -> T | None:
        """Return the value, read anew every few seconds; None: there is none.

        Raises:
            CredentialsError: It cannot be read, or used; names the file.
        """
        now = time.monotonic()
        if self._path is not None and now >= self._look:
            try:
                self._value = self._parse(self._path.read_bytes())
            except OSError as error:
                raise CredentialsError(
                    f"file {self._path} with {self._what}: {error.strerror}"
                ) from error
            except ValueError as error:
                raise CredentialsError(f"file {self._path} with {self._what}: {error}") from None
            self._look = now + _SECRET_SECONDS
        return self._value


def _trust(path: str | None) -> ssl.SSLContext | bool:
    """Say whom to trust for https: authorities in a file, or those of the system."""
    if path is None:
        return True
    try:
        return ssl.create_default_context(cafile=path)
    except (OSError, ssl.SSLError) as error:
        raise CredentialsError(
            f"file {path} with the authorities of the endpoint: no readable PEM bundle"
        ) from error


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _describe(error: aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError) -> str:
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return "no connection in time"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "no such host"  # whichever resolver said so
    return network_problem(error.os_error) or error.os_error.strerror or "no connection"
