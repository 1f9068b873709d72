"""What the status of a task says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from outbox_operator.api.v1alpha1.task import (
    LONGEST_TEXT,
    MOST_FAILURES,
    OutboxTaskStatus,
    TaskResult,
)
from outbox_operator.plan.tasks.status import (
    Progress,
    ending,
    is_finished,
    is_working,
    may_go_on,
    progress_of,
    said_while_trying,
    seconds_to_live,
    settled,
    standing,
    verified_of,
    with_progress,
)
from outbox_operator.reasons import Reason

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def stands(
    reason: Reason, *, complete: bool = False, failed: bool = False
) -> tuple[OutboxTaskStatus, dict[str, str]]:
    before = OutboxTaskStatus(selection={"a": 1}, progress={"b": 2}, waitsFor="other")
    status = standing(
        before, reason, "text", now=NOW, generation=3, complete=complete, failed=failed
    )
    return status, {one.type: f"{one.status} {one.reason}" for one in status.conditions}


def test_conditions_are_those_of_a_job() -> None:
    status, found = stands(Reason.RUNNING)
    assert found == {
        "Complete": "False Running", "Failed": "False NothingFailed", "Suspended": "False Active",
    }  # fmt: skip
    assert status.progress == {"b": 2}
    assert status.waitsFor is None
    assert stands(Reason.SUSPENDED)[1]["Suspended"] == "True Suspended"
    assert stands(Reason.WAITS_FOR_TASK)[0].waitsFor == "other"
    status, found = stands(Reason.COMPLETED, complete=True)
    assert found["Complete"] == "True Completed"
    assert (status.completionTime, status.selection, status.progress) == (
        "2026-01-01T12:00:00Z", None, None,
    )  # fmt: skip
    status, found = stands(Reason.SOME_FAILED, failed=True)
    assert (found["Complete"], found["Failed"]) == ("False SomeFailed", "True SomeFailed")


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        (None, (Reason.RUNNING, "about to")),
        (Reason.RUNNING, (Reason.RUNNING, "about to")),
        (Reason.WAITS_FOR_TASK, (Reason.RUNNING, "about to")),
        (Reason.STATEMENT_FAILED, (Reason.STATEMENT_FAILED, "because")),
        (Reason.APPROVAL_PENDING, (Reason.APPROVAL_PENDING, "because")),
    ],
)
def test_why_a_try_failed_is_said_until_one_gets_through(
    reason: Reason | None, said: tuple[Reason, str]
) -> None:
    conditions = [{"type": "Failed", "status": "False", "reason": "Running"}]
    if reason is not None:
        complete = {"type": "Complete", "status": "False", "reason": reason, "message": "because"}
        conditions.append(complete)
    assert said_while_trying(conditions, "about to") == said


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (None, False),
        ({"metadata": {"uid": "u"}, "spec": {}}, True),
        ({"metadata": {"uid": "u"}}, True),
        ({"metadata": {"uid": "v"}, "spec": {}}, False),
        ({"metadata": {"uid": "u"}, "spec": {"suspend": True}}, False),
        ({"metadata": {"uid": "u"}, "spec": {"suspend": False}}, True),
        ({"metadata": {"uid": "u", "deletionTimestamp": "now"}, "spec": {}}, False),
    ],
)
def test_whether_somebody_wants_a_task_to_stop(body: dict[str, Any] | None, wanted: bool) -> None:
    assert may_go_on(body, "u") is wanted


def test_what_the_conditions_say_is_understood_again() -> None:
    for reason, ends, works in (
        (Reason.RUNNING, (False, False), True),
        (Reason.SUSPENDED, (False, False), False),
        (Reason.COMPLETED, (True, False), False),
        (Reason.SOME_FAILED, (False, True), False),
    ):
        status, _ = stands(reason, complete=ends[0], failed=ends[1])
        raw = [one.model_dump() for one in status.conditions]
        assert (is_finished(raw), is_working(raw)) == (any(ends), works)


@pytest.mark.parametrize(
    ("progress", "dry_run", "reason", "said"),
    [
        (Progress(selected=3, done=3), False, Reason.COMPLETED, "3 events are done"),
        (Progress(selected=3), True, Reason.DRY_RUN, "3 events would be done; nothing was changed"),
        (Progress(), False, Reason.COMPLETED, ""),
        (Progress(result=TaskResult(summary="all well")), False, Reason.COMPLETED, "all well"),
        (
            Progress(selected=3, done=2).failing("e1", Reason.KEY_BUSY, "no"),
            False,
            Reason.SOME_FAILED,
            "2 of 3 events are done, 1 is not; the first: e1: no",
        ),
        (
            Progress(selected=9, done=1, failed=5, gives_up=True),
            False,
            Reason.TOO_MANY_FAILURES,
            "5 events could not be done, which is enough; 1 of 9 are done",
        ),
        (
            Progress(selected=9, done=7),
            False,
            Reason.SOME_FAILED,
            "7 of 9 events are done, 2 are not; the first: 2 events: gone before their turn came",
        ),
        (Progress(selected=3, done=23), False, Reason.COMPLETED, "23 events are done"),
        (
            Progress(selected=2).failing("e1", Reason.NOT_FOUND, "no"),
            True,
            Reason.DRY_RUN,
            "1 of 2 events would be done; nothing was changed",
        ),
    ],
)
def test_how_a_task_ends(progress: Progress, dry_run: bool, reason: Reason, said: str) -> None:
    progress = settled(progress, dry_run=dry_run)
    found, message, well = ending(progress, dry_run=dry_run)
    if not (dry_run or progress.gives_up or progress.selected is None):
        assert progress.selected == progress.done + progress.failed
    assert (found, well) == (reason, reason in (Reason.COMPLETED, Reason.DRY_RUN))
    assert message.startswith(said)


def test_failures_are_listed_up_to_a_bound_and_all_are_counted() -> None:
    progress = Progress()
    for number in range(MOST_FAILURES + 5):
        progress = progress.failing(f"e{number}", Reason.KEY_STOPPED, "x" * 5000)
    assert progress.failed == MOST_FAILURES + 5
    assert [one.id for one in progress.failures] == [f"e{n}" for n in range(MOST_FAILURES)]
    assert {len(one.message) for one in progress.failures} == {LONGEST_TEXT}


def test_progress_survives_the_status() -> None:
    progress = Progress(selected=3, done=1, where={"after": 7}).failing("e", Reason.KEY_BUSY, "no")
    text = with_progress(OutboxTaskStatus(), progress).model_dump_json(exclude_none=True)
    assert progress_of(OutboxTaskStatus.model_validate_json(text)) == progress


@pytest.mark.parametrize(
    ("ttl", "ended", "left"),
    [(None, 10, None), (60, None, None), (60, 10, 50), (60, 61, 0), (0, 0, 0)],
)
def test_when_a_task_goes(ttl: int | None, ended: int | None, left: float | None) -> None:
    at = None if ended is None else (NOW - timedelta(seconds=ended)).isoformat()
    assert seconds_to_live(OutboxTaskStatus(completionTime=at), ttl, NOW) == left


@pytest.mark.parametrize(
    ("requested_by", "before", "compares", "verified"),
    [
        ("ann", None, True, True),
        ("ann", None, False, False),
        ("ann", False, True, False),  # the policy came while the task waited
        ("ann", True, False, True),
        (None, None, True, None),
    ],
)
def test_whether_the_name_was_compared(
    requested_by: str | None, before: bool | None, compares: bool, verified: bool | None
) -> None:
    status = OutboxTaskStatus(requestedByVerified=before)
    assert verified_of(status, requested_by, compares=compares) is verified
