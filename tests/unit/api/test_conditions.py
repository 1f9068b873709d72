"""The merge of conditions keeps what has not changed."""

from __future__ import annotations

import datetime as dt

from outbox_operator.api.conditions import (
    Condition,
    ConditionStatus,
    ConditionType,
    known_types,
    merge,
)

NOW = dt.datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=dt.UTC)


def ready(status: ConditionStatus, time: str = "", reason: str = "Because") -> Condition:
    return Condition(type="Ready", status=status, reason=reason, lastTransitionTime=time)


def test_same_status_keeps_its_time_whatever_the_reason() -> None:
    old = ready("False", "2020-01-01T00:00:00Z", "NatsUnreachable")
    (merged,) = merge([old], [ready("False", reason="PostgresUnreachable")], now=NOW, generation=7)
    assert merged.lastTransitionTime == "2020-01-01T00:00:00Z"
    assert merged.reason == "PostgresUnreachable"
    assert merged.observedGeneration == 7


def test_a_new_status_or_type_gets_the_time_of_now() -> None:
    old = ready("False", "2020-01-01T00:00:00Z")
    (changed,) = merge([old], [ready("True")], now=NOW, generation=1)
    (first,) = merge([], [ready("Unknown")], now=NOW, generation=1)
    assert changed.lastTransitionTime == first.lastTransitionTime == "2026-01-02T03:04:05Z"


def test_what_nobody_says_any_more_goes() -> None:
    gone = Condition(type="Lagging", status="True", reason="Behind")
    assert [c.type for c in merge([gone], [ready("True")], now=NOW, generation=1)] == ["Ready"]


def test_long_messages_are_cut_so_that_the_api_server_takes_them() -> None:
    condition = Condition.model_construct(
        type="Ready", status="False", reason="Because", message="x" * 5000
    )
    (merged,) = merge([], [condition], now=NOW, generation=1)
    assert len(merged.message) == 4096


def test_conditions_of_another_version_are_not_ours() -> None:
    """After a downgrade a status may hold types that this operator has never heard of."""
    old = [Condition(type=t, status="True", reason="Fine") for t in ("Ready", "Levitating")]
    assert known_types(old) == [ConditionType.READY]
