"""A pass over an OutboxPipeline: its relay, and the sum of database, children and relay. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from outbox_operator.api import meta
from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Meta, Pipeline
from outbox_operator.api.v1alpha1.pipeline import (
    OutboxPipelineStatus,
    OutboxStatus,
    RelayStatus,
)
from outbox_operator.api.v1alpha1.stream import StreamState
from outbox_operator.errors import OutboxError
from outbox_operator.plan.passes.approval import Vote, annotation_counted, approvals_after
from outbox_operator.plan.passes.children import ChildrenResult
from outbox_operator.plan.passes.database import DatabaseResult
from outbox_operator.plan.passes.moving import KEPT_UNTIL_DATABASE_SEEN
from outbox_operator.plan.passes.result import PassResult
from outbox_operator.plan.passes.stream_moving import KEPT_UNTIL_STREAM_SEEN
from outbox_operator.plan.postgres.state import OutboxNumbers
from outbox_operator.plan.scaling.result import Scaled
from outbox_operator.plan.status.conditions import Part, as_before, failed, unknown
from outbox_operator.plan.status.full_stream import Fullness, full_part
from outbox_operator.plan.status.pipeline import (
    foreign_cursor_part,
    outbox_status,
    progress_part,
    relay_status,
    rows_parts,
)
from outbox_operator.plan.status.sampled import of_pipeline
from outbox_operator.plan.status.workload import Replicas, WorkloadResult
from outbox_operator.reasons import Reason

RESTARTS: Final[Mapping[str, frozenset[str]]] = {
    "all": frozenset({"relay", "consumers"}),
    "relay": frozenset({"relay"}),
    "consumers": frozenset({"consumers"}),
}
"""What each value of the restart annotation names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayResult:
    """The relay after its steps.

    Attributes:
        parts: RelayAvailable, and what the numbers of the outbox say.
        relay: `status.relay`.
        outbox: `status.outbox`.
        busy: Whether events wait or go.
        drifts: What somebody had changed or deleted and was put back.
        restarted: Whether a restart that was asked for has been carried out.
        scaled: How the number of pods changed; None: it did not.
        settled: Whether its pods are as wanted, so that nobody had to ask how they do.
    """

    parts: tuple[Part, ...]
    relay: RelayStatus | None
    outbox: OutboxStatus | None
    busy: bool = False
    drifts: tuple[str, ...] = ()
    restarted: bool = False
    scaled: str | None = None
    settled: bool = False


def restart_targets(owner: Meta) -> frozenset[str] | None:
    """What the restart annotation names; None: it is not there, or its owner is paused."""
    value = owner.annotations.get(meta.RESTART_ANNOTATION)
    if value is None or owner.paused:
        return None
    return RESTARTS.get(value, frozenset())


def lost_to(database: DatabaseResult, children: ChildrenResult) -> str | None:
    """What of the pipeline belongs to another resource; None: nothing.

    A relay would publish the winner's rows, or into the winner's stream.
    """
    if database.lost:
        return "schema"
    return "stream" if children.lost else None


def prerequisites_met(database: DatabaseResult, children: ChildrenResult, *, exists: bool) -> bool:
    """Whether a relay may be applied.

    Args:
        database: With the schema it reads.
        children: With the stream it publishes into.
        exists: Whether there is one already; it stays as declared whatever is away now.
    """
    if children.stream_name is None:
        return False
    # A stream that was never seen may turn out to be somebody else's.
    return exists or (database.migrated and children.stream is not None)


def no_relay(pipeline: Pipeline, whose: str) -> RelayResult:
    """The relay of a pipeline that lost its schema or stream."""
    text = f"no relay is started or changed: the {whose} belongs to another resource"
    part = unknown(ConditionType.RELAY_AVAILABLE, Reason.RESOURCE_CONFLICT, text)
    return RelayResult(parts=(part,), relay=None, outbox=pipeline.status.outbox)


def relay_waits(pipeline: Pipeline) -> RelayResult:
    """The relay before the prerequisites are met."""
    text = "waits for the schema and the stream"
    return _unchanged(pipeline, unknown(ConditionType.RELAY_AVAILABLE, Reason.NOT_STARTED, text))


def relay_kept(pipeline: Pipeline, database: DatabaseResult, why: str) -> RelayResult:
    """The relay as it was applied last, while a new one would fail, or leave rows behind."""
    part = unknown(ConditionType.RELAY_AVAILABLE, Reason.APPROVAL_PENDING, why)
    kept = _unchanged(pipeline, part)
    if database.sample is None:
        return kept
    return dataclasses.replace(kept, outbox=outbox_status(database.sample))


def changed_logins(database: DatabaseResult, *, sees_stream: bool) -> str | None:
    """Why a relay that runs is not rolled to other logins; None: it may be.

    Args:
        database: Where those of the database lead.
        sees_stream: Whether that of NATS leads to the stream.
    """
    if not database.located:
        return KEPT_UNTIL_DATABASE_SEEN
    return None if sees_stream else KEPT_UNTIL_STREAM_SEEN.format(ConditionType.STREAM_READY)


