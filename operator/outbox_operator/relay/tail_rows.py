"""What the table says of a tail: rows that the stream no longer shows, and rows that are over.

Called by `relay.stream` once it has read a tail; what to decide is in `relay.recovery`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set

from outbox_operator.adapters.postgres.rows import Candidates
from outbox_operator.adapters.sink import StreamFacts
from outbox_operator.counted import counted
from outbox_operator.reasons import Reason
from outbox_operator.relay.metrics import RelayMetrics
from outbox_operator.relay.open_tail import OpenTail
from outbox_operator.relay.recovery import Tail, fill_holes

log = logging.getLogger(__name__)

ReadCandidates = Callable[[int], Awaitable[Candidates]]
"""Reads the rows up to a position that the cursor does not account for."""


def say_forgotten(tail: Tail, facts: StreamFacts, metrics: RelayMetrics) -> None:
    """Say that a tail has more rows than are remembered, if it has."""
    if not tail.forgotten:
        return
    metrics.uncertain.inc(tail.forgotten)
    log.error(
        "the database says little of what stream %s holds, as after a restore or a failover: %d "
        "events behind the cursor are too many to remember, and are sent a second time",
        facts.stream, tail.forgotten, extra={"reason": Reason.TAIL_INCOMPLETE},
    )  # fmt: skip


def say_read(tail: Tail, after: int, last: int) -> None:
    """Say what a tail has, if it has anything."""
    if tail.published or tail.foreign:
        log.info(
            "read what the stream holds behind the cursor",
            extra={
                "after_sequence": after, "last_sequence": last,
                "ours": len(tail.published), "foreign": tail.foreign,
            },
        )  # fmt: skip


async def fill(
    tail: Tail,
    facts: StreamFacts,
    candidates: ReadCandidates,
    metrics: RelayMetrics,
    found: Mapping[int, str],
    *,
    dense: bool,
) -> int:
    """Find the rows whose messages are missing in the tail, and say what is not certain.

    Args:
        found: Event id by position of rows that an earlier reading of the tail found.
        dense: As `fill_holes` takes it.

    Returns:
        How many events are sent although they may have been published.

    Raises:
        PostgresError: The database does not answer.
    """
    if not (tail.missing and tail.published):
        return 0
    waiting, complete = await candidates(tail.highest)
    filled = fill_holes(tail, waiting, found, complete=complete, dense=dense)
    tail.published.update(filled.published)
    for position in filled.repeated:
        del tail.published[position]
    text = (
        f"stream {facts.stream} no longer has {counted(tail.missing, 'message')} "
        "behind the cursor, whose "
        f"events need no sending: {len(filled.published)} of them are known by their rows"
    )
    again = filled.unsure + len(filled.repeated)
    metrics.uncertain.inc(again)
    if again:
        text += (
            f"; {counted(again, 'event is sent although it', 'events are sent although they')} "
            "may have been published before"
        )
    level = logging.WARNING if again else logging.INFO
    log.log(level, "%s", text, extra={"reason": Reason.TAIL_INCOMPLETE})
    return again


Waiting = Callable[[Sequence[int]], Awaitable[Set[int]]]
"""Tells which rows at these positions the cursor does not account for."""


async def leave_out_those_before_the_cursor(tail: OpenTail, waiting: Waiting) -> None:
    """Leave out rows of a tail that will not be read again.

    A relay that dies while it reads a tail once more may have saved a point that is behind rows
    which it published itself, and before rows which it had found: these come first in the stream.

    Raises:
        PostgresError: The database does not answer.
    """
    tail.keep(await waiting(list(tail.published)))
