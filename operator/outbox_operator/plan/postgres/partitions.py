"""When to add, rotate and empty partitions of the events table. Pure; the upkeep carries it out.

Positions come from a sequence, partitions are ranges of positions, and gaps are harmless. So a
rotation by time is nothing but moving the sequence to the start of the next partition: no lock,
no writer notices. A closed partition is emptied once everything in it has been published for as
long as rows are kept. The default partition catches what has no range, so that no insert fails.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from outbox_operator.plan.postgres.schema import PARTITION_WIDTH, PARTITIONS_AHEAD
from outbox_operator.wire.cursors import CursorOrigin

PUBLISHED_SECONDS: Final = 180.0
"""Rows are kept at least this long after they were published, whatever the retention: a stream
with one replica may forget what it acknowledged since its server last wrote to disk, by default
two minutes ago, when that machine dies. Until then the row is the only copy that is sure."""
_SHORTEST_ROTATION: Final = 600.0
_LONGEST_ROTATION: Final = 86_400.0
_LONGEST_UPKEEP: Final = 3600.0
_JUMP: Final = 100
"""Partitions left out when the sequence has outrun all ranges: far enough that writers cannot
reach the new range while it is being attached."""
_MARGIN: Final = PARTITION_WIDTH // 100
"""Never move the sequence when it may get there by itself at the same moment."""
_SNAPSHOT: Final = re.compile(r"[0-9]{1,20}:[0-9]{1,20}:[0-9,]*")
"""A `pg_snapshot` as text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """When everything in a partition, or in a table without any, was first seen to be published.

    Attributes:
        published_at: Of the server's clock.
        system: System identifier of the server.
        snapshots: Per shard the cursor's snapshot at that time; a row outside came later.
    """

    published_at: datetime
    system: str
    snapshots: Mapping[int, str]

    def text(self) -> str:
        """As a comment on the partition."""
        shards = {str(shard): text for shard, text in sorted(self.snapshots.items())}
        return json.dumps(
            {
                "published_at": self.published_at.isoformat(),
                "system": self.system,
                "snapshots": shards,
            }
        )

    def counts_for(self, origin: CursorOrigin) -> bool:
        """Whether it was made on this server: the ids in a dump are those of another one."""
        seen = max((int(text.split(":")[1]) for text in self.snapshots.values()), default=0)
        return self.system == origin.server_system and seen <= origin.server_xid


def parse_stamp(comment: str | None) -> Stamp | None:
    """The stamp in a comment, which whoever owns the table may have written; None: it is none."""
    try:
        document = json.loads(comment or "")
        found = Stamp(
            published_at=datetime.fromisoformat(document["published_at"]),
            system=str(document["system"]),
            snapshots={int(shard): str(text) for shard, text in document["snapshots"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    whole = all(_SNAPSHOT.fullmatch(text) for text in found.snapshots.values())
    return found if whole and found.published_at.tzinfo is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """One partition: positions from `low` up to, not including, `high`; None: the default one."""

    name: str
    low: int | None = None
    high: int | None = None
    stamp: Stamp | None = None

    @property
    def is_default(self) -> bool:
        """Whether it takes the rows that no range covers."""
        return self.low is None or self.high is None

    def holds(self, position: int) -> bool:
        """Whether a row of that position belongs to its range."""
        return self.low is not None and self.high is not None and self.low <= position < self.high

    def overlaps(self, positions: range | None) -> bool:
        """Whether rows of these positions may be in it."""
        if not positions:
            return False
        if self.low is None or self.high is None:
            return True
        return self.low < positions.stop and positions.start < self.high


def current(partitions: Sequence[Partition], position: int) -> Partition | None:
    """The partition whose range holds the next position; None: the default one is in use."""
    return next((p for p in partitions if p.holds(position)), None)


def missing(partitions: Sequence[Partition], position: int) -> list[int]:
    """Numbers of the partitions to add, adjoining and in order."""
    ranges = sorted((p.low, p.high) for p in partitions if p.low is not None and p.high is not None)
    now = current(partitions, position)
    if now is None:
        highest = max((high for _, high in ranges), default=0)
        start = max(position // PARTITION_WIDTH + 1 + _JUMP, -(-highest // PARTITION_WIDTH))
        return list(range(start, start + PARTITIONS_AHEAD + 1))
    ahead = [r for r in ranges if r[0] > position]
    wanted = PARTITIONS_AHEAD - len(ahead)
    start = -(-max(high for _, high in ranges) // PARTITION_WIDTH)
    return list(range(start, start + wanted)) if wanted > 0 else []


def rotation_seconds(retention: float) -> float:
    """How long rows go into one partition: a quarter of the time they are kept, within bounds."""
    return min(max(retention / 4, _SHORTEST_ROTATION), _LONGEST_ROTATION)


def upkeep_seconds(retention: float) -> float:
    """How long nothing has to be done for an outbox that stays as it is, after a look."""
    return min(rotation_seconds(retention) / 4, _LONGEST_UPKEEP)


def rotation_target(partitions: Sequence[Partition], position: int) -> int | None:
    """Where the sequence continues after a rotation; None: it cannot be moved now."""
    lows = sorted(p.low for p in partitions if p.low is not None and p.low > position)
    return lows[0] if lows and lows[0] - position > _MARGIN else None


def closed(partitions: Sequence[Partition], position: int) -> list[Partition]:
    """Partitions that new rows no longer go to, oldest first, the default one last."""
    now = current(partitions, position)
    if now is None:
        # The default partition is in use: every range below the position is closed.
        return [p for p in partitions if p.high is not None and p.high <= position]
    return [p for p in partitions if p.is_default or (p.high or 0) <= position]


def prunable(stamp: Stamp | None, *, now: datetime, retention: float) -> bool:
    """Whether the rows of a stamp have been published for as long as they are kept."""
    kept = max(retention, PUBLISHED_SECONDS)
    return stamp is not None and (now - stamp.published_at).total_seconds() >= kept
