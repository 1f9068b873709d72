"""The message that a row must become: subject and headers, written down a second time. Pure.

Called by `delivery.verdict`. Deliberately shares nothing with the relay: where the two differ, one
of them is wrong. The rules are those of docs/reference/headers.md and of the subject templates.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import string
from dataclasses import dataclass
from typing import Final

_TOKEN_BYTES: Final = frozenset(
    (string.ascii_letters + string.digits + "_-=@:/+!$#,;|~^()[]&'\"?").encode()
)
_TRANSPORT: Final = (
    "Nats-Expected-", "Nats-Batch-",
    # What the server adds to copies.
    "Nats-Stream", "Nats-Sequence", "Nats-Time-Stamp", "Nats-Subject", "Nats-Last-Sequence",
)  # fmt: skip
"""Headers of the way a message was sent; they say nothing about the event."""
_ELSEWHERE: Final = (
    "Nats-Msg-Id",
    "Ce-Time",
    "Outbox-Emission",
    "Outbox-Predecessor",
    "Outbox-Reached",
)
"""Headers that are compared otherwise."""
_RFC_3339: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


@dataclass(frozen=True, slots=True)
class Row:
    """A committed row of the outbox table, and its entry in the ledger.

    Attributes:
        payload: `bytea` as it is, `jsonb` as PostgreSQL writes it, in UTF-8.
        headers: JSON text.
        created_at: When the event happened.
        version: Place among the committed events of the key, from 1; None: not in the ledger.
        replay: Of a copy, the replay that has written it.
    """

    position: int
    shard: int
    event_id: str
    event_type: str
    key: str
    routing_key: str | None
    payload: bytes
    headers: str
    created_at: dt.datetime
    version: int | None
    replay: str = ""

    @property
    def message_id(self) -> str:
        """What tells its message from all others."""
        return f"{self.event_id}:{self.replay}" if self.replay else self.event_id


@dataclass(frozen=True, slots=True)
class Stored:
    """A message as the stream has it, undecoded."""

    sequence: int
    subject: str
    headers: tuple[tuple[str, str], ...]
    payload: bytes

    @property
    def event(self) -> str:
        """What tells it from all others, as `Row.message_id`."""
        replay = self.header("Outbox-Replay")
        return f"{self.header('Ce-Id')}:{replay}" if replay else self.header("Ce-Id")

    def header(self, name: str) -> str:
        """Value of a header, '' when it has none."""
        return next((value for found, value in self.headers if found == name), "")


@dataclass(frozen=True, slots=True)
class Form:
    """What a pipeline's configuration decides about its messages.

    Attributes:
        subject: Template with `{event_type}` and perhaps `{shard}`.
        source: `Ce-Source`.
        content_type: Unless the event says otherwise.
        ids: Whether each has to have a message id; else it may.
    """

    subject: str
    source: str
    content_type: str
    ids: bool = True


def subject_of(row: Row, form: Form) -> str:
    """The subject that a row's message must have."""
    hierarchy = ".".join(map(_token, (row.routing_key or row.event_type).split(".")))
    subject = form.subject.replace("{shard}", str(row.shard)).replace("{event_type}", hierarchy)
    return subject.replace("{partition_key}", _token(row.key))


def differences(row: Row, message: Stored, form: Form) -> list[str]:
    """How a message differs from what its row must become; empty when it is right."""
    found = []
    subject = subject_of(row, form)
    if message.subject != subject:
        found.append(f"subject: wanted {subject!r}, found {message.subject!r}")
    if message.payload != row.payload:
        found.append(f"payload: wanted {row.payload[:80]!r}, found {message.payload[:80]!r}")
    time = message.header("Ce-Time")
    if not _RFC_3339.fullmatch(time) or dt.datetime.fromisoformat(time) != row.created_at:
        found.append(f"Ce-Time: wanted {row.created_at.isoformat()}, found {time!r}")
    wanted = _headers(row, form)
    ids = [value for name, value in message.headers if name == "Nats-Msg-Id"]
    if ids != [row.message_id] and (ids or form.ids):
        found.append(f"Nats-Msg-Id: wanted {row.message_id!r}, found {ids}")
    ours = [
        pair
        for pair in message.headers
        if not pair[0].startswith(_TRANSPORT) and pair[0] not in _ELSEWHERE
    ]
    found += [f"header missing: {pair}" for pair in wanted if pair not in ours]
    found += [f"header not expected: {pair}" for pair in ours if pair not in wanted]
    if not found and len(ours) != len(wanted):
        found.append(f"headers: one is there twice: {ours}")
    return found


def _headers(row: Row, form: Form) -> list[tuple[str, str]]:
    own: dict[str, str] = json.loads(row.headers)
    headers = {
        "Ce-Specversion": "1.0",
        "Ce-Id": row.event_id,
        "Ce-Type": _value(row.event_type),
        "Ce-Source": form.source,
        "Content-Type": form.content_type,
        "Outbox-Shard": str(row.shard),
        "Outbox-Position": str(row.position),
    }
    if row.key:
        headers["Ce-Partitionkey"] = _value(row.key)
    if row.replay:
        headers["Outbox-Replay"] = row.replay
    return list((headers | own).items())


def _token(text: str) -> str:
    return "".join(_percent(byte, byte in _TOKEN_BYTES) for byte in text.encode()) or "_"


def _value(text: str) -> str:
    return "".join(
        _percent(byte, 0x20 < byte < 0x7F and byte not in b'"%') for byte in text.encode()
    )


def _percent(byte: int, plain: bool) -> str:
    return chr(byte) if plain else f"%{byte:02X}"
