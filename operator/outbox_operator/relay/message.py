"""From a row to a message: subject, headers, payload. Pure.

Called by `relay.poison`. CloudEvents attributes travel as headers (binary mode), so that any
consumer can read an event without knowing us. Ordinary rows, which are nearly all, are rendered
a page at a time by `Renderer.page`; the rest one by one by `Renderer.render`, byte for byte alike.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import count, islice, repeat
from typing import Any, Final, Literal, cast

from outbox_operator.adapters.postgres.rows import (
    COPY_MARK,
    CREATED_AT,
    EVENT_ID,
    HEADERS,
    POSITION,
    Row,
    Rows,
)
from outbox_operator.adapters.sink import Message
from outbox_operator.errors import EventError
from outbox_operator.reasons import Reason
from outbox_operator.relay.chain import Naming
from outbox_operator.wire import headers
from outbox_operator.wire.event import check_header
from outbox_operator.wire.message import (
    CONTENT_TYPES,
    SPEC_VERSION,
    Place,
    event_head,
)
from outbox_operator.wire.replay import MAX_NAME_CHARACTERS, Replay
from outbox_operator.wire.subjects import SubjectTemplate

_PLAIN: Final = bytes(code for code in range(128) if headers.encode_value(chr(code)) == chr(code))
"""Characters that header values hold as they are."""
_LONGEST_PLAIN: Final = 1024
"""Keys and types of more characters are left to the slow way, which knows the limits."""
_REMEMBERED: Final = 4096
"""Header blocks of types, and seconds as text, that are kept at most; then they are made anew."""
_CRLF: Final = "\r\n"
_KEYED: Final = f"\r\n{headers.EVENT_KEY}: "
_EPOCH: Final = dt.datetime(1970, 1, 1)  # noqa: DTZ001  # Z is written by hand
_ADDED_LATER: Final = sum(
    map(
        len,
        (
            f"Nats-Expected-Last-Msg-Id: 00000000-0000-0000-0000-000000000000.{2**63}\r\n",
            f":{'r' * MAX_NAME_CHARACTERS}",
            f"{headers.PREDECESSOR}: {2**63}\r\n",
            f"{headers.REACHED}: {-(2**63)}\r\n",
        ),
    )
)
_LONGEST_ID: Final = len(
    f"{headers.MSG_ID}: 00000000-0000-0000-0000-000000000000:{'r' * MAX_NAME_CHARACTERS}\r\n"
)


class Renderer:
    """Makes messages of the rows of one shard.

    Args:
        schema: For templates that name it.
        source: Value of `Ce-Source`, encoded as `wire.headers.encode_value` does.
        mark: Put behind the event's id to make message ids that the stream cannot know yet; None:
            messages get no id, because no second copy of them can come.

    Attributes:
        subjects: Filter of all its subjects.
        reserve: Bytes that may be added to a header block when it is sent.
        left_out: Bytes of an id, at most, that messages of a page do not have. They count: whether
            an event is too large must not depend on whether something is in doubt.
    """

    def __init__(
        self,
        template: SubjectTemplate,
        schema: str,
        shard: int,
        source: str,
        payload_type: Literal["jsonb", "bytea"],
        *,
        mark: str | None = "",
    ) -> None:
        self._template = template
        self._fixed = {"shard": str(shard), "schema": schema}
        self._content_type = CONTENT_TYPES[payload_type]
        self._by_kind = "partition_key" not in template.pieces[1::2]
        self._kinds: dict[tuple[str, str | None], tuple[str, str]] = {}
        self._seconds: dict[int, str] = {}
        self._source, self._shard, self._mark = source, shard, mark
        self._common = (
            f"{mark or ''}\r\n{headers.EVENT_SPEC_VERSION}: {SPEC_VERSION}"
            f"\r\n{headers.EVENT_SOURCE}: {source}"
            f"\r\n{headers.SHARD}: {shard}"
        )
        self.subjects = template.filter(shard=shard)
        fence = headers.fence_lines(self.subjects, 2**63)
        self.reserve = len(fence) + _ADDED_LATER + len(mark or "")
        self.left_out = _LONGEST_ID if mark is None else 0

    def page(self, rows: Rows, emission: int) -> list[Message] | None:
        """Make the messages of a page of ordinary rows; None when one of them is not.

        Ordinary are rows that were read whole, whose type and key need no encoding, and whose own
        headers, if any, are well-formed and leave the content type alone.

        Args:
            emission: Number of the last event published.
        """
        if not rows:
            return []
        # All of this is done for every event, and by columns takes half the time.
        columns: Any = islice(zip(*rows, strict=True), len(Row._fields))
        positions, ids, types, keys, routing_keys, payloads, owns, created = columns
        if None in payloads or not _are_ordinary(keys) or not _are_ordinary(types):
            return None
        marks: Iterable[str] = repeat("")
        ends: Iterable[str] = marks
        if owns.count(None) < len(owns):
            nothing = self._content_type, "", ""
            try:
                read = [
                    (*nothing, row[CREATED_AT])
                    if row[HEADERS] is None
                    else _own_headers(row, self._content_type)
                    for row in rows
                ]
            except EventError:
                return None
            content_types, ends, marks, created = zip(*read, strict=True)
            if len(set(content_types)) > 1 or content_types[0] != self._content_type:
                return None
        starts: Iterable[str] = repeat("NATS/1.0")
        if self._mark is not None:
            starts = [f"NATS/1.0\r\nNats-Msg-Id: {id_}{mark}" for id_, mark in zip(ids, marks)]  # noqa: B905  # one may have no end
        kinds, kind_of = self._kinds, self._kind
        pairs = zip(types, routing_keys, strict=True)
        of_rows = [kinds.get(pair) or kind_of(*pair) for pair in pairs]
        seconds, second_of = self._seconds, self._second
        times = [
            f"{seconds.get(at // 1_000_000) or second_of(at // 1_000_000)}{at % 1_000_000:06d}"
            for at in created
        ]
        heads = [
            f"{start}{kind[1]}\r\nCe-Id: {event_id}\r\nCe-Time: {time}Z"
            f"{f'{_KEYED}{key}' if key else ''}\r\nOutbox-Position: {position}"
            f"\r\nOutbox-Emission: {number}\r\n{end}\r\n"
            for start, kind, event_id, time, key, position, number, end in zip(
                starts, of_rows, ids, times, keys, positions, count(emission + 1), ends
            )
        ]
        if self._by_kind:
            subjects = [kind[0] for kind in of_rows]
        else:
            texts = zip(types, routing_keys, keys, strict=True)
            subjects = [self._subject(*each) for each in texts]
        # A NamedTuple's own constructor would take longer than all of it.
        made = map(partial(tuple.__new__, Message), zip(subjects, heads, payloads, strict=True))
        return cast("list[Message]", list(made))

    def render(self, row: Row, payload: bytes, emission: int, mark: str = "") -> Message:
        """Make the message of any row, with an id, which `without_id` takes away.

        Args:
            payload: Of the row.
            emission: The event's number.
            mark: Put behind the event's id, and before the mark of all.

        Raises:
            EventError: Headers of its own are malformed (reason InvalidHeaders).
        """
        content_type, own, of_copy, created = self._content_type, "", "", row.created_at
        if row.headers is not None:
            content_type, own, of_copy, created = _own_headers(row, content_type)
        whole, micro = divmod(created, 1_000_000)
        head = event_head(
            event_id=row.event_id,
            event_type=row.event_type,
            partition_key=row.partition_key,
            source=self._source,
            time=f"{self._second(whole)}{micro:06d}Z",
            content_type=content_type,
            place=Place(self._shard, row.position, emission),
            mark=f"{of_copy}{mark}{self._mark or ''}",
        )
        subject = self._subject(row.event_type, row.routing_key, row.partition_key)
        return Message(subject, f"NATS/1.0\r\n{_bytes(head)}{own}\r\n", payload)

    def without_id(self, message: Message) -> Message:
        """Take away the id of a message that was rendered by itself, unless messages get one."""
        if self._mark is not None:
            return message
        start, _, rest = message.head.partition(_CRLF)
        return message._replace(head=f"{start}{_CRLF}{rest.partition(_CRLF)[2]}")

    def _kind(self, event_type: str, routing_key: str | None) -> tuple[str, str]:
        """Make subject, unless it depends on the key too, and header lines of a type of events."""
        if len(self._kinds) >= _REMEMBERED:
            self._kinds.clear()
        subject = self._subject(event_type, routing_key, "") if self._by_kind else ""
        lines = (
            f"{self._common}\r\n{headers.CONTENT_TYPE}: {self._content_type}"
            f"\r\n{headers.EVENT_TYPE}: {headers.encode_value(event_type)}"
        )
        found = (subject, lines)
        self._kinds[event_type, routing_key] = found
        return found

    def _second(self, whole: int) -> str:
        """Make a time up to its fraction; events come close together, so it serves many of them."""
        if len(self._seconds) >= _REMEMBERED:
            self._seconds.clear()
        moment = _EPOCH + dt.timedelta(seconds=whole)
        found = self._seconds[whole] = f"{moment.isoformat()}."
        return found

    def _subject(self, event_type: str, routing_key: str | None, key: str) -> str:
        # A routing key stands in for the type wherever the template uses it.
        hierarchy = routing_key or event_type
        return _bytes(
            self._template.render(
                {
                    **self._fixed,
                    "event_type": hierarchy,
                    "routing_key": hierarchy,
                    "partition_key": key,
                }
            )
        )


def _are_ordinary(texts: Sequence[str]) -> bool:
    """Return whether keys or types need no encoding, and none is long."""
    joined = "".join(texts)
    if not joined.isascii() or joined.encode().translate(None, _PLAIN):
        return False
    return len(joined) <= _LONGEST_PLAIN or max(map(len, texts)) <= _LONGEST_PLAIN


def name_predecessor(messages: Sequence[Message], naming: Naming) -> list[Message]:
    """Have messages name the number before theirs: each, or the first of them."""
    count = len(messages) if naming.every else 1
    return _with_header(messages, count, headers.PREDECESSOR, naming.number)


def say_reached(messages: Sequence[Message], count: int, position: int) -> list[Message]:
    """Have the first messages say how far rows had been sent before them."""
    return _with_header(messages, count, headers.REACHED, position)


def _with_header(messages: Sequence[Message], count: int, name: str, value: int) -> list[Message]:
    line = f"{name}: {value}\r\n\r\n"
    some = [message._replace(head=message.head[:-2] + line) for message in messages[:count]]
    return [*some, *messages[count:]]


def _bytes(text: str) -> str:
    """Make a text whose characters stand for the bytes of its UTF-8, as `Message` wants it."""
    return text if text.isascii() else text.encode().decode("latin-1")


def _own_headers(row: Row, content_type: str) -> tuple[str, str, str, int]:
    """Make lines of the application's headers; only the content type may replace one of ours.

    Returns:
        Content type, lines, what is put behind the event's id to make the message id, and when the
        event happened, which a copy says by itself.
    """
    where = f"event {row[EVENT_ID]} (position {row[POSITION]})"
    text, lines, mark, created = row[HEADERS] or "{}", [], "", row[CREATED_AT]
    if text.startswith(COPY_MARK):
        found, own = json.loads(text.split(" ", 2)[2])
        replay = Replay.read(found, where)
        mark, created = replay.mark, replay.time
        lines.append(f"{headers.REPLAY}: {replay.name}\r\n")
        if replay.to is not None:
            lines.append(f"{headers.REPLAY_TO}: {replay.to}\r\n")
    else:
        own = json.loads(text)
    if not isinstance(own, Mapping):
        raise EventError(
            f"{where}: headers must be a JSON object of texts, found {type(own).__name__}",
            reason=Reason.INVALID_HEADERS,
        )
    for name, value in own.items():
        try:
            check_header(where, name, value)
        except EventError as error:
            raise EventError(error.message, reason=Reason.INVALID_HEADERS) from error
        if name.lower() == headers.CONTENT_TYPE.lower():
            content_type = value
        else:
            lines.append(f"{name}: {value}\r\n")
    return content_type, _bytes("".join(lines)), mark, created
