"""The durable consumer within a pass: what to do about it, what to say then. Pure.

`plan_durable` and `durable_result` are the two halves around what `controller.reconcile.consumer`
does.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from datetime import datetime

from outbox_operator.api import meta
from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Consumer
from outbox_operator.api.v1alpha1.approval import PendingMove
from outbox_operator.api.v1alpha1.consumer import DurableState
from outbox_operator.errors import ConflictError, OutboxError
from outbox_operator.plan.jetstream.consumers import (
    ObservedConsumer,
    decide_consumer,
    desired_consumer,
    settles_itself,
)
from outbox_operator.plan.jetstream.starts import LeftAt, left, left_at
from outbox_operator.plan.jetstream.steps import step
from outbox_operator.plan.jetstream.streams import ObservedStream
from outbox_operator.plan.names import durable_name
from outbox_operator.plan.ownership import CONFLICTS, Claim, held_before, was_anothers
from outbox_operator.plan.passes.approval import (
    Question,
    Vote,
)
from outbox_operator.plan.passes.place import Sight, remembered
from outbox_operator.plan.passes.result import PassPlan, part_after
from outbox_operator.plan.passes.source import StreamNotFoundError
from outbox_operator.plan.passes.stream_moving import (
    NOTHING_KNOWN,
    Left,
    StreamMove,
    durable_elsewhere,
    move_held,
    pending_move,
)
from outbox_operator.plan.scaling.load import Load
from outbox_operator.plan.sources import Source
from outbox_operator.plan.state import Owner
from outbox_operator.plan.status.conditions import (
    Part,
    failed,
    ok,
    round_age,
    settled,
    unknown,
    waiting,
)
from outbox_operator.plan.status.drift import DriftCount
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
        sight: What the login leads to; None: nobody could look.
        left: What waits where the stream was, if the login leads elsewhere.
        resetting: Name of the task that sets it back; None: none does.
    """

    unreachable: OutboxError | None = None
    unreadable: OutboxError | None = None
    api_level: int = 0
    stream: ObservedStream | None = None
    consumer: ObservedConsumer | None = None
    living: Container[str] = frozenset()
    sight: Sight | None = None
    left: Left = NOTHING_KNOWN
    resetting: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DurableResult:
    """A durable consumer after its steps.

    Attributes:
        parts: NatsReachable and ConsumerReady, as far as they are known.
        state: As the server has it; None: nobody knows, so that the last status stays.
        unread_seconds: Age of the oldest message that is not handled; None: nobody knows.
        load: What there is to do for pods; None: nobody knows.
        corrections: What was put back.
        held: It may not move yet, and pods stay as they are.
        located: Whether the login leads to its stream.
        moved: That its stream is elsewhere now.
        question: What a person decides about the stream; None: nobody could look.
        pending_move: It may not move yet.
        reset_over: There is one, and no task is about to make it anew.
        notices: What others did to it that stays so, each with its reason.
    """

    parts: tuple[Part, ...]
    state: DurableState | None = None
    unread_seconds: float | None = None
    load: Load | None = None
    corrections: tuple[str, ...] = ()
    held: bool = False
    located: bool = False
    moved: str | None = None
    question: Question | None = None
    pending_move: PendingMove | None = None
    reset_over: bool = False
    notices: tuple[tuple[Reason, str], ...] = ()


def not_ready(error: OutboxError) -> Part:
    """ConsumerReady when an error keeps it from being so; a stream may still come by itself."""
    if isinstance(error, StreamNotFoundError):
        return waiting(ConditionType.CONSUMER_READY, error.reason, error.message)
    return failed(ConditionType.CONSUMER_READY, error)


