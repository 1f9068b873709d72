"""From events to rows: everything that can be wrong with an event is found here. Pure.

Called by `client.outbox` and `client.sync_outbox` before they touch the connection, so that a
refused event leaves the caller's transaction as it was.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Literal, NamedTuple, get_args

from outbox_operator.client import declaring, encoding, tracing
from outbox_operator.errors import EventError, SpecError
from outbox_operator.wire import subjects
from outbox_operator.wire.declared import declared
from outbox_operator.wire.event import Event, is_dotted_name, shown
from outbox_operator.wire.headers import MAX_HEADER_BYTES, ROOM_FOR_OURS, encode_value

DEFAULT_MAX_BYTES: Final = 1_000_000
"""A little under the 1 MiB that nats-server takes by default, headers included."""

_BYTES_PER_CHARACTER: Final = 12
"""Of a subject, at most: four bytes of UTF-8, percent-encoded."""
_FEW_HEADERS: Final = 4096
"""Characters of headers that fit whatever they are."""

PayloadType = Literal["jsonb", "bytea"]


class Row(NamedTuple):
    """Values of `wire.tables.WRITABLE_COLUMNS`, in that order, as every driver takes them."""

    event_id: str
    event_type: str
    partition_key: str
    routing_key: str | None
    payload: str | bytes
    headers: str

    @property
    def size(self) -> int:
        """Bytes of payload and headers, roughly."""
        return len(self.payload) + len(self.headers)


def listed(events: Iterable[Event]) -> list[Event]:
    """Events that are to be written together. Raises EventError where they are not several."""
    if isinstance(events, Iterable):
        return list(events)
    raise EventError(
        f"wanted several events, in a list or another iterable, found {type(events).__name__}; "
        "one alone is written by add"
    )


class RowMaker:
    """Makes rows of the events of one pipeline.

    Args:
        payload_type: Its `outbox.payloadType`.
        max_bytes: Most bytes of payload and headers of an event together.
        catalog: Declared events; any other is refused. None: all are taken, and declared ones
            checked.

    Raises:
        SpecError: There is no such payload type; the catalog is none, or payloads are bytes.
    """

    def __init__(
        self,
        payload_type: PayloadType,
        max_bytes: int,
        catalog: declaring.Catalog | None = None,
    ) -> None:
        if payload_type not in get_args(PayloadType):
            wanted = " or ".join(get_args(PayloadType))
            raise SpecError(f"payload_type: wanted {wanted}, found {shown(payload_type)!r}")
        self._payload_type = payload_type
        self._max_bytes = max_bytes
        self._known = None if catalog is None else declaring.collect(catalog)
        if self._known is not None and payload_type != "jsonb":
            raise SpecError("catalog: declared events are JSON; this outbox has payload_type bytea")

    def many(self, events: Iterable[Event], trace: Mapping[str, str] | None = None) -> list[Row]:
        """The rows of several events.

        Args:
            trace: Headers of the trace that they belong to.

        Raises:
            EventError: One of them cannot be stored or published; names its index and field.
        """
        return [self.one(event, trace, f"events[{index}]: ") for index, event in enumerate(events)]

    def one(self, event: Event, trace: Mapping[str, str] | None = None, place: str = "") -> Row:
        """The row of an event.

        Args:
            trace: Headers of the trace that it belongs to, unless it says so itself.
            place: Put before messages.

        Raises:
            EventError: It cannot be stored or published; names the field.
        """
        if not isinstance(event, Event):
            raise EventError(f"{place}{_no_event(event)}")
        event_id = str(event.id)
        where = f"{place}event {event_id} ({shown(event.type)})"
        if not isinstance(event.id, uuid.UUID):
            raise EventError(f"{where}: id is {type(event.id).__name__}, wanted uuid.UUID")
        own = tracing.with_trace(event.headers, trace)
        headers = encoding.to_json(where, "headers", own) if own else "{}"
        payload = self._payload(where, event.payload)
        if self._known is not None or declared(type(event.payload)) is not None:
            declaring.check(where, event, str(payload), self._known)
        most = len(payload) * encoding.MOST_JSONB_BYTES_EACH + len(headers) * _BYTES_PER_CHARACTER
        if most > self._max_bytes or len(headers) > _FEW_HEADERS:
            self._check_size(where, event, own, payload)
        return Row(
            event_id=event_id,
            event_type=_subject_part(where, "type", event.type, subjects.escape_tokens),
            partition_key=_subject_part(where, "key", event.key, subjects.escape_token),
            routing_key=_routing_key(where, event.routing_key),
            payload=payload,
            headers=headers,
        )

    def _check_size(
        self, where: str, event: Event, own: Mapping[str, str], payload: str | bytes
    ) -> None:
        """Refuse what is too large as the relay will measure it.

        Raises:
            EventError: It is.
        """
        head = sum(len(name) + len(value.encode()) + 4 for name, value in own.items())
        room = MAX_HEADER_BYTES - ROOM_FOR_OURS
        room -= len(encode_value(str(event.type))) + len(encode_value(str(event.key)))
        if head > room:
            raise EventError(
                f"{where}: headers are {head} bytes, at most {room} are allowed; put the data "
                "into the payload"
            )
        if isinstance(payload, str):
            size, measured = encoding.jsonb_bytes(payload, self._max_bytes - head), " of jsonb text"
        else:
            size, measured = len(payload), ""
        size += head
        if size > self._max_bytes:
            raise EventError(
                f"{where}: payload and headers are {size} bytes{measured}, at most "
                f"{self._max_bytes} are allowed; store the data elsewhere and send a reference"
            )

    def _payload(self, where: str, payload: object) -> str | bytes:
        if self._payload_type == "jsonb":
            return encoding.to_json(where, "payload", payload)
        if isinstance(payload, bytes | bytearray | memoryview):
            return bytes(payload)
        raise EventError(
            f"{where}: payload is {type(payload).__name__}, wanted bytes because payload_type is "
            "bytea"
        )


def _no_event(given: object) -> str:
    kind = type(given)
    form = "Event.of(…)" if declared(kind) else "Event(type=…, key=…, payload=…)"
    return f"wanted an Event behind the connection, found {kind.__name__}; write {form}"


def _text(where: str, field: str, value: object) -> str:
    if not isinstance(value, str):
        raise EventError(f"{where}: {field} is {type(value).__name__}, wanted text")
    if not value.isascii() or "\x00" in value:
        encoding.to_json(where, field, value)  # refuses what a text column cannot hold
    return value


def _subject_part(where: str, field: str, value: object, escape: Callable[[str], str]) -> str:
    text = _text(where, field, value)
    if len(text) * _BYTES_PER_CHARACTER <= subjects.MAX_SUBJECT_BYTES:
        return text
    found = len(escape(text))
    if found > subjects.MAX_SUBJECT_BYTES:
        raise EventError(
            f"{where}: {field} takes {found} bytes of the subject, which may have "
            f"{subjects.MAX_SUBJECT_BYTES}; use a shorter name"
        )
    return text


def _routing_key(where: str, value: str | None) -> str | None:
    if value is None:
        return None
    text = _subject_part(where, "routing_key", value, subjects.escape_tokens)
    if text == "":
        raise EventError(f"{where}: routing_key is empty; leave it out to use the event type")
    if not is_dotted_name(text):
        raise EventError(
            f"{where}: routing_key {shown(text)!r} is not a dotted name (no spaces, wildcards or "
            "empty parts), for example 'eu.order.created'"
        )
    return text
