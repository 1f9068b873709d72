"""One event as a line of JSON: how `outbox emit` hands it to the pod that writes it. Pure."""

from __future__ import annotations

import base64
import json
import uuid
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from outbox_operator.errors import EventError, SpecError
from outbox_operator.wire.event import Event

MOST_BYTES: Final = 16 * 1024 * 1024
"""Of a line, and of a payload as it is given; what may be stored is far less, and checked."""
MOST_LEVELS: Final = 200
"""Of lists and objects within each other: Python reads a few hundred, and how many depends."""
_MOST_DIGITS: Final = 4000
"""Of a whole number: Python converts few more, and its readers would stumble."""
_LONGEST_SHOWN: Final = 60


def payload(given: bytes, payload_type: str) -> object:
    """The payload of an event, of what a person gave.

    Args:
        given: JSON text, or with `bytea` the bytes as they are.
        payload_type: `outbox.payloadType` of the pipeline.

    Raises:
        SpecError: It is no JSON, or would be stored as something else: it holds a number that a
            float cannot, or a name twice in one object.
    """
    if len(given) > MOST_BYTES:
        raise SpecError(f"the payload has over {MOST_BYTES} bytes")
    if payload_type == "bytea":
        return given
    try:
        return _loaded(given, MOST_LEVELS)
    except RecursionError:
        raise SpecError(_TOO_DEEP) from None
    except ValueError as error:
        raise SpecError(f"the payload is not JSON: {error}") from error


_TOO_DEEP: Final = f"the payload is nested more than {MOST_LEVELS} levels deep"


def _loaded(text: bytes, most_levels: int) -> Any:
    """JSON, with nothing of it lost or changed without a word."""
    found = json.loads(
        text, parse_float=_number, parse_int=_whole, parse_constant=_no_number,
        object_pairs_hook=_object,
    )  # fmt: skip
    level = list(_nested([found]))
    for _ in range(most_levels):
        level = [inner for one in level for inner in _nested(one)]
    if level:
        raise SpecError(_TOO_DEEP)
    return found


def _nested(value: Any) -> Iterator[Any]:
    """The lists and objects that stand in one."""
    inner = value.values() if isinstance(value, dict) else value
    return (one for one in inner if isinstance(one, dict | list))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        [(twice, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise SpecError(
            f"the payload holds the name {twice[:_LONGEST_SHOWN]!r} twice in one object, of which "
            "one value would be lost"
        )
    return found


def _number(text: str) -> float:
    found = float(text)
    try:
        same = Decimal(text) == Decimal(repr(found))
    except InvalidOperation:  # an exponent beyond all that is counted
        same = False
    if not same:  # it would be stored as another number
        raise SpecError(
            f"the payload holds the number {text[:_LONGEST_SHOWN]}, which a float rounds to "
            f"{found!r}; write it as text, in quotes"
        )
    return found


def _whole(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise SpecError(
            f"the payload holds a number of {len(text)} digits, at most {_MOST_DIGITS} are "
            "allowed; write it as text, in quotes"
        )
    return int(text)


def _no_number(text: str) -> Any:
    raise SpecError(f"the payload is not JSON: it holds {text}, which JSON has no number for")


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
        said = _loaded(line, MOST_LEVELS + 1)  # it holds the payload
        encoded = said.get("payloadBase64")
        return Event(
            id=uuid.UUID(said["id"]),
            type=said["type"],
            key=said["key"],
            headers=said.get("headers", {}),
            routing_key=said.get("routingKey"),
            payload=said["payload"] if encoded is None else base64.b64decode(encoded),
        )
    except (EventError, SpecError):
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SpecError(
            f"standard input holds no event of `outbox emit` ({type(error).__name__})"
        ) from None
