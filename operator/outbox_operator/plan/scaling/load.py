"""What a workload has to do and how fast it is, out of two looks at its numbers. Pure.

A pod's rate counts only where it had work all the time; otherwise it is at least that. Nothing here
is guessed: what two looks do not tell is None.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from outbox_operator.plan.postgres.state import OutboxNumbers

RATE_SECONDS: Final = 10.0
"""Rates are over at least this time: over less they jump."""
OLDEST_SECONDS: Final = 300.0
"""What happened between two looks that are further apart nobody knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One look.

    Attributes:
        backlog: Events that wait.
        at_least: Whether counting stopped there.
        done: Events that were ever done; counts up, and anew when what counts is made anew.
        at: When that was.
        in_hand: Events that pods have, or that wait for another try.
        oldest_seconds: For how long the oldest has waited; None: not known.
    """

    backlog: int
    at_least: bool
    done: int
    at: datetime
    in_hand: int = 0
    oldest_seconds: float | None = None

    @property
    def is_any(self) -> bool:
        """Whether there is anything to do at all."""
        return self.backlog > 0 or self.in_hand > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast events come and go; None: not known.

    Attributes:
        since: The look that the next rate is counted from, and pods that worked then.
        per_pod: Events a second that a pod does which always has work.
        seen_per_pod: What a pod was last seen to do, with or without work; it can do that at least.
        coming: Events a second that come.
    """

    since: tuple[Load, int] | None = None
    per_pod: float | None = None
    seen_per_pod: float | None = None
    coming: float | None = None

    @property
    def at_least(self) -> float | None:
        """Events a second that a pod does at least."""
        return self.per_pod or self.seen_per_pod


def outbox_load(numbers: OutboxNumbers) -> Load:
    """What a relay has to do."""
    return Load(
        backlog=numbers.backlog_rows,
        at_least=numbers.backlog_is_estimate,
        done=numbers.published_total,
        at=numbers.taken_at,
        oldest_seconds=numbers.oldest_age_seconds,
    )


def paced(before: Pace, load: Load | None, working: int) -> Pace:
    """What is known after one more look.

    Args:
        before: What was known.
        load: The look; None: nobody could.
        working: Pods that are ready and have something to do.
    """
    if load is None:
        return replace(before, coming=None)
    if before.since is None:
        return replace(before, since=(load, working), coming=None)
    earlier, worked = before.since
    seconds = (load.at - earlier.at).total_seconds()
    if 0 <= seconds < RATE_SECONDS:
        return before
    fresh = replace(before, since=(load, working), coming=None)
    if not 0 < seconds <= OLDEST_SECONDS or load.done < earlier.done:
        return fresh
    rate = (load.done - earlier.done) / seconds
    if not (load.at_least or earlier.at_least):
        grown = (load.backlog - earlier.backlog) / seconds
        fresh = replace(fresh, coming=max(0.0, rate + grown))
    if working != worked or not working or not rate:
        return fresh
    each = rate / working
    # A second's work was left at both ends: nobody was idle.
    busy = min(load.backlog, earlier.backlog) >= rate
    if busy or (before.per_pod is not None and each > before.per_pod):
        return replace(fresh, per_pod=each, seen_per_pod=each)
    return replace(fresh, seen_per_pod=each)
