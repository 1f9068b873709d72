"""Earlier points of a cursor, to go back to when the stream has lost what it acknowledged. Pure.

A stream with one replica may forget the last minutes when its server dies: it writes to disk
every two minutes by default. Used by `relay.shard_cursor`: every now and then a point is kept
together with the end of the stream that goes with it. When the stream comes back ending before
the cursor, the relay goes on from the newest point that the stream still has all events of. What
lies between that point and the stream's end is found there and skipped; what lies behind is gone
and is sent again, while the rows are kept.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from typing import Final

from outbox_operator.adapters.postgres.rows import Cursor

SPACING_SECONDS: Final = 20.0
SPACING_EVENTS: Final = 250_000
"""What lies between two of them may have to be read again, so it is bounded both ways."""
MOST: Final = 64
"""Twenty minutes, or as many events as a relay publishes in two minutes at the broker's speed."""
ROWS_KEPT_SECONDS: Final = 180.0
"""So long rows stay in the table at least once they are published."""
LONGEST_SNAPSHOT: Final = 4000
"""Characters: with thousands of open transactions a point is not kept, for the room it takes."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A point of a cursor.

    Attributes:
        taken: Seconds since 1970.
        system: System identifier of the database server that the snapshots belong to.
        created: When the stream was created.
        stream_sequence: All events up to the point are in the stream up to this sequence.
        emission: Number of the last event published then.
        held: Number of the last event that the stream was known to have taken then; None: that
            was no other one.
    """

    taken: float
    system: str
    created: str
    stream_sequence: int
    emission: int
    snapshot_from: str
    snapshot_to: str | None
    last_position: int
    held: int | None = None


def parse(text: str) -> tuple[Checkpoint, ...]:
    """Read what `render` wrote; what cannot be read counts as nothing."""
    try:
        return tuple(Checkpoint(*parts) for parts in json.loads(text))
    except (ValueError, TypeError):
        return ()


def render(checkpoints: Sequence[Checkpoint]) -> str:
    """Write checkpoints as one text for the table."""
    rows = (astuple(each) for each in checkpoints)
    # Without what it does not know the relay of an earlier version can read it.
    short = [row[:-1] if row[-1] is None else row for row in rows]
    return json.dumps(short, separators=(",", ":"))


def with_point(
    kept: Sequence[Checkpoint], cursor: Cursor, system: str, now: float, held: int | None = None
) -> tuple[Checkpoint, ...] | None:
    """Add a cursor to the checkpoints; None: it is not time yet, or it cannot be one.

    Args:
        system: System identifier of the database server.
        now: Seconds since 1970.
        held: Of the point; it is time when this has changed.
    """
    if cursor.stream_sequence is None or cursor.stream_created is None:
        return None
    if len(cursor.snapshot_from) + len(cursor.snapshot_to or "") > LONGEST_SNAPSHOT:
        return None
    fitting = [
        each for each in kept if (each.system, each.created) == (system, cursor.stream_created)
    ]
    if fitting and fitting[-1].held == held:
        newest = fitting[-1]
        elapsed, events = now - newest.taken, cursor.emission - newest.emission
        if cursor.stream_sequence == newest.stream_sequence and not events:
            return None  # nothing was published since
        if 0 <= elapsed < SPACING_SECONDS and events < SPACING_EVENTS:
            return None
    point = Checkpoint(
        round(now, 3), system, cursor.stream_created, cursor.stream_sequence, cursor.emission,
        cursor.snapshot_from, cursor.snapshot_to, cursor.last_position, held,
    )  # fmt: skip
    return (*fitting[-MOST + 1 :], point)


def newest_within(
    kept: Sequence[Checkpoint], *, last_sequence: int, created: str, system: str
) -> Checkpoint | None:
    """Return the newest point that a stream which ends at `last_sequence` has all events of."""
    fitting = (
        each
        for each in reversed(kept)
        if (each.system, each.created) == (system, created)
        and each.stream_sequence <= last_sequence
    )
    return next(fitting, None)


def gone_back_to(
    kept: Sequence[Checkpoint], point: Checkpoint, emission: int, now: float
) -> tuple[Checkpoint, ...]:
    """Return the checkpoints of a cursor that goes back to one of them.

    What was published behind it is published again, under numbers after `emission`, which name the
    point's as the one before them. Not when some of it may have gone from the table: then the gap
    is of events that are lost.

    Args:
        emission: Number of the last event published.
        now: Seconds since 1970.
    """
    if not 0 <= now - point.taken < ROWS_KEPT_SECONDS:
        return tuple(kept)
    held = point.emission if point.held is None else point.held
    return (*kept, replace(point, emission=emission, held=held))


def emission_at(kept: Sequence[Checkpoint], cursor: Cursor) -> int | None:
    """Return the number of the last event before a cursor that went back; None: it did not."""
    at = (
        cursor.stream_sequence, cursor.snapshot_from, cursor.snapshot_to, cursor.last_position
    )  # fmt: skip
    return next(
        (
            each.emission
            for each in kept
            if at
            == (each.stream_sequence, each.snapshot_from, each.snapshot_to, each.last_position)
        ),
        None,
    )
