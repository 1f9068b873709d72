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
from typing import Any, Final, Protocol

from outbox_operator.archive.chain import number, numbers_of
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
"""Texts of messages that are remembered with what comes of them; who publishes may make up any
number of them."""
_MOST_SHAPES: Final = 1000
_ORDERS: Final = "Nats-"
"""How headers begin that are orders to the stream, and are not kept."""
_STRAY: Final = "\ufffd"
_text: Final = json.encoder.encode_basestring_ascii
"""A text in JSON; json.dumps takes twice as long for a few of them."""


# The driver takes the first and the last moment of a datetime for infinite times. The first is what
# programs in Go say of a time that was never set.
_FIRST: Final = dt.datetime.min.replace(tzinfo=dt.UTC) + dt.timedelta(microseconds=1)
_LAST: Final = dt.datetime.max.replace(tzinfo=dt.UTC) - dt.timedelta(microseconds=1)


class Stored(Protocol):
    """A message as a stream has it, as far as it is asked."""

    @property
    def subject(self) -> str:
        """Subject it is stored under."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Its headers, as they came."""

    @property
    def data(self) -> bytes:
        """Its payload."""

    @property
    def stream(self) -> str:
        """Name of its stream."""

    @property
    def sequence(self) -> int:
        """Its sequence there."""

    @property
    def stored_ns(self) -> int:
        """When the stream stored it: nanoseconds since 1970."""


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


@dataclass(slots=True)  # one that is frozen takes three times as long to make, for each message
class Record:
    """A row, and what is known about it.

    Attributes:
        values: Of the columns, in the order of `columns`.
        identity: Id and source: who has the same is the same event.
        stored_at: When the stream stored the message.
        sequence: Its sequence there.
        numbers: Shard, first and last number that it accounts for; None: it is of no relay of ours.
        replayed: Whether it was sent again by a replay.
        wanted: Whether it is to be stored; a replay for another consumer is not.
        noted: Whether the row has a note.
        size: Bytes of payload and headers.
    """

    values: tuple[Any, ...]
    identity: tuple[str, str]
    stored_at: dt.datetime
    sequence: int
    numbers: tuple[int, int, int] | None
    replayed: bool
    wanted: bool
    noted: bool
    size: int


def columns(rules: ArchiveRules) -> tuple[str, ...]:
    """Columns that a record has values for."""
    return (*(name for name in COLUMNS if name != ARCHIVED_AT), *sorted(rules.extract))


