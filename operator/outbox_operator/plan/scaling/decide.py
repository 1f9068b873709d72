"""How many pods there shall be: one decision at each look, and why. Pure; the time is an argument.

    number not known        nothing changes
    more would be needed    as long as `up` says, once those asked for are ready, in steps; a
                            roll-out or a broken pod is no reason to add another one
    fewer would do          as long as `down` says, in steps, never fewer than keep up with what
                            comes, and not while pods of the last step still stop
    none are there          one at once, with the first event; and when nobody knows for a while

Two targets are two answers, and the larger one counts. A pod more is worth it only for a tenth
more work, so that a load between two numbers does not make them alternate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from outbox_operator.counted import counted
from outbox_operator.plan.scaling.limits import Limits
from outbox_operator.plan.scaling.load import Load, Pace, paced
from outbox_operator.plan.status.workload import Replicas
from outbox_operator.reasons import Reason

TOLERANCE: Final = 1.1
SPACING_SECONDS: Final = 15.0
"""Least time between two steps: what the last one did has to be seen first."""
GAP_SECONDS: Final = 120.0
"""What the load asked for between two looks that are further apart nobody knows."""
UNKNOWN_SECONDS: Final = 60.0
"""So long there may be no pods while nobody knows whether events wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """The load has asked for another count since a moment without a break.

    Attributes:
        since: The moment.
        count: The nearest of all counts that were asked for since.
    """

    since: datetime
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What one decision leaves to the next.

    Attributes:
        pace: How fast events come and go.
        more: The load asks for more pods.
        fewer: The load asks for fewer pods.
        changed_at: When the count was last changed; None: never, or nobody knows.
        count: What was decided; None: nothing was, or nobody knows. The status may be older: a
            write of it can fail after the pods were asked for.
        looked_at: When that was.
        unknown_since: Since when nobody knows how much waits; None: it is known.
    """

    pace: Pace = field(default_factory=Pace)
    more: Trend | None = None
    fewer: Trend | None = None
    changed_at: datetime | None = None
    count: int | None = None
    looked_at: datetime | None = None
    unknown_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """How many pods.

    Attributes:
        count: So many.
        reason: How that stands, in one word.
        text: The same for people; stays the same as long as nothing changes but numbers.
        why: What led to the count, with the numbers of this look.
        change: What changed and why; None: nothing.
        memory: For the next decision.
    """

    count: int
    reason: Reason
    text: str
    why: str
    change: str | None = None
    memory: Memory


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """Pods that a target asks for; None: not known."""

    more: float | None
    fewer: float | None
    why: str


def decide(
    limits: Limits,
    load: Load | None,
    pods: Replicas,
    memory: Memory,
    *,
    current: int,
    settled: bool,
    paused: bool,
    now: datetime,
) -> Decision:
    """How many pods there shall be.

    Args:
        limits: What was asked for, and what is possible.
        load: What there is to do; None: nobody knows.
        pods: As the Deployment says it.
        memory: What the last decision left.
        current: Pods that were asked for last.
        settled: Whether no roll-out is under way and every pod is ready.
        paused: Whether nothing may be changed.
        now: Time of the pass.
    """
    working = pods.ready if limits.ceiling is None else min(pods.ready, limits.ceiling.pods)
    kept = _unbroken(memory, now)
    kept = replace(
        kept,
        pace=paced(kept.pace, load, working),
        looked_at=now,
        unknown_since=(kept.unknown_since or now) if load is None else None,
    )
    decision = _decision(
        limits, load, pods, kept, current=current, settled=settled, paused=paused, now=now
    )
    return replace(decision, memory=replace(decision.memory, count=decision.count))


def _unbroken(memory: Memory, now: datetime) -> Memory:
    """What is remembered, without what the load asked for before a time that nobody saw."""
    last = memory.looked_at
    if last is None or 0 <= (now - last).total_seconds() <= GAP_SECONDS:
        return memory
    return replace(memory, more=None, fewer=None, unknown_since=None)


def _decision(
    limits: Limits,
    load: Load | None,
    pods: Replicas,
    kept: Memory,
    *,
    current: int,
    settled: bool,
    paused: bool,
    now: datetime,
) -> Decision:
    bounded = min(max(current, limits.least), limits.limit)
    if bounded != current and not paused:
        why = f"minReplicas is {limits.least}" if bounded > current else _bound(limits)
        return _changed(limits, kept, current, bounded, why, now)
    if load is None:
        return _unknown(limits, kept, current, paused=paused, now=now)
    answers = _answers(limits, load, kept.pace, current)
    larger = max(answers, key=lambda one: one.more or 0.0)
    needed = min(larger.more or 0.0, 2.0 * limits.limit + 1.0)
    if not current:
        return _first(limits, kept, load, larger, needed=needed, paused=paused, now=now)
    if needed > current * TOLERANCE:
        return _more(
            limits, kept, larger, current=current, needed=math.ceil(needed),
            ready=settled and pods.ready >= current, paused=paused, now=now,
        )  # fmt: skip
    kept = replace(kept, more=None)
    fewer = _fewest(limits, load, answers, kept.pace)
    if fewer is None or fewer >= current:
        return _stays(limits, replace(kept, fewer=None), current, larger.why)
    return _fewer(
        limits, kept, current=current, fewer=fewer, why=_waits(limits, load, kept.pace),
        stopping=pods.existing > current, paused=paused, now=now,
    )  # fmt: skip


def _unknown(
    limits: Limits, kept: Memory, current: int, *, paused: bool, now: datetime
) -> Decision:
    """Nobody knows how much waits: nothing changes, but that somebody is there to see it."""
    since = kept.unknown_since or now
    if not current and not paused and (now - since).total_seconds() >= UNKNOWN_SECONDS:
        why = f"how many {limits.what} wait is not known, and without a pod nobody handles any"
        return replace(_changed(limits, kept, 0, 1, why, now), reason=Reason.BACKLOG_UNKNOWN)
    text = f"{counted(current, 'pod stays', 'pods stay')}: how many {limits.what} wait is not known"
    rest = replace(kept, more=None, fewer=None)
    return Decision(count=current, reason=Reason.BACKLOG_UNKNOWN, text=text, why=text, memory=rest)


def _first(
    limits: Limits,
    kept: Memory,
    load: Load,
    answer: _Answer,
    *,
    needed: float,
    paused: bool,
    now: datetime,
) -> Decision:
    """There are no pods: the first event brings some back, whatever the targets say."""
    kept = replace(kept, more=None, fewer=None)
    if not load.is_any:
        return _stays(limits, kept, 0, answer.why)
    why = answer.why if load.backlog else _unanswered(limits, load)
    if paused:
        text = f"{counted(0, 'pod')}, and no more before the pause ends"
        return Decision(count=0, reason=Reason.SCALING_HELD, text=text, why=why, memory=kept)
    count = min(max(1, math.ceil(needed)), limits.up.most, limits.limit)
    return _changed(limits, kept, 0, count, why, now)


def _answers(limits: Limits, load: Load, pace: Pace, current: int) -> list[_Answer]:
    wait = _wait(limits, load)
    found = []
    if limits.backlog is not None:
        pods = load.backlog / limits.backlog
        why = f"{wait}, targetBacklog is {limits.backlog}"
        found.append(_Answer(more=pods, fewer=pods, why=why))
    if limits.drain_seconds is not None:
        work = load.backlog / limits.drain_seconds
        why = f"{wait}, targetDrainTime is {limits.drain_seconds:g} s, and a pod does "
        why += "nobody knows how many" if pace.per_pod is None else f"{pace.per_pod:.3g} a second"
        up, down = _over(work, pace.per_pod), _over(work, pace.at_least)
        waited = load.oldest_seconds or 0.0
        if load.at_least and waited > limits.drain_seconds and (up or 0.0) <= current + 1:
            # More than was counted: how long the oldest has waited tells what the number does not.
            up = down = current + 1.0
            why = f"{wait}, the oldest for {waited:.0f} s, "
            why += f"and targetDrainTime is {limits.drain_seconds:g} s"
        found.append(_Answer(more=up, fewer=down, why=why))
    return found


def _over(work: float, each: float | None) -> float | None:
    """Pods for so much work a second; None: nobody knows how much one does."""
    if not work:
        return 0.0
    return work / each if each else None


def _fewest(limits: Limits, load: Load, answers: list[_Answer], pace: Pace) -> int | None:
    """Pods that would do, for what waits and for what comes; None: not known."""
    asked = [one.fewer for one in answers]
    if any(one is None for one in asked):
        return None
    keeps_up = 0.0
    if pace.coming and pace.per_pod:
        keeps_up = pace.coming / pace.per_pod
    # What has one event to do, or had since the last look, keeps one pod.
    any_comes = 1.0 if load.is_any or pace.coming or pace.coming is None else 0.0
    wanted = max(any_comes, keeps_up, *(one or 0.0 for one in asked))
    return max(math.ceil(min(wanted, limits.limit)), limits.least)


def _more(
    limits: Limits,
    kept: Memory,
    answer: _Answer,
    *,
    current: int,
    needed: int,
    ready: bool,
    paused: bool,
    now: datetime,
) -> Decision:
    """The load asks for more pods."""
    kept, target = replace(kept, fewer=None), min(needed, limits.limit)
    if target <= current:
        said = _stays(limits, replace(kept, more=None), current, answer.why)
        if limits.ceiling is not None:
            return said
        text = f"{current} of {limits.most}: maxReplicas is {limits.most}, and more would be needed"
        return replace(said, reason=Reason.SCALING_LIMITED, text=text)
    held, trend = paused or not ready, kept.more or Trend(since=now, count=target)
    # Without stabilization the latest look counts: a load that rises is not held to its first.
    lately = held or not limits.up.after_seconds
    trend = replace(trend, count=target if lately else min(trend.count, target))
    kept = replace(kept, more=trend)
    if held:
        until = "the pause ends" if paused else "all that are asked for are ready"
        text = f"{counted(current, 'pod')}, and no more before {until}"
        return Decision(
            count=current, reason=Reason.SCALING_HELD, text=text, why=answer.why, memory=kept
        )
    if _is_due(trend, limits.up.after_seconds, kept, now):
        count = min(trend.count, current + limits.up.most)
        return _changed(limits, kept, current, count, answer.why, now)
    return _stays(limits, kept, current, answer.why)


def _fewer(
    limits: Limits,
    kept: Memory,
    *,
    current: int,
    fewer: int,
    why: str,
    stopping: bool,
    paused: bool,
    now: datetime,
) -> Decision:
    """The load would do with fewer pods."""
    trend = kept.fewer or Trend(since=now, count=fewer)
    trend = replace(trend, count=max(trend.count, fewer))
    kept = replace(kept, fewer=trend)
    if paused or stopping or not _is_due(trend, limits.down.after_seconds, kept, now):
        return _stays(limits, kept, current, why)
    count = max(trend.count, current - limits.down.most)
    return _changed(limits, kept, current, count, why, now)


def _is_due(trend: Trend, after_seconds: float, kept: Memory, now: datetime) -> bool:
    """Whether the load has asked for long enough, and the last step is long enough ago."""
    asked = (now - trend.since).total_seconds() >= after_seconds
    if kept.changed_at is None:
        return asked
    # A change that is yet to come is of a clock that was set back since.
    return asked and not 0 <= (now - kept.changed_at).total_seconds() < SPACING_SECONDS


def _waits(limits: Limits, load: Load, pace: Pace) -> str:
    coming = "" if pace.coming is None else f", {pace.coming:.3g} a second come"
    return f"{_wait(limits, load)}{coming}"


def _unanswered(limits: Limits, load: Load) -> str:
    what = limits.what
    return counted(
        load.in_hand, f"{what.removesuffix('s')} was not answered", f"{what} were not answered"
    )


def _wait(limits: Limits, load: Load) -> str:
    what = limits.what
    more = " or more" if load.at_least else ""
    return counted(load.backlog, f"{what.removesuffix('s')} waits", f"{what} wait", more=more)


def _bound(limits: Limits) -> str:
    return f"maxReplicas is {limits.most}" if limits.ceiling is None else limits.ceiling.why


def _stays(limits: Limits, kept: Memory, count: int, why: str) -> Decision:
    if limits.ceiling is None:
        reason, text = (
            Reason.SCALING_ACTIVE,
            f"{counted(count, 'pod')}, of {limits.least} to {limits.most}",
        )
    else:
        reason = Reason.SCALING_LIMITED
        text = f"{limits.ceiling.pods} of {limits.most}: {limits.ceiling.why}"
        if limits.least > limits.ceiling.pods:
            text += f"; minReplicas is {limits.least}, and the others stand by"
    return Decision(count=count, reason=reason, text=text, why=why, memory=kept)


def _changed(
    limits: Limits, kept: Memory, before: int, count: int, why: str, now: datetime
) -> Decision:
    rest = replace(kept, more=None, fewer=None, changed_at=now)
    text = f"from {before} to {counted(count, 'pod')}: {why}"
    return replace(_stays(limits, rest, count, why), change=text)
