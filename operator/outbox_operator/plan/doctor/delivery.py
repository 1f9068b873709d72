"""The delivery checker's question asked of production: is every row in the stream, once, in order?

Rows and messages are handed in one by one, first all rows of a window, then all messages from a
moment before the first of them to the end of the stream. What is kept of them is a bit for each, so
that a window of millions takes megabytes. Messages are known by the position of their row, which
the relay writes into a header; what an application sent by itself has none, and is known by the
event's id. Pure.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from outbox_operator.plan.doctor.memory import Memory
from outbox_operator.plan.doctor.positions import PositionSet
from outbox_operator.plan.doctor.verdict import Verdict
from outbox_operator.plan.postgres.schema import PARTITION_WIDTH
from outbox_operator.wire import headers
from outbox_operator.wire.event import shown

WINDOW_ROWS: Final = 2_000_000
"""Rows that are compared at once; a larger range takes several windows, each of which reads the
stream from its first row on."""
MOST_KEYS: Final = 100_000
"""Keys of which the last position is remembered."""
MOST_STRANGE: Final = 10_000
MOST_SENT: Final = 500_000
"""Messages without a position whose ids are remembered."""

_MOST_COPIED: Final = 4096
"""Blocks of positions of copies: 16 MiB."""
_WIDEST_GAP: Final = 100


@dataclass(frozen=True, slots=True)
class Copy:
    """A row that a replay has written once more, behind the one that it is of.

    Attributes:
        to: Durable consumer that gets it; None: all do.
    """

    position: int
    to: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftRow:
    """A row that the relay says is published, and whose message was not seen.

    Attributes:
        dead: Whether it is a dead letter.
        renewed: Whether it was one, and was written once more as another row.
        given_up: Whether it was one, and was given up.
        of: Position of the row that it is a copy of; None: it is none.
        to: Durable consumer that gets it; None: all do.
        copies: Later copies of the same event.
    """

    position: int
    shard: int
    event_id: str
    created_at: datetime
    dead: bool
    renewed: bool = False
    given_up: bool = False
    of: int | None = None
    to: str | None = None
    copies: tuple[Copy, ...] = ()


class Comparison:
    """One window.

    Args:
        low: First position.
        high: First position behind it.
        source: `Ce-Source` of the pipeline; other messages are not of this outbox.
        ordered: Whether events of a key are in order.
    """

    def __init__(self, low: int, high: int, source: str, *, ordered: bool) -> None:
        self._low, self._high, self._source = low, high, source
        self._ordered = ordered
        self._rows, self._due = PositionSet(), PositionSet()
        self._seen = PositionSet()
        self._others, self._expired = PositionSet(), PositionSet()
        self._partitions: set[int] = set()
        """That hold rows: of the others what is gone was pruned."""
        self._strange: dict[int, str] = {}
        """Messages without a row, by position."""
        self._sent: set[int] = set()
        self._tops: dict[str, int] = {}
        self._numbers: dict[str, int] = {}
        self._keys: OrderedDict[int, int] = OrderedDict()
        self._copied = PositionSet(_MOST_COPIED)
        self._forgotten = -1
        """Highest position of a key that is not remembered any more."""
        self.verdict = Verdict()
        self.oldest_lost: datetime | None = None
        """When the oldest of the lost rows was written."""

    def row(self, position: int, *, due: bool, wanted: bool = True, expired: bool = False) -> None:
        """A committed row.

        Args:
            position: Where it is.
            due: Whether the relay says that it is published.
            wanted: Whether it is compared; else its messages are just known.
            expired: Whether it is older than what the stream holds.
        """
        self._partitions.add(position // PARTITION_WIDTH)
        if not wanted:
            self._others.add(position)
            return
        self.verdict.rows += self._rows.add(position)
        if expired:
            self._expired.add(position)
        if due:
            self._due.add(position)

    def end(self, high: int) -> None:
        """All rows were handed in up to the one before this position."""
        self._high = high

    def message(self, sequence: int, found: Mapping[str, str]) -> None:
        """A message of the stream, in its order."""
        self.verdict.messages += 1
        if found.get(headers.EVENT_SOURCE, self._source) != self._source:
            self.verdict.add("foreign")
            return
        event = found.get(headers.EVENT_ID, "")
        position = _number(found.get(headers.POSITION))
        if position is not None and headers.REPLAY in found:
            self._copied.add(position)
        if position is None:
            self._without_position(sequence, event)
        elif self._low <= position < self._high:
            self._with_position(sequence, position, event, found)

    def _without_position(self, sequence: int, event: str) -> None:
        """One that an application has sent, or somebody else."""
        if not event:
            self.verdict.add("foreign")
            return
        known = _hash(event)
        if known in self._sent:
            self.verdict.add("duplicate", f"event {shown(event)} again at sequence {sequence}")
        elif len(self._sent) < MOST_SENT:
            self._sent.add(known)
        else:
            self.verdict.cannot(
                f"more than {MOST_SENT} messages have no position: applications sent them, and "
                "which rows they are of is not remembered; take a shorter range"
            )

    def _with_position(
        self, sequence: int, position: int, event: str, found: Mapping[str, str]
    ) -> None:
        if position in self._others:
            return
        text = f"event {shown(event)} position {position} at sequence {sequence}"
        replayed = headers.REPLAY in found  # of a copy, which is a row of its own
        self.verdict.add("replayed", count=replayed)
        if position not in self._rows:
            if position // PARTITION_WIDTH in self._partitions:
                if len(self._strange) < MOST_STRANGE:
                    self._strange[position] = text
                else:
                    self.verdict.cannot(
                        f"more than {MOST_STRANGE} messages are of no row; no more were looked at"
                    )
            return
        again = not self._seen.add(position)
        if again or (self._sent and not replayed and _hash(event) in self._sent):
            self.verdict.add("duplicate", f"{text}: once more")
            return
        shard = found.get(headers.SHARD, "")
        self._number(shard, _number(found.get(headers.EMISSION)), text)
        if self._ordered:
            key = found.get(headers.EVENT_KEY, "")
            # Copies are in order among themselves.
            self._order(shard, position, key, found.get(headers.REPLAY, ""), text)

    def _number(self, shard: str, number: int | None, text: str) -> None:
        if number is None:
            return
        last = self._numbers.get(shard)
        if last is not None and number <= last:
            self.verdict.add("misnumbered", f"{text}: number {number} behind {last}")
            return
        self._numbers[shard] = number

    def _order(self, shard: str, position: int, key: str, replay: str, text: str) -> None:
        """Only what comes behind a higher position of its shard can be late for its key."""
        if not key:
            return
        top, known = self._tops.get(shard, -1), hash((key, replay))
        before = self._keys.get(known)
        if position < top:
            if before is not None and position < before:
                late = f"{text}: of key {shown(key)!r} position {before} came before it"
                self.verdict.add("reordered", late)
                return
            if before is None and position < self._forgotten:
                self.verdict.cannot(
                    f"the range holds more than {MOST_KEYS} keys: whether all that came late was "
                    "in order for its key is not known; take a shorter range"
                )
        else:
            self._tops[shard] = position
        self._keys[known] = position
        self._keys.move_to_end(known)
        if len(self._keys) > MOST_KEYS:
            self._forgotten = max(self._forgotten, self._keys.popitem(last=False)[1])

    def strange(self) -> list[int]:
        """Positions of messages of which no row was handed in."""
        return sorted(self._strange)

    def settle(self, late: Container[int]) -> None:
        """Judge what was strange.

        Args:
            late: Positions of rows that were committed since.
        """
        for position, text in self._strange.items():
            if position not in late:
                self.verdict.add("phantom", f"{text}: there is no such row")

    def unexplained(self, *, drops: bool) -> Iterator[int]:
        """Positions of rows that should have a message and have none; the others are counted.

        Args:
            drops: Whether the stream drops messages before those that are older.
        """
        for position in self._rows.minus(self._seen):
            if position not in self._due:
                self.verdict.add("waiting", f"position {position}")
            elif drops or position in self._expired:
                self.verdict.add("expired")
            else:
                yield position

    def explain(self, rows: Iterable[LeftRow], held: Memory) -> None:
        """Why these rows, all of `unexplained`, have no message.

        Args:
            rows: What is known of them.
            held: How far back the stream remembers.
        """
        for row in rows:
            found = [one for one in row.copies if one.position in self._copied]
            if row.dead:
                self.verdict.add("deadLettered")
            elif row.given_up:
                self.verdict.add("givenUp")
            elif row.renewed or any(one.to in (None, row.to) for one in found):
                self.verdict.add("replayed")
            elif self._sent and _hash(row.event_id) in self._sent:
                self.verdict.add("sent")
            elif held.expired(row.created_at):
                self.verdict.add("expired")
            else:
                self._lose(row, found, held)

    def _lose(self, row: LeftRow, found: Sequence[Copy], held: Memory) -> None:
        """Take note of a lost row; `found`: copies of it for other consumers."""
        self.oldest_lost = min(self.oldest_lost or row.created_at, row.created_at)
        text = f"event {shown(row.event_id)} position {row.position} shard {row.shard}"
        if held.forgot(row.created_at):
            text += ", before all that the stream holds"
            self.verdict.before += 1
            self.verdict.begins = held.since
        if found:
            text += f", sent again to {shown(str(found[-1].to))} alone"
        self.verdict.add("lost", text)
        if self._copied.left_out:
            self.verdict.cannot(
                "positions of copies are too far apart to be remembered: what was sent again may "
                "be called lost"
            )
        # Copies are never copied: what a replay sends is the row that they are of.
        position, stretches = row.position if row.of is None else row.of, self.verdict.lost
        first = position
        if stretches and not self.verdict.more_lost and self._next_to(stretches[-1][1], position):
            first = stretches[-1][1]
        self.verdict.lose(first, position)

    def _next_to(self, before: int, position: int) -> bool:
        """Whether there is no row between two positions."""
        between = range(before + 1, position)
        near = before < position <= before + _WIDEST_GAP
        return near and not any(one in self._rows for one in between)


def _number(text: str | None) -> int | None:
    """A number in a header, which anybody may have written; None: there is none."""
    if text is None or len(text) > 19 or not (text.isascii() and text.isdigit()):
        return None
    return int(text)


def _hash(event: str) -> int:
    return int.from_bytes(hashlib.blake2b(event.encode(), digest_size=8).digest(), "big")
