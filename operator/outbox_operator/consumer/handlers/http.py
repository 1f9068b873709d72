"""Deliver events to an HTTP endpoint as CloudEvents 1.0.

A handler for the loop. What a request looks like and what an answer means are pure functions;
the class holds the connections.
"""

from __future__ import annotations

import base64
import datetime as dt
import email.utils
import hashlib
import hmac
import json
import ssl
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import aiohttp

from outbox_operator.consumer.handlers.types import (
    Ack,
    Context,
    DeadLetter,
    Outcome,
    ReceivedEvent,
    RetryAfter,
)
from outbox_operator.errors import CredentialsError, HandlerUnavailableError
from outbox_operator.wire import headers as names
from outbox_operator.wire.config import HttpHandlerConfig

CONNECT_SECONDS: Final = 10.0
DELIVERIES_HEADER: Final = "Outbox-Deliveries"
CONSUMER_HEADER: Final = "Outbox-Consumer"
SIGNATURE_HEADER: Final = "Outbox-Signature"

_SPEC_VERSION: Final = "1.0"
_SECRET_SECONDS: Final = 10.0
_STRUCTURED: Final = "application/cloudevents+json; charset=utf-8"
_EXCERPT_CHARACTERS: Final = 300
_BODY_BYTES: Final = 16 * 1024
_TRANSIENT_4XX: Final = frozenset({401, 403, 404, 407, 408, 409, 425, 429})
"""They blame a login, a route or the moment, and mostly not the event: a rollout that answers 404
for a second must not give up all events of that second."""
_HONOUR_RETRY_AFTER: Final = frozenset({429, 503})
_NOT_FORWARDED: Final = frozenset(
    {
        "host", "content-length", "content-type", "content-encoding", "transfer-encoding",
        "connection", "keep-alive", "te", "trailer", "upgrade", "expect", "proxy-authorization",
        "proxy-connection", "authorization",
    }
)  # fmt: skip
"""Headers that speak about one HTTP hop: an event must not set them for the endpoint."""


def binary_request(event: ReceivedEvent, context: Context) -> tuple[dict[str, str], bytes]:
    """Headers and body in binary mode: attributes as headers, the payload as it is."""
    request = _common_headers(event, context)
    for name, value in _attributes(event).items():
        if name != "datacontenttype":
            request[f"ce-{name}"] = names.encode_value(value)
    request["Content-Type"] = event.content_type
    return request, event.data


def structured_request(event: ReceivedEvent, context: Context) -> tuple[dict[str, str], bytes]:
    """Headers and body in structured mode: one JSON document."""
    document: dict[str, Any] = dict(_attributes(event))
    data = _json_or_none(event)
    if data is None:
        document["data_base64"] = base64.b64encode(event.data).decode()
    request = _common_headers(event, context)
    request["Content-Type"] = _STRUCTURED
    head = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    if data is None:
        return request, head.encode()
    # The payload goes in as it is: decoding it would round numbers and lose their spelling.
    return request, head[:-1].encode() + b',"data":' + data + b"}"


def _json_or_none(event: ReceivedEvent) -> bytes | None:
    if not event.is_json:
        return None
    try:
        event.json()
    except ValueError:
        return None
    return event.data


def _attributes(event: ReceivedEvent) -> dict[str, str]:
    attributes = {
        "specversion": _SPEC_VERSION,
        "id": event.id,
        "type": event.type,
        "source": event.source,
        "time": event.time.isoformat().replace("+00:00", "Z"),
        "datacontenttype": event.content_type,
        "subject": event.subject,
    }
    if event.key:
        attributes["partitionkey"] = event.key
    found = {name.lower(): value for name, value in event.headers.items()}
    for name in (names.TRACEPARENT, names.TRACESTATE):
        if name in found:
            attributes[name] = found[name]
    return attributes


def _common_headers(event: ReceivedEvent, context: Context) -> dict[str, str]:
    """The event's own headers, and what we know of this delivery."""
    return {
        **{
            name: value if value.isascii() and value.isprintable() else names.encode_value(value)
            for name, value in event.headers.items()
            if name.lower() not in _NOT_FORWARDED
            and not name.lower().startswith(names.RESERVED_PREFIXES)
        },
        CONSUMER_HEADER: context.consumer,
        DELIVERIES_HEADER: str(context.deliveries),
    }


def outcome(status: int, retry_after: str | None, body: str, now: dt.datetime) -> Outcome:
    """What an answer means.

    Args:
        status: HTTP status.
        retry_after: The Retry-After header.
        body: Start of the body, for people.
        now: The time, for a Retry-After that is a date.
    """
    if 200 <= status < 300:
        return Ack()
    said = f": {body}" if body else ""
    if 300 <= status < 400:
        return RetryAfter(
            reason=f"answered {status}; redirects are not followed, set the final URL{said}"
        )
    sentence = f"answered {status}{said}"
    if 400 <= status < 500 and status not in _TRANSIENT_4XX:
        return DeadLetter(sentence)
    if status in _HONOUR_RETRY_AFTER:
        return RetryAfter(_delay(retry_after, now), sentence)
    return RetryAfter(reason=sentence)