def relay_unchanged(pipeline: Pipeline) -> RelayResult:
    """The relay that runs, as long as nobody knows what became of the schema it is to read."""
    kind = ConditionType.RELAY_AVAILABLE
    text = "left as it is until the database has been looked at, see DatabaseReachable"
    part = as_before(pipeline, kind) or unknown(kind, Reason.NOT_OBSERVED, text)
    return _unchanged(pipeline, part)


def relay_failed(pipeline: Pipeline, error: OutboxError) -> RelayResult:
    """The relay when it could not be rendered."""
    return _unchanged(pipeline, failed(ConditionType.RELAY_AVAILABLE, error))


def _unchanged(pipeline: Pipeline, part: Part) -> RelayResult:
    status = pipeline.status
    return RelayResult(parts=(part,), relay=status.relay, outbox=status.outbox)


def relay_result(
    pipeline: Pipeline,
    database: DatabaseResult,
    workload: WorkloadResult,
    earlier: OutboxNumbers | None,
    *,
    stopped: str | None,
    full: Fullness | None = None,
    stream: StreamState | None = None,
    scaled: Scaled | None = None,
) -> RelayResult:
    """What became of the relay.

    Args:
        pipeline: The resource.
        database: With the numbers of this pass.
        workload: Its pods; `part` is set.
        earlier: The sample that the rate is counted from.
        stopped: Why no pods are wanted, None when they are.
        full: Of its stream.
        stream: As it is; None: nobody knows.
        scaled: What autoscaling decided; None: the number of pods is declared.
    """
    status, part, sample = pipeline.status, workload.part, database.sample
    assert part is not None  # noqa: S101  (a relay always has pods to speak of)
    if workload.numbers is None:
        return RelayResult(
            parts=(part,),
            relay=status.relay,
            outbox=status.outbox,
            drifts=workload.drifts,
            restarted=workload.restarted,
        )
    relay = relay_status(status.relay, earlier, sample, workload.numbers, workload.restarts)
    outbox = status.outbox if sample is None else outbox_status(sample)
    if sample is not None and stopped is None and part.status == "True":
        part = progress_part(part, sample)
    relay = relay.model_copy(
        update={
            "selector": workload.selector,
            "autoscaling": None if scaled is None else scaled.status,
        }
    )
    part = full_part(part, full)
    if database.foreign is not None:
        part = foreign_cursor_part(database.foreign, pipeline.meta)
    informing = () if sample is None else rows_parts(sample, stream)
    before = status.relay
    moved = before is not None and relay.publishedTotal != before.publishedTotal
    return RelayResult(
        parts=(part, *informing, *(() if scaled is None else (scaled.part,))),
        relay=relay,
        outbox=outbox,
        scaled=None if scaled is None else scaled.change,
        busy=moved or (sample is not None and sample.backlog_rows > 0),
        drifts=workload.drifts,
        restarted=workload.restarted,
        settled=workload.restarts is None,
    )


def pipeline_result(
    pipeline: Pipeline,
    database: DatabaseResult,
    children: ChildrenResult,
    relay: RelayResult,
    *,
    pods: Replicas,
    restarted: bool,
    now: datetime,
    votes: Sequence[Vote] = (),
) -> PassResult[OutboxPipelineStatus]:
    """What a pass over an OutboxPipeline comes to.

    Args:
        pipeline: The resource.
        database: Its database.
        children: Its EventStream and EventConsumers.
        relay: Its relay.
        pods: The relay's, as its Deployment says it.
        restarted: Whether all that the restart annotation names has been done.
        now: Time of the pass.
        votes: What tasks say of plans.
    """
    acted_on = set()
    questions = [database.question, children.question]
    approvals = approvals_after(pipeline, questions, votes, now)
    if annotation_counted(pipeline, questions, approvals):
        acted_on.add(meta.APPROVE_PLAN_ANNOTATION)
    if restarted:
        acted_on.add(meta.RESTART_ANNOTATION)
    status = pipeline.status.model_copy(
        update={
            "schema_": database.schema,
            "outbox": relay.outbox,
            "stream": children.stream,
            "relay": relay.relay,
            "consumers": list(children.consumers),
            "pendingMove": children.pending_move,
            "approvals": approvals,
            "maxPending": max((one.pending for one in children.consumers), default=0),
        }
    )
    return PassResult(
        parts=(database.reachable, database.schema_applied, *children.parts, *relay.parts),
        status=status,
        ready_reason=_ready_reason(relay),
        busy=relay.busy,
        drifts=(*children.drifts, *relay.drifts),
        corrections=database.drifts,
        acted_on=frozenset(acted_on),
        moves=tuple(one for one in (database.moved, children.moved) if one is not None),
        scaled=() if relay.scaled is None else (relay.scaled,),
        sampled=of_pipeline(
            pipeline,
            database.sample,
            pods,
            waiting=database.waiting,
            scaled=None if relay.relay is None else relay.relay.autoscaling,
        ),
    )


def _ready_reason(relay: RelayResult) -> Reason:
    """What Ready says when all is as declared: nobody takes a stopped relay for one that runs."""
    resting = {Reason.STOPPED, Reason.SCALED_TO_ZERO}
    reasons = [part.reason for part in relay.parts if part.type == ConditionType.RELAY_AVAILABLE]
    return next((one for one in reasons if one in resting), Reason.PIPELINE_RUNNING)
