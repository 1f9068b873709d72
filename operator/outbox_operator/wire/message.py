"""Subject and headers of an event's message. Pure.

The relay writes them for every row, the library when it publishes an event itself; the relay adds
what only it knows: position, shard and number of emission.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Final, NamedTuple

from outbox_operator.wire import headers
from outbox_operator.wire.subjects import SubjectTemplate
from outbox_operator.wire.times import format_time

CONTENT_TYPES: Final = {"jsonb": "application/json", "bytea": "application/octet-stream"}
"""By `payloadType`."""
SPEC_VERSION: Final = "1.0"
"""Of CloudEvents."""


class Place(NamedTuple):
    """Where an event is in its outbox.

    Attributes:
        shard: Number of the shard.
        position: Of the row.
        emission: Number of the event among those of the shard that were published.
    """

    shard: int
    position: int
    emission: int


def event_time(moment: dt.datetime) -> str:
    """Value of `Ce-Time`."""
    return format_time(moment, "microseconds")


def event_source(namespace: str, pipeline: str) -> str:
    """Value of `Ce-Source`."""
    return headers.encode_value(f"/{namespace}/{pipeline}")


def event_subject(
    template: SubjectTemplate,
    *,
    event_type: str,
    partition_key: str,
    routing_key: str | None,
    schema: str,
) -> str:
    """The subject of an event; the template must not hold `{shard}`."""
    # A routing key stands in for the type wherever the template uses it.
    name = routing_key or event_type
    return template.render(
        {
            "event_type": name,
            "partition_key": partition_key,
            "routing_key": name,
            "schema": schema,
        }
    )


def event_head(
    *,
    event_id: str,
    event_type: str,
    partition_key: str,
    source: str,
    time: str,
    content_type: str,
    place: Place | None = None,
    mark: str = "",
) -> str:
    """The headers of an event but those of the application, as lines that end in CRLF.

    The message id, CloudEvents in binary mode, and the place in the outbox.

    Args:
        source: As `event_source` makes it.
        time: As `event_time` makes it.
        place: Where it is in its outbox; None: whoever publishes it does not know.
        mark: Put behind the event's id to make the message id.
    """
    shard = number = key = ""
    if place is not None:
        shard = f"{headers.SHARD}: {place[0]}\r\n"
        number = f"{headers.POSITION}: {place[1]}\r\n{headers.EMISSION}: {place[2]}\r\n"
    if partition_key:
        key = f"{headers.EVENT_KEY}: {headers.encode_value(partition_key)}\r\n"
    return (
        f"{headers.MSG_ID}: {event_id}{mark}\r\n"
        f"{headers.EVENT_SPEC_VERSION}: {SPEC_VERSION}\r\n"
        f"{headers.EVENT_SOURCE}: {source}\r\n"
        f"{shard}"
        f"{headers.CONTENT_TYPE}: {content_type}\r\n"
        f"{headers.EVENT_TYPE}: {headers.encode_value(event_type)}\r\n"
        f"{headers.EVENT_ID}: {event_id}\r\n"
        f"{headers.EVENT_TIME}: {time}\r\n"
        f"{key}{number}"
    )


def event_headers(
    *,
    event_id: str,
    event_type: str,
    partition_key: str,
    source: str,
    time: str,
    content_type: str,
    own: Mapping[str, str],
) -> dict[str, str]:
    """The headers of an event that is not published by a relay, with the application's.

    Args:
        source: As `event_source` makes it.
        time: As `event_time` makes it.
        own: Headers the application gave; only its content type replaces one of ours.
    """
    ours = event_head(
        event_id=event_id,
        event_type=event_type,
        partition_key=partition_key,
        source=source,
        time=time,
        content_type=content_type,
    )
    found = dict(line.split(": ", 1) for line in ours.split("\r\n") if line)
    for name, value in own.items():
        if name.lower() == headers.CONTENT_TYPE.lower():
            found[headers.CONTENT_TYPE] = value
        else:
            found[name] = value
    return found
