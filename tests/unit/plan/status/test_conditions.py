"""Conditions follow from the parts of a pass."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from outbox_operator.api.conditions import Condition, ConditionType
from outbox_operator.errors import ConflictError, NatsError
from outbox_operator.plan.status.conditions import (
    Part,
    conditions,
    due,
    failed,
    first_sight,
    fresh_for,
    info,
    ok,
    round_age,
    says_the_same,
    stamp,
    unchanged_apart_from,
    unknown,
    waiting,
    with_missing,
    worth_writing,
)
from outbox_operator.reasons import Reason

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
STREAM_OK = ok(ConditionType.STREAM_READY, Reason.IN_SYNC)
NATS_DOWN = failed(ConditionType.NATS_REACHABLE, NatsError("NATS nats:4222: connection refused"))
LOST = failed(ConditionType.STREAM_READY, ConflictError("stream S is declared by EventStream/a/b"))
NOT_LOOKED = unknown(ConditionType.STREAM_READY, Reason.NATS_UNREACHABLE, "not looked at")
STARTING = waiting(ConditionType.RELAY_AVAILABLE, Reason.PODS_NOT_READY, "0 of 1 pods ready")


def by_type(parts: list[Part], previous: list[Condition] | None = None) -> dict[str, Condition]:
    made = conditions(
        parts, ready_reason=Reason.PIPELINE_RUNNING, previous=previous or [], generation=7, now=NOW
    )
    return {condition.type: condition for condition in made}


@pytest.mark.parametrize(
    ("parts", "ready", "reason", "reconciling", "stalled"),
    [
        ([STREAM_OK], "True", "PipelineRunning", "False", "False"),
        ([NATS_DOWN, NOT_LOOKED], "False", "NatsUnreachable", "True", "False"),
        ([NOT_LOOKED, NATS_DOWN], "False", "NatsUnreachable", "True", "False"),
        ([STREAM_OK, STARTING], "False", "PodsNotReady", "True", "False"),
        ([STARTING, LOST], "False", "ResourceConflict", "False", "True"),
        (
            [STREAM_OK, info(ConditionType.LAGGING, True, Reason.BACKLOG_ABOVE_THRESHOLD)],
            "True",
            "PipelineRunning",
            "False",
            "False",
        ),
        ([NOT_LOOKED], "False", "NatsUnreachable", "True", "False"),
    ],
)
def test_summary(
    parts: list[Part], ready: str, reason: str, reconciling: str, stalled: str
) -> None:
    made = by_type(parts)
    assert (made["Ready"].status, made["Ready"].reason) == (ready, reason)
    assert made["Reconciling"].status == reconciling
    assert made["Stalled"].status == stalled
    assert {c.observedGeneration for c in made.values()} == {7}


def test_the_cause_is_named_in_ready_and_stalled() -> None:
    made = by_type([LOST])
    assert "EventStream/a/b" in made["Ready"].message
    assert "EventStream/a/b" in made["Stalled"].message


def test_transition_time_stays_while_the_status_stays() -> None:
    earlier = "2025-01-01T00:00:00Z"
    before = [
        Condition(type="Ready", status="True", reason="Old", lastTransitionTime=earlier),
        Condition(type="Stalled", status="True", reason="Old", lastTransitionTime=earlier),
    ]
    made = by_type([STREAM_OK], before)
    assert made["Ready"].lastTransitionTime == earlier
    assert made["Stalled"].lastTransitionTime == "2026-01-02T03:04:05Z"


def test_first_sight_says_ready_is_not_known_and_keeps_the_parts() -> None:
    before = [
        Condition(type="Ready", status="True", reason="Running", observedGeneration=1),
        Condition(type="StreamReady", status="True", reason="InSync", observedGeneration=1),
    ]
    made = {c.type: c for c in first_sight(before, generation=2, now=NOW)}
    assert (made["Ready"].status, made["Ready"].observedGeneration) == ("Unknown", 2)
    assert made["Reconciling"].status == "True"
    assert made["StreamReady"].observedGeneration == 1


def said(message: str, generation: int = 1) -> list[dict[str, object]]:
    return [{"type": "Ready", "message": message, "observedGeneration": generation}]


@pytest.mark.parametrize(
    ("after", "same"),
    [
        ({"live": 2, "conditions": said("20 times in 24 s")}, True),
        ({"live": 1, "conditions": said("21 times in 34 s")}, True),
        ({"live": 1, "conditions": said("twice")}, False),
        ({"live": 1, "conditions": said("20 times in 24 s", generation=2)}, False),
        ({"live": 1, "conditions": []}, False),
        ({"conditions": said("20 times in 24 s")}, True),
    ],
)
def test_unchanged_apart_from(after: dict[str, object], same: bool) -> None:
    before: dict[str, object] = {"live": 1, "conditions": said("20 times in 24 s")}
    assert unchanged_apart_from({"live"}, before, after) is same


LIVE = frozenset({"stream", "sampledAt", "outbox"})
PAUSES = {"numbers_after": 15.0, "confirm_after": 600.0}


def rendered(messages: int, sampled_at: str, message: str = "failed 20 times") -> dict[str, object]:
    return {
        "stream": {"messages": messages}, "sampledAt": sampled_at, "conditions": said(message),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "after", "written"),
    [
        (14, rendered(1, "x"), False),
        (14, rendered(2, "x"), False),
        (15, rendered(1, "x"), False),
        (15, rendered(2, "x"), True),
        (599, rendered(1, "x"), False),
        (600, rendered(1, "x"), True),
        (0, rendered(1, "x", "new"), True),
        (14, rendered(1, "x", "failed 21 times"), False),
        (15, rendered(1, "x", "failed 21 times"), True),
    ],
)
def test_a_status_is_written_when_it_says_something_new(
    seconds: int, after: dict[str, object], written: bool
) -> None:
    before = rendered(1, stamp(NOW))
    assert worth_writing(before, after, LIVE, NOW + timedelta(seconds=seconds), **PAUSES) is written


def test_the_sample_time_of_a_pipeline_is_no_news() -> None:
    before = {"outbox": {"backlogRows": 0, "sampledAt": stamp(NOW)}}
    after = {"outbox": {"backlogRows": 0, "sampledAt": "later"}}
    assert not worth_writing(before, after, LIVE, NOW + timedelta(seconds=60), **PAUSES)


@pytest.mark.parametrize(("age", "left"), [(0, 600), (400, 200), (600, 0), (4000, 0)])
@pytest.mark.parametrize("nested", [False, True])
def test_how_long_numbers_need_no_confirmation(age: float, left: float, nested: bool) -> None:
    said = {"sampledAt": stamp(NOW - timedelta(seconds=age))}
    assert fresh_for({"outbox": said} if nested else said, NOW, 600) == left


def test_numbers_that_were_never_read_need_confirmation() -> None:
    assert fresh_for({}, NOW, 600) == 0


def test_due() -> None:
    assert due(None, NOW, 15)
    assert due("2026-01-02T03:03:50Z", NOW, 15)
    assert not due("2026-01-02T03:03:51Z", NOW, 15)
    assert not due("2026-01-02T03:03:50Z", NOW - timedelta(seconds=1), 15)


@pytest.mark.parametrize(
    ("age", "rounded"), [(0.04, 0.0), (9.96, 10.0), (61.4, 61.0), (123.0, 120.0), (4567.0, 4570.0)]
)
def test_ages_are_rough(age: float, rounded: float) -> None:
    assert round_age(age) == rounded


def test_parts_that_were_not_looked_at_are_unknown_and_say_why() -> None:
    types = [ConditionType.DATABASE_REACHABLE, ConditionType.SCHEMA_APPLIED, ConditionType.LAGGING]
    broken = waiting(
        ConditionType.DATABASE_REACHABLE, Reason.POSTGRES_UNREACHABLE, "db:5432: refused"
    )
    found = with_missing([broken], types)
    assert [(part.type, part.status) for part in found] == [
        (ConditionType.DATABASE_REACHABLE, "False"),
        (ConditionType.SCHEMA_APPLIED, "Unknown"),
        (ConditionType.LAGGING, "Unknown"),
    ]
    assert found[1].reason == "PostgresUnreachable"
    assert "DatabaseReachable" in found[1].message


def test_an_error_of_no_part_is_said_once() -> None:
    part = Part(type=ConditionType.READY, status="False", reason=Reason.INVALID_SPEC, stalled=True)
    after = conditions(
        with_missing([part], [ConditionType.READY, ConditionType.STREAM_READY]),
        ready_reason=Reason.IN_SYNC, previous=[], generation=1, now=NOW,
    )  # fmt: skip
    assert [c.type for c in after] == ["Ready", "Reconciling", "Stalled", "StreamReady"]
    assert after[0].reason == after[2].reason == after[3].reason == "InvalidSpec"


def test_numbers_that_have_to_wait_are_not_the_same() -> None:
    assert says_the_same(rendered(1, "x"), rendered(1, "y"))
    assert not says_the_same(rendered(1, "x"), rendered(2, "x"))
