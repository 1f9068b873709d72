"""Resets lose no place: whatever the stream keeps, and whatever becomes of operator and task."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from outbox_operator.api import meta
from outbox_operator.controller.tasks.task_pass import SLICE_SECONDS
from support.dying_operator import VARIABLE, WENT_ON
from support.nats import connected
from support.operator import OperatorProcess
from support.tasks import TASK, ended, operator_killed, task
from support.waiting import SECONDS, eventually, wait_until
from support.world import World

CONSUMER, MESSAGES = "EventConsumer", 10


def declare(world: World, stream: str, *consumers: str, retention: str, **spec: Any) -> None:
    world.apply(
        world.stream(stream, retention=retention),
        *(
            world.resource(CONSUMER, name, {"streamRef": {"name": stream}, **spec})
            for name in consumers
        ),
    )
    for name in consumers:
        world.wait_condition(CONSUMER, name, "ConsumerReady", "True")


def back(world: World, name: str, consumer: str, **place: Any) -> dict[str, Any]:
    return task(world, name, consumerRef={"name": consumer}, resetConsumer=place)


async def publish(world: World, stream: str, number: int = MESSAGES) -> None:
    async with connected(world.nats) as client:
        for _ in range(number):
            await client.jetstream().publish(f"{world.prefix}.{stream}.placed", b"{}")


async def acknowledge(world: World, stream: str, durable: str, number: int) -> None:
    async with connected(world.nats) as client:
        reader = await client.jetstream().pull_subscribe_bind(durable, f"{world.prefix}-{stream}")
        for _ in range(number):
            (message,) = await reader.fetch(1, timeout=SECONDS)
            await message.ack_sync(SECONDS)


async def ask(world: World, verb: str) -> dict[str, Any]:
    async with connected(world.nats) as client:
        answer = await client.request(f"$JS.API.{verb}")
    found: dict[str, Any] = json.loads(answer.data)
    return found


async def durable(world: World, stream: str, name: str) -> dict[str, Any]:
    return await ask(world, f"CONSUMER.INFO.{world.prefix}-{stream}.{name}")


def pending(status: dict[str, Any]) -> int:
    count: int = status["result"]["counts"]["pending"]
    return count


async def test_streams_that_drop_what_nobody_waits_for(world: World) -> None:
    declare(world, "wanted", "billing", "audit", retention="Interest")
    declare(world, "new", "late", retention="Interest", deliverPolicy="New")
    declare(world, "queue", "work", retention="WorkQueue")
    for stream in ("wanted", "new", "queue"):
        await publish(world, stream)
    created = (await durable(world, "wanted", "billing"))["created"]
    world.apply(
        back(world, "start", "billing", to="Start"),
        back(world, "again", "work", to="Start"),
        back(world, "late", "late", to="Start"),
        back(world, "end", "work", to="End"),
    )
    assert pending(ended(world, "start")) == MESSAGES
    assert pending(ended(world, "again")) == MESSAGES
    for name, said in {"late": "retention Interest", "end": "retention WorkQueue"}.items():
        failed = world.wait_condition(TASK, name, "Failed", "True", "InvalidSpec")
        assert said in failed["message"]
    for stream in ("wanted", "new", "queue"):
        state = (await ask(world, f"STREAM.INFO.{world.prefix}-{stream}"))["state"]
        assert state["messages"] == MESSAGES
    # In a row, and nothing of it looks like a change of the durable consumer.
    world.apply(back(world, "skip", "billing", to="End"))
    assert pending(ended(world, "skip")) == 0
    world.apply(back(world, "third", "billing", to="Sequence", sequence=3))
    assert pending(ended(world, "third")) == MESSAGES - 2
    found = await durable(world, "wanted", "billing")
    assert found["created"] == created
    world.look_again(CONSUMER, "billing")
    world.wait_condition(CONSUMER, "billing", "ConsumerReady", "True", "InSync")


async def test_the_place_is_found_again_when_the_operator_is_killed_and_nobody_goes_on(
    world: World,
) -> None:
    declare(world, "orders", "deleted", "suspended", retention="Limits", deliverPolicy="New")
    await publish(world, "orders")
    for name in ("deleted", "suspended"):
        await acknowledge(world, "orders", name, 3)
    with operator_killed(world) as dies_when:
        world.apply(back(world, "r1", "suspended", to="Sequence", sequence=9))
        dies_when("unmade:1")
        assert "error" in await durable(world, "orders", "suspended")
        suspended = back(world, "r1", "suspended", to="Sequence", sequence=9)
        suspended["spec"]["suspend"] = True
        world.apply(suspended, back(world, "r2", "deleted", to="Sequence", sequence=9))
        dies_when("unmade:1")
        world.kubectl("delete", "obt", "r2", "-n", world.namespace)

    def noted(name: str) -> bool:
        annotations = (world.get(CONSUMER, name) or {})["metadata"].get("annotations") or {}
        return meta.RESET_LEFT_ANNOTATION in annotations

    async def are_as_before() -> bool:
        found = [await durable(world, "orders", name) for name in ("suspended", "deleted")]
        return [one.get("num_pending") for one in found] == [MESSAGES - 3] * 2

    await eventually(are_as_before, "both are where they were")
    for name in ("suspended", "deleted"):
        world.wait(lambda: not noted(name), "the note is gone")  # noqa: B023
        world.wait_condition(CONSUMER, name, "ConsumerReady", "True", "InSync")
    suspended["spec"]["suspend"] = False
    world.apply(suspended)
    assert pending(ended(world, "r1")) == 2


async def test_an_operator_that_was_frozen_resets_nothing_that_another_one_has(
    world: World, tmp_path: Path
) -> None:
    declare(world, "orders", "billing", retention="Limits")
    await publish(world, "orders")
    world.operator.stop()
    frozen = OperatorProcess(
        world.operator.kubeconfig,
        tmp_path / "frozen.log",
        identity=world.operator.identity,
        variables={VARIABLE: "resetting:1", "PYTHONPATH": "tests"},
        module="support.dying_operator",
    )
    world.apply(back(world, "reset", "billing", to="End"))
    frozen.start()
    try:
        process = frozen.process
        assert process is not None
        state = Path(f"/proc/{process.pid}/stat")
        wait_until(
            lambda: state.read_text().rpartition(")")[2].split()[0] == "T",
            "it stands still", detail=frozen.tail,
        )  # fmt: skip
        since = time.monotonic()
        world.operator.start()
        await asyncio.to_thread(world.operator.wait_ready)
        assert pending(ended(world, "reset")) == 0
        await publish(world, "orders", 7)
        await acknowledge(world, "orders", "billing", 7)
        before = await durable(world, "orders", "billing")
        assert (before["num_pending"], before["ack_floor"]["stream_seq"]) == (0, MESSAGES + 7)
        wait_until(lambda: time.monotonic() - since > SLICE_SECONDS, "its time is over")
        os.kill(process.pid, signal.SIGCONT)
        wait_until(
            lambda: WENT_ON in frozen.log.read_text(),
            "it has gone on", detail=frozen.tail,
        )  # fmt: skip
        frozen.kill()
        after = await durable(world, "orders", "billing")
        assert (after["created"], after["num_pending"]) == (before["created"], 0)
        assert after["ack_floor"]["stream_seq"] == MESSAGES + 7
    finally:
        frozen.kill()
        if world.operator.process is None or world.operator.process.poll() is not None:
            world.operator.start()
            world.operator.wait_ready()
