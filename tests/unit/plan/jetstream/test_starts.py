"""A durable consumer that a reset has put elsewhere is as wanted, as long as nothing else is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from outbox_operator.api.v1alpha1.consumer import EventConsumerSpec
from outbox_operator.plan.jetstream.consumers import (
    ObservedConsumer,
    decide_consumer,
    desired_consumer,
)
from outbox_operator.plan.jetstream.decide import Decision, InSync, Refused, Update
from outbox_operator.plan.jetstream.starts import (
    START,
    LeftAt,
    at_sequence,
    left,
    left_at,
    lowest_place,
    placed,
    reset_by,
)
from outbox_operator.plan.ownership import Claim
from outbox_operator.plan.state import Owner

OWNER = Owner(uid="u1", key="EventConsumer/shop/billing", cluster="c1")
STARTS = [START, at_sequence(7)]


def desired(**spec: Any) -> dict[str, Any]:
    parsed = EventConsumerSpec.model_validate({"streamRef": {"name": "orders"}, **spec})
    return desired_consumer(parsed, "billing", OWNER, runtime=True, api_level=4)


def decide(wanted: dict[str, Any], found: dict[str, Any]) -> Decision:
    return decide_consumer(
        wanted, ObservedConsumer(name="billing", stream="ORDERS", config=found),
        claim=Claim(owner=OWNER), settled=True, api_level=4, handled=True,
    )  # fmt: skip


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize(
    "spec", [{}, {"deliverPolicy": "ByStartTime", "startTime": "2026-01-01T00:00:00+01:00"}]
)
def test_it_is_as_wanted(start: dict[str, Any], spec: dict[str, Any]) -> None:
    made = placed(desired(**spec), start, "task-1")
    assert reset_by(made) == "task-1"
    assert isinstance(decide(desired(**spec), made), InSync)
    other = decide(desired(**spec, ackWait="7s"), made)
    assert isinstance(other, Update)
    assert not any(change.field != "ackWait" for change in other.changes)
    assert reset_by(other.config) == "task-1"
    again = placed(desired(**spec), at_sequence(9), "task-2")
    assert isinstance(decide(desired(**spec), again), InSync)


def test_what_is_declared_anew_cannot_be_had_in_place() -> None:
    made = placed(desired(), at_sequence(7), "task-1")
    decision = decide(desired(deliverPolicy="New"), made)
    assert isinstance(decision, Refused)
    assert "deliverPolicy" in str(decision.error)


def test_without_a_reset_another_place_is_no_place_of_ours() -> None:
    found = desired() | at_sequence(7)
    assert isinstance(decide(desired(), found), Refused)


@pytest.mark.parametrize(
    ("config", "place"),
    [
        ({}, 1),
        ({"deliver_policy": "all"}, 1),
        ({"deliver_policy": "by_start_sequence", "opt_start_seq": 7}, 7),
        (
            {"deliver_policy": "by_start_time", "opt_start_time": "2026-11-22T01:02:03Z"},
            datetime(2026, 11, 22, 1, 2, 3, tzinfo=UTC),
        ),
        ({"deliver_policy": "new"}, None),
        ({"deliver_policy": "last"}, None),
        ({"deliver_policy": "last_per_subject"}, None),
    ],
)
def test_no_place_before_its_own_without_making_it_anew(config: dict[str, Any], place: Any) -> None:
    assert lowest_place(config) == place


LEFT = LeftAt(task="t1", consumer="u1", stream="ORDERS", created="c1", sequence=6)


def test_where_a_reset_left_it_is_found_again() -> None:
    assert left_at(LEFT.text(), "u1", "ORDERS", "c1") == LEFT
    of_later = LEFT.text().replace("}", ', "more": 1}')  # before somebody went back to this one
    assert left_at(of_later, "u1", "ORDERS", "c1") == LEFT
    made = left(desired(deliverPolicy="New"), LEFT)
    assert (made["deliver_policy"], made["opt_start_seq"]) == ("by_start_sequence", 6)
    assert reset_by(made) != "t1"  # the task itself is not done
    assert isinstance(decide(desired(deliverPolicy="New"), made), InSync)


@pytest.mark.parametrize(
    "note",
    [
        None, "", "no JSON", "[]", "7", "{}", "[" * 2000, "9" * 5000,
        LEFT.text().replace("c1", "c2"), LEFT.text().replace("u1", "u2"),
        LEFT.text().replace("ORDERS", "OTHER"), LEFT.text().replace(" 6", " 0"),
        LEFT.text().replace(" 6", ' "6"'), LEFT.text().replace(" 6", " true"),
        LEFT.text().replace(" 6", " 18446744073709551616"), LEFT.text().replace('"t1"', "{}"),
    ],
)  # fmt: skip
def test_a_note_of_somebody_else_is_none(note: str | None) -> None:
    assert left_at(note, "u1", "ORDERS", "c1") is None
