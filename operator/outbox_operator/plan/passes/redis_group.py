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
)
from outbox_operator.plan.scaling.load import Load
from outbox_operator.plan.sources import RedisSource
from outbox_operator.plan.state import Owner
from outbox_operator.plan.status.conditions import (
    Part,
    failed,
    ok,
    round_age,
    unknown,
    waiting,
)
from outbox_operator.plan.status.drift import DriftCount
from outbox_operator.plan.steps import Applied, drifts
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
    known = _known(consumer, source)
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
                new_only=consumer.spec.deliverPolicy == "New", paused=consumer.meta.paused,
            )
            for one in observed.groups
        )  # fmt: skip
    except OutboxError as error:
        return PassPlan(parts=parts, problem=error)
    return PassPlan(parts=parts, steps=steps)


def _known(consumer: Consumer, source: RedisSource) -> Mapping[str, KnownGroup]:
    """The groups that the last status speaks of, at this very server."""
    before = consumer.status.consumer
    if before is None or before.place != StreamPlace(url=source.redis.url):
        return {}
    if before.name != durable_name(consumer):
        return {}
    return {one.name: KnownGroup(created=one.created, done=one.done) for one in before.keys}


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
    problem, corrections = plan.failure(applied), drifts(applied)
    if problem is not None:
        return DurableResult(parts=(*plan.parts, _not_ready(problem)), corrections=corrections)
    if not plan.steps:
        return DurableResult(parts=plan.parts)
    parts = (*plan.parts, part_after(_KIND, applied))
    pairs = [(one.now, one.now.found) for one in applied if one.now is not None and one.now.found]
    if len(pairs) < len(plan.steps):
        return DurableResult(parts=parts, corrections=corrections)
    before, facts = consumer.status.consumer, [found for _, found in pairs]
    age = _oldest_seconds(facts, now)
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
        keys=[GroupKey(name=one.key, created=one.created, done=found.done) for one, found in pairs],
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
        parts=parts, state=state, unread_seconds=age, corrections=corrections, load=load,
        located=True, reset_over=True,
    )  # fmt: skip


def _not_ready(error: OutboxError) -> Part:
    if isinstance(error, KeyNotFoundError):
        return waiting(_KIND, error.reason, error.message)
    return failed(_KIND, error)


def _oldest_seconds(facts: Sequence[GroupFacts], now: datetime) -> float | None:
    """Age of the oldest entry that is not acknowledged; 0: there is none, None: it does not say."""
    waiting_for = [one for one in facts if one.oldest is not None]
    times = [one.written for one in waiting_for if one.written is not None]
    if len(times) < len(waiting_for):
        return None
    return max((max(0.0, (now - time).total_seconds()) for time in times), default=0.0)
