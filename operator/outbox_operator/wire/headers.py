"""Names of message headers, and what each carries. Used by relay, consumer runtime and library."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

MSG_ID: Final = "Nats-Msg-Id"
"""JetStream's de-duplication key: the event's id. Messages of which no second copy can come have
none, see `relay.stream`; readers take `EVENT_ID`."""

EXPECTED_STREAM: Final = "Nats-Expected-Stream"
"""The server refuses the message if another stream than this one takes its subject."""

EVENT_ID: Final = "Ce-Id"
EVENT_TYPE: Final = "Ce-Type"
EVENT_SOURCE: Final = "Ce-Source"
EVENT_TIME: Final = "Ce-Time"
EVENT_SPEC_VERSION: Final = "Ce-Specversion"
EVENT_KEY: Final = "Ce-Partitionkey"
CONTENT_TYPE: Final = "Content-Type"

POSITION: Final = "Outbox-Position"
"""`position` of the row in the outbox table."""
EMISSION: Final = "Outbox-Emission"
"""Number of the event within its shard: only grows in stream order, and may jump."""
PREDECESSOR: Final = "Outbox-Predecessor"
"""Where numbers jump: number of an event of the shard that the stream is known to have taken. None
of those between it and this one is missing; messages without it follow the number before theirs."""
REACHED: Final = "Outbox-Reached"
"""Where positions begin anew: the largest position of the shard's rows that were sent before, which
is above this one's. Messages without it are of the row furthest on so far."""
SHARD: Final = "Outbox-Shard"

REPLAY: Final = "Outbox-Replay"
"""Name of the replay that sent an event of the past again; other messages have none."""
REPLAY_TO: Final = "Outbox-Replay-To"
"""The only durable consumer that is to handle it."""

DELIVER_AFTER: Final = "Deliver-After"
"""When the event is to be handled at the earliest, RFC 3339. The application's own header, which
consumers of our runtime keep to."""
LONGEST_DELAY: Final = dt.timedelta(days=7)
"""From when the event was written. Nobody parks a shard for ever."""

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"

DEAD_LETTER_REASON: Final = "Outbox-Dead-Letter-Reason"
DEAD_LETTER_ERROR: Final = "Outbox-Dead-Letter-Error"
DEAD_LETTER_DELIVERIES: Final = "Outbox-Dead-Letter-Deliveries"
DEAD_LETTER_STREAM: Final = "Outbox-Dead-Letter-Stream"
DEAD_LETTER_SEQUENCE: Final = "Outbox-Dead-Letter-Sequence"
DEAD_LETTER_SUBJECT: Final = "Outbox-Dead-Letter-Subject"
DEAD_LETTER_CONSUMER: Final = "Outbox-Dead-Letter-Consumer"
DEAD_LETTER_TIME: Final = "Outbox-Dead-Letter-Time"

RESERVED_PREFIXES: Final = ("nats-", "outbox-", "ce-")
"""Lower-cased prefixes an application may not set in `headers` of an event."""
RESERVED_NAMES: Final = ("status", "description")
"""Nor these: to clients of NATS a message with them is the server's word about a request, and
many of them cannot fetch it."""

MAX_HEADER_BYTES: Final = 65535
"""Of a message: JetStream stores the length of its headers in two bytes."""
ROOM_FOR_OURS: Final = 2048
"""Bytes of headers the relay adds at most, besides type and key: the source, numbers, the fence."""

_ENCODED: Final = re.compile(r"[^\x21\x23\x24\x26-\x7e]")


def fence_lines(subject: str, sequence: int) -> str:
    """Return the headers that make JetStream check that a message is the last on subjects.

    Args:
        subject: Their filter.
        sequence: Of the message, 0 when there is none.

    Returns:
        Lines, each of whose characters is a byte.
    """
    named = subject.encode().decode("latin-1")
    return (
        f"Nats-Expected-Last-Subject-Sequence: {sequence}\r\n"
        f"Nats-Expected-Last-Subject-Sequence-Subject: {named}\r\n"
    )


def block_bytes(headers: Mapping[str, str]) -> int:
    """Size of the header block of a message: what limits on sizes count besides the payload."""
    return (
        0
        if not headers
        else 12
        + sum(len(name.encode()) + len(value.encode()) + 4 for name, value in headers.items())
    )


def encode_value(text: str) -> str:
    """A CloudEvents attribute as a header value: percent-encoded as its HTTP binding says.

    Spaces, double quotes, percent signs, control and non-ASCII characters are encoded, so any
    text survives; `decode_value` undoes it.
    """
    if _ENCODED.search(text) is None:  # nearly all
        return text
    return _ENCODED.sub(
        lambda m: "".join(f"%{byte:02X}" for byte in m.group().encode("utf-8", "surrogateescape")),
        text,
    )


def decode_value(value: str) -> str:
    """Undo `encode_value`; bytes that are no UTF-8 become U+FFFD."""
    if "%" in value:
        value = unquote(value)
    return value if value.isascii() else without_strays(value)


def without_strays(value: str) -> str:
    """Put U+FFFD for bytes that are no UTF-8, which the reader of headers keeps as they are."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
