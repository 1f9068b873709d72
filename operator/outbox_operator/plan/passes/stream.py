"""A pass over an EventStream: what to do about its JetStream streams, and what to say then. Pure.

`plan_stream` and `stream_result` are the two halves around what `controller.reconcile.stream`
does: it gathers `StreamObserved`, carries out the steps, and writes the result.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from outbox_operator.api import meta
from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Pipeline, Stream
from outbox_operator.api.v1alpha1.stream import EventStreamStatus, StreamState
from outbox_operator.counted import counted
from outbox_operator.errors import OutboxError
from outbox_operator.plan.jetstream.decide import Config
from outbox_operator.plan.jetstream.steps import step
from outbox_operator.plan.jetstream.stream_config import desired_dead_letter_stream, desired_stream
from outbox_operator.plan.jetstream.streams import ObservedStream, decide_stream
from outbox_operator.plan.ownership import CONFLICTS, Claim, held_before, was_anothers
from outbox_operator.plan.passes.approval import (
    Question,
    Vote,
    annotation_counted,
    approvals_after,
)
from outbox_operator.plan.passes.place import Sight, declared_hash, remembered
from outbox_operator.plan.passes.result import PassPlan, PassResult, part_after
from outbox_operator.plan.passes.stream_moving import (
    NOTHING_KNOWN,
    Left,
    StreamMove,
    move_held,
    pending_move,
    stream_elsewhere,
)
from outbox_operator.plan.state import Owner
from outbox_operator.plan.status.conditions import Part, failed, ok, settled, stamp, waiting
from outbox_operator.plan.status.drift import DriftCount
from outbox_operator.plan.status.sampled import of_stream
from outbox_operator.plan.steps import Applied, Change, Step, drifts
from outbox_operator.reasons import Reason

_SHOWN_ORIGINS: Final = 3

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
        sight: What the login leads to; None: nobody could look.
        left: What waits where the stream was, if the login leads elsewhere.
        pipeline: Which made it, if the login leads elsewhere: on it that is decided.
        votes: What tasks say of its plans.
    """

    unreachable: OutboxError | None = None
    api_level: int = 0
    stream: Reading = None
    dead_letters: Reading = None
    living: Container[str] = frozenset()
    sight: Sight | None = None
    left: Left = NOTHING_KNOWN
    pipeline: Pipeline | None = None
    votes: tuple[Vote, ...] = ()


def plan_stream(stream: Stream, observed: StreamObserved) -> PassPlan[ObservedStream]:
    """The steps that make stream and dead-letter stream as declared."""
    if observed.unreachable is not None:
        return PassPlan(parts=(failed(ConditionType.NATS_REACHABLE, observed.unreachable),))
    parts = (ok(ConditionType.NATS_REACHABLE, Reason.CONNECTED),)
    held = _held(stream, observed)
    if held is not None:
        return PassPlan(parts=(*parts, held))
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


def _move(stream: Stream, observed: StreamObserved) -> StreamMove | None:
    """The move to where the login leads; None: the stream is where it was."""
    sight = observed.sight
    return None if sight is None else stream_elsewhere(stream, sight, observed.left)


def _held(stream: Stream, observed: StreamObserved) -> Part | None:
    """StreamReady while it may not move; None: it may, or is where it was."""
    kind, move = ConditionType.STREAM_READY, _move(stream, observed)
    if move is None or _is_decided(stream, observed):
        return None
    if stream.meta.paused:
        text = (
            f"the login leads to {move.now}, and the stream is left at {move.before} while paused"
        )
        return waiting(kind, Reason.UPDATE_FROZEN, text)
    if observed.pipeline is not None:
        return move_held(observed.pipeline, kind, move)
    return move_held(stream, kind, move, observed.votes)


def _is_decided(stream: Stream, observed: StreamObserved) -> bool:
    """Whether its pipeline declares it where it is found, and has seen what it leaves."""
    before, pipeline = stream.status.stream, observed.pipeline
    if pipeline is None or before is None or before.place is None:
        return False
    declared = declared_hash(pipeline.spec.jetstream)
    return before.place.declared != declared == declared_hash(stream.spec.jetstream)


