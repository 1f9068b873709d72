"""The seals of an archive: a chain of hashes over what was stored. Pure.

A seal of `rows` covers those of a class, of a quarter of an hour of the stream's time, that were
archived between two moments. One of `idle` says that between two moments nothing was archived, one
of `dropped` that retention took the rows of a stretch away: how many were there, and from when on
they were old enough. Each holds the hash of the one before.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from outbox_operator.counted import counted
from outbox_operator.wire.archive import COLUMNS
from outbox_operator.wire.tables import quoted

SLOT_SECONDS: Final = 900
"""Of the stream's time that the rows of a seal share: every partition begins and ends with one, so
none ever holds a part of a seal."""
IN_TIME: Final = "stored_at >= '0001-03-01Z' AND stored_at < '9999-10-01Z'"
"""What a stream may say of when it stored a row, as SQL. Only a hand writes another time: neither
partitions nor seals are made for it."""
ENTRY_BYTES: Final = 8 + 16 + 32
"""Of a row in the list of a seal: when the stream stored it, its id, its hash."""
MOST_ROWS: Final = 1_000_000
"""That are archived between the two moments of a round of seals, as far as that can be."""
BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""From when on the first seals count."""
NOTHING: Final = bytes(32)
"""What is before the first seal, and the hash of no rows."""
_FORMAT: Final = 1
Kind = Literal["rows", "idle", "dropped"]
Verify = Callable[[bytes, bytes], bool]
"""Whether a signature, the second, is of a hash, the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """One link of the chain.

    Attributes:
        number: From 1 on, without a hole.
        kind: What it says.
        class_: Of its rows; empty of `idle`.
        low: The stream stored its rows from then on.
        high: And before then.
        archived_from: They were archived from then on.
        archived_to: And before then.
        rows: How many.
        root: Hash of the hashes of its lists of rows.
        previous: Hash of the seal before.
        sealed_at: When it was made.
        hash: Of all of that.
        key: Fingerprint of the public key that its signature needs; None: it has none.
        signature: Of `hash`.
        due_at: From when on the youngest of dropped rows was old enough; None of the others.
    """

    number: int
    kind: Kind
    class_: str
    low: datetime
    high: datetime
    archived_from: datetime
    archived_to: datetime
    rows: int
    root: bytes
    previous: bytes
    sealed_at: datetime
    hash: bytes = b""
    key: str | None = None
    signature: bytes | None = None
    due_at: datetime | None = None

    def content(self) -> bytes:
        """The bytes that its hash is of."""
        due = () if self.due_at is None else (self.due_at,)
        moments = (
            self.low, self.high, self.archived_from, self.archived_to, self.sealed_at, *due,
        )  # fmt: skip
        return json.dumps(
            [
                "outbox archive seal", _FORMAT, self.number, self.kind, self.class_,
                *(moment.astimezone(UTC).isoformat(timespec="microseconds") for moment in moments),
                self.rows, self.root.hex(), self.previous.hex(), self.key,
            ]
        ).encode()  # fmt: skip

    def closed(self) -> Seal:
        """The same, with its hash."""
        return replace(self, hash=hashlib.sha256(self.content()).digest())

    @property
    def name(self) -> str:
        """For messages."""
        if self.kind == "idle":
            return f"seal {self.number}"
        return f"seal {self.number} (class {self.class_}, {self.low:%Y-%m-%d %H:%M})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A seal as somebody noted it, outside of the database.

    Attributes:
        number: Of the seal.
        hash: Its hash.
    """

    number: int
    hash: bytes

    @classmethod
    def parse(cls, text: str) -> Head:
        """From `<number>:<hash in hexadecimal>`, as `verify` prints it.

        Raises:
            ValueError: It is none.
        """
        number, _, digest = text.partition(":")
        if not number.isdecimal() or len(number) > 18 or len(digest) != 64:
            raise ValueError(f"wanted <number>:<hash of 64 digits>, found {text[:80]!r}")
        return cls(number=int(number), hash=bytes.fromhex(digest))

    def __str__(self) -> str:
        return f"{self.number}:{self.hash.hex()}"


def root_of(parts: Iterable[bytes]) -> bytes:
    """Hash of a seal's rows, from the hashes of its lists."""
    return hashlib.sha256(b"".join(parts)).digest()


def row_sql(columns: Iterable[str], table: str) -> str:
    """An expression: all that a row says, as one text that no other row has.

    A column that was added later changes nothing of rows that have nothing there. Needs
    `ROW_SETTINGS`.

    Args:
        columns: Of the table.
        table: Its alias.
    """
    own = ", ".join(f"{table}.{quoted(name)}" for name in COLUMNS)
    text = f"ROW({own})::text"
    for name in sorted(set(columns) - set(COLUMNS)):
        cell, literal = f"{table}.{quoted(name)}", name.replace("'", "''")
        text += f" || CASE WHEN {cell} IS NULL THEN '' ELSE ROW('{literal}', {cell})::text END"
    return text


ROW_SETTINGS: Final = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "bytea_output": "hex",
    "extra_float_digits": "1",
}
"""How PostgreSQL writes values as text, whatever a role or database has set."""


