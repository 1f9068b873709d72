"""What is exported of the objects in the operator's care, and when a number leaves."""

from __future__ import annotations

import dataclasses
import time

import pytest
from prometheus_client import generate_latest

from outbox_operator.api import meta
from outbox_operator.api.conditions import Condition
from outbox_operator.api.resource import Meta
from outbox_operator.controller.exported import Exported
from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.plan.status import numbers
from outbox_operator.plan.status.sampled import NOTHING, Sampled

AGE = 100.0
OWNER = Meta(kind=meta.PIPELINE, namespace="shop", name="orders", uid="1", generation=1, created="")
KEY = ObjectKey.of(OWNER)
READY = [Condition(type="Ready", status="True", reason="PipelineRunning")]
SAMPLED = Sampled(
    labels=("shop", "orders"),
    values={numbers.BACKLOG_ROWS: 7, numbers.PUBLISHED: 40},
    at=1000.0,
    pods={numbers.RELAY_READY: 1},
)
OF = '{namespace="shop",pipeline="orders"}'
BACKLOG = f"outbox_pipeline_backlog_rows{OF} 7.0"
TIME = f"outbox_pipeline_sample_timestamp_seconds{OF} 1000.0"
PODS = f"outbox_pipeline_relay_ready_replicas{OF} 1.0"
CONDITION = 'outbox_condition{kind="OutboxPipeline",name="orders",namespace="shop",'


class World:
    """Objects and a clock."""

    def __init__(self) -> None:
        self.uids = {KEY: "1"}
        self.now = 0.0
        self.exported = Exported(self.uids.get, AGE, lambda: self.now)
        self.exported.begin()

    def put(self, sampled: Sampled, owner: Meta = OWNER) -> None:
        self.exported.put(owner, sampled, READY)

    def lines(self) -> list[str]:
        text = generate_latest(self.exported.registry).decode()
        return [line for line in text.splitlines() if not line.startswith("#")]


@pytest.fixture
def world() -> World:
    world = World()
    world.put(SAMPLED)
    return world


def test_what_a_pass_read(world: World) -> None:
    assert world.lines() == [
        BACKLOG, f"outbox_pipeline_published_total{OF} 40.0", PODS, TIME,
        f'{CONDITION}status="True",type="Ready"}} 1.0',
        f'{CONDITION}status="False",type="Ready"}} 0.0',
        f'{CONDITION}status="Unknown",type="Ready"}} 0.0',
    ]  # fmt: skip


@pytest.mark.parametrize(
    "sampled",
    [
        dataclasses.replace(SAMPLED, values={}, at=None),
        dataclasses.replace(SAMPLED, values={}, at=900.0),  # as a status that is older says
        NOTHING,
    ],
)
def test_what_could_not_be_read_is_absent_and_its_time_tells_since_when(
    world: World, sampled: Sampled
) -> None:
    world.put(sampled)
    assert BACKLOG not in world.lines()
    assert TIME in world.lines()
    assert (PODS in world.lines()) == bool(sampled.pods)


def test_a_time_to_come_is_not_taken_for_a_fresh_sample(world: World) -> None:
    """The clock of an earlier leader was ahead, or ours was set back."""
    ahead = dataclasses.replace(SAMPLED, values={}, at=time.time() + 3600)
    world.put(ahead)
    assert TIME in world.lines()
    world.put(dataclasses.replace(ahead, values=SAMPLED.values))
    world.put(SAMPLED)
    assert TIME in world.lines()


def test_what_nobody_asked_for_stays_for_a_while(world: World) -> None:
    world.now = AGE
    world.put(dataclasses.replace(SAMPLED, values=None))
    assert BACKLOG in world.lines()
    world.now = AGE + 1
    assert BACKLOG not in world.lines()
    assert {TIME, PODS} <= set(world.lines())  # the pods were looked at in the second pass


def test_an_object_that_no_pass_looks_at_keeps_its_conditions_only(world: World) -> None:
    world.now = AGE + 1
    assert [line.partition("{")[0] for line in world.lines()] == [
        "outbox_pipeline_sample_timestamp_seconds", *["outbox_condition"] * 3,
    ]  # fmt: skip


def test_a_deleted_object_has_none_before_a_pass_knows_of_it(world: World) -> None:
    del world.uids[KEY]
    assert world.lines() == []


def test_a_namesake_begins_without_the_numbers_of_the_one_before(world: World) -> None:
    world.uids[KEY] = "2"
    assert world.lines() == []
    world.put(NOTHING, dataclasses.replace(OWNER, uid="2"))
    assert [line for line in world.lines() if not line.startswith(CONDITION)] == []


def test_who_does_not_lead_exports_nothing(world: World) -> None:
    world.exported.end()
    assert world.lines() == []
    world.put(SAMPLED)  # a pass that was under way
    assert world.lines() == []
    world.exported.begin()
    world.put(SAMPLED)
    assert BACKLOG in world.lines()
    world.exported.forget(KEY)
    assert world.lines() == []


def test_every_declared_metric_is_described(world: World) -> None:
    names = {family.name for family in world.exported.describe()}
    assert names == {one.name.removesuffix("_total") for one in numbers.DECLARATIONS}


def test_of_tasks_that_ended_the_last_of_each_kind() -> None:
    world = World()
    tasks = [ObjectKey(meta.TASK, "shop", name) for name in "abcd"]
    world.uids.update({key: key.name for key in tasks})
    of = (meta.PIPELINE, "shop", "orders", "purgeDeadLetters", "failed")
    for at, key in enumerate(tasks[:3], start=10):
        world.exported.end_task(key, key.name, of, float(at))
    world.exported.end_task(tasks[3], "d", of, None)
    series = (
        'outbox_task_ended_timestamp_seconds{action="purgeDeadLetters",kind="OutboxPipeline",'
        'name="orders",namespace="shop",result="failed"}'
    )
    assert world.lines() == [f"{series} 12.0"]
    del world.uids[tasks[2]]  # the pass that forgets it is still to come
    assert world.lines() == [f"{series} 11.0"]
    world.exported.forget(tasks[1])
    assert world.lines() == [f"{series} 10.0"]
    world.exported.end()
    assert world.lines() == []


def test_a_number_that_is_too_large_for_one_ends_nobody_elses_page(world: World) -> None:
    other = dataclasses.replace(OWNER, name="theirs")
    world.uids[ObjectKey.of(other)] = other.uid
    values = {numbers.BACKLOG_ROWS: 10**400, numbers.PUBLISHED: 1}
    world.put(Sampled(labels=("shop", "theirs"), values=values, at=1000.0, pods={}), other)
    lines = world.lines()
    assert BACKLOG in lines
    assert not [one for one in lines if "backlog_rows" in one and "theirs" in one]
