"""EventStream and EventConsumers of a pipeline within a pass: what they add up to. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from outbox_operator.api import meta
from outbox_operator.api.conditions import Condition, ConditionType
from outbox_operator.api.resource import Pipeline, parse_status, parse_stream
from outbox_operator.api.v1alpha1.approval import PendingMove
from outbox_operator.api.v1alpha1.common import StatusBase
from outbox_operator.api.v1alpha1.consumer import EventConsumerStatus
from outbox_operator.api.v1alpha1.pipeline import ConsumerSummary
from outbox_operator.api.v1alpha1.stream import (
    EventStreamSpec,
    EventStreamStatus,
    StreamState,
    unfit_for_outbox,
)
from outbox_operator.errors import OutboxError, SpecError
from outbox_operator.plan.kubernetes.children import event_stream_name
from outbox_operator.plan.kubernetes.lanes import lanes
from outbox_operator.plan.kubernetes.resources import Body, ResourceId
from outbox_operator.plan.names import event_consumer_name
from outbox_operator.plan.passes.approval import Question, Vote
from outbox_operator.plan.passes.source import no_stream
from outbox_operator.plan.passes.stream_moving import (
    KEPT_WHERE_STREAM_WAS,
    StreamMove,
    move_held,
    pending_move,
)
from outbox_operator.plan.status.conditions import Part, failed, ok, waiting
from outbox_operator.plan.status.full_stream import Fullness, fullness
from outbox_operator.plan.steps import Applied, Change, drifts
from outbox_operator.reasons import Reason
from outbox_operator.wire.subjects import SubjectTemplate, covers

LOST_REASONS: Final = frozenset({Reason.RESOURCE_CONFLICT, Reason.STREAM_EXISTS, Reason.TAKEN_OVER})
"""Why an EventStream is not ready when the JetStream stream is not its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildrenResult:
    """The children after their steps.

    Attributes:
        parts: StreamReady and ConsumersReady.
        stream_name: Name of the JetStream stream, None while it is not known.
        stream: `status.stream` of the EventStream.
        consumers: One line each.
        drifts: Children that somebody had changed or deleted, and that were put back.
        lost: The JetStream stream is somebody else's.
        keeps_relay: Why the relay that runs is left as it is; None: it need not be.
        moved: That the stream is elsewhere now, and what it left behind.
        question: What a person decides about the stream; None: nobody could look.
        pending_move: The stream may not move yet.
        full: How full the stream is, if it refuses what comes then.
    """

    parts: tuple[Part, ...] = ()
    stream_name: str | None = None
    stream: StreamState | None = None
    consumers: tuple[ConsumerSummary, ...] = ()
    drifts: tuple[str, ...] = ()
    lost: bool = False
    keeps_relay: str | None = None
    moved: str | None = None
    question: Question | None = None
    pending_move: PendingMove | None = None
    full: Fullness | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _StreamResult:
    """StreamReady, and what is known of the stream; as in `ChildrenResult`.

    Attributes:
        pending: Its own EventStream waits for the pipeline's approval.
    """

    part: Part
    name: str | None = None
    state: StreamState | None = None
    lost: bool = False
    pending: PendingMove | None = None
    spec: EventStreamSpec | None = None


def children_result(
    pipeline: Pipeline,
    referred: Body | None,
    stream: Sequence[Applied[Body]],
    consumers: Sequence[Applied[Body]],
    move: StreamMove | None = None,
    votes: Sequence[Vote] = (),
) -> ChildrenResult:
    """What the children add up to.

    Args:
        pipeline: Whose they are.
        referred: The EventStream that `spec.stream.ref` names, if it exists; its own, if that may
            not move.
        stream: What became of its own EventStream; empty: it refers to one, or may not move.
        consumers: What became of its EventConsumers, and of those no longer declared.
        move: Its own EventStream is declared elsewhere than it was.
        votes: What tasks say of plans.
    """
    try:
        of_stream = _stream(pipeline, _body(stream, referred), _is_frozen(stream))
    except OutboxError as error:
        of_stream = _StreamResult(part=failed(ConditionType.STREAM_READY, error))
    held = None
    if move is not None:
        held = move_held(pipeline, ConditionType.STREAM_READY, move, votes)
    done = move is not None and any(one.change is Change.PATCHED for one in stream)
    stream_ready = held or of_stream.part
    waits = stream_ready.reason in (Reason.APPROVAL_PENDING, Reason.PLAN_REJECTED)
    part, summaries = _consumers(pipeline, consumers)
    ref = pipeline.spec.stream.ref
    full = None
    if of_stream.spec is not None:
        full = fullness(of_stream.spec, of_stream.state, summaries, ref.name if ref else None)
    return ChildrenResult(
        parts=(stream_ready, part),
        stream_name=of_stream.name,
        stream=of_stream.state,
        consumers=summaries,
        drifts=(*drifts(stream), *drifts(consumers)),
        lost=of_stream.lost,
        keeps_relay=KEPT_WHERE_STREAM_WAS if waits else None,
        moved=move.text if move is not None and done else None,
        question=_question(pipeline, move, of_stream.pending, waits=not done),
        pending_move=_pending(pipeline, move, of_stream.pending, held=held is not None),
        full=full,
    )