def shorter(start: datetime, end: datetime, rows: int) -> datetime:
    """Where a round of seals ends that began at `start` and held too many rows up to `end`.

    Not within a second of its start, so that it goes on whatever is stored.
    """
    length = (end - start) / timedelta(seconds=1)
    return min(end, start + timedelta(seconds=max(1.0, 0.9 * length * MOST_ROWS / rows)))


def takes(dropped: Seal, seal: Seal) -> bool:
    """Whether retention took the rows of a seal with a partition."""
    return (
        dropped.number > seal.number
        and dropped.class_ == seal.class_
        and dropped.low <= seal.low
        and seal.high <= dropped.high
    )


def drop_faults(seal: Seal, sealed: int, keep: Mapping[str, float]) -> Iterable[str]:
    """Why what a seal says was dropped should not have been, or not so.

    Args:
        seal: Of kind `dropped`.
        sealed: Rows that seals have of what it took.
        keep: Seconds for which rows of each class had to be kept.
    """
    if seal.rows != sealed:
        yield (
            f"{seal.name}: {counted(seal.rows, 'row')} went with the partition, and "
            f"seals have {sealed}: "
            "somebody deleted or inserted some before retention took it"
        )
    if seal.due_at is None:
        yield f"{seal.name} says that rows were dropped, and not when they were old enough"
        return
    if seal.sealed_at < seal.due_at:
        yield (
            f"{seal.name}: its rows were dropped at {seal.sealed_at:%Y-%m-%d %H:%M:%S}, and were "
            f"to be kept until {seal.due_at:%Y-%m-%d %H:%M:%S}"
        )
    kept = (seal.due_at - seal.high).total_seconds()
    agreed = keep.get(seal.class_)
    if agreed is None:
        yield (
            f"{seal.name}: its rows were dropped after {days(kept)}, and nobody says how long "
            f"class {seal.class_} had to be kept: --kept {seal.class_}={kept:.0f}s if it was right"
        )
    elif kept < agreed:
        yield (
            f"{seal.name}: its rows were dropped after {days(kept)}, and class {seal.class_} has "
            f"to be kept for {days(agreed)}: --kept {seal.class_}={kept:.0f}s if that was less then"
        )


def days(seconds: float) -> str:
    """A duration for people."""
    return f"{seconds / 86_400:g} days"


class Chain:
    """Follows the seals one by one, and says what is wrong with each.

    Args:
        keys: By fingerprint, what checks signatures; empty: signatures are not looked at.
        known: Seals that somebody noted.
    """

    def __init__(self, keys: Mapping[str, Verify], known: Sequence[Head] = ()) -> None:
        self._keys = keys
        self._known = {head.number: head for head in known}
        self._last: Seal | None = None
        self._to = BEGINNING
        self._from: datetime | None = None
        self._signed = False
        self.unsigned = 0

    @property
    def last(self) -> Seal | None:
        """The last one so far."""
        return self._last

    @property
    def sealed_to(self) -> datetime:
        """What was archived before is sealed."""
        return self._to

    def follow(self, seal: Seal) -> list[str]:
        """Faults of the next seal; none: it is the one that has to stand there."""
        faults = list(self._faults(seal))
        self._last = seal
        if seal.kind != "dropped":
            self._from, self._to = seal.archived_from, seal.archived_to
        return faults

    def end(self) -> list[str]:
        """What is wrong with where the chain ends."""
        number = self._last.number if self._last else 0
        unsigned = self._keys and self.unsigned and not self._signed
        return [
            *(["no seal is signed, and there is a key"] if unsigned else []),
            *self._cut(number),
        ]

    def _cut(self, number: int) -> list[str]:
        return [
            f"the chain was cut: seal {head.number} was there when it was noted, and the last one "
            f"is {number}"
            for head in self._known.values()
            if head.number > number
        ]

    def _faults(self, seal: Seal) -> Iterable[str]:
        before = self._last
        number = before.number + 1 if before else 1
        if seal.number != number:
            yield f"seal {number} is missing: {seal.number} comes next"
        elif seal.previous != (before.hash if before else NOTHING):
            yield f"{seal.name} does not hold the hash of the one before"
        if seal.closed().hash != seal.hash:
            yield f"{seal.name} was changed: its hash is of something else"
        known = self._known.get(seal.number)
        if known is not None and known.hash != seal.hash:
            yield f"{seal.name} is another one than was noted"
        if seal.kind != "dropped" and seal.number == number:
            same = self._from == seal.archived_from and self._to == seal.archived_to
            if not same and seal.archived_from != self._to:
                yield (
                    f"{seal.name} begins with {seal.archived_from.isoformat()}, and what was "
                    f"sealed ends with {self._to.isoformat()}"
                )
        yield from self._signature_faults(seal)

    def _signature_faults(self, seal: Seal) -> Iterable[str]:
        if seal.signature is None or seal.key is None:
            self.unsigned += 1
            # From before there was a key: the first signature behind it is of its hash as well.
            if self._keys and (self._signed or seal.key is not None):
                yield f"{seal.name} is not signed"
        elif self._keys and seal.key not in self._keys:
            wanted = ", ".join(sorted(self._keys))
            yield f"{seal.name} is signed with another key: wanted {wanted}, found {seal.key}"
        elif self._keys and not self._keys[seal.key](seal.hash, seal.signature):
            yield f"{seal.name} was forged: its signature is not by key {seal.key}"
        else:
            self._signed = True
