"""When to add and to drop partitions of an archive. Pure; the upkeep carries it out.

Stretches of time begin at multiples of their length, in UTC, so that two runs of upkeep, or of two
versions, plan the same ones. Retention drops whole partitions: a row is kept for at least as long
as its class says, and at most one stretch longer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from outbox_operator.plan.postgres.archive_schema import ClassTable, Leaf, leaf_name

_HOUR: Final = 3600
WIDTHS: Final = (_HOUR // 4, _HOUR, 6 * _HOUR, 24 * _HOUR, 7 * 24 * _HOUR, 28 * 24 * _HOUR)
"""Lengths of stretches, in seconds; each is a multiple of the one before."""
_PARTS: Final = 10
"""At least as many stretches should share the time that rows are kept for."""
AHEAD_SECONDS: Final = 2 * 24 * _HOUR
"""There is a partition for what comes within this time, however long upkeep is away."""
_FEWEST_AHEAD: Final = 3
_MOST_AHEAD: Final = 60
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A partition to be made.

    Attributes:
        name: Of its table.
        low: First moment.
        high: First moment after it.
    """

    name: str
    low: datetime
    high: datetime


def width(keep_seconds: float) -> int:
    """How long a stretch is, in seconds, of a class that is kept for so long."""
    fitting = [one for one in WIDTHS if one * _PARTS <= keep_seconds]
    return fitting[-1] if fitting else WIDTHS[0]


def ahead(one: ClassTable, now: datetime, keep_seconds: float) -> list[Stretch]:
    """Partitions that are missing for what is stored now and soon, oldest first."""
    step = width(keep_seconds)
    count = min(max(AHEAD_SECONDS // step, _FEWEST_AHEAD), _MOST_AHEAD)
    start = slot(now, step)
    slots = [start + timedelta(seconds=step * number) for number in range(count + 1)]
    return list(_missing(one, slots, step))


def for_rows(one: ClassTable, moments: Iterable[datetime], keep_seconds: float) -> list[Stretch]:
    """Partitions for rows of the default one, stored at these moments, oldest first."""
    step = width(keep_seconds)
    return list(_missing(one, sorted({slot(moment, step) for moment in moments}), step))


def expired(one: ClassTable, now: datetime, keep_seconds: float) -> list[Leaf]:
    """Partitions in which every row is older than it has to be kept, oldest first."""
    oldest = now - timedelta(seconds=keep_seconds)
    gone = [leaf for leaf in one.leaves if leaf.high is not None and leaf.high <= oldest]
    return sorted(gone, key=lambda leaf: leaf.high or now)


def slot(moment: datetime, step: int) -> datetime:
    """Start of the stretch that a moment is in."""
    seconds = (moment - _EPOCH) // timedelta(seconds=1)
    return _EPOCH + timedelta(seconds=seconds - seconds % step)


def _missing(one: ClassTable, slots: Iterable[datetime], step: int) -> Iterator[Stretch]:
    """What of these slots, in their order, no partition covers; a length that changed leaves parts
    of slots."""
    taken, at = _taken(one.leaves), 0
    for low in slots:
        end = low + timedelta(seconds=step)
        # Each is looked at once: a server may tell of tens of thousands.
        while at < len(taken) and taken[at][0] < end:
            first, last = taken[at]
            if last > low:
                if first > low:
                    yield Stretch(name=leaf_name(one.name, low), low=low, high=first)
                low = last
            if last > end:
                break  # it covers some of the next slot as well
            at += 1
        if low < end:
            yield Stretch(name=leaf_name(one.name, low), low=low, high=end)


def _taken(leaves: Iterable[Leaf]) -> list[tuple[datetime, datetime]]:
    """What partitions cover, in order and without overlaps."""
    found: list[tuple[datetime, datetime]] = []
    for low, high in sorted(
        (leaf.low, leaf.high) for leaf in leaves if leaf.low is not None and leaf.high is not None
    ):
        if found and low <= found[-1][1]:
            found[-1] = found[-1][0], max(high, found[-1][1])
        else:
            found.append((low, high))
    return found
