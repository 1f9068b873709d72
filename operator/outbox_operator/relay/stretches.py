"""How to read on in a window: over all positions, or at those of the shard's own rows. Pure.

Called by `relay.reading`. Where most rows between are the shard's, as they are in an outbox with
one shard or a few, walking over the positions is cheapest. Among many shards it would read far
more rows of others; then the positions are listed first, by the index that knows a shard's rows.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from outbox_operator.adapters.postgres.rows import Part, Span

LISTED: Final = 50_000
"""Positions that are listed at once; 400 kB."""
_PICK: Final = 3
"""To read a row at its position costs more than to come by, by as much as to pass so many rows
of other shards."""
_FIND: Final = 5
"""To find out where a row is costs so many."""
_ASK: Final = 1000
"""And a statement so many."""
_MOST_FOUND: Final = 1_000_000
"""Of so many rows the positions are found within a second or two, whatever a walk would cost."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """What to read of a window next: what is left of it up to position `last`.

    Attributes:
        wrote: Transactions since S1 that wrote there, from the first on, before the second: list
            the positions of their rows, and of those that were open in S1.
        listed: These positions; without either, walk.
    """

    last: int
    wrote: tuple[str, str] | None = None
    listed: Sequence[int] = ()


def next_stretch(span: Span, after: int) -> Stretch:
    """Return how to go on behind position `after`.

    A stretch ends where a part of the window does, so there are no more of them than parts.
    """
    late = [span.behind] if span.behind is not None and span.behind.last > after else []
    left = [number for number, part in enumerate(span.parts) if part.last > after]
    if not left and not late:
        return Stretch(span.last)
    last = min(part.last for part in [*late, *(span.parts[number] for number in left)])
    touched = [number for number in left if span.parts[number].first <= last]
    # A range of transactions is asked for, with what lies between.
    asked = [*(span.parts[touched[0] : touched[-1] + 1] if touched else ()), *late]
    found = sum(_share(part, after, last) for part in asked)
    walking = last - after - found
    if span.positions is not None and not late:
        listed = span.positions[bisect_right(span.positions, after) :]
        return Stretch(last, listed=listed if _PICK * found < walking else ())
    times = max(1, -(-found // LISTED))
    looked_at = sum(part.rows for part in asked)
    listing = _PICK * found + times * (_FIND * looked_at + _ASK)
    if listing >= walking or looked_at > _MOST_FOUND:
        return Stretch(last)
    begun = asked[: len(asked) - len(late)] or late
    return Stretch(last, wrote=(begun[0].begin, begun[-1].end))


def _share(part: Part, after: int, last: int) -> int:
    """About how many rows of a part are behind `after` and not behind `last`."""
    inside = min(last, part.last) - max(after, part.first - 1)
    return max(0, part.rows * inside // (part.last - part.first + 1))
