"""A pass over the groups of an EventConsumer in Redis: what is said of them, and for how long."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from outbox_operator.api.conditions import Condition, ConditionType
from outbox_operator.api.resource import Consumer
from outbox_operator.api.v1alpha1.common import StreamPlace
from outbox_operator.api.v1alpha1.consumer import DurableState, EventConsumerStatus, GroupKey
from outbox_operator.api.v1alpha1.redis import RedisConnection
from outbox_operator.api.v1alpha1.stream import StreamState
from outbox_operator.errors import RedisError
from outbox_operator.plan.passes.durable import DurableResult
from outbox_operator.plan.passes.redis_group import GroupObserved, group_result, plan_group
from outbox_operator.plan.redis.groups import GroupFacts, ObservedGroupOf
from outbox_operator.plan.sources import RedisSource
from outbox_operator.plan.state import Owner
from outbox_operator.plan.status.conditions import stamp
from outbox_operator.plan.steps import Change
from support.passes import NOW, carried_out, paused
from support.resources import consumer

HERE = "redis://redis:6379"
SOURCE = RedisSource(
    stream="user.v1", redis=RedisConnection(url=HERE), keys=("user.v1",), letters="user.v1.dlq",
    follows="orders",
)  # fmt: skip
SEEN = ObservedGroupOf(key="user.v1", group="billing", created="t1")


def reading(**status: Any) -> Consumer:
    """A consumer whose group had everything up to 5-0 acknowledged, and 6-0 given out."""
    state = DurableState(
        name="billing", stream="user.v1", place=StreamPlace(url=HERE),
        keys=[GroupKey(name="user.v1", created="t1", done="5-0", delivered="6-0", read=6)],
    ).model_copy(update=status)  # fmt: skip
    return dataclasses.replace(consumer(), status=EventConsumerStatus(consumer=state))


def seen(resource: Consumer, **facts: Any) -> ObservedGroupOf:
    """Its group as it is now."""
    found = GroupFacts(**{"delivered": "6-0", "read": 6, "marked": True, **facts})
    return replace(SEEN, mark=Owner.of(resource.meta), found=found)


def run(resource: Consumer, group: ObservedGroupOf, source: RedisSource = SOURCE) -> DurableResult:
    plan = plan_group(resource, source, GroupObserved(groups=(group,)))

    def written(wanted: dict[str, Any]) -> ObservedGroupOf:
        delivered = wanted["behind"]
        if group.found is not None and not wanted["sets"]:
            delivered = group.found.delivered
        return replace(
            group, mark=wanted["owner"], found=GroupFacts(delivered=delivered, marked=True)
        )

    return group_result(resource, source, plan, carried_out(plan, written), NOW)


def moved(result: DurableResult) -> tuple[str, str, str]:
    (part,) = [one for one in result.parts if one.type is ConditionType.GROUP_MOVED]
    assert not part.blocks
    return part.status, str(part.reason), part.message


def test_a_group_that_only_its_readers_move_is_as_wanted() -> None:
    resource = reading()
    result = run(resource, seen(resource, delivered="9-0", read=9))
    assert moved(result) == ("False", "NothingLost", "")
    assert (result.notices, result.corrections) == ((), ())
    assert result.state is not None
    assert result.state.keys == [
        GroupKey(name="user.v1", created="t1", done="9-0", delivered="9-0", read=9)
    ]


def test_one_that_was_made_anew_is_set_back_and_told_for_an_hour() -> None:
    resource = reading()
    result = run(resource, seen(resource, delivered="99-0", marked=False))
    (text,) = result.corrections
    assert "made anew by somebody, at 99-0; it was set back behind 5-0" in text
    assert result.notices == (), "told once, as what was put back"
    assert moved(result) == ("True", "GroupRecreated", text)
    assert result.state is not None
    assert (result.state.keys[0].done, result.state.driftCorrectedCount) == ("5-0", 1)
    assert result.state.movedTime == stamp(NOW)
    for minutes, status in ((59, "True"), (60, "False")):
        earlier = {
            "moved": result.state.moved,
            "movedTime": stamp(NOW - timedelta(minutes=minutes)),
        }
        resource = reading(**earlier)
        assert moved(run(resource, seen(resource)))[0] == status
        away = plan_group(resource, SOURCE, GroupObserved(unreachable=RedisError("away")))
        assert moved(group_result(resource, SOURCE, away, [], NOW))[0] == status


def test_one_that_was_set_by_hand_stays_there_and_is_told() -> None:
    resource = reading()
    result = run(resource, seen(resource, delivered="2-0", read=None))
    ((reason, text),) = result.notices
    assert moved(result) == ("True", str(reason), text)
    assert str(reason) == "GroupSetBack"
    assert result.corrections == ()
    assert result.state is not None
    again = dataclasses.replace(resource, status=EventConsumerStatus(consumer=result.state))
    later = run(again, seen(resource, delivered="2-0", read=None))
    assert later.notices == ()
    assert moved(later)[0] == "True"


def test_while_paused_how_far_a_group_was_stays_known() -> None:
    resource = paused(reading())
    result = run(resource, seen(resource, delivered="99-0", marked=False))
    assert result.state is not None
    assert result.state.keys == resource.status.consumer.keys  # type: ignore[union-attr]
    assert moved(result)[0] == "False"


def test_somebody_elses_group_does_not_count_as_ours_at_the_next_pass() -> None:
    resource = consumer()
    for _ in range(2):
        result = run(resource, replace(SEEN, found=GroupFacts(delivered="7-0")))
        (part,) = [one for one in result.parts if one.type is ConditionType.CONSUMER_READY]
        assert (part.status, str(part.reason)) == ("False", "ConsumerExists")
        said = Condition(
            type=part.type.value, status="False", reason=str(part.reason), observedGeneration=1
        )
        status = EventConsumerStatus(consumer=result.state, conditions=[said])
        resource = dataclasses.replace(resource, status=status)
    assert resource.status.consumer is None


@pytest.mark.parametrize(
    ("url", "adopted", "behind"),
    [
        (HERE, False, "5-0"),
        ("redis://other:6379", False, "0-0"),
        ("redis://other:6379", True, "$"),
    ],
)
def test_at_a_new_place_a_consumer_that_was_there_leaves_nothing_out(
    url: str, adopted: bool, behind: str
) -> None:
    resource = reading()
    spec = resource.spec.model_copy(update={"deliverPolicy": "New"})
    resource = dataclasses.replace(resource, spec=spec)
    state = StreamState(name="user.v1", place=StreamPlace(url=url), adopted=adopted)
    source = replace(SOURCE, redis=RedisConnection(url=url), seen=state)
    (step,) = plan_group(resource, source, GroupObserved(groups=(SEEN,))).steps
    assert (step.change, step.wanted["behind"]) == (Change.CREATED, behind)