@dataclass(frozen=True, slots=True)
class _Shape:
    """What comes of the names of a message's headers, which many others have as well.

    Attributes:
        starts: Each as the JSON of all begins with it; empty: it is not kept.
        spelt: Each as it is written, by what it is in small letters.
        ours: Whether a relay may have written them, or who spells names as it does.
    """

    starts: tuple[str, ...]
    spelt: Mapping[str, str]
    ours: bool

    @classmethod
    def of(cls, names: tuple[str, ...]) -> _Shape:
        return cls(
            starts=tuple("" if one.startswith(_ORDERS) else f"{_text(one)}: " for one in names),
            spelt={name.lower(): name for name in names},
            ours=EVENT_ID in names and EVENT_TYPE in names,
        )

    def getter(self, headers: Mapping[str, str]) -> Callable[[str], str | None]:
        """What says the value of a header, however its name is spelt."""
        if self.ours:
            return headers.get
        return lambda name: headers.get(self.spelt.get(name.lower(), ""))


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
        self._shapes: dict[tuple[str, ...], _Shape] = {}
        self._texts: dict[str, str] = {}

    def record(self, message: Stored) -> Record:
        """The record of a message."""
        headers = message.headers
        shape = self._shape(headers)
        get = shape.getter(headers)
        payload = payload_of(message.data, get(CONTENT_TYPE), self._redact)
        extracted = [read(payload.document, headers, shape) for read in self._extract]
        kept = [
            start + _text(value)
            for start, value in zip(shape.starts, headers.values(), strict=True)
            if start
        ]
        return self._made(message, get, payload, extracted, "{" + ", ".join(kept) + "}")

    def bare(self, message: Stored, why: str) -> Record:
        """The record of a message that PostgreSQL refused: nothing in it can be refused again."""
        payload = unparsed(message.data, why, withhold=bool(self._redact))
        nothing = [None] * len(self._extract)
        get = self._shape(message.headers).getter(message.headers)
        return self._made(message, get, payload, nothing, "{}", plain=True)

    def _made(
        self,
        message: Stored,
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

        subject, stream, sequence = message.subject, message.stream, message.sequence
        stored_at = _EPOCH + dt.timedelta(microseconds=message.stored_ns // 1000)
        event_type = fit("type", self._decoded(get(EVENT_TYPE)) or subject)
        written_source = self._decoded(get(EVENT_SOURCE)) or f"/{stream}"
        source = fit("source", written_source)
        key = fit("key", decode_value(get(EVENT_KEY) or "")) or None
        if "\\u" in headers:
            headers = _clean(headers)
        event_id = _identity(get, written_source, message)
        occurred_at = parse_time(get(EVENT_TIME)) or stored_at
        if not _FIRST <= occurred_at <= _LAST:
            occurred_at = _FIRST if occurred_at < _FIRST else _LAST
        numbers = numbers_of(message.headers) if source == written_source else None
        replay_to = message.headers.get(REPLAY_TO)
        cells = [None if text is None else fit("extracted", text) for text in extracted]
        return Record(
            (
                self._class_of(event_type), stored_at, event_id, event_type, key, source,
                fit("subject", subject), sequence,
                None if numbers is None else numbers[0], None if numbers is None else numbers[2],
                number(get(POSITION)), occurred_at,
                headers, payload.text, payload.raw, len(message.data), payload.sha256,
                "; ".join(dict.fromkeys(notes)) if notes else None, *cells,
            ),
            (event_id, source),
            stored_at,
            sequence,
            numbers,
            REPLAY in message.headers,
            replay_to is None or replay_to == self._durable,
            bool(notes),
            len(message.data) + len(headers),
        )  # fmt: skip

    def _shape(self, headers: Mapping[str, str]) -> _Shape:
        names = tuple(headers)
        found = self._shapes.get(names)
        if found is None:
            found = _Shape.of(names)
            if len(self._shapes) >= _MOST_SHAPES:
                self._shapes.clear()
            if sum(map(len, names)) <= MAX_NAME_BYTES:
                self._shapes[names] = found
        return found

    def _decoded(self, written: str | None) -> str:
        """A header's value, of which there are few."""
        if written is None:
            return ""
        found = self._texts.get(written)
        if found is None:
            found = decode_value(written)
            _remember(self._texts, written, found)
        return found

    def _class_of(self, event_type: str) -> str:
        found = self._classes.get(event_type)
        if found is None:
            found = self._rules.class_of(event_type)
            _remember(self._classes, event_type, found)
        return found


def _remember(known: dict[str, str], text: str, found: str) -> None:
    if len(known) >= _MOST_KNOWN:
        known.clear()
    if len(text) <= MAX_NAME_BYTES:
        known[text] = found


def _reader(place: str) -> Callable[[Any, Mapping[str, str], _Shape], str | None]:
    """What reads an extracted column from a document and headers."""
    if not place.startswith(HEADER_PREFIX):
        path = JsonPath.parse(place)
        return lambda document, _, __: scalar(path.read(document))
    wanted = f"ce-{place.removeprefix(HEADER_PREFIX)}"

    def read(_: Any, headers: Mapping[str, str], shape: _Shape) -> str | None:
        name = shape.spelt.get(wanted)
        return None if name is None else decode_value(headers[name])

    return read


def _identity(get: Callable[[str], str | None], source: str, message: Stored) -> str:
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
