"""What a process has seen of a Lease, and whose that makes it: the decisions. Pure; times are
arguments.

Called by `lease` and `leadership`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from outbox_operator.adapters.kubernetes.lease import LeaseRecord

RELEASED_SECONDS: Final = 1
"""Duration that a Lease says which was given back, as others write it too."""
MOST_TRANSITIONS: Final = 2**31 - 1
"""A Lease holds no larger number, whoever wrote that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a process leaves a Lease alone.

    Attributes:
        unseen_seconds: One that was never seen: within this time who holds it shows himself.
        silent_seconds: One whose holder is silent, at least. A Lease may ask for more; for less
            only by a hand that is not its holder's, who counts on as before.
    """

    unseen_seconds: float
    silent_seconds: float


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a Lease says, and since when it has been seen to.

    Attributes:
        record: With no version: there is no Lease; who held it before, as far as that was seen.
        since: Monotonic seconds.
        patience_seconds: For how long from then on it is left to its holder.
    """

    record: LeaseRecord
    since: float
    patience_seconds: float = 0.0


def sight(
    previous: Sighting | None, record: LeaseRecord | None, now: float, patience: Patience
) -> Sighting:
    """What a standby knows after reading the Lease once more.

    A Lease that is gone was deleted by hand, or never was. Its holder lives on without it until
    his next renewal, which makes it anew: he is given the time.

    Args:
        previous: What it knew before.
        record: What it read; None: there is no Lease.
        now: Monotonic seconds.
        patience: Of this process.
    """
    if record is None:
        if previous is None:
            return Sighting(_NEVER, now, patience.unseen_seconds)
        if previous.record.version is None:
            return previous
        gone = dataclasses.replace(previous.record, version=None, asked_by="")
        return Sighting(gone, now, max(gone.duration_seconds, patience.silent_seconds))
    is_same = previous is not None and _life(previous.record) == _life(record)
    since = previous.since if previous is not None and is_same else now
    return Sighting(record, since, max(record.duration_seconds, patience.silent_seconds))


_NEVER: Final = LeaseRecord(
    holder="",
    duration_seconds=0,
    acquired=datetime.fromtimestamp(0, UTC),
    renewed=datetime.fromtimestamp(0, UTC),
    transitions=-1,  # its first holder is no transition
    version=None,
)


def _life(record: LeaseRecord) -> tuple[str, datetime, int, bool]:
    """What changes with each renewal, and not with what somebody else asks of the holder."""
    return record.holder, record.renewed, record.transitions, record.version is None


def may_take(sighting: Sighting, identity: str, now: float) -> bool:
    """Whether the Lease is free: released, ours, or nobody was heard of for too long."""
    record = sighting.record
    if record.holder == identity or _is_released(record):
        return True
    return now - sighting.since > sighting.patience_seconds


def _is_released(record: LeaseRecord) -> bool:
    """Whether its holder gave it back. Who holds one that a person emptied may not know it yet."""
    short = record.duration_seconds <= RELEASED_SECONDS
    return not record.holder and record.version is not None and short


def claim(sighting: Sighting, identity: str, duration_seconds: int, now: datetime) -> LeaseRecord:
    """The record that takes the Lease."""
    old = sighting.record
    stays = old.holder == identity
    return LeaseRecord(
        holder=identity,
        duration_seconds=duration_seconds,
        acquired=old.acquired if stays else now,
        renewed=now,
        transitions=min(old.transitions + (not stays), MOST_TRANSITIONS),
        version=old.version,
    )


def is_of_an_earlier_store(known: LeaseRecord, found: LeaseRecord) -> bool:
    """Whether a Lease is older than it was before: the API server's store was restored.

    Its versions only grow, over deletions as well. What is remembered of everything else may be of
    a time that never was, too, and no watch tells.
    """
    versions = known.version, found.version
    return None not in versions and int(found.version or 0) < int(known.version or 0)
