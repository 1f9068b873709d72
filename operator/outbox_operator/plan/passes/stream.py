"""A pass over an EventStream: what to do about its JetStream streams, and what to say then. Pure.

`plan_stream` and `stream_result` are the two halves around what `controller.reconcile.stream`
does: it gathers `StreamObserved`, carries out the steps, and writes the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Stream
from outbox_operator.api.v1alpha1.stream import EventStreamStatus, StreamState
from outbox_operator.errors import OutboxError
from outbox_operator.plan.jetstream.decide import Config
from outbox_operator.plan.jetstream.steps import step
from outbox_operator.plan.jetstream.stream_config import desired_dead_letter_stream, desired_stream
from outbox_operator.plan.jetstream.streams import ObservedStream, decide_stream
from outbox_operator.plan.ownership import Claim, held_before
from outbox_operator.plan.passes.result import PassPlan, PassResult, part_after
from outbox_operator.plan.state import Owner
from outbox_operator.plan.status.conditions import failed, ok, settled, stamp
from outbox_operator.plan.status.drift import DriftCount
from outbox_operator.plan.steps import Applied, Change, Step, drifts
from outbox_operator.reasons import Reason

Reading = ObservedStream | OutboxError | None
"""A stream, None when there is none, or why the server did not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamObserved:
    """What there is for an EventStream.

    Attributes:
        unreachable: Why NATS could not be asked.
        api_level: JetStream API level of the server.
        stream: The stream.
        dead_letters: The stream of its dead letters.
        living: UIDs of all EventStreams that are seen here.
    """

    unreachable: OutboxError | None = None
    api_level: int = 0
    stream: Reading = None
    dead_letters: Reading = None
    living: frozenset[str] = frozenset()


def plan_stream(stream: Stream, observed: StreamObserved) -> PassPlan[ObservedStream]:
    """The steps that make stream and dead-letter stream as declared."""
    if observed.unreachable is not None:
        return PassPlan(parts=(failed(ConditionType.NATS_REACHABLE, observed.unreachable),))
    parts = (ok(ConditionType.NATS_REACHABLE, Reason.CONNECTED),)
    owner = Owner.of(stream.meta)
    steps: list[Step[ObservedStream]] = []
    try:
        steps.append(_step(stream, observed, desired_stream(stream.spec, owner), observed.stream))
        letters = desired_dead_letter_stream(stream.spec, owner)
        # It lives where and how its stream lives: without that there is nothing to copy.
        if letters is not None and steps[0].refused is None and not _frozen(steps[0]):
            steps.append(_step(stream, observed, letters, observed.dead_letters))
    except OutboxError as error:
        return PassPlan(parts=parts, steps=tuple(steps), problem=error)
    return PassPlan(parts=parts, steps=tuple(steps))


def stream_result(
    stream: Stream,
    plan: PassPlan[ObservedStream],
    applied: Sequence[Applied[ObservedStream]],
    now: datetime,
) -> PassResult[EventStreamStatus]:
    """What a pass over an EventStream comes to.

    Args:
        stream: The resource.
        plan: From `plan_stream`.
        applied: What became of its steps; the stream first, then its dead-letter stream.
        now: Time of the pass.
    """
    before = stream.status
    kind = ConditionType.STREAM_READY
    corrections = drifts(applied)
    problem = plan.failure(applied)
    if problem is not None:
        parts = (*plan.parts, failed(kind, problem))
        return PassResult(
            parts=parts, status=before, ready_reason=Reason.IN_SYNC, corrections=corrections
        )
    if not plan.steps:
        return PassResult(parts=plan.parts, status=before, ready_reason=Reason.IN_SYNC)
    parts = (*plan.parts, part_after(kind, applied))
    found = applied[0].now
    if found is None:
        return PassResult(parts=parts, status=before, ready_reason=Reason.IN_SYNC)
    letters = applied[1].now if len(applied) > 1 else None
    adopted = any(one.step.adopted for one in applied)
    drift = DriftCount.after(before.stream, corrections, now)
    state = StreamState(
        name=found.name,
        created=found.created,
        messages=found.messages,
        bytes=found.bytes,
        firstSequence=found.first_sequence,
        lastSequence=found.last_sequence,
        consumerCount=found.consumer_count,
        subjects=list(found.subjects),
        deadLetters=letters.messages if letters else None,
        adopted=adopted or bool(before.stream and before.stream.adopted),
        driftCorrectedCount=drift.count,
        lastDriftTime=drift.time,
        lastDrift=drift.text,
    )
    return PassResult(
        parts=parts,
        status=before.model_copy(update={"stream": state, "sampledAt": stamp(now)}),
        ready_reason=Reason.IN_SYNC,
        busy=before.stream is None or before.stream.lastSequence != state.lastSequence,
        corrections=corrections,
    )


def _frozen(one: Step[ObservedStream]) -> bool:
    return one.change is Change.FROZEN


def _step(
    stream: Stream, observed: StreamObserved, desired: Config, found: Reading
) -> Step[ObservedStream]:
    """What to do about one of the two; raises why the server did not say how it is."""
    if isinstance(found, OutboxError):
        raise found
    kind, before = ConditionType.STREAM_READY, stream.status.stream
    was_settled = before is not None and settled(stream, kind)
    decision = decide_stream(
        desired,
        found,
        claim=Claim(
            owner=Owner.of(stream.meta),
            adoption=stream.spec.adoptionPolicy,
            held=held_before(stream, kind, has_it=before is not None),
            same=_same(before, found),
            living=observed.living,
        ),
        settled=was_settled,
        api_level=observed.api_level,
    )
    what, lost = f"stream {desired['name']}", None
    if before is not None and desired["name"] == before.name:
        lost = f"it held {before.messages} messages when it was looked at last"
    elif before is not None and before.deadLetters is None and was_settled:
        lost = ""
    elif before is not None and before.deadLetters is not None:
        lost = f"it held {before.deadLetters} dead letters when it was looked at last"
    return step(what, decision, found, paused=stream.meta.paused, lost=lost)


def _same(before: StreamState | None, found: ObservedStream | None) -> bool:
    """Whether it is the stream that we had."""
    return (
        before is not None
        and found is not None
        and (found.name, found.created) == (before.name, before.created)
    )
