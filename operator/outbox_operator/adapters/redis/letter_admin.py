"""The dead letters of consumer groups: read, had handled once more, removed.

Called by the tasks of the operator, by `outbox dead-letters` and by `outbox dev`, over the
connection of a `RedisAdmin`. All consumers of a stream share the key; whose a letter is, it says.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from outbox_operator.adapters.redis.admin import RedisAdmin
from outbox_operator.adapters.redis.entries import DATA_FIELD, number, parse_id
from outbox_operator.adapters.redis.scripts import LETTER_AGAIN, LETTERS, READ
from outbox_operator.errors import RedisError
from outbox_operator.wire import headers

FIRST: Final = "0-0"
LATEST: Final = "+"
HANDED_OVER: Final = "outbox:letters"
"""The reader that has an entry until a pod takes it over; a pod takes its name out some time."""
_LONG_MILLISECONDS: Final = 365 * 86_400_000
"""Beyond any ackWait: the next pod that looks has it."""
_FACTS: Final = (
    headers.EVENT_ID, headers.EVENT_TYPE, headers.EVENT_KEY, headers.DEAD_LETTER_REASON,
    headers.DEAD_LETTER_ERROR, headers.DEAD_LETTER_DELIVERIES, headers.DEAD_LETTER_STREAM,
    headers.DEAD_LETTER_SEQUENCE, headers.DEAD_LETTER_CONSUMER, headers.DEAD_LETTER_TIME,
)  # fmt: skip
_FEW: Final = 5
_MANY: Final = 200
"""Entries looked at by one script, during which the server does nothing else: few large ones."""
_FEW_BYTES: Final = 256 * 1024
_FACT_BYTES: Final = 4096
_HEADER_BYTES: Final = 64 * 1024
_MOST_BYTES: Final = 512 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupLetter:
    """A dead letter of a consumer group.

    Attributes:
        id: Of its entry among the dead letters; names it.
        reason: Why it is one; empty: it does not say, and is none.
        stream: The key that the event is in.
        number: Of its entry there, as it says.
        time: When it died, as it says.
        headers: Those that were asked for, as they are stored.
        data: As much of the payload as was asked for.
        size: Bytes of the payload.
    """

    id: str
    event_id: str
    event_type: str
    key: str
    reason: str
    error: str
    deliveries: int
    stream: str
    number: str
    consumer: str
    time: str
    headers: Mapping[str, str]
    data: bytes
    size: int


class Again(Enum):
    """What came of a letter whose event is to be handled once more."""

    DONE = b"OK"
    """The group is given it."""
    DUE = b"DUE"
    """The group has it, or would be given it, anyway."""
    GONE = b"GONE"
    """There is no such letter (any more)."""
    OTHER = b"OTHER"
    """The entry is not in its stream any more."""


class LetterAdmin:
    """The dead letters at one key.

    Args:
        admin: Whose connection to use.
        key: Of the letters.
    """

    def __init__(self, admin: RedisAdmin, key: str) -> None:
        self.key = key
        self._admin = admin

    async def last(self) -> str:
        """Id of the last letter; `FIRST` if there is none. Raises OutboxError."""
        found = await self._admin.run(  # of the entry its id alone: it may be of any size
            f"look at key {self.key}", READ, [self.key], "XREVRANGE", "+", "-", 1, DATA_FIELD, -1
        )
        with self._admin.understood(f"key {self.key}"):
            if not found:
                return FIRST
            parse_id(found[0][0])
            return str(found[0][0].decode())

    async def behind(
        self, after: str, up_to: str, names: Sequence[str] = _FACTS
    ) -> AsyncIterator[GroupLetter]:
        """What is behind an id, up to another, oldest first; also what is no letter.

        Raises:
            OutboxError: The server is away, or refuses.
        """
        most = _FEW
        while True:
            found = await self._read(f"({after}", up_to, most, _FACT_BYTES, 0, *names)
            for one in found:
                yield one
            if not found:
                return
            after = found[-1].id
            small = sum(one.size for one in found) < _FEW_BYTES
            most = min(_MANY, 2 * most) if small else _FEW

    async def get(self, letter: str) -> GroupLetter | None:
        """One letter; None: it is gone. Raises OutboxError."""
        found = await self._read(letter, letter, 1, _FACT_BYTES, 0, *_FACTS)
        return found[0] if found else None

    async def show(self, letter: str, payload_bytes: int) -> GroupLetter | None:
        """A letter with all its headers and so much of its payload; None: it is gone.

        Raises:
            OutboxError: As `behind`.
        """
        found = await self._read(letter, letter, 1, _HEADER_BYTES, payload_bytes, "")
        return found[0] if found else None

    async def count(self, group: str, most: int) -> int | None:
        """How many letters a group has; None: there are more of all than are looked at."""
        looked = mine = 0
        async for one in self.behind(FIRST, LATEST, (headers.DEAD_LETTER_CONSUMER,)):
            looked, mine = looked + 1, mine + (one.consumer == group)
            if looked > most:
                return None
        return mine

    async def again(self, letter: GroupLetter, group: str) -> Again:
        """Have the event of a letter handled once more, and remove the letter, in one step.

        The entry is given to the group that could not handle it, and to no other. Twice is once.

        Raises:
            OutboxError: The group is gone, the server is away, or refuses; the letter stays.
        """
        if not _is_number(letter.number):
            return Again.OTHER
        found = await self._admin.run(
            f"have entry {letter.number} of key {letter.stream} handled again", LETTER_AGAIN,
            [letter.stream, self.key], group, HANDED_OVER, _LONG_MILLISECONDS, letter.id,
            letter.number, headers.EVENT_ID,
        )  # fmt: skip
        if found == b"GROUP":
            raise RedisError(f"key {letter.stream} has no group {group}")
        with self._admin.understood(f"letter {letter.id}"):
            return Again(found)

    async def remove(self, letter: str) -> bool:
        """Remove a letter for good. Whether it was there. Raises OutboxError."""
        found = await self._admin.ask(f"remove letter {letter}", "XDEL", self.key, letter)
        with self._admin.understood(f"key {self.key}"):
            return number(found) > 0

    async def _read(
        self, first: str, last: str, most: int, field_bytes: int, payload_bytes: int, *names: str
    ) -> list[GroupLetter]:
        found = await self._admin.run(
            f"read dead letters of key {self.key}", LETTERS, [self.key], first, last, most,
            field_bytes, payload_bytes, _MOST_BYTES, DATA_FIELD, *names,
        )  # fmt: skip
        with self._admin.understood(f"key {self.key}"):
            return [_letter(entry) for entry in found]


def _letter(entry: Sequence[Any]) -> GroupLetter:
    entry_id, size, data, texts = entry
    parse_id(entry_id)
    found = {
        name.decode("utf-8", "replace"): value.decode("utf-8", "replace")
        for name, value in zip(texts[::2], texts[1::2], strict=True)
    }
    get = found.get
    return GroupLetter(
        id=entry_id.decode(),
        event_id=headers.decode_value(get(headers.EVENT_ID, "")),
        event_type=headers.decode_value(get(headers.EVENT_TYPE, "")),
        key=headers.decode_value(get(headers.EVENT_KEY, "")),
        reason=get(headers.DEAD_LETTER_REASON, ""),
        error=get(headers.DEAD_LETTER_ERROR, ""),
        deliveries=_count(get(headers.DEAD_LETTER_DELIVERIES, "")),
        stream=get(headers.DEAD_LETTER_STREAM, ""),
        number=get(headers.DEAD_LETTER_SEQUENCE, ""),
        consumer=get(headers.DEAD_LETTER_CONSUMER, ""),
        time=get(headers.DEAD_LETTER_TIME, ""),
        headers=found,
        data=bytes(data),
        size=number(size),
    )


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 20 and int(text) < 2**64


def _count(text: str) -> int:
    """Of a field that anybody may have written."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