def plan_durable(
    consumer: Consumer, source: Source, observed: DurableObserved, votes: Sequence[Vote] = ()
) -> PassPlan[ObservedConsumer]:
    """The step that makes the durable consumer as declared.

    Args:
        consumer: The resource.
        source: What it reads.
        observed: What there is.
        votes: What tasks say of plans.
    """
    if observed.unreachable is not None:
        text = "not looked at: NATS is away"
        return PassPlan(
            parts=(
                failed(ConditionType.NATS_REACHABLE, observed.unreachable),
                unknown(ConditionType.CONSUMER_READY, observed.unreachable.reason, text),
            )
        )
    parts = (ok(ConditionType.NATS_REACHABLE, Reason.CONNECTED),)
    held = _held(consumer, source, observed, votes)
    if held is not None:
        return PassPlan(parts=(*parts, held))
    try:
        return PassPlan(parts=parts, steps=(_step(consumer, source, observed),))
    except OutboxError as error:
        return PassPlan(parts=parts, problem=error)


def _held(
    consumer: Consumer, source: Source, observed: DurableObserved, votes: Sequence[Vote]
) -> Part | None:
    """ConsumerReady while the stream may not move; None: it may, or is where it was."""
    kind, move = ConditionType.CONSUMER_READY, _move(consumer, observed)
    if move is None or _is_vouched_for(source, observed):
        return None
    if source.follows is not None:
        text = f"left at {move.before} until EventStream {source.follows} has moved, see its "
        text += "StreamReady"
        return waiting(kind, Reason.APPROVAL_PENDING, text)
    if consumer.meta.paused:
        text = f"the login leads to {move.now}, and it is left at {move.before} while paused"
        return waiting(kind, Reason.UPDATE_FROZEN, text)
    return move_held(consumer, kind, move, votes)


def _move(consumer: Consumer, observed: DurableObserved) -> StreamMove | None:
    """The move to where the login leads; None: the stream is where it was."""
    sight = observed.sight
    return None if sight is None else durable_elsewhere(consumer, sight, observed.left)


def _is_vouched_for(source: Source, observed: DurableObserved) -> bool:
    """Whether an EventStream has the very stream that was found: it has looked back."""
    found, seen = observed.stream, source.seen
    return found is not None and seen is not None and found.created == seen.created