def _question(
    pipeline: Pipeline, move: StreamMove | None, of_child: PendingMove | None, *, waits: bool
) -> Question:
    """What a person decides about the stream; while paused nobody looks where it is."""
    before = pipeline.status.pendingMove
    plan = None if of_child is None else of_child.hash
    if move is not None:
        plan = move.hash if move.waiting else None
    if pipeline.meta.paused:
        plan, waits = before.hash if before else None, before is not None
    return Question(
        part="Stream", before=before.hash if before else None, plan=plan, waits=waits and bool(plan)
    )


def _pending(
    pipeline: Pipeline, move: StreamMove | None, of_child: PendingMove | None, *, held: bool
) -> PendingMove | None:
    if pipeline.meta.paused:
        return pipeline.status.pendingMove
    if move is None:
        return of_child
    return pending_move(move) if held else None


def had_before(pipeline: Pipeline) -> frozenset[ResourceId]:
    """Children that the last status speaks of: what is missing of them was deleted."""
    status, name = pipeline.status, pipeline.meta.name
    had = {(meta.CONSUMER, event_consumer_name(name, one.name)) for one in status.consumers}
    generation = pipeline.meta.generation
    if status.stream is not None and any(
        one.type == ConditionType.STREAM_READY and one.observedGeneration == generation
        for one in status.conditions
    ):
        had.add((meta.STREAM, event_stream_name(pipeline)))
    return frozenset(had)


def waiting_for(name: str, stream: str, bodies: Iterable[Body]) -> tuple[int, list[str]]:
    """Messages that consumers of a stream had not handled at the last look, and their durables.

    Args:
        name: Of its EventStream.
        stream: Name of the JetStream stream.
        bodies: The EventConsumers of the namespace.
    """
    states = [
        state
        for body in bodies
        if body["spec"].get("streamRef", {}).get("name") == name
        and (state := parse_status(body, EventConsumerStatus).consumer) is not None
        and state.stream == stream
    ]
    return sum(one.pending + one.ackPending for one in states), [one.name for one in states]


def _body(applied: Sequence[Applied[Body]], referred: Body | None) -> Body | None:
    """The EventStream as it is now. Raises why it could not be made so."""
    if not applied:
        return referred
    one = applied[0]
    if one.error is not None:
        raise one.error
    return one.now or one.step.wanted


def _is_frozen(applied: Sequence[Applied[Body]]) -> bool:
    return any(one.change is Change.FROZEN for one in applied)


def _stream(pipeline: Pipeline, body: Body | None, frozen: bool) -> _StreamResult:
    if body is None:
        part = waiting(
            ConditionType.STREAM_READY,
            Reason.STREAM_NOT_FOUND,
            no_stream("spec.stream.ref.name", pipeline.meta.namespace, event_stream_name(pipeline)),
        )
        return _StreamResult(part=part)
    spec = parse_stream(body, stored=True).spec
    if (spec.redis is None) is not (pipeline.spec.redis is None):
        raise SpecError(
            f"spec.stream.ref.name: EventStream {body['metadata']['name']} is in "
            f"{'Redis' if spec.redis else 'NATS'}, and the pipeline publishes elsewhere"
        )
    template = SubjectTemplate.parse(pipeline.spec.subject)
    if spec.redis is None and not any(
        covers(subject, template.filter()) for subject in spec.subjects
    ):
        raise SpecError(
            f"spec.stream.subject {template.text!r} renders subjects in {template.filter()!r}, "
            f"which EventStream {body['metadata']['name']} does not store "
            f"(its subjects: {', '.join(spec.subjects) or 'none'})"
        )
    unfit = unfit_for_outbox(spec)
    if unfit is not None:
        raise SpecError(
            f"spec.stream.ref.name: EventStream {body['metadata']['name']} sets {unfit}, with "
            'which no pipeline can publish into it (the reference "Options of streams and '
            'consumers in a pipeline" says why)'
        )
    status = parse_status(body, EventStreamStatus)
    part = _child_part(ConditionType.STREAM_READY, body, status, frozen)
    lost = part.reason in LOST_REASONS
    pending = status.pendingMove if pipeline.spec.stream.ref is None else None
    return _StreamResult(
        part=part, name=spec.name, state=status.stream, lost=lost, pending=pending, spec=spec
    )


