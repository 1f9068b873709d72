"""From a stored message to the event a handler sees. Pure.

Messages that our relay wrote carry CloudEvents headers; for any other message each attribute has
a fallback, so that a consumer can read streams that somebody else fills.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping
from typing import Final

from outbox_operator.consumer.handler import ReceivedEvent
from outbox_operator.wire import headers as names

_OCTETS: Final = "application/octet-stream"


def received(
    *,
    subject: str,
    headers: Mapping[str, str],
    data: bytes,
    stream: str,
    sequence: int,
    stored: dt.datetime,
) -> ReceivedEvent:
    """The event in a message.

    Args:
        subject: Subject the message is stored under.
        headers: Its headers; names in any case.
        data: Its payload.
        stream: Name of its stream.
        sequence: Its sequence there.
        stored: When the stream took it.
    """
    found = {name.lower(): value for name, value in headers.items()}

    def attribute(name: str, default: str) -> str:
        return names.decode_value(found.get(name.lower(), "")) or default

    return ReceivedEvent(
        id=attribute(names.EVENT_ID, found.get(names.MSG_ID.lower()) or f"{stream}:{sequence}"),
        type=attribute(names.EVENT_TYPE, subject),
        source=attribute(names.EVENT_SOURCE, f"/{stream}"),
        key=attribute(names.EVENT_KEY, ""),
        time=_time(found.get(names.EVENT_TIME.lower())) or stored,
        subject=subject,
        content_type=found.get(names.CONTENT_TYPE.lower()) or _OCTETS,
        headers=headers,
        data=data,
    )


def inbox_id(event: ReceivedEvent) -> uuid.UUID:
    """The UUID under which the inbox remembers an event: its id, or one derived from it."""
    try:
        return uuid.UUID(event.id)
    except ValueError:
        return uuid.uuid5(uuid.NAMESPACE_URL, f"{event.source}#{event.id}")


def _time(text: str | None) -> dt.datetime | None:
    if text is None:
        return None
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