def stream_result(
    stream: Stream,
    plan: PassPlan[ObservedStream],
    applied: Sequence[Applied[ObservedStream]],
    now: datetime,
    observed: StreamObserved,
) -> PassResult[EventStreamStatus]:
    """What a pass over an EventStream comes to.

    Args:
        stream: The resource.
        plan: From `plan_stream`.
        applied: What became of its steps; the stream first, then its dead-letter stream.
        now: Time of the pass.
        observed: What there was before.
    """
    before, decided = stream.status, _decisions(stream, observed, now, waits=True)
    kind = ConditionType.STREAM_READY
    corrections = drifts(applied)
    unread = PassResult(
        parts=plan.parts, status=before.model_copy(update=decided), corrections=corrections,
        sampled=of_stream(stream, None, {}, now),
    )  # fmt: skip
    problem = plan.failure(applied)
    if problem is not None:
        return replace(unread, parts=(*plan.parts, failed(kind, problem)))
    if not plan.steps:
        return unread
    parts = (*plan.parts, part_after(kind, applied))
    found, refused = applied[0].now, applied[0].step.refused
    if refused is not None and refused.reason in CONFLICTS:
        return replace(unread, parts=parts)  # else it would count as ours from now on
    move, sight, place = _move(stream, observed), observed.sight, None
    if found is None or (move is not None and applied[0].error is not None):
        return replace(unread, parts=parts)  # not there (yet)
    if found.not_copied:  # beside StreamReady: the stream itself is as declared
        text = f"stream {found.name} gets nothing of {', '.join(found.not_copied[:_SHOWN_ORIGINS])}"
        parts = (*parts, waiting(ConditionType.READY, Reason.STREAM_NOT_FOUND, text))
    letters = applied[1].now if len(applied) > 1 else None
    adopted = any(one.step.adopted for one in applied)
    drift = DriftCount.after(before.stream, corrections, now)
    if sight is not None:
        had = None if before.stream is None else before.stream.place
        place = remembered(had, sight.place, moved=move is not None)
    if before.stream is not None and move is None:
        adopted = adopted or before.stream.adopted
    state = StreamState(
        name=found.name,
        created=found.created,
        place=place,
        messages=found.messages,
        bytes=found.bytes,
        firstSequence=found.first_sequence,
        lastSequence=found.last_sequence,
        consumerCount=found.consumer_count,
        subjects=list(found.subjects),
        deadLetters=letters.messages if letters else None,
        adopted=adopted,
        driftCorrectedCount=drift.count,
        lastDriftTime=drift.time,
        lastDrift=drift.text,
    )
    said = None if _is_decided(stream, observed) else move
    decided = _decisions(stream, observed, now, waits=False)
    asked = [_question(stream, observed, waits=False)]
    heeded = annotation_counted(stream, asked, decided.get("approvals"))
    return PassResult(
        parts=parts,
        status=before.model_copy(update={"stream": state, "sampledAt": stamp(now), **decided}),
        busy=before.stream is None or before.stream.lastSequence != state.lastSequence,
        corrections=corrections,
        acted_on=frozenset({meta.APPROVE_PLAN_ANNOTATION} if heeded else ()),
        moves=() if said is None else (said.text,),
        sampled=of_stream(stream, state, found.config, now),
    )


def _question(stream: Stream, observed: StreamObserved, *, waits: bool) -> Question | None:
    """What a person decides here; None: nobody could look, or it is decided on its pipeline."""
    before, move = stream.status.pendingMove, _move(stream, observed)
    if observed.sight is None or stream.meta.paused or observed.pipeline is not None:
        return None
    plan = move.hash if move is not None and move.waiting else None
    return Question(
        part="Stream", before=before.hash if before else None, plan=plan, waits=waits and bool(plan)
    )


def _decisions(
    stream: Stream, observed: StreamObserved, now: datetime, *, waits: bool
) -> dict[str, Any]:
    """What the status says of moves; `waits`: the stream has not moved in this pass."""
    if observed.sight is None or stream.meta.paused:
        return {}
    move = _move(stream, observed)
    held = move is not None and _held(stream, observed) is not None
    return {
        "pendingMove": pending_move(move) if move is not None and held else None,
        "approvals": approvals_after(
            stream, [_question(stream, observed, waits=waits)], observed.votes, now
        ),
    }


def _frozen(one: Step[ObservedStream]) -> bool:
    return one.change is Change.FROZEN


def _step(
    stream: Stream, observed: StreamObserved, desired: Config, found: Reading
) -> Step[ObservedStream]:
    """What to do about one of the two; raises why the server did not say how it is."""
    if isinstance(found, OutboxError):
        raise found
    kind, before = ConditionType.STREAM_READY, stream.status.stream
    if _move(stream, observed) is not None:
        before = None  # what is there says nothing of what was elsewhere
    was_settled = before is not None and settled(stream, kind)
    decision = decide_stream(
        desired,
        found,
        claim=Claim(
            owner=Owner.of(stream.meta),
            adoption=stream.spec.adoptionPolicy,
            held=held_before(stream, kind, has_it=before is not None),
            same=_same(before, found) and not was_anothers(stream, kind),
            living=observed.living,
        ),
        settled=was_settled,
        api_level=observed.api_level,
    )
    what, lost = f"stream {desired['name']}", None
    if before is not None and desired["name"] == before.name:
        lost = f"it held {counted(before.messages or 0, 'message')} when it was looked at last"
    elif before is not None and before.deadLetters is None and was_settled:
        lost = ""
    elif before is not None and before.deadLetters is not None:
        lost = f"it held {counted(before.deadLetters, 'dead letter')} when it was looked at last"
    return step(what, decision, found, paused=stream.meta.paused, lost=lost)


def _same(before: StreamState | None, found: ObservedStream | None) -> bool:
    """Whether it is the stream that we had."""
    return (
        before is not None
        and found is not None
        and (found.name, found.created) == (before.name, before.created)
    )