def _consumers(
    pipeline: Pipeline, applied: Sequence[Applied[Body]]
) -> tuple[Part, tuple[ConsumerSummary, ...]]:
    kind = ConditionType.CONSUMERS_READY
    error = next((one.error for one in applied if one.error is not None), None)
    if error is not None:
        return failed(kind, error), ()
    kept = [one for one in applied if one.step.wanted]  # the others are no longer declared
    summaries: list[ConsumerSummary] = []
    parts: list[Part] = []
    for lane, one in zip(lanes(pipeline.spec), kept, strict=True):
        body = one.now or one.step.wanted
        status = parse_status(body, EventConsumerStatus)
        summaries.append(_summary(lane.consumer.name, body, status))
        parts.append(_child_part(kind, body, status, one.change is Change.FROZEN))
    return _consumers_part(parts), tuple(summaries)


def consumers_of(bodies: Sequence[Mapping[str, Any]]) -> Part:
    """What EventConsumers say of themselves, as a part of their pipeline."""
    kind = ConditionType.CONSUMERS_READY
    return _consumers_part(
        [_child_part(kind, body, parse_status(body, EventConsumerStatus), False) for body in bodies]
    )


def _child_part(
    kind: ConditionType, body: Mapping[str, Any], status: StatusBase, frozen: bool
) -> Part:
    name = f"{body['kind']} {body['metadata']['name']}"
    if frozen:
        text = f"{name} differs from the specification and is left so while paused"
        return waiting(kind, Reason.UPDATE_FROZEN, text)
    ready = _ready_condition(body, status)
    if ready is None:
        return waiting(kind, Reason.RECONCILING, f"{name} has not been reconciled yet")
    if ready.status == "True":
        return ok(kind, Reason.IN_SYNC)
    return Part(
        type=kind,
        status="False",
        reason=_reason(ready.reason),
        message=f"{name}: {ready.message}",
        stalled=_holds(status, ConditionType.STALLED),
    )


def _reason(text: str) -> Reason:
    """A child's reason; one that another version of the operator wrote will be ours soon."""
    try:
        return Reason(text)
    except ValueError:
        return Reason.RECONCILING


def _ready_condition(body: Mapping[str, Any], status: StatusBase) -> Condition | None:
    """The Ready condition, if it speaks of the generation that is there now."""
    generation = body["metadata"].get("generation")
    for condition in status.conditions:
        if condition.type == ConditionType.READY and condition.observedGeneration == generation:
            return condition
    return None


def _holds(status: StatusBase, kind: ConditionType) -> bool:
    return any(one.type == kind and one.status == "True" for one in status.conditions)


def _summary(name: str, body: Mapping[str, Any], status: EventConsumerStatus) -> ConsumerSummary:
    ready, durable = _ready_condition(body, status), status.consumer
    message = "not reconciled yet" if ready is None else ready.message
    is_ready = ready is not None and ready.status == "True"
    return ConsumerSummary(
        name=name,
        ready=is_ready,
        replicas=status.replicas,
        readyReplicas=status.readyReplicas,
        pending=durable.pending if durable else 0,
        ackPending=durable.ackPending if durable else 0,
        redelivered=durable.redelivered if durable else 0,
        deadLetters=(durable.deadLetters or 0) if durable else 0,
        message="" if is_ready else message,
    )


def _consumers_part(parts: Sequence[Part]) -> Part:
    kind = ConditionType.CONSUMERS_READY
    if not parts:
        return ok(kind, Reason.NO_CONSUMERS)
    bad = [part for part in parts if part.status != "True"]
    if not bad:
        return ok(kind, Reason.IN_SYNC)
    worst = next((part for part in bad if part.stalled), bad[0])
    more = f" (and {len(bad) - 1} more not ready)" if len(bad) > 1 else ""
    return dataclasses.replace(worst, message=worst.message + more)
