"""The operator goes and comes back, or runs twice: nothing is written without need."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from support.nats import connected
from support.operator import OperatorProcess
from support.world import World

PIPELINE = ("OutboxPipeline", "orders")
STREAM = ("EventStream", "orders")
OF_OBJECTS = re.compile(r"^outbox_(?:pipeline|consumer|stream|condition)\w*\{", re.M)
Start = Callable[..., AbstractContextManager[OperatorProcess]]


@contextmanager
def operator_down(world: World) -> Iterator[None]:
    world.operator.stop()
    try:
        yield
    finally:
        world.operator.start()
        world.operator.wait_ready()


def assert_quiet(world: World, *operators: OperatorProcess) -> None:
    """Nothing of a whole pipeline is written while each operator makes several passes over all."""
    before = world.writes()
    for operator in operators:
        for kind, objects in (("OutboxPipeline", 1), ("EventStream", 1), ("EventConsumer", 2)):
            world.wait_passes(kind, 3 * objects, operator=operator)
    assert world.writes() - before == Counter()


def durables_counted(world: World) -> int:
    body = world.get(*STREAM) or {}
    state = body.get("status", {}).get("stream") or {}
    return int(state.get("consumerCount", 0))


def test_a_restart_and_idle_passes_write_nothing(world: World, start: Start) -> None:
    """The standby takes over, and what only a leader exports with it."""
    world.apply(*world.whole())
    world.wait_ready(*PIPELINE)
    world.wait(lambda: durables_counted(world) == 2, "the durables are counted")
    before = world.settle()
    ours = {"namespace": world.namespace}
    with start("two", "default") as standby:
        assert standby.metric("outbox_operator_leader") == 0
        assert OF_OBJECTS.findall(standby.fetch("/metrics")) == []
        assert world.operator.samples("outbox_pipeline_backlog_rows", **ours) == [0]
        with operator_down(world):
            assert_quiet(world, standby)
            assert world.writes() - before == Counter()
            assert standby.samples("outbox_pipeline_backlog_rows", **ours) == [0]
            assert len(standby.samples("outbox_consumer_pending", **ours)) == 2


async def test_what_went_while_the_operator_was_down_is_put_back_and_said(world: World) -> None:
    world.apply(*world.whole())
    world.wait_ready(*PIPELINE)
    world.settle()
    with operator_down(world):
        world.kubectl("delete", "deployment,configmap", "orders-relay", "-n", world.namespace)
        async with connected(world.nats) as client:  # and the durables with it
            await client.jetstream().delete_stream(f"{world.prefix}-orders")
    for name, said in (
        ("orders", "Deployment orders-relay was deleted and has been created again"),
        ("orders", "ConfigMap orders-relay was deleted and has been created again"),
        ("orders", f"stream {world.prefix}-orders was missing and has been created again"),
        ("orders-audit", "durable consumer orders-audit was missing and has been created again"),
    ):
        world.wait_event(name, "DriftCorrected", said)
    world.wait_ready(*PIPELINE)
    body = world.get(*PIPELINE)
    assert body is not None
    assert body["status"]["driftCorrectedCount"] == 2


@pytest.mark.thorough
async def test_two_leaders_do_no_harm(world: World, start: Start) -> None:
    """The Lease should prevent it; when it does not, nothing flaps and nothing is counted twice."""
    with start("two") as second:
        world.apply(*world.whole())
        world.wait_ready(*PIPELINE)
        world.settle()
        assert_quiet(world, world.operator, second)
        async with connected(world.nats) as client:
            await client.jetstream().delete_stream(f"{world.prefix}-orders")
            world.look_again("evs", "orders")
            # Which of the two counts it is a matter of luck; one of them says it.
            world.wait_event("orders", "DriftCorrected")
            await client.jetstream().stream_info(f"{world.prefix}-orders")
        world.wait_ready(*PIPELINE)
        world.settle()
        assert_quiet(world, world.operator, second)
        for said in (world.log(100_000), second.text()):
            assert "pass failed by a defect" not in said
            assert "changed and has been put back" not in said


def test_what_a_consumer_leaves_behind_is_said(world: World) -> None:
    """Its EventStream went first, while no operator was there to remember where it was."""
    world.apply(world.stream(), world.consumer(deletionPolicy="Delete"))
    world.wait_ready("EventConsumer", "billing")
    with operator_down(world):
        for kind, name in (("evs", "orders"), ("evc", "billing")):
            world.kubectl("delete", kind, name, "-n", world.namespace, "--wait=false")
        world.wait_gone(*STREAM)
    world.wait_gone("EventConsumer", "billing")
    notes = {event["reason"]: event["note"] for event in world.events("billing")}
    assert f"billing of stream {world.prefix}-orders" in notes["CleanupAbandoned"]


def finalizers(world: World, name: str) -> list[str]:
    return list((world.get("EventStream", name) or {})["metadata"].get("finalizers") or ())


async def test_what_is_deleted_while_the_operator_is_down_is_cleaned_up_later(world: World) -> None:
    """Only what has to be; all the rest goes by itself, and with it its namespace."""
    world.apply(
        world.stream(deletionPolicy="Delete"),
        world.stream("kept", deletionPolicy="Delete"),
        world.consumer(),
    )
    world.wait_ready(*STREAM)
    world.wait_ready("EventStream", "kept")
    world.wait_ready("EventConsumer", "billing")
    world.apply(world.stream("kept"))
    world.wait(lambda: not finalizers(world, "kept"), "nothing holds what is retained")
    with operator_down(world):
        world.kubectl("delete", "evs", "orders", "-n", world.namespace, "--wait=false")
        assert world.get(*STREAM) is not None, "the finalizer holds it"
        for kind, name in (("evs", "kept"), ("evc", "billing")):
            world.kubectl("delete", kind, name, "-n", world.namespace, "--timeout=120s")
    world.wait_gone(*STREAM)
    async with connected(world.nats) as client:
        names = [s.config.name for s in await client.jetstream().streams_info()]
    assert f"{world.prefix}-orders" not in names
