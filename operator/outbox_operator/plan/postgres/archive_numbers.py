"""What an archive says of itself: how much it holds, since when, and what is missing. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

MOST_GAPS: Final = 5
"""That are named; the others are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Numbers of a shard that have not come.

    Attributes:
        source: Of the outbox.
        shard: Of it.
        first: First number that is missing.
        last: Last number of them.
        sent_after: When the stream took the event before; None: not known.
        sent_before: When it took the event behind.
    """

    source: str
    shard: int
    first: int
    last: int
    sent_after: datetime | None
    sent_before: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillNumbers:
    """How far the rows of an outbox's table are archived.

    Attributes:
        source: Of its events; empty: nobody could look there yet.
        began_at: When that began.
        up_to: Position of the last row that is to be.
        position: Of the last one that was looked at.
        rows: That were looked at.
        stored: Of these, that the archive had not.
        moved_at: When that was.
        ended_at: When all were; None: not yet.
        problem: What is in the way.
    """

    source: str
    began_at: datetime
    up_to: int
    position: int
    rows: int
    stored: int
    moved_at: datetime
    ended_at: datetime | None
    problem: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveNumbers:
    """Live numbers of an archive.

    Attributes:
        rows: About how many events it holds.
        bytes: What they take, indexes included.
        partitions: Tables that hold them.
        unpartitioned: About how many have no partition of their time.
        oldest: When the stream took the oldest of them; None: it is empty.
        newest: When it took the newest.
        shards: Of outboxes whose numbers are followed.
        gaps: Between the numbers of these.
        first_gaps: The first of them, at most `MOST_GAPS`.
        numbered_to: When the stream took the newest event of those with numbers.
        backfill: How far the rows of an outbox's table are; None: none were begun with.
    """

    rows: int
    bytes: int
    partitions: int
    unpartitioned: int
    oldest: datetime | None
    newest: datetime | None
    shards: int
    gaps: int
    first_gaps: tuple[Gap, ...]
    numbered_to: datetime | None
    backfill: BackfillNumbers | None = None

    @property
    def complete_to(self) -> datetime | None:
        """No event that the stream took up to here is missing; None: nobody can say."""
        if not self.shards:
            return None
        if not self.gaps:
            return self.numbered_to
        before = [gap.sent_after for gap in self.first_gaps]
        return None if None in before else min(one for one in before if one is not None)
