"""What to go on from when it is not certain how far the stream is. Pure.

Called by `relay.stream`. The cursor is saved now and then, so it lags a little behind the stream.
The messages behind it, the tail, say what was published: their headers hold position and
emission. The rows at these positions are then skipped when they are read, and nothing else is:

- What was visible to the relay that published them is visible to the one that reads the tail.
- Published rows were the first ones, by position, of what was visible then.
- A row that became visible later cannot, for its key, come before one that was visible then;
  copies of a replay are in order among themselves.

So the order of each key holds although the snapshot of the interrupted window was never stored.

A tail may have holes: limits, consumption and people take messages out of the stream. The numbers
of those that are left tell how many are missing. The rows that may be these, `Candidate`s, were
published if they are as many; if not, then those of a key that the tail shows at a later position
(`fill_holes`). Where the tail shows rows that the table does not have, the database was put back to
an earlier time, or a standby of before took over: what was written since has positions of the lost.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote_to_bytes

from outbox_operator.adapters.postgres.rows import Candidate
from outbox_operator.wire.headers import (
    EMISSION,
    EVENT_ID,
    EVENT_KEY,
    EVENT_SOURCE,
    POSITION,
    PREDECESSOR,
    REACHED,
    REPLAY,
    SHARD,
)

UNKNOWN_TAIL: Final = 20_000
"""Stream sequences to look back when the cursor does not say where it ends in the stream: more
than any earlier relay published between two saves."""
MOST_SKIPPED: Final = 500_000
"""Positions remembered at most, for the memory they take: many times what is published between two
saves. Only a database that was put back has more behind its cursor; older ones are sent again."""
EMISSION_GAP: Final = 1_000_000
"""Twice as many events as any relay publishes between two saves. Who has left out so many saves
that before it gives out the next number."""
DOUBT_GAP: Final = 600_000
"""Left out before events of which some have been sent, so that two numbers of one row can be told
whatever the stream drops: more than any relay publishes between two saves, and with all it may
publish before its next one (`relay.stream`) less than `EMISSION_GAP`, should none of it be left."""
WINDOWS: Final = 3
"""The rest of an open window, what was being read meanwhile, and a poll: with these everything
that was visible when we looked at the stream has been read."""
LEAST: Final = -(2**63)
"""No position is smaller."""
_NUMBER: Final = re.compile("-?[0-9]{1,19}")


def first_wanted(known: int | None, last: int) -> int:
    """Return the sequence behind which the tail begins.

    Args:
        known: Stream sequence of the last message that the cursor knows of; None: not recorded.
        last: Sequence of the last message on our subjects; 0 when there is none.
    """
    if known is not None and known <= last:
        return known
    # Not recorded; or the stream ends before it: it was made anew, or messages were deleted.
    return max(0, last - UNKNOWN_TAIL)


@dataclass(frozen=True, slots=True)
class Numbering:
    """Numbers of the events of a shard.

    Attributes:
        last: Of the last event published; 0 when there is none.
        gaps: How many up to it were left out.
    """

    last: int
    gaps: int

    def after(self, events: int) -> Numbering:
        """Return the numbers when so many more are published."""
        return Numbering(self.last + events, self.gaps)

    def above(self, taken: int) -> Numbering:
        """Return the numbers when all up to `taken` are left out."""
        left_out = max(0, taken - self.last)
        return Numbering(self.last + left_out, self.gaps + left_out)


@dataclass(slots=True)
class Tail:
    """What the stream holds behind the cursor on our subjects.

    Attributes:
        numbered: Number of the last event that the cursor accounts for.
        dealt_to: Messages up to this sequence are of rows that will not be read again,
        unless: at one of these positions.
        published: Event id by position, of our messages.
        sequences: Of the one of ours before each of these messages, by position, in order; 0 for
            the first.
        end: Sequence of the last of ours.
        earliest: Smallest number of an event among them, 0 if there is none.
        emission: Number of the last of them, 0 if there is none.
        missing: How many numbers up to it no message has.
        doubted: Whether numbers that are missing need not be of one row each: a message names the
            number before it, so the stream may have dropped some or have them twice.
        highest: No row that was sent up to the last of them has a larger position.
        left_out: How many of these no event ever had, because it was not known how far they went.
        shown: Rows that messages with higher numbers than the cursor's are of.
        reached: The largest position of each key, which is named by its digest; of a key's copies
            in each replay apart.
        foreign: How many messages are not ours.
        foreign_subject: Subject of the last of these.
        foreign_sequence: Its sequence.
    """

    shard: int
    source: str
    numbered: int = 0
    dealt_to: int = 0
    unless: Container[int] = ()
    published: dict[int, str] = field(default_factory=dict)
    sequences: dict[int, int] = field(default_factory=dict)
    end: int = 0
    earliest: int = 0
    emission: int = 0
    missing: int = 0
    doubted: bool = False
    highest: int = LEAST
    left_out: int = 0
    shown: int = 0
    reached: dict[bytes, int] = field(default_factory=dict)
    foreign: int = 0
    foreign_subject: str = ""
    foreign_sequence: int = 0

    @property
    def forgotten(self) -> int:
        """How many rows that the cursor does not account for are shown, and too many to keep."""
        return max(0, self.shown - MOST_SKIPPED)

    def is_ours(self, headers: Mapping[str, str]) -> bool:
        """Return whether a message with these headers is of this shard of this outbox."""
        return headers.get(EVENT_SOURCE) == self.source and headers.get(SHARD) == str(self.shard)

    def number_in(self, headers: Mapping[str, str]) -> int:
        """Return the number of the event of a message with these headers; 0: it is not ours."""
        return (_number(headers.get(EMISSION)) or 0) if self.is_ours(headers) else 0

    def highest_in(self, headers: Mapping[str, str]) -> int:
        """Return the largest position that was sent up to a message; the least: it is not ours."""
        if not self.is_ours(headers):
            return LEAST
        found = (_number(headers.get(name)) for name in (POSITION, REACHED))
        return max((each for each in found if each is not None), default=LEAST)

    def add(self, sequence: int, subject: str, headers: Mapping[str, str]) -> None:
        """Add the next message of the tail."""
        position, emission = _number(headers.get(POSITION)), _number(headers.get(EMISSION))
        if not self.is_ours(headers) or position is None or emission is None:
            self.foreign += 1
            self.foreign_subject, self.foreign_sequence = subject, sequence
            return
        hole = emission - max(self.emission, self.numbered) - 1
        if hole >= DOUBT_GAP:
            self.left_out += hole
        self.missing += max(0, hole)
        # Of a relay that did not know how far rows were sent, or does not say it.
        backwards = position < self.highest and REACHED not in headers
        self.doubted |= PREDECESSOR in headers or backwards
        self.highest = max(self.highest, self.highest_in(headers))
        self.emission = max(self.emission, emission)
        if sequence > self.dealt_to or position in self.unless:
            if emission > self.numbered and position not in self.published:
                self.shown += 1
            self.published[position] = headers.get(EVENT_ID, "")
            self.sequences.setdefault(position, self.end)
            self.earliest = min(self.earliest or emission, emission)
        self.end = sequence
        if key := headers.get(EVENT_KEY, ""):
            name = _order_name(unquote_to_bytes(key), headers.get(REPLAY))
            self.reached[name] = max(position, self.reached.get(name, position))
        if len(self.published) > MOST_SKIPPED:
            oldest = next(iter(self.published))
            del self.published[oldest], self.sequences[oldest]


def _order_name(key: bytes, replay: str | None) -> bytes:
    """Name what a message has a place in the order of: as `relay_candidates.sql` does.

    Copies of a replay have one of their own: rows of their key that were open meanwhile have lower
    positions, and come behind them.
    """
    return hashlib.sha256(key if replay is None else key + b"\0" + replay.encode()).digest()


def _number(text: str | None) -> int | None:
    """Read a bigint of ours; headers of others may hold anything, at any length."""
    if text is None or not _NUMBER.fullmatch(text):
        return None
    number = int(text)
    return number if LEAST <= number < 2**63 else None


@dataclass(frozen=True, slots=True)
class Filled:
    """What became of the holes of a tail.

    Attributes:
        published: Event id by position of rows that were published, although nothing shows it.
        repeated: Positions of rows that the tail shows and that are sent again all the same,
            so that their key ends with the right one.
        unsure: How many rows are sent although they may have been published.
    """

    published: Mapping[int, str]
    repeated: frozenset[int]
    unsure: int


def fill_holes(
    tail: Tail,
    waiting: Sequence[Candidate],
    found: Mapping[int, str] | None = None,
    *,
    complete: bool,
    dense: bool = True,
) -> Filled:
    """Decide which rows are those whose messages are missing in the tail.

    A row is never taken for published when the count says that one of its like was not: to send
    an event twice is better than to lose it.

    Args:
        waiting: Rows up to `Tail.highest` which the cursor does not account for.
        found: Event id by position of rows that are known already, and their holes not counted.
        complete: Whether there are no others.
        dense: Whether the stream refuses what is behind a message that it refuses. Where it does
            not, a number is missing of what it never took.
    """
    if found:
        waiting = [row for row in waiting if found.get(row.position) != row.event_id]
    hidden = [row for row in waiting if tail.published.get(row.position) != row.event_id]
    if not dense:
        return Filled({}, frozenset(), min(len(hidden), tail.missing) if complete else tail.missing)
    known = complete and not (tail.left_out or tail.doubted)
    # Then missing messages may be of rows that are gone, and hidden ones new at their positions.
    lost = complete and len(waiting) - len(hidden) < tail.shown
    if known and not lost and len(hidden) == tail.missing:
        return Filled({row.position: row.event_id for row in hidden}, frozenset(), 0)
    overtaken = [
        row for row in hidden if tail.reached.get(row.key, row.position - 1) >= row.position
    ]
    if not lost and len(overtaken) <= tail.missing:
        # More are missing than are hidden: of rows that are gone, or lie beyond all that is shown.
        behind = max(0, tail.missing - tail.left_out - len(hidden))
        unsure = 0 if known and len(overtaken) == tail.missing else len(hidden) - len(overtaken)
        unsure = max(unsure, behind)
        return Filled({row.position: row.event_id for row in overtaken}, frozenset(), unsure)
    # Some were lost, or one became visible after a later one of its key: its writers take no lock.
    first: dict[bytes, int] = {}
    for row in overtaken:
        first[row.key] = min(row.position, first.get(row.key, row.position))
    repeated = frozenset(
        row.position
        for row in waiting
        if row.position in tail.published and first.get(row.key, row.position + 1) < row.position
    )
    return Filled({}, repeated, len(hidden))


def numbering(
    so_far: Numbering, tail: Tail, *, known: int | None, last: int | None, outcome_open: bool
) -> Numbering:
    """Return the numbers of the last event published, or above when that cannot be known.

    Consumers rely on numbers that only grow. Where the stream cannot tell what was published
    after the last save, a gap in the numbers is the price.

    Args:
        so_far: As far as the cursor, or the last acknowledged run, knows.
        known: Sequence in the stream that goes with it; None: never recorded.
        last: Of the last message on our subjects; 0 when there is none, None when there may have
            been one behind those that are left.
        outcome_open: Whether something may have been published that we do not know of.
    """
    ahead = tail.emission - so_far.last
    if ahead > 0:
        return Numbering(tail.emission, so_far.gaps + tail.left_out)
    never_published = known is None and last == 0 and not so_far.last
    if tail.emission or not outcome_open or last == known or never_published:
        return so_far
    return Numbering(so_far.last + EMISSION_GAP, so_far.gaps + EMISSION_GAP)


def owner_name(system: str, source: str, shard: int) -> str:
    """Name who owns a shard, to a sink: all its relays alike, and no other's."""
    return hashlib.blake2b(f"{system}\0{source}\0{shard}".encode(), digest_size=10).hexdigest()
