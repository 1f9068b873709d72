"""From a stored message to the row that an archive has of it. Pure.

Whatever is in a message, there is a row: what has no room in a column is cut, what PostgreSQL would
refuse is stored as bytes, and a note says so.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from outbox_operator.archive.chain import Span, number, span_of
from outbox_operator.archive.payloads import Payload, payload_of, scalar, unparsed
from outbox_operator.wire.archive import COLUMNS, HEADER_PREFIX, ArchiveRules
from outbox_operator.wire.headers import (
    CONTENT_TYPE,
    EVENT_ID,
    EVENT_KEY,
    EVENT_SOURCE,
    EVENT_TIME,
    EVENT_TYPE,
    MSG_ID,
    POSITION,
    REPLAY,
    REPLAY_TO,
    decode_value,
    encode_value,
    without_strays,
)
from outbox_operator.wire.json_paths import JsonPath
from outbox_operator.wire.tables import MAX_NAME_BYTES
from outbox_operator.wire.times import parse_time

ARCHIVED_AT: Final = "archived_at"
"""The one column that the database fills."""
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MOST_KNOWN: Final = 10_000
"""Types whose class is remembered; who publishes may make up any number of them."""
_STRAY: Final = "\ufffd"
_text: Final = json.encoder.encode_basestring_ascii
"""A text in JSON; json.dumps takes twice as long for a few of them."""


# The driver takes the first and the last moment of a datetime for infinite times. The first is what
# programs in Go say of a time that was never set.
_FIRST: Final = dt.datetime.min.replace(tzinfo=dt.UTC) + dt.timedelta(microseconds=1)
_LAST: Final = dt.datetime.max.replace(tzinfo=dt.UTC) - dt.timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Message:
    """A message as a stream has it.

    Attributes:
        subject: Subject it is stored under.
        headers: Its headers, as they came.
        data: Its payload.
        stream: Name of its stream.
        sequence: Its sequence there.
        stored_ns: When the stream stored it: nanoseconds since 1970.
    """

    subject: str
    headers: Mapping[str, str]
    data: bytes
    stream: str
    sequence: int
    stored_ns: int


@dataclass(frozen=True, slots=True)
class Record:
    """A row, and what is known about it.

    Attributes:
        values: Of the columns, in the order of `columns`.
        identity: Id and source: who has the same is the same event.
        stored_at: When the stream stored the message.
        occurred_at: When the event happened, as it says.
        span: Numbers that it accounts for; None: it is of no relay of ours.
        replayed: Whether it was sent again by a replay.
        wanted: Whether it is to be stored; a replay for another consumer is not.
        noted: Whether the row has a note.
        size: Bytes of payload and headers.
    """

    values: tuple[Any, ...]
    identity: tuple[str, str]
    stored_at: dt.datetime
    occurred_at: dt.datetime
    span: Span | None
    replayed: bool
    wanted: bool
    noted: bool
    size: int


def columns(rules: ArchiveRules) -> tuple[str, ...]:
    """Columns that a record has values for."""
    return (*(name for name in COLUMNS if name != ARCHIVED_AT), *sorted(rules.extract))


class Recorder:
    """Makes records by the rules of an archive.

    Args:
        rules: Of the archive.
        durable: Name of the durable consumer that messages come through.
    """

    def __init__(self, rules: ArchiveRules, durable: str) -> None:
        self._rules = rules
        self._durable = durable
        self._redact = tuple(map(JsonPath.parse, rules.redact))
        self._extract = tuple(_reader(rules.extract[name]) for name in sorted(rules.extract))
        self._classes: dict[str, str] = {}

    def record(self, message: Message) -> Record:
        """The record of a message."""
        get = _getter(message.headers)
        payload = payload_of(message.data, get(CONTENT_TYPE), self._redact)
        extracted = [read(payload.document, message.headers) for read in self._extract]
        kept = [
            f"{_text(name)}: {_text(value)}"
            for name, value in message.headers.items()
            if not name.startswith("Nats-")
        ]
        return self._made(message, get, payload, extracted, "{" + ", ".join(kept) + "}")

    def bare(self, message: Message, why: str) -> Record:
        """The record of a message that PostgreSQL refused: nothing in it can be refused again."""
        payload = unparsed(message.data, why, withhold=bool(self._redact))
        nothing = [None] * len(self._extract)
        return self._made(message, _getter(message.headers), payload, nothing, "{}", plain=True)

    def _made(
        self,
        message: Message,
        get: Callable[[str], str | None],
        payload: Payload,
        extracted: Sequence[str | None],
        headers: str,
        *,
        plain: bool = False,
    ) -> Record:
        notes = [] if payload.note is None else [payload.note]

        def fit(what: str, text: str) -> str:
            if len(text) <= MAX_NAME_BYTES and text.isascii() and "\0" not in text:
                return text
            return _fitting(what, text, notes, plain=plain)

        stored_at = _EPOCH + dt.timedelta(microseconds=message.stored_ns // 1000)
        event_type = fit("type", decode_value(get(EVENT_TYPE) or "") or message.subject)
        written_source = decode_value(get(EVENT_SOURCE) or "") or f"/{message.stream}"
        source = fit("source", written_source)
        key = fit("key", decode_value(get(EVENT_KEY) or "")) or None
        if "\\u" in headers:
            headers = _clean(headers)
        event_id = _identity(get, written_source, message)
        occurred_at = min(max(parse_time(get(EVENT_TIME)) or stored_at, _FIRST), _LAST)
        span = None
        if source == written_source:
            span = span_of(message.headers, source, stored_at, message.sequence)
        replay_to = message.headers.get(REPLAY_TO)
        cells = [None if text is None else fit("extracted", text) for text in extracted]
        return Record(
            values=(
                self._class_of(event_type), stored_at, event_id, event_type, key, source,
                fit("subject", message.subject), message.sequence,
                None if span is None else span.shard, None if span is None else span.high,
                number(get(POSITION)), occurred_at,
                headers, payload.text, payload.raw, len(message.data), payload.sha256,
                "; ".join(dict.fromkeys(notes)) or None, *cells,
            ),
            identity=(event_id, source),
            stored_at=stored_at,
            occurred_at=occurred_at,
            span=span,
            replayed=REPLAY in message.headers,
            wanted=replay_to is None or replay_to == self._durable,
            noted=bool(notes),
            size=len(message.data) + len(headers),
        )  # fmt: skip

    def _class_of(self, event_type: str) -> str:
        found = self._classes.get(event_type)
        if found is None:
            if len(self._classes) >= _MOST_KNOWN:
                self._classes.clear()
            found = self._classes[event_type] = self._rules.class_of(event_type)
        return found


def _getter(headers: Mapping[str, str]) -> Callable[[str], str | None]:
    if EVENT_ID in headers and EVENT_TYPE in headers:
        return headers.get
    # Somebody else wrote it, and may spell the names in another way.
    found = {name.lower(): value for name, value in headers.items()}
    return lambda name: found.get(name.lower())


def _reader(place: str) -> Callable[[Any, Mapping[str, str]], str | None]:
    """What reads an extracted column from a document and headers."""
    if not place.startswith(HEADER_PREFIX):
        path = JsonPath.parse(place)
        return lambda document, _: scalar(path.read(document))
    wanted = f"ce-{place.removeprefix(HEADER_PREFIX)}"

    def read(_: Any, headers: Mapping[str, str]) -> str | None:
        for name, value in headers.items():
            if name.lower() == wanted:
                return decode_value(value)
        return None

    return read


def _identity(get: Callable[[str], str | None], source: str, message: Message) -> str:
    """The event's id if it is a UUID, else one made of it and its source."""
    written = get(EVENT_ID) or ""
    event_id = decode_value(written)
    if _UUID.fullmatch(event_id):
        return event_id
    try:
        return str(uuid.UUID(event_id))
    except ValueError:
        pass
    if _STRAY in event_id:
        event_id = encode_value(written)  # ids that differ in such bytes alone look the same
    event_id = event_id or get(MSG_ID) or ""
    if not event_id:
        # With its time: a stream that was made anew has the same sequences once more.
        event_id = f"{message.stream}:{message.sequence}:{message.stored_ns}"
    name = f"{source}#{event_id}".encode("utf-8", "surrogateescape")
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name.decode("utf-8", "backslashreplace")))


def _fitting(what: str, text: str, notes: list[str], *, plain: bool) -> str:
    """A text as a column and its index take it."""
    clean = without_strays(text).replace("\0", _STRAY)
    if plain:
        clean = clean.encode("ascii", "replace").decode()
    if clean != text:
        notes.append(f"{what} has characters that a text cannot have")
    data = clean.encode()
    if len(data) > MAX_NAME_BYTES:
        notes.append(f"{what} cut after {MAX_NAME_BYTES} bytes")
        clean = data[:MAX_NAME_BYTES].decode(errors="ignore")
    return clean


def _clean(headers: str) -> str:
    """JSON of headers without what PostgreSQL does not take for text."""
    found = {
        without_strays(name).replace("\0", _STRAY): without_strays(value).replace("\0", _STRAY)
        for name, value in json.loads(headers).items()
    }
    return json.dumps(found)
