"""From a stored message to the event a handler sees. Pure.

Messages that our relay wrote carry CloudEvents headers; for any other message each attribute has
a fallback, so that a consumer can read streams that somebody else fills.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Mapping
from typing import Final

from outbox_operator.adapters.postgres.inbox import Record
from outbox_operator.consumer.handlers.types import ReceivedEvent
from outbox_operator.consumer.key_queues import Item
from outbox_operator.wire.headers import (
    CONTENT_TYPE,
    EMISSION,
    EVENT_ID,
    EVENT_KEY,
    EVENT_SOURCE,
    EVENT_TIME,
    EVENT_TYPE,
    MSG_ID,
    REPLAY,
    SHARD,
    decode_value,
    encode_value,
)
from outbox_operator.wire.replay import replayed_id
from outbox_operator.wire.times import parse_time

_STRAY: Final = "\ufffd"
"""Stands for bytes that are no UTF-8."""
_EMISSION_DIGITS: Final = 19
_NO_EMISSION: Final = 2**63
_OCTETS: Final = "application/octet-stream"


def received(
    *,
    subject: str,
    headers: Mapping[str, str],
    data: bytes,
    stream: str,
    sequence: int,
    stored: Callable[[], dt.datetime],
) -> ReceivedEvent:
    """Make the event of a message.

    Args:
        subject: Subject the message is stored under.
        headers: Its headers; names in any case.
        data: Its payload.
        stream: Name of its stream.
        sequence: Its sequence there.
        stored: Returns when the stream stored it; called only if the message does not say.
    """
    get = headers.get
    if EVENT_ID not in headers or EVENT_TYPE not in headers:
        # Somebody else wrote it, and may spell the names in another way.
        found = {name.lower(): value for name, value in headers.items()}
        get = lambda name: found.get(name.lower())  # type: ignore[assignment] # noqa: E731
    decode = decode_value
    return ReceivedEvent(
        id=decode(get(EVENT_ID) or "") or get(MSG_ID) or f"{stream}:{sequence}",
        type=decode(get(EVENT_TYPE) or "") or subject,
        source=decode(get(EVENT_SOURCE) or "") or f"/{stream}",
        key=decode(get(EVENT_KEY) or ""),
        time=parse_time(get(EVENT_TIME)) or stored(),
        subject=subject,
        content_type=get(CONTENT_TYPE) or _OCTETS,
        headers=headers,
        data=data,
    )


def inbox_id(event: ReceivedEvent) -> uuid.UUID:
    """Return the UUID that the inbox has for an event: its id, or one derived from it.

    What a replay sends again has another one: it is new, once.
    """
    event_id = _inbox_id(event)
    replay = event.headers.get(REPLAY)
    return event_id if replay is None else replayed_id(event_id, replay)


def _inbox_id(event: ReceivedEvent) -> uuid.UUID:
    try:
        return uuid.UUID(event.id)
    except ValueError:
        name = event.id
        if _STRAY in name:
            # Ids that differ in such bytes alone look the same, and are not.
            written = (v for k, v in event.headers.items() if k.lower() == EVENT_ID.lower())
            name = encode_value(next(written, name))
        return uuid.uuid5(uuid.NAMESPACE_URL, f"{event.source}#{name}")


def record(item: Item) -> Record:
    """Make what the inbox keeps of a message."""
    event, delivery = item.event, item.delivery
    return Record(
        event_id=inbox_id(event),
        source_topic=event.subject,
        event_type=event.type,
        payload=event.data,
        source=event.source,
        shard=shard(event),
        emission=_emission(delivery.headers.get(EMISSION, "")),
        stored=delivery.when_stored(),
        sequence=delivery.sequence,
        durable=delivery.durable,
    )


def _emission(text: str) -> int | None:
    """Read the number of an event in its shard; None: no relay writes that."""
    if not (len(text) <= _EMISSION_DIGITS and text.isdecimal()):
        return None
    number = int(text)
    return number if number < _NO_EMISSION else None


def shard(event: ReceivedEvent) -> str | None:
    """Return the shard of the outbox an event comes from; None: no outbox of ours."""
    return event.headers.get(SHARD)
