"""What an HTTP request with an event looks like: CloudEvents 1.0, binary or structured. Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any, Final

from outbox_operator.consumer.handlers.types import Context, ReceivedEvent
from outbox_operator.wire.headers import (
    RESERVED_PREFIXES,
    TRACEPARENT,
    TRACESTATE,
    encode_value,
)
from outbox_operator.wire.times import format_time

DELIVERIES_HEADER: Final = "Outbox-Deliveries"
CONSUMER_HEADER: Final = "Outbox-Consumer"
SIGNATURE_HEADER: Final = "Outbox-Signature"

_SPEC_VERSION: Final = "1.0"
_STRUCTURED: Final = "application/cloudevents+json; charset=utf-8"
_NOT_FORWARDED: Final = frozenset(
    {
        "host", "content-length", "content-type", "content-encoding", "transfer-encoding",
        "connection", "keep-alive", "te", "trailer", "upgrade", "expect", "proxy-authorization",
        "proxy-connection", "authorization",
    }
)  # fmt: skip
"""Headers that speak about one HTTP hop: an event must not set them for the endpoint."""


def binary_request(event: ReceivedEvent, context: Context) -> tuple[dict[str, str], bytes]:
    """Make headers and body in binary mode: attributes as headers, the payload as it is."""
    request = _common_headers(event, context)
    for name, value in _attributes(event).items():
        if name != "datacontenttype":
            request[f"ce-{name}"] = encode_value(value)
    request["Content-Type"] = event.content_type
    return request, event.data


def structured_request(event: ReceivedEvent, context: Context) -> tuple[dict[str, str], bytes]:
    """Make headers and body in structured mode: one JSON document."""
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
        "time": format_time(event.time),
        "datacontenttype": event.content_type,
        "subject": event.subject,
    }
    if event.key:
        attributes["partitionkey"] = event.key
    found = {name.lower(): value for name, value in event.headers.items()}
    for name in (TRACEPARENT, TRACESTATE):
        if name in found:
            attributes[name] = found[name]
    return attributes


def _common_headers(event: ReceivedEvent, context: Context) -> dict[str, str]:
    """Return the event's own headers, and what we know of this delivery."""
    return {
        **{
            name: value if value.isascii() and value.isprintable() else encode_value(value)
            for name, value in event.headers.items()
            if name.lower() not in _NOT_FORWARDED and not name.lower().startswith(RESERVED_PREFIXES)
        },
        CONSUMER_HEADER: context.consumer,
        DELIVERIES_HEADER: str(context.deliveries),
    }


def signature(key: bytes, body: bytes, moment: int) -> str:
    """Make the value of `SIGNATURE_HEADER`: the time, and HMAC-SHA256 over it and the body.

    Args:
        key: What both sides know.
        body: The request's.
        moment: Seconds since 1970; the receiver refuses old ones, so that nobody sends it again.
    """
    digest = hmac.new(key, b"%d." % moment + body, hashlib.sha256).hexdigest()
    return f"t={moment},v1={digest}"
