"""The consumer group within a pass over an EventConsumer: what to do, what to say then. Pure.

As `plan.passes.durable` for JetStream; `controller.reconcile.consumer_group` does what is between.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Consumer
from outbox_operator.api.v1alpha1.common import StreamPlace
from outbox_operator.api.v1alpha1.consumer import DurableState, GroupKey
from outbox_operator.errors import OutboxError
from outbox_operator.plan.names import durable_name
from outbox_operator.plan.ownership import Claim, held_before
from outbox_operator.plan.passes.durable import DurableResult
from outbox_operator.plan.passes.result import PassPlan, part_after
from outbox_operator.plan.redis.groups import (
    GroupFacts,
    KeyNotFoundError,
    KnownGroup,
    ObservedGroupOf,
    group_step,
    made_anew,
)
from outbox_operator.plan.redis.positions import moved_by_others
from outbox_operator.plan.scaling.load import Load
from outbox_operator.plan.sources import RedisSource
from outbox_operator.plan.state import Owner
from outbox_operator.plan.status.conditions import (
    Part,
    failed,
    info,
    is_recent,
    ok,
    round_age,
    stamp,
    unknown,
    waiting,
)
from outbox_operator.plan.status.drift import LONGEST_TEXT, DriftCount
from outbox_operator.plan.steps import Applied, Change, drifts
from outbox_operator.reasons import Reason

_KIND = ConditionType.CONSUMER_READY


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupObserved:
    """What there is for an EventConsumer.

    Attributes:
        unreachable: Why Redis could not be asked.
        problem: Why the server did not say how the groups are.
        groups: The group of each key, in the order of shards.
        living: UIDs of all EventConsumers that are seen here.
    """

    unreachable: OutboxError | None = None
    problem: OutboxError | None = None
    groups: tuple[ObservedGroupOf, ...] = ()
    living: Container[str] = frozenset()


def plan_group(
    consumer: Consumer, source: RedisSource, observed: GroupObserved
) -> PassPlan[ObservedGroupOf]:
    """The steps that make the groups as declared."""
    if observed.unreachable is not None:
        return PassPlan(
            parts=(
                failed(ConditionType.REDIS_REACHABLE, observed.unreachable),
                unknown(_KIND, observed.unreachable.reason, "not looked at: Redis is away"),
            )
        )
    parts = (ok(ConditionType.REDIS_REACHABLE, Reason.CONNECTED),)
    if observed.problem is not None:
        return PassPlan(parts=parts, problem=observed.problem)
    known = known_groups(consumer, source)
    before = consumer.status.consumer
    claim = Claim(
        owner=Owner.of(consumer.meta),
        adoption=consumer.spec.adoptionPolicy,
        held=held_before(consumer, _KIND, has_it=before is not None),
        same=bool(known),
        living=observed.living,
    )
    try:
        steps = tuple(
            group_step(
                one, claim=claim, known=known.get(one.key),
                new_only=_new_only(consumer, source), paused=consumer.meta.paused,
            )
            for one in observed.groups
        )  # fmt: skip
    except OutboxError as error:
        return PassPlan(parts=parts, problem=error)
    return PassPlan(parts=parts, steps=steps)


def _new_only(consumer: Consumer, source: RedisSource) -> bool:
    """Whether a group that is made for the first time begins with the next entry.

    Of a stream that was made for the consumer elsewhere, all entries are new to it.
    """
    before, seen = consumer.status.consumer, source.seen
    if before is not None and before.place != StreamPlace(url=source.redis.url):
        here = seen is not None and seen.place == StreamPlace(url=source.redis.url)
        if not (here and seen is not None and seen.adopted):
            return False
    return consumer.spec.deliverPolicy == "New"


def known_groups(consumer: Consumer, source: RedisSource) -> Mapping[str, KnownGroup]:
    """The groups that the last status speaks of, at this very server, by key."""
    before = consumer.status.consumer
    if before is None or before.place != StreamPlace(url=source.redis.url):
        return {}
    if before.name != durable_name(consumer):
        return {}
    return {
        one.name: KnownGroup(
            created=one.created, done=one.done, delivered=one.delivered, read=one.read
        )
        for one in before.keys
    }


def group_result(
    consumer: Consumer,
    source: RedisSource,
    plan: PassPlan[ObservedGroupOf],
    applied: Sequence[Applied[ObservedGroupOf]],
    now: datetime,
) -> DurableResult:
    """What became of the groups.

    Args:
        consumer: The resource.
        source: What it reads.
        plan: From `plan_group`.
        applied: What became of its steps.
        now: Time of the pass.
    """
    before, informs = consumer.status.consumer, moved_part(consumer.status.consumer, now)
    problem, corrections = plan.failure(applied), drifts(applied)
    if problem is not None:
        parts = (*plan.parts, _not_ready(problem), informs)
        return DurableResult(parts=parts, corrections=corrections)
    if not plan.steps:
        return DurableResult(parts=(*plan.parts, informs))
    parts = (*plan.parts, part_after(_KIND, applied))
    pairs = [
        (one.now, one.now.found)
        for one in applied
        if one.error is None and one.now is not None and one.now.found
    ]
    if len(pairs) < len(plan.steps):  # else what is somebody else's would count as ours
        return DurableResult(parts=(*parts, informs), corrections=corrections)
    facts = [found for _, found in pairs]
    moved = _moved(consumer, source, applied)
    age = oldest_seconds(facts, now)
    lags = [one.lag for one in facts]
    drift = DriftCount.after(before, corrections, now)
    pending = sum(one.pending for one in facts)
    known_lag = [lag for lag in lags if lag is not None]
    state = DurableState(
        name=durable_name(consumer),
        stream=source.stream,
        created=pairs[0][0].created,
        streamCreated=pairs[0][0].created,
        place=StreamPlace(url=source.redis.url),
        pending=sum(known_lag),
        ackPending=pending,
        ackFloor=min(int(one.done.partition("-")[0]) for one in facts),
        oldestUnreadSeconds=None if age is None else round_age(age),
        adopted=any(one.step.adopted for one in applied) or bool(before and before.adopted),
        keys=_keys(before, applied),
        moved=before.moved if before and not moved else _notice(moved),
        movedTime=before.movedTime if before and not moved else stamp(now) if moved else None,
        driftCorrectedCount=drift.count,
        lastDriftTime=drift.time,
        lastDrift=drift.text,
    )
    load = None
    if len(known_lag) == len(lags):
        done = sum(int(one.delivered.partition("-")[0]) for one in facts) - pending
        load = Load(
            backlog=state.pending, at_least=False, done=max(0, done), at=now, in_hand=pending
        )
    return DurableResult(
        parts=(*parts, moved_part(state, now)), state=state, unread_seconds=age,
        corrections=corrections, load=load, located=True, reset_over=True,
        notices=tuple(one for one in moved if one[0] is not Reason.GROUP_RECREATED),
    )  # fmt: skip


def moved_part(state: DurableState | None, now: datetime) -> Part:
    """Whether somebody else than its readers has moved a group lately."""
    kind = ConditionType.GROUP_MOVED
    if state is None or state.moved is None or not is_recent(state.movedTime, now):
        return info(kind, False, Reason.NOTHING_LOST)
    word, _, text = state.moved.partition(": ")
    return info(kind, True, Reason(word) if word in set(Reason) else Reason.GROUP_SET_BACK, text)


def _moved(
    consumer: Consumer, source: RedisSource, applied: Sequence[Applied[ObservedGroupOf]]
) -> list[tuple[Reason, str]]:
    """Which groups somebody else has moved, and how; what was put back among them."""
    known, owner, moved = known_groups(consumer, source), Owner.of(consumer.meta), []
    for one in applied:
        seen = one.step.found
        if seen is None:
            continue
        if one.drift is not None and made_anew(seen, owner, known.get(seen.key)):
            moved.append((Reason.GROUP_RECREATED, one.drift))
        elif (said := moved_by_others(seen, owner, known.get(seen.key))) is not None:
            moved.append(said)
    return moved


def _notice(moved: Sequence[tuple[Reason, str]]) -> str | None:
    """For the status: the first reason, and what there is to say of each key."""
    if not moved:
        return None
    return f"{moved[0][0]}: {'; '.join(text for _, text in moved)}"[:LONGEST_TEXT]


def _keys(
    before: DurableState | None, applied: Sequence[Applied[ObservedGroupOf]]
) -> list[GroupKey]:
    """How far each group is. Of one that waits to be set back it stays known."""
    known = {one.name: one for one in (before.keys if before else ())}
    keys = []
    for one in applied:
        group = one.now
        if group is None or group.found is None:
            continue
        if one.change is Change.FROZEN and group.key in known:
            keys.append(known[group.key])
            continue
        keys.append(
            GroupKey(
                name=group.key,
                created=group.created,
                done=group.found.done,
                delivered=group.found.delivered,
                read=group.found.read,
            )
        )
    return keys


def _not_ready(error: OutboxError) -> Part:
    if isinstance(error, KeyNotFoundError):
        return waiting(_KIND, error.reason, error.message)
    return failed(_KIND, error)


def oldest_seconds(facts: Sequence[GroupFacts], now: datetime) -> float | None:
    """Age of the oldest entry that is not acknowledged; 0: there is none, None: it does not say."""
    waiting_for = [one for one in facts if one.oldest is not None]
    times = [one.written for one in waiting_for if one.written is not None]
    if len(times) < len(waiting_for):
        return None
    return max((max(0.0, (now - time).total_seconds()) for time in times), default=0.0)
