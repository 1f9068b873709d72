"""One event as a line of JSON: how `outbox emit` hands it to the pod that writes it. Pure."""

from __future__ import annotations

import base64
import json
import uuid
from decimal import Decimal
from typing import Any, Final

from outbox_operator.errors import EventError, SpecError
from outbox_operator.wire.event import Event

MOST_BYTES: Final = 16 * 1024 * 1024
"""Of a line, and of a payload as it is given; what may be stored is far less, and checked."""


def payload(given: bytes, payload_type: str) -> object:
    """The payload of an event, of what a person gave.

    Args:
        given: JSON text, or with `bytea` the bytes as they are.
        payload_type: `outbox.payloadType` of the pipeline.

    Raises:
        SpecError: It is no JSON, or holds a number that a float cannot.
    """
    if len(given) > MOST_BYTES:
        raise SpecError(f"the payload has over {MOST_BYTES} bytes")
    if payload_type == "bytea":
        return given
    try:
        return json.loads(given, parse_float=_number)
    except (ValueError, RecursionError) as error:
        raise SpecError(f"the payload is not JSON: {error}") from error


def _number(text: str) -> float:
    found = float(text)
    if Decimal(text) != Decimal(repr(found)):  # it would be stored as another number
        raise SpecError(
            f"the payload holds the number {text[:60]}, which a float rounds to {found!r}; write "
            "it as text, in quotes"
        )
    return found


def encode(event: Event) -> bytes:
    """The line, with its end."""
    said: dict[str, Any] = {"id": str(event.id), "type": event.type, "key": event.key}
    if event.headers:
        said["headers"] = dict(event.headers)
    if event.routing_key is not None:
        said["routingKey"] = event.routing_key
    if isinstance(event.payload, bytes):
        said["payloadBase64"] = base64.b64encode(event.payload).decode()
    else:
        said["payload"] = event.payload
    return json.dumps(said).encode() + b"\n"


def decode(line: bytes) -> Event:
    """The event of a line.

    Raises:
        SpecError: It is none of `encode`, or not all of one.
        EventError: It is no event that may be written.
    """
    if not line.endswith(b"\n"):
        raise SpecError("standard input ended before the event did: wanted one line of JSON")
    try:
        said = json.loads(line)
        encoded = said.get("payloadBase64")
        return Event(
            id=uuid.UUID(said["id"]),
            type=said["type"],
            key=said["key"],
            headers=said.get("headers", {}),
            routing_key=said.get("routingKey"),
            payload=said["payload"] if encoded is None else base64.b64decode(encoded),
        )
    except EventError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SpecError(
            f"standard input holds no event of `outbox emit` ({type(error).__name__})"
        ) from None
