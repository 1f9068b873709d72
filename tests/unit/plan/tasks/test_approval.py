"""What becomes of a task that approves or rejects a plan."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from outbox_operator.api.resource import Pipeline, Task, parse_task
from outbox_operator.api.v1alpha1.approval import Approvals, Decision, PendingMove
from outbox_operator.api.v1alpha1.pipeline import OutboxPipelineStatus, PendingPlan, SchemaStatus
from outbox_operator.api.v1alpha1.stream import EventStreamStatus
from outbox_operator.plan.passes.approval import Vote
from outbox_operator.plan.tasks.approval import (
    Noted,
    Outdated,
    Waiting,
    counts,
    look,
    look_again_seconds,
    vote_of,
)
from support.passes import NOW
from support.resources import pipeline, stream

PLAN, MOVE, OTHER = "0123456789abcdef", "fedcba987654", "1111111111111111"
AT_WORK = {"conditions": [{"type": "Complete", "status": "False", "reason": "Running"}]}
LATER = "2026-01-02T03:00:01Z"
YES: dict[str, Any] = {"approveMigration": {"planHash": PLAN}}
NO: dict[str, Any] = {"rejectMigration": {"planHash": PLAN, "reason": "too late"}}


def body(spec: dict[str, Any], *, status: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "apiVersion": "outbox.dev/v1alpha1",
        "kind": "OutboxTask",
        "metadata": {
            "name": "t", "namespace": "shop", "uid": "u1",
            "creationTimestamp": "2026-01-02T03:00:00Z",
        },
        "spec": {"pipelineRef": {"name": "orders"}, **spec},
        "status": status or {},
    }  # fmt: skip


def task(spec: dict[str, Any], **more: Any) -> Task:
    return parse_task(body({**spec, **more}))


def target(*, moves: bool = False, decided: Decision | None = None, waits: bool = True) -> Pipeline:
    pending = PendingPlan(hash=PLAN, statements=["CREATE TABLE a ()", "CREATE TABLE b ()"])
    status = OutboxPipelineStatus(
        schema=SchemaStatus(pendingPlan=pending if waits else None),
        pendingMove=PendingMove(hash=MOVE, text="3 messages wait") if moves else None,
        approvals=Approvals(history=[decided]) if decided else None,
    )
    return dataclasses.replace(pipeline(), status=status)


def decided(decision: str, state: str, task: str = "u1", time: str = "") -> Decision:
    return Decision.model_validate(
        {
            "plan": PLAN,
            "decision": decision,
            "state": state,
            "through": "OutboxTask t",
            "task": task,
            "time": time,
        }
    )


@pytest.mark.parametrize(
    ("spec", "found", "stands", "says"),
    [
        (YES, target(), Waiting, "2 statements"),
        (YES, target(waits=False), Outdated, "no plan of OutboxPipeline orders waits"),
        (
            {"approveMigration": {"planHash": OTHER}}, target(moves=True), Outdated,
            f"what waits is plan {PLAN} and plan {MOVE}",
        ),
        ({"approveMigration": {"planHash": MOVE}}, target(moves=True), Waiting, "3 messages wait"),
        # Noted, whatever waits by now.
        (YES, target(decided=decided("Approved", "Done"), waits=False), Noted, "carried out"),
        (YES, target(decided=decided("Approved", "Open")), Noted, "say how it goes"),
        (NO, target(decided=decided("Rejected", "Open")), Noted, "is rejected"),
        (NO, target(decided=decided("Rejected", "Replaced")), Noted, "decided again after it"),
        # Another task's word is not this one's.
        (YES, target(decided=decided("Rejected", "Open", task="u2")), Waiting, "2 statements"),
        # One that was made later has been heard, and nothing is kept of this one.
        (YES, target(decided=decided("Rejected", "Open", "u2", LATER)), Noted, "decided again"),
        (NO, target(decided=decided("Approved", "Done", "u2", LATER), waits=False), Noted, "again"),
    ],
)  # fmt: skip
def test_how_a_task_stands(spec: dict[str, Any], found: Pipeline, stands: type, says: str) -> None:
    answer = look(found, task(spec))
    assert isinstance(answer, stands)
    assert says in answer.text


def test_a_stream_by_itself_is_decided_on_itself() -> None:
    status = EventStreamStatus(pendingMove=PendingMove(hash=MOVE, text="3 messages wait"))
    alone = dataclasses.replace(stream(), status=status)
    asked = task({"approveMigration": {"planHash": MOVE}})
    assert isinstance(look(alone, asked), Waiting)
    above = dataclasses.replace(alone, meta=dataclasses.replace(alone.meta, pipeline="orders"))
    found = look(above, asked)
    assert isinstance(found, Outdated)
    assert "is made by OutboxPipeline orders" in found.text


@pytest.mark.parametrize(
    ("started", "pause"),
    [
        (None, 1),
        ("2026-01-02T03:04:05Z", 1),
        ("2026-01-02T03:03:25Z", 10),
        ("2026-01-01T00:00:00Z", 30),
    ],
)
def test_a_pass_that_takes_no_note_is_asked_less_and_less(
    started: str | None, pause: float
) -> None:
    status = task(YES).status.model_copy(update={"startTime": started})
    assert look_again_seconds(dataclasses.replace(task(YES), status=status), NOW) == pause


def test_what_a_task_says() -> None:
    asked = task(NO, requestedBy="ann")
    assert vote_of(asked) == Vote(
        task="u1", name="t", plan=PLAN, approves=False, by="ann", reason="too late",
        time="2026-01-02T03:00:00Z",
    )  # fmt: skip
    verified = asked.status.model_copy(update={"requestedByVerified": True})
    vote = vote_of(dataclasses.replace(asked, status=verified))
    assert vote is not None
    assert vote.verified
    approving = vote_of(task(YES))
    assert approving is not None
    assert (approving.approves, approving.by, approving.reason) == (True, None, None)
    assert vote_of(task(YES, dryRun=True)) is None
    assert vote_of(task({"rebase": {}})) is None


@pytest.mark.parametrize(
    ("found", "kind", "name", "does"),
    [
        (body(YES, status=AT_WORK), "OutboxPipeline", "orders", True),
        (body(NO, status=AT_WORK), "OutboxPipeline", "orders", True),
        (body(YES), "OutboxPipeline", "orders", False),  # suspended, or not looked at
        (body({**YES, "suspend": True}, status=AT_WORK), "OutboxPipeline", "orders", False),
        (body(YES, status=AT_WORK), "OutboxPipeline", "other", False),
        (body(YES, status=AT_WORK), "EventConsumer", "orders", False),
        (
            {**body(YES, status=AT_WORK), "spec": {"streamRef": {"name": "orders"}, **YES}},
            "EventStream", "orders", True,
        ),
        (body({"rebase": {}}, status=AT_WORK), "OutboxPipeline", "orders", False),
        ({"spec": None}, "OutboxPipeline", "orders", False),
    ],
)  # fmt: skip
def test_which_tasks_are_heard(found: dict[str, Any], kind: str, name: str, does: bool) -> None:
    assert counts(found, kind, name) is does
