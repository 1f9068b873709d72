"""What the status of an EventConsumer says of its archive. Pure; used by `plan.passes.archive`."""

from __future__ import annotations

from datetime import datetime

from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Consumer
from outbox_operator.api.v1alpha1.archive import (
    ArchiveBackfillState,
    ArchiveGap,
)
from outbox_operator.counted import counted
from outbox_operator.plan.archives import archive_of
from outbox_operator.plan.postgres.archive_numbers import ArchiveNumbers, BackfillNumbers
from outbox_operator.plan.postgres.archive_seals import Head
from outbox_operator.plan.status.conditions import Part, ok, stamp, unknown, waiting
from outbox_operator.reasons import Reason

_MOST_CHARACTERS = 600
"""Of what a pod says is in the way."""


def known_seal(consumer: Consumer, identity: str | None) -> Head | None:
    """The last seal as it was at the last look, of the database where the archive is."""
    before = consumer.status.archive
    if before is None or before.lastSeal is None or before.database != identity:
        return None
    try:
        return Head.parse(before.lastSeal)
    except ValueError:
        return None


def provable(consumer: Consumer) -> bool:
    """Whether the archive is given every event, so that a missing number is a missing event."""
    return not consumer.spec.filterSubjects


def complete_part(consumer: Consumer, numbers: ArchiveNumbers | None) -> Part | None:
    """ArchiveComplete: informs, and never decides about Ready."""
    kind = ConditionType.ARCHIVE_COMPLETE
    if numbers is None:
        return None
    if not provable(consumer):
        text = "spec.filterSubjects: the archive is given some of the events only"
        return informing(unknown(kind, Reason.NOT_PROVABLE, text))
    if not numbers.shards:
        text = "no event with a number has been archived yet"
        return informing(unknown(kind, Reason.NOT_PROVABLE, text))
    if not numbers.gaps:
        text = f"no event is missing up to {time_of(numbers.complete_to)}"
        return informing(ok(kind, Reason.NOTHING_MISSING, text))
    gap = numbers.first_gaps[0]
    text = (
        f"{counted(numbers.gaps, 'gap')} in the numbers of events, the first in shard "
        f"{gap.shard} of "
        f"{gap.source}: {gap.first} to {gap.last}, sent between {time_of(gap.sent_after)} and "
        f"{time_of(gap.sent_before)}"
    )
    return informing(Part(type=kind, status="False", reason=Reason.EVENTS_MISSING, message=text))


def informing(part: Part) -> Part:
    return Part(
        type=part.type, status=part.status, reason=part.reason, message=part.message, blocks=False
    )


def time_of(moment: datetime | None) -> str | None:
    return None if moment is None else stamp(moment)


def backfilled_part(consumer: Consumer, numbers: ArchiveNumbers | None) -> Part | None:
    """ArchiveBackfilled: informs, and never decides about Ready; None: nobody could look, or no
    outbox is named."""
    kind = ConditionType.ARCHIVE_BACKFILLED
    archive = archive_of(consumer.spec)
    if archive is None or archive.backfill is None or numbers is None:
        return None
    found = numbers.backfill
    if found is None:
        text = "not begun: the pods that write the archive begin with it"
        return informing(waiting(kind, Reason.BACKFILLING, text))
    if found.problem is not None:
        text = f"spec.handler.archive.backfill: {found.problem[:_MOST_CHARACTERS]}"
        return informing(waiting(kind, Reason.BACKFILL_STUCK, text))
    far = (
        f"{counted(found.rows, 'row')} of {found.source}, of which "
        f"{counted(found.stored, 'was', 'were')} not archived yet"
    )
    if found.ended_at is None:
        text = f"{far}; at position {found.position} of {found.up_to}"
        return informing(waiting(kind, Reason.BACKFILLING, text))
    return informing(ok(kind, Reason.BACKFILLED, f"{far}; all of them are since then"))


def backfill_state(found: BackfillNumbers | None) -> ArchiveBackfillState | None:
    """`status.archive.backfill`."""
    if found is None:
        return None
    known = bool(found.source)
    return ArchiveBackfillState(
        source=found.source if known else None,
        rows=found.rows,
        stored=found.stored,
        position=found.position,
        upTo=found.up_to,
        startedAt=time_of(found.began_at) if known else None,
        finishedAt=time_of(found.ended_at),
    )


def archive_numbers(
    consumer: Consumer, numbers: ArchiveNumbers, now: datetime
) -> dict[str, object]:
    """Fields of `status.archive` that a look at an archive gives."""
    proven = numbers.complete_to if provable(consumer) else None
    return {
        "rows": numbers.rows,
        "bytes": numbers.bytes,
        "partitions": numbers.partitions,
        "unpartitioned": numbers.unpartitioned,
        "oldest": time_of(numbers.oldest),
        "newest": time_of(numbers.newest),
        "completeTo": time_of(proven),
        "gaps": numbers.gaps if provable(consumer) and numbers.shards else None,
        "firstGaps": [
            ArchiveGap(
                source=gap.source, shard=gap.shard, first=gap.first, last=gap.last,
                sentAfter=time_of(gap.sent_after), sentBefore=time_of(gap.sent_before),
            )
            for gap in (numbers.first_gaps if provable(consumer) else ())
        ],
        "backfill": backfill_state(numbers.backfill),
        "sampledAt": stamp(now),
    }  # fmt: skip
