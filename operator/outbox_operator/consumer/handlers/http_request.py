"""What an HTTP request with an event looks like: CloudEvents 1.0, binary or structured. Pure."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from outbox_operator.consumer.handlers.types import Context, ReceivedEvent
from outbox_operator.consumer.handlers.webhook_signature import HEADER_PREFIX
from outbox_operator.wire.headers import (
    REPLAY,
    RESERVED_PREFIXES,
    TRACEPARENT,
    TRACESTATE,
    encode_value,
)
from outbox_operator.wire.times import format_time
from outbox_operator.wire.trace_context import parent_of

DELIVERIES_HEADER: Final = "Outbox-Deliveries"
CONSUMER_HEADER: Final = "Outbox-Consumer"

_SPEC_VERSION: Final = "1.0"
_STRUCTURED: Final = "application/cloudevents+json; charset=utf-8"
_NOT_FORWARDED: Final = frozenset(
    {
        "host", "content-length", "content-type", "content-encoding", "transfer-encoding",
        "connection", "keep-alive", "te", "trailer", "upgrade", "expect", "proxy-authorization",
        "proxy-connection", "authorization", "accept-encoding", TRACEPARENT, TRACESTATE,
    }
)  # fmt: skip
"""Headers that speak about one HTTP hop, or that we set: an event must not set them for the
endpoint."""
_NOT_FORWARDED_PREFIXES: Final = (*RESERVED_PREFIXES, HEADER_PREFIX)
_CONTENT_ENCODING: Final = "content-encoding"
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""What HTTP takes for the name of a header."""
_UTF8: Final = frozenset({"utf-8", "utf8", "us-ascii"})
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")


def binary_request(event: ReceivedEvent, context: Context) -> tuple[dict[str, str], bytes]:
    """Make headers and body in binary mode: attributes as headers, the payload as it is."""
    request = _common_headers(event, context)
    for name, value in _attributes(event).items():
        if name != "datacontenttype":
            request[f"ce-{name}"] = encode_value(value)
    request["Content-Type"] = _sendable(event.content_type)
    encoding = _content_encoding(event)
    if encoding:
        request["Content-Encoding"] = _sendable(encoding)
    return request, event.data


def structured_request(event: ReceivedEvent, context: Context) -> tuple[dict[str, str], bytes]:
    """Make headers and body in structured mode: one JSON document."""
    document: dict[str, Any] = dict(_attributes(event))
    encoding = _content_encoding(event)
    if encoding:
        # Of the payload, not of the request: an attribute of ours tells it.
        document["contentencoding"] = encoding
    data = None if encoding else _json_or_none(event)
    if data is None:
        document["data_base64"] = base64.b64encode(event.data).decode()
    request = _common_headers(event, context)
    request["Content-Type"] = _STRUCTURED
    head = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    if not _is_unicode(head):
        head = head.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if data is None:
        return request, head.encode()
    # The payload goes in as it is: decoding it would round numbers and lose their spelling.
    return request, head[:-1].encode() + b',"data":' + data + b"}"


def _json_or_none(event: ReceivedEvent) -> bytes | None:
    """Return the payload if it may stand in a JSON document as it is: RFC 8259, in UTF-8.

    Numbers like NaN, a byte order mark, and halves of surrogate pairs, which many parsers refuse
    together with all that stands around them, may not; nor may what is nested too deeply to be
    looked at. Names that occur twice in an object are allowed.
    """
    if not (event.is_json and _charset(event.content_type) in _UTF8):
        return None
    try:
        # Numbers stay text: a long one is allowed, and takes its time to become one.
        value = json.loads(
            event.data.decode(), parse_constant=_refuse, parse_int=str, parse_float=str
        )
    except (ValueError, RecursionError):
        return None
    if _SURROGATE.search(event.data) and not _is_unicode(json.dumps(value, ensure_ascii=False)):
        return None
    return event.data


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _charset(content_type: str) -> str:
    for parameter in content_type.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip('"').lower()
    return "utf-8"


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _content_encoding(event: ReceivedEvent) -> str | None:
    """Return how the payload is encoded, if the event says so."""
    for name, value in event.headers.items():
        if len(name) == len(_CONTENT_ENCODING) and name.lower() == _CONTENT_ENCODING:
            return value
    return None


def _attributes(event: ReceivedEvent) -> dict[str, str]:
    attributes = {
        "specversion": _SPEC_VERSION,
        "id": event.id,
        "type": event.type,
        "source": event.source,
        "time": format_time(event.time),
        "datacontenttype": event.content_type,
        "subject": event.subject,
    }
    if event.key:
        attributes["partitionkey"] = event.key
    attributes.update(_producer(event))
    return attributes


def _producer(event: ReceivedEvent) -> Mapping[str, str]:
    """Return the headers that name the producer's span; what is malformed is not handed on."""
    parent = parent_of(event.headers)
    return {} if parent is None else parent.headers


def _common_headers(event: ReceivedEvent, context: Context) -> dict[str, str]:
    """Return the event's own headers, and what we know of this delivery."""
    return {
        **{name: _sendable(value) for name, value in event.headers.items() if _is_forwarded(name)},
        **(_producer(event) if context._span is None else context._span),
        **({REPLAY: replay} if (replay := event.headers.get(REPLAY)) is not None else {}),
        CONSUMER_HEADER: context.consumer,
        DELIVERIES_HEADER: str(context.deliveries),
    }


@lru_cache(maxsize=1024)
def _is_forwarded(name: str) -> bool:
    """Whether a header of the event goes on; of every event, and nearly all have the same."""
    lowered = name.lower()
    return (
        lowered not in _NOT_FORWARDED
        and not lowered.startswith(_NOT_FORWARDED_PREFIXES)
        and _NAME.fullmatch(name) is not None
    )


def _sendable(value: str) -> str:
    return value if value.isascii() and value.isprintable() else encode_value(value)


def with_fixed(headers: Mapping[str, str], fixed: Mapping[str, str]) -> dict[str, str]:
    """Return headers with fixed ones, which an event cannot add to by spelling them otherwise."""
    names = {name.lower() for name in fixed}
    kept = {name: value for name, value in headers.items() if name.lower() not in names}
    return {**kept, **fixed}
