"""A pass over an OutboxPipeline: its children, its relay, and the sum of all."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest

from outbox_operator.api import meta
from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Pipeline
from outbox_operator.api.v1alpha1.common import NatsConnection
from outbox_operator.api.v1alpha1.pipeline import OutboxPipelineStatus, OutboxStatus, RelayStatus
from outbox_operator.errors import ConflictError, KubernetesError, OutboxError
from outbox_operator.plan.kubernetes.children import (
    event_consumers,
    event_stream,
    event_stream_name,
)
from outbox_operator.plan.kubernetes.resources import Body
from outbox_operator.plan.passes.approval import Question
from outbox_operator.plan.passes.children import ChildrenResult, children_result, waiting_for
from outbox_operator.plan.passes.database import DatabaseResult
from outbox_operator.plan.passes.database_result import CONNECTED, MIGRATED
from outbox_operator.plan.passes.pipeline import (
    lost_to,
    no_relay,
    pipeline_result,
    prerequisites_met,
    relay_failed,
    relay_kept,
    relay_result,
    relay_waits,
    restart_targets,
)
from outbox_operator.plan.passes.stream_moving import Left, declared_elsewhere, move_held
from outbox_operator.plan.postgres.state import OutboxNumbers
from outbox_operator.plan.status.conditions import ok
from outbox_operator.plan.status.workload import Replicas, WorkloadResult
from outbox_operator.plan.steps import Applied, Change, Step
from outbox_operator.reasons import Reason
from support.passes import NOW, paused
from support.resources import pipeline

CONSUMERS = [{"name": "billing"}, {"name": "mail"}]
SAMPLE = OutboxNumbers(
    backlog_rows=0, backlog_is_estimate=False, oldest_age_seconds=0, dead_letters=0,
    published_total=1000, last_published_at=NOW - timedelta(hours=1), last_position=1000,
    remark=None, notice=None, position_notice=None, stream_created=None, taken_at=NOW,
)  # fmt: skip
READY = ok(ConditionType.RELAY_AVAILABLE, Reason.MINIMUM_REPLICAS)
REPLICAS = Replicas(wanted=1, existing=1, ready=1, updated=1)
PODS = WorkloadResult(part=READY, numbers=REPLICAS)
STREAM = {"name": "ORDERS", "lastSequence": 9}
STATUS = OutboxPipelineStatus(
    relay=RelayStatus(publishedTotal=1000, readyReplicas=1), outbox=OutboxStatus(backlogRows=3)
)
DATABASE = DatabaseResult(
    reachable=CONNECTED, schema_applied=MIGRATED, migrated=True, sample=SAMPLE
)
NO_SCHEMA = dataclasses.replace(DATABASE, migrated=False, sample=None)


def child(manifest: Body, ready: str = "True", reason: str = "InSync", **status: Any) -> Body:
    """A child as its own reconciler leaves it."""
    conditions = [{
        "type": "Ready", "status": ready, "reason": reason, "message": "said",
        "observedGeneration": 1,
    }]  # fmt: skip
    metadata = {**manifest["metadata"], "generation": 1}
    return {**manifest, "metadata": metadata, "status": {"conditions": conditions, **status}}


def found(body: Body, change: Change = Change.NOOP) -> Applied[Body]:
    step = Step(what="child", change=change, wanted=body, found=body)
    return Applied(step=step, change=change, now=body)


def broken(error: OutboxError) -> Applied[Body]:
    step = Step[Body](what="child", change=Change.CREATED, wanted={"kind": "x"})
    return Applied(step=step, change=Change.NOOP, error=error)


def streamed(resource: Pipeline, *args: Any, **status: Any) -> Applied[Body]:
    manifest = event_stream(resource)
    assert manifest is not None
    return found(child(manifest, *args, **status))


def test_children_that_are_well() -> None:
    resource = pipeline(consumers=CONSUMERS)
    consumers = [
        found(child(one, consumer={"name": "a", "stream": "ORDERS", "pending": pending}))
        for one, pending in zip(event_consumers(resource), (4, 7), strict=True)
    ]
    result = children_result(resource, None, [streamed(resource, stream=STREAM)], consumers)
    assert [(one.type, one.status) for one in result.parts] == [
        ("StreamReady", "True"), ("ConsumersReady", "True"),
    ]  # fmt: skip
    assert (result.stream_name, result.lost) == ("ORDERS", False)
    assert result.stream is not None
    assert result.stream.lastSequence == 9
    assert [(one.name, one.ready, one.pending) for one in result.consumers] == [
        ("billing", True, 4), ("mail", True, 7),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("stream", "reason", "lost"),
    [
        (("False", "NatsUnreachable"), "NatsUnreachable", False),
        (("False", "ResourceConflict"), "ResourceConflict", True),
        (("False", "StreamExists"), "StreamExists", True),
        # As another version of the operator wrote it.
        (("False", "OfTomorrow"), "Reconciling", False),
    ],
)
def test_a_stream_that_is_not_ready(stream: tuple[str, str], reason: str, lost: bool) -> None:
    result = children_result(pipeline(), None, [streamed(pipeline(), *stream)], [])
    assert (result.parts[0].status, result.parts[0].reason) == ("False", reason)
    assert result.lost is lost
    assert result.parts[1].reason == Reason.NO_CONSUMERS


def test_a_child_says_nothing_of_a_newer_generation() -> None:
    body = streamed(pipeline()).now
    assert body is not None
    body["metadata"]["generation"] = 2
    result = children_result(pipeline(), None, [found(body)], [])
    assert result.parts[0].reason == Reason.RECONCILING


def test_a_child_that_could_not_be_applied_is_its_part_alone() -> None:
    conflict = ConflictError("exists and does not belong to this pipeline")
    resource = pipeline(consumers=CONSUMERS)
    result = children_result(resource, None, [broken(conflict)], [broken(KubernetesError("away"))])
    assert [one.reason for one in result.parts] == ["ResourceConflict", "KubernetesUnavailable"]
    assert (result.stream_name, result.consumers) == (None, ())


def test_a_child_that_differs_while_paused() -> None:
    resource = paused(pipeline(consumers=[{"name": "billing"}]))
    (manifest,) = event_consumers(resource)
    frozen = Applied(
        step=Step[Body](what="EventConsumer orders-billing", change=Change.FROZEN, wanted=manifest),
        change=Change.FROZEN,
    )
    result = children_result(resource, None, [streamed(resource)], [frozen])
    assert result.parts[1].reason == Reason.UPDATE_FROZEN
    assert result.consumers[0].message == "not reconciled yet"


def test_of_several_consumers_the_one_a_person_must_see_to_is_named() -> None:
    resource = pipeline(consumers=CONSUMERS)
    one, other = event_consumers(resource)
    stalled = child(other, "False", "InvalidSpec")
    stalled["status"]["conditions"].append(
        {"type": "Stalled", "status": "True", "reason": "InvalidSpec"}
    )
    applied = [found(child(one, "False", "PodsNotReady")), found(stalled)]
    part = children_result(resource, None, [streamed(resource)], applied).parts[1]
    assert (part.reason, part.stalled) == ("InvalidSpec", True)
    assert part.message == "EventConsumer orders-mail: said (and 1 more not ready)"


def test_a_stream_that_is_referred_to() -> None:
    spec = {"ref": {"name": "shared"}, "subject": "orders.{event_type}"}
    resource = pipeline(stream=spec)
    missing = children_result(resource, None, [], [])
    assert missing.parts[0].reason == Reason.STREAM_NOT_FOUND
    assert missing.parts[0].message == (
        "spec.stream.ref.name: EventStream shop/shared does not exist (yet); references do not "
        "cross namespaces"
    )
    body = streamed(pipeline(), stream=STREAM).now
    assert body is not None
    assert children_result(resource, body, [], []).stream_name == "ORDERS"
    body["spec"]["subjects"] = ["payments.>"]
    assert children_result(resource, body, [], []).parts[0].reason == Reason.INVALID_SPEC


CHILDREN = children_result(pipeline(), None, [streamed(pipeline(), stream=STREAM)], [])


@pytest.mark.parametrize(
    ("database", "children", "exists", "met"),
    [
        (DATABASE, CHILDREN, False, True),
        (NO_SCHEMA, CHILDREN, False, False),
        (NO_SCHEMA, CHILDREN, True, True),
        (DATABASE, dataclasses.replace(CHILDREN, stream=None), False, False),
        (DATABASE, dataclasses.replace(CHILDREN, stream=None), True, True),
        (DATABASE, ChildrenResult(), True, False),
    ],
)
def test_when_a_relay_may_be_applied(
    database: DatabaseResult, children: ChildrenResult, exists: bool, met: bool
) -> None:
    assert prerequisites_met(database, children, exists=exists) is met


def test_who_lost_something_runs_no_relay() -> None:
    assert lost_to(DATABASE, CHILDREN) is None
    assert (
        lost_to(dataclasses.replace(DATABASE, error=ConflictError("theirs")), CHILDREN) == "schema"
    )
    assert lost_to(DATABASE, dataclasses.replace(CHILDREN, lost=True)) == "stream"
    resource = dataclasses.replace(pipeline(), status=STATUS)
    result = no_relay(resource, "schema")
    assert (result.relay, result.outbox) == (None, STATUS.outbox)
    assert result.parts[0].reason == Reason.RESOURCE_CONFLICT


def test_a_relay_that_nobody_could_look_at_is_as_it_was() -> None:
    resource = dataclasses.replace(pipeline(), status=STATUS)
    error = KubernetesError("away")
    failed = WorkloadResult(part=relay_failed(resource, error).parts[0])
    for result in (
        relay_waits(resource),
        relay_failed(resource, error),
        relay_result(resource, DATABASE, failed, None, stopped=None),
    ):
        assert (result.relay, result.outbox, result.busy) == (STATUS.relay, STATUS.outbox, False)


@pytest.mark.parametrize(
    ("sample", "busy"),
    [
        (SAMPLE, False),
        (dataclasses.replace(SAMPLE, published_total=1001), True),
        (dataclasses.replace(SAMPLE, backlog_rows=1), True),
        (None, False),
    ],
)
def test_the_next_look_comes_sooner_while_events_move(
    sample: OutboxNumbers | None, busy: bool
) -> None:
    resource = dataclasses.replace(pipeline(), status=STATUS)
    database = dataclasses.replace(DATABASE, sample=sample)
    assert relay_result(resource, database, PODS, None, stopped=None).busy is busy


def test_ready_pods_of_another_servers_cursor_or_without_progress() -> None:
    stuck = dataclasses.replace(SAMPLE, backlog_rows=3, oldest_age_seconds=90)
    database = dataclasses.replace(DATABASE, sample=stuck)
    parts = relay_result(pipeline(), database, PODS, None, stopped=None).parts
    assert [part.reason for part in parts] == [
        Reason.RELAY_NOT_PROGRESSING, Reason.BACKLOG_ABOVE_THRESHOLD, Reason.NOBODY_ELSE,
        Reason.FENCED, Reason.NOTHING_LOST, Reason.SEQUENCE_AHEAD,
    ]  # fmt: skip
    stopped = relay_result(pipeline(), database, PODS, None, stopped="spec.relay.replicas is 0")
    assert stopped.parts[0] == READY
    foreign = dataclasses.replace(database, foreign="another server's")
    part = relay_result(pipeline(), foreign, PODS, None, stopped=None).parts[0]
    assert (part.reason, part.stalled) == (Reason.CURSOR_FROM_OTHER_SERVER, True)


@pytest.mark.parametrize(
    ("value", "is_paused", "targets"),
    [
        (None, False, None),
        ("all", False, {"relay", "consumers"}),
        ("relay", False, {"relay"}),
        ("rely", False, set()),
        ("all", True, None),
    ],
)
def test_what_a_restart_names(value: str | None, is_paused: bool, targets: set[str] | None) -> None:
    annotations = {} if value is None else {meta.RESTART_ANNOTATION: value}
    if is_paused:
        annotations[meta.PAUSE_ANNOTATION] = "true"
    assert restart_targets(dataclasses.replace(pipeline().meta, annotations=annotations)) == targets


def test_the_sum() -> None:
    resource = dataclasses.replace(pipeline(), status=STATUS)
    annotated = {meta.APPROVE_PLAN_ANNOTATION: "abc"}
    resource = dataclasses.replace(
        resource, meta=dataclasses.replace(resource.meta, annotations=annotated)
    )
    asked = Question(part="Schema", plan="abc")
    database = dataclasses.replace(DATABASE, question=asked, drifts=("column",))
    children = dataclasses.replace(CHILDREN, drifts=("child",))
    pods = dataclasses.replace(PODS, drifts=("pods",))
    relay = relay_result(resource, database, pods, None, stopped=None)
    result = pipeline_result(
        resource, database, children, relay, pods=REPLICAS, restarted=True, now=NOW
    )
    assert [part.type for part in result.parts] == [
        "DatabaseReachable", "SchemaApplied", "StreamReady", "ConsumersReady", "RelayAvailable",
        "Lagging", "ForeignPublisher", "Unfenced", "StreamLostEvents", "PositionsMoved",
    ]  # fmt: skip
    assert result.acted_on == {meta.APPROVE_PLAN_ANNOTATION, meta.RESTART_ANNOTATION}
    assert result.drifts == ("child", "pods")  # counted in the status
    assert result.corrections == ("column",)  # counted in status.schema
    assert result.status.stream == CHILDREN.stream
    assert result.status.outbox is not None
    assert result.status.outbox.backlogRows == 0


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        (Reason.MINIMUM_REPLICAS, Reason.PIPELINE_RUNNING),
        (Reason.STOPPED, Reason.STOPPED),
        (Reason.SCALED_TO_ZERO, Reason.SCALED_TO_ZERO),
    ],
)
def test_a_stopped_relay_is_not_said_to_run(reason: Reason, said: Reason) -> None:
    pods = dataclasses.replace(PODS, part=ok(ConditionType.RELAY_AVAILABLE, reason))
    relay = relay_result(pipeline(), DATABASE, pods, None, stopped=None)
    result = pipeline_result(
        pipeline(), DATABASE, CHILDREN, relay, pods=REPLICAS, restarted=False, now=NOW
    )
    assert result.ready_reason == said


def test_a_relay_that_is_kept_shows_the_numbers_of_where_it_reads() -> None:
    resource = dataclasses.replace(pipeline(), status=STATUS)
    waiting = dataclasses.replace(SAMPLE, backlog_rows=7)
    held = dataclasses.replace(NO_SCHEMA, sample=waiting, keeps_relay="rows wait")
    kept = relay_kept(resource, held, "rows wait")
    assert (kept.parts[0].status, kept.parts[0].message) == ("Unknown", "rows wait")
    assert kept.outbox is not None
    assert (kept.outbox.backlogRows, kept.relay) == (7, STATUS.relay)
    assert relay_kept(resource, NO_SCHEMA, "rows wait").outbox == STATUS.outbox


def test_a_stream_that_may_not_move_yet() -> None:
    """It is shown as it is, and so is the relay; what cannot be counted is as it was last."""
    resource = pipeline(consumers=CONSUMERS)
    before = NatsConnection(url="nats://before:4222")
    bodies = [
        child(one, consumer={"name": "a", "stream": "ORDERS", "pending": 4, "ackPending": 1})
        for one in event_consumers(resource)
    ]
    waiting, durables = waiting_for(event_stream_name(resource), "ORDERS", bodies)
    assert (waiting, durables) == (10, ["a", "a"])
    assert waiting_for(event_stream_name(resource), "OTHER", bodies) == (0, [])
    live = streamed(resource, stream=STREAM).now
    left = Left(waiting=waiting, seen=False)
    move = declared_elsewhere(resource, before, left)
    consumers = [found(one) for one in bodies]
    result = children_result(resource, live, [], consumers, move)
    part = result.parts[0]
    assert (part.status, part.reason, part.stalled) == ("False", "ApprovalPending", True)
    assert "10 messages waited when they were counted last" in part.message
    assert (result.stream_name, result.keeps_relay is not None) == ("ORDERS", True)
    assert result.moved is None
    assert result.question == Question(part="Stream", plan=move.hash, waits=True)
    assert result.pending_move is not None
    assert result.pending_move.hash == move.hash
    # With the other's approval nothing goes.
    other = declared_elsewhere(resource, NatsConnection(url="nats://third:4222"), left)
    meta_ = dataclasses.replace(
        resource.meta, annotations={meta.APPROVE_PLAN_ANNOTATION: move.hash}
    )
    approved = dataclasses.replace(resource, meta=meta_)
    kind = ConditionType.STREAM_READY
    assert move_held(approved, kind, other) is not None
    assert move_held(approved, kind, move) is None
    done = [dataclasses.replace(streamed(resource), change=Change.PATCHED)]
    gone = children_result(approved, None, done, consumers, move)
    assert gone.question == Question(part="Stream", plan=move.hash)
    assert (gone.pending_move, gone.keeps_relay) == (None, None)
    assert "and stay there" in (gone.moved or "")