def _delay(retry_after: str | None, now: dt.datetime) -> float | None:
    """Seconds of a Retry-After header: a number, or a date; None for anything else."""
    if retry_after is None:
        return None
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return max(0.0, (moment - now).total_seconds())


def signature(key: bytes, body: bytes, moment: int) -> str:
    """The value of `SIGNATURE_HEADER`: when it was made, and HMAC-SHA256 over that and the body.

    Args:
        key: What both sides know.
        body: The request's.
        moment: Seconds since 1970; the receiver refuses old ones, so that nobody sends it again.
    """
    digest = hmac.new(key, b"%d." % moment + body, hashlib.sha256).hexdigest()
    return f"t={moment},v1={digest}"


class HttpHandler:
    """POSTs each event to one URL.

    Args:
        config: Where and how.
        connections: Most requests at the same time.
    """

    wants_connection = False
    largest_batch = 1

    def __init__(self, config: HttpHandlerConfig, *, connections: int) -> None:
        self._config = config
        self._connections = connections
        self._request = structured_request if config.mode == "Structured" else binary_request
        self._session: aiohttp.ClientSession | None = None
        self._token = _Secret(config.bearer_token_file, "the bearer token")
        self._key = _Secret(config.signing_key_file, "the signing key")
        self._tls = _trust(config.ca_file)

    @property
    def name(self) -> str:
        """The URL; it holds no credentials."""
        return self._config.url

    def batch(self, event_type: str) -> int:
        """A request carries one event."""
        return 1

    async def start(self) -> None:
        """Nothing to do: connections are made as they are needed."""

    async def handle_batch(
        self, events: Sequence[ReceivedEvent], context: Context
    ) -> Sequence[Outcome]:
        """One request each."""
        return [await self.handle(event, context) for event in events]

    async def handle(self, event: ReceivedEvent, context: Context) -> Outcome:
        """POST the event.

        Raises:
            HandlerUnavailableError: No connection could be made.
            CredentialsError: The file of a Secret cannot be read.
        """
        headers, body = self._request(event, context)
        headers |= self._config.headers
        token, key = self._token.read(), self._key.read()
        if token is not None:
            headers["Authorization"] = f"Bearer {token.decode()}"
        if key is not None:
            headers[SIGNATURE_HEADER] = signature(key, body, int(time.time()))
        limit = self._config.timeout_seconds
        try:
            async with self._open().post(
                self._config.url,
                data=body,
                headers=headers,
                allow_redirects=False,
            ) as response:
                start = await response.content.read(_BODY_BYTES)
                return outcome(
                    response.status,
                    response.headers.get("Retry-After"),
                    " ".join(start.decode(errors="replace").split())[:_EXCERPT_CHARACTERS],
                    dt.datetime.now(dt.UTC),
                )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise HandlerUnavailableError(
                f"handler {self._config.url}: {_describe(error)}"
            ) from error
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
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections, ssl=self._tls),
                timeout=aiohttp.ClientTimeout(
                    total=limit, sock_connect=min(limit, CONNECT_SECONDS)
                ),
                # Events belong to nobody's browser: no cookies are kept between them.
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": "outbox-operator"},
            )
        return self._session


class _Secret:
    """What a file of a Secret holds; the kubelet replaces it when the Secret changes."""

    def __init__(self, path: str | None, what: str) -> None:
        self._path = None if path is None else Path(path)
        self._what = what
        self._value: bytes | None = None
        self._look = 0.0
        self.read()

    def read(self) -> bytes | None:
        """The value, looked at anew every few seconds; None: there is none.

        Raises:
            CredentialsError: It cannot be read; names the file.
        """
        now = time.monotonic()
        if self._path is not None and now >= self._look:
            try:
                self._value = self._path.read_bytes().strip()
            except OSError as error:
                raise CredentialsError(
                    f"file {self._path} with {self._what}: {error.strerror}"
                ) from error
            self._look = now + _SECRET_SECONDS
        return self._value


def _trust(path: str | None) -> ssl.SSLContext | bool:
    """Whom to trust for https: authorities in a file, or those of the system."""
    if path is None:
        return True
    try:
        return ssl.create_default_context(cafile=path)
    except (OSError, ssl.SSLError) as error:
        raise CredentialsError(
            f"file {path} with the authorities of the endpoint: no readable PEM bundle"
        ) from error


def _describe(error: aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError) -> str:
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return "no connection in time"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"the certificate is not trusted: {error.certificate_error}"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "no such host"
    if isinstance(error.os_error, ConnectionRefusedError):
        return "connection refused"
    return error.os_error.strerror or "no connection"
