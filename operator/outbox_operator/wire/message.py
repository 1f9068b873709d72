"""Subject and headers of an event's message, as far as they follow from the event alone. Pure.

The library uses them when it publishes an event itself. The relay writes the same, and adds what
only it knows: position, shard and number of emission.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Final

from outbox_operator.wire import headers as names
from outbox_operator.wire.subjects import SubjectTemplate
from outbox_operator.wire.times import format_time

CONTENT_TYPES: Final = {"jsonb": "application/json", "bytea": "application/octet-stream"}
"""By `payloadType`."""


def event_source(namespace: str, pipeline: str) -> str:
    """Value of `Ce-Source`."""
    return names.encode_value(f"/{namespace}/{pipeline}")


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


def event_headers(
    *,
    event_id: str,
    event_type: str,
    partition_key: str,
    source: str,
    time: dt.datetime,
    content_type: str,
    own: Mapping[str, str],
) -> dict[str, str]:
    """The headers of an event: CloudEvents in binary mode, the message id, and the application's.

    Args:
        source: As `event_source` makes it.
        time: Aware, UTC.
        own: Headers the application gave; only its content type replaces one of ours.
    """
    headers = {
        names.MSG_ID: event_id,
        names.EVENT_SPEC_VERSION: "1.0",
        names.EVENT_ID: event_id,
        names.EVENT_TYPE: names.encode_value(event_type),
        names.EVENT_SOURCE: source,
        names.EVENT_TIME: format_time(time),
        names.CONTENT_TYPE: content_type,
    }
    if partition_key:
        headers[names.EVENT_KEY] = names.encode_value(partition_key)
    for name, value in own.items():
        if name.lower() == names.CONTENT_TYPE.lower():
            headers[names.CONTENT_TYPE] = value
        else:
            headers[name] = value
    return headers