def _step(consumer: Consumer, source: Source, observed: DurableObserved) -> Step[ObservedConsumer]:
    owner, durable = Owner.of(consumer.meta), durable_name(consumer)
    desired = desired_consumer(
        consumer.spec,
        durable,
        owner,
        runtime=settles_itself(consumer.spec),
        api_level=observed.api_level,
    )
    if observed.unreadable is not None:
        raise observed.unreadable
    if observed.stream is None:
        raise StreamNotFoundError(
            f"stream {source.stream} does not exist at {source.nats.url} (yet)"
        )
    kind, before = ConditionType.CONSUMER_READY, consumer.status.consumer
    if _move(consumer, observed) is not None:
        before = None  # what is there says nothing of what was elsewhere
    was_settled = before is not None and settled(consumer, kind)
    lost, note = _lost(before, durable), _noted(consumer, observed)
    if observed.consumer is None and observed.resetting is not None:
        raise ConflictError(
            f"durable consumer {durable}: task {observed.resetting} makes it anew",
            reason=Reason.WAITS_FOR_TASK,
        )
    if observed.consumer is None and note is not None:
        desired, lost = left(desired, note), f"it goes on with message {note.sequence}"
    decision = decide_consumer(
        desired,
        observed.consumer,
        claim=Claim(
            owner=owner,
            adoption=consumer.spec.adoptionPolicy,
            held=held_before(consumer, kind, has_it=before is not None),
            same=before is not None
            and observed.consumer is not None
            and observed.consumer.created == before.created
            and not was_anothers(consumer, kind),
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
        lost=lost,
    )


def _noted(consumer: Consumer, observed: DurableObserved) -> LeftAt | None:
    """How far it was when a reset deleted it; None: none has."""
    note, stream = consumer.meta.annotations.get(meta.RESET_LEFT_ANNOTATION), observed.stream
    if stream is None:
        return None
    return left_at(note, consumer.meta.uid, stream.name, stream.created)


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
    observed: DurableObserved,
    *,
    unread_seconds: float | None = None,
    votes: Sequence[Vote] = (),
) -> DurableResult:
    """What became of the durable consumer.

    Args:
        consumer: The resource.
        source: What it reads.
        plan: From `plan_durable`.
        applied: What became of its step.
        dead_letters: Its letters, counted afterwards; None: not known; or why they could not be.
        now: Time of the pass.
        observed: What there was before.
        unread_seconds: Age of the oldest message that is not handled; None: not known.
        votes: What tasks say of plans.
    """
    problem = plan.failure(applied)
    if problem is None and isinstance(dead_letters, OutboxError):
        problem = dead_letters
    move, sight, place = _move(consumer, observed), observed.sight, None
    held = _held(consumer, source, observed, votes) is not None
    question = _of_stream(source, observed, move, waits=True)
    refused = move is not None and any(one.error is not None for one in applied)
    located = observed.stream is not None and not held and not refused
    if problem is not None:
        parts = (*plan.parts, not_ready(problem))
        return DurableResult(
            parts=parts, corrections=drifts(applied), located=located, question=question
        )
    if not applied:
        pending = None
        if move is not None and held and question is not None and question.waits:
            pending = pending_move(move)
        return DurableResult(parts=plan.parts, held=held, question=question, pending_move=pending)
    parts = (*plan.parts, part_after(ConditionType.CONSUMER_READY, applied))
    found, before = applied[0].now, consumer.status.consumer
    theirs = applied[0].step.refused
    if theirs is not None and theirs.reason in CONFLICTS:
        # Else it would count as ours from now on.
        return DurableResult(parts=parts, located=located, question=question)
    if found is None or refused:
        return DurableResult(parts=parts, located=located, question=question)
    if sight is not None:
        had = None if before is None else before.place
        place = remembered(had, sight.place, moved=move is not None)
    said = None if _is_vouched_for(source, observed) else move
    corrections = drifts(applied)
    drift = DriftCount.after(before, corrections, now)
    state = DurableState(
        name=found.name,
        stream=source.stream,
        created=found.created,
        streamCreated=observed.stream.created if observed.stream else None,
        place=place,
        pending=found.pending,
        ackPending=found.ack_pending,
        redelivered=found.redelivered,
        waiting=found.waiting,
        ackFloor=found.ack_floor,
        oldestUnreadSeconds=None if unread_seconds is None else round_age(unread_seconds),
        deadLetters=dead_letters if isinstance(dead_letters, int) else None,
        adopted=applied[0].step.adopted or bool(before and before.adopted and move is None),
        driftCorrectedCount=drift.count,
        lastDriftTime=drift.time,
        lastDrift=drift.text,
    )
    return DurableResult(
        parts=parts, state=state, unread_seconds=unread_seconds, corrections=corrections,
        load=_load(found, now),
        located=located, moved=None if said is None else said.text,
        question=_of_stream(source, observed, move, waits=False),
        reset_over=observed.resetting is None,
    )  # fmt: skip


def _load(found: ObservedConsumer, now: datetime) -> Load:
    """Deliveries that ended: each is done, or comes again and is counted again."""
    done = max(0, found.delivered - found.ack_pending)
    return Load(backlog=found.pending, at_least=False, done=done, at=now, in_hand=found.ack_pending)


def _of_stream(
    source: Source, observed: DurableObserved, move: StreamMove | None, *, waits: bool
) -> Question | None:
    """What a person decides about the stream here, and not on its EventStream."""
    if observed.sight is None:
        return None
    vouched = source.follows is not None or _is_vouched_for(source, observed)
    asked = move is not None and move.waiting > 0 and not vouched
    plan = move.hash if move is not None and asked else None
    return Question(part="Stream", plan=plan, waits=waits and asked)


def unacknowledged(consumer: Consumer, durable: DurableResult) -> int:
    """Messages that were handed out and not acknowledged, as far as is known."""
    state = durable.state or consumer.status.consumer
    return 0 if state is None else state.ackPending
