"""A pass over an EventConsumer: its durable consumer, its inbox, and what to say then. Pure.

The workload behind it is planned in `plan.kubernetes` and judged in `plan.status.workload`; here
is what goes before it, and the sum of all three.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from outbox_operator.api import meta
from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Consumer
from outbox_operator.api.v1alpha1.consumer import DurableState, EventConsumerStatus
from outbox_operator.errors import OutboxError
from outbox_operator.plan.jetstream.consumers import (
    ObservedConsumer,
    decide_consumer,
    desired_consumer,
    handled_by_runtime,
)
from outbox_operator.plan.jetstream.steps import step
from outbox_operator.plan.jetstream.streams import ObservedStream
from outbox_operator.plan.names import durable_name
from outbox_operator.plan.ownership import Claim, held_before
from outbox_operator.plan.passes.inbox import InboxResult
from outbox_operator.plan.passes.result import PassPlan, PassResult, part_after
from outbox_operator.plan.passes.source import Source, StreamNotFoundError
from outbox_operator.plan.state import Owner
from outbox_operator.plan.status.conditions import (
    Part,
    failed,
    ok,
    settled,
    stamp,
    unknown,
    waiting,
)
from outbox_operator.plan.status.drift import DriftCount
from outbox_operator.plan.status.workload import WorkloadResult
from outbox_operator.plan.steps import Applied, Step, drifts
from outbox_operator.reasons import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class DurableObserved:
    """What there is for a durable consumer.

    Attributes:
        unreachable: Why NATS could not be asked.
        unreadable: Why JetStream did not say how stream and durable consumer are.
        api_level: JetStream API level of the server.
        stream: The stream it reads; None: there is none (yet).
        consumer: The durable consumer; None: there is none.
        living: UIDs of all EventConsumers that are seen here.
    """

    unreachable: OutboxError | None = None
    unreadable: OutboxError | None = None
    api_level: int = 0
    stream: ObservedStream | None = None
    consumer: ObservedConsumer | None = None
    living: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class DurableResult:
    """A durable consumer after its steps.

    Attributes:
        parts: NatsReachable and ConsumerReady, as far as they are known.
        state: As the server has it; None: nobody knows, so that the last status stays.
        corrections: What was put back.
    """

    parts: tuple[Part, ...]
    state: DurableState | None = None
    corrections: tuple[str, ...] = ()


def not_ready(error: OutboxError) -> Part:
    """ConsumerReady when an error keeps it from being so; a stream may still come by itself."""
    if isinstance(error, StreamNotFoundError):
        return waiting(ConditionType.CONSUMER_READY, error.reason, error.message)
    return failed(ConditionType.CONSUMER_READY, error)


def plan_durable(
    consumer: Consumer, source: Source, observed: DurableObserved
) -> PassPlan[ObservedConsumer]:
    """The step that makes the durable consumer as declared."""
    if observed.unreachable is not None:
        text = "not looked at: NATS is away"
        return PassPlan(
            parts=(
                failed(ConditionType.NATS_REACHABLE, observed.unreachable),
                unknown(ConditionType.CONSUMER_READY, observed.unreachable.reason, text),
            )
        )
    parts = (ok(ConditionType.NATS_REACHABLE, Reason.CONNECTED),)
    try:
        return PassPlan(parts=parts, steps=(_step(consumer, source, observed),))
    except OutboxError as error:
        return PassPlan(parts=parts, problem=error)


def _step(consumer: Consumer, source: Source, observed: DurableObserved) -> Step[ObservedConsumer]:
    owner, durable = Owner.of(consumer.meta), durable_name(consumer)
    desired = desired_consumer(
        consumer.spec,
        durable,
        owner,
        runtime=handled_by_runtime(consumer.spec),
        api_level=observed.api_level,
    )
    if observed.unreadable is not None:
        raise observed.unreadable
    if observed.stream is None:
        raise StreamNotFoundError(
            f"stream {source.stream} does not exist at {source.nats.url} (yet)"
        )
    kind, before = ConditionType.CONSUMER_READY, consumer.status.consumer
    was_settled = before is not None and settled(consumer, kind)
    decision = decide_consumer(
        desired,
        observed.consumer,
        claim=Claim(
            owner=owner,
            adoption=consumer.spec.adoptionPolicy,
            held=held_before(consumer, kind, has_it=before is not None),
            same=before is not None
            and observed.consumer is not None
            and observed.consumer.created == before.created,
            living=observed.living,
        ),
        settled=was_settled,
        handled=consumer.spec.handler is not None,
        stream_config=observed.stream.config,
        api_level=observed.api_level,
    )
    return step(
        f"durable consumer {durable}",
        decision,
        observed.consumer,
        paused=consumer.meta.paused,
        lost=_lost(before, durable),
    )


def _lost(before: DurableState | None, durable: str) -> str | None:
    """What is lost with a durable consumer that is missing; None: it was never there."""
    if before is None or before.name != durable:
        return None
    return f"all up to message {before.ackFloor} of stream {before.stream} had been handled"


def durable_result(
    consumer: Consumer,
    source: Source,
    plan: PassPlan[ObservedConsumer],
    applied: Sequence[Applied[ObservedConsumer]],
    dead_letters: int | OutboxError | None,
    now: datetime,
) -> DurableResult:
    """What became of the durable consumer.

    Args:
        consumer: The resource.
        source: What it reads.
        plan: From `plan_durable`.
        applied: What became of its step.
        dead_letters: Its letters, counted afterwards; None: not known; or why they could not be.
        now: Time of the pass.
    """
    problem = plan.failure(applied)
    if problem is None and isinstance(dead_letters, OutboxError):
        problem = dead_letters
    if problem is not None:
        parts = (*plan.parts, not_ready(problem))
        return DurableResult(parts=parts, corrections=drifts(applied))
    if not applied:
        return DurableResult(parts=plan.parts)
    parts = (*plan.parts, part_after(ConditionType.CONSUMER_READY, applied))
    found, before = applied[0].now, consumer.status.consumer
    if found is None:
        return DurableResult(parts=parts)
    corrections = drifts(applied)
    drift = DriftCount.after(before, corrections, now)
    state = DurableState(
        name=found.name,
        stream=source.stream,
        created=found.created,
        pending=found.pending,
        ackPending=found.ack_pending,
        redelivered=found.redelivered,
        waiting=found.waiting,
        ackFloor=found.ack_floor,
        deadLetters=dead_letters if isinstance(dead_letters, int) else None,
        adopted=applied[0].step.adopted or bool(before and before.adopted),
        driftCorrectedCount=drift.count,
        lastDriftTime=drift.time,
        lastDrift=drift.text,
    )
    return DurableResult(parts=parts, state=state, corrections=corrections)


def restarting(consumer: Consumer) -> bool:
    """Whether a person asked for a restart that may be carried out."""
    return meta.RESTART_ANNOTATION in consumer.meta.annotations and not consumer.meta.paused


def consumer_result(
    consumer: Consumer,
    durable: DurableResult,
    inbox: InboxResult,
    workload: WorkloadResult,
    now: datetime,
) -> PassResult[EventConsumerStatus]:
    """What a pass over an EventConsumer comes to.

    Args:
        consumer: The resource.
        durable: Its durable consumer.
        inbox: Its inbox table.
        workload: Its pods.
        now: Time of the pass.
    """
    status, state, busy = consumer.status, durable.state, False
    if state is not None:
        before = status.consumer
        busy = before is None or before.ackFloor != state.ackFloor or state.pending > 0
        status = status.model_copy(update={"consumer": state, "sampledAt": stamp(now)})
    if workload.numbers is not None:
        update = {
            "replicas": workload.numbers.existing,
            "readyReplicas": workload.numbers.ready,
            "selector": workload.selector,
        }
        status = status.model_copy(update=update)
    pods = () if workload.part is None else (workload.part,)
    return PassResult(
        parts=(*durable.parts, *inbox.parts, *pods),
        status=status,
        ready_reason=Reason.IN_SYNC,
        busy=busy,
        drifts=workload.drifts,
        corrections=(*durable.corrections, *inbox.corrections),
        acted_on=frozenset({meta.RESTART_ANNOTATION} if workload.restarted else ()),
    )
