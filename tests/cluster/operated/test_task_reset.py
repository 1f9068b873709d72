"""Consumers that read from another place on: real JetStream, a real inbox and a real runtime."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import asyncpg

from outbox_operator.consumer.handlers.types import ReceivedEvent
from outbox_operator.wire.config import (
    ConsumerConfig,
    InboxConfig,
    NatsConfig,
    PythonHandlerConfig,
)
from support.consuming import calling, consuming
from support.nats import connected
from support.ports import free_port
from support.waiting import eventually
from support.world import HANDLER, World

TASK, CONSUMER = "OutboxTask", "EventConsumer"
BILLING = {"consumerRef": {"name": "billing"}}


async def publish(world: World, *kinds: str) -> list[str]:
    """Store events, and when the stream took them."""
    async with connected(world.nats) as client:
        stream, times = client.jetstream(), []
        for kind in kinds:
            headers = {"Ce-Id": kind, "Ce-Type": kind}
            stored = await stream.publish(f"{world.prefix}.orders.{kind}", b"{}", headers=headers)
            found = await stream.get_msg(f"{world.prefix}-orders", stored.seq)
            assert found.time is not None
            times.append(found.time.isoformat())
            await asyncio.sleep(0.002)
    return times


async def durable(world: World) -> dict[str, Any]:
    async with connected(world.nats) as client:
        answer = await client.request(f"$JS.API.CONSUMER.INFO.{world.prefix}-orders.billing")
    found: dict[str, Any] = json.loads(answer.data)
    return found


def replicas(world: World) -> int | None:
    body = world.get("Deployment", "billing-consumer")
    return None if body is None else body["spec"]["replicas"]


def pod(world: World, name: str = "billing-1") -> dict[str, Any]:
    """One of the consumer's."""
    labels = world.deployment("billing-consumer")["spec"]["selector"]["matchLabels"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": world.namespace, "labels": labels},
        "spec": {"containers": [{"name": "consumer", "image": "none"}]},
    }


def waits_for(world: World, task: str, name: str) -> None:
    world.wait(
        lambda: name in world.condition(TASK, task, "Complete").get("message", ""),
        f"it says that it waits for {name}",
    )


def end_pod(world: World) -> None:
    world.kubectl(
        "delete", "pod", "billing-1", "-n", world.namespace, "--grace-period=0", "--force"
    )


def runtime(world: World, url_file: Path) -> ConsumerConfig:
    """What the Deployment's pods would be told."""
    return ConsumerConfig(
        namespace=world.namespace,
        consumer="billing",
        nats=NatsConfig(url=world.nats.url),
        stream=f"{world.prefix}-orders",
        durable="billing",
        python=PythonHandlerConfig(module="tests:handler"),
        inbox=InboxConfig(url_file=str(url_file)),
        health_port=free_port(),
    )


async def handled(world: World, url_file: Path, events: int) -> list[str]:
    """Types that a pod handles until so many are acknowledged in all."""
    found: list[str] = []

    async def handle(event: ReceivedEvent) -> None:
        found.append(event.type)

    async with consuming(runtime(world, url_file), calling(handle)):

        async def done() -> bool:
            info = await durable(world)
            return bool(info["num_pending"] == info["num_ack_pending"] == 0)

        await eventually(done, "all is handled")
        await eventually(lambda: len(found) >= events, f"{events} events")
    return sorted(found)


async def test_a_consumer_with_pods_inbox_and_filter_goes_back_to_a_time(
    world: World, tmp_path: Path
) -> None:
    url_file = tmp_path / "url"
    url_file.write_text(world.database)
    world.apply(
        world.secret("database", url=world.database),
        world.stream(),
        world.consumer(
            handler=HANDLER,
            replicas=1,
            inbox={"connectionSecretRef": {"name": "database"}},
            filterSubjects=[f"{world.prefix}.orders.paid.>"],
        ),
    )
    world.wait_condition(CONSUMER, "billing", "ConsumerReady", "True")
    world.wait_condition(CONSUMER, "billing", "SchemaApplied", "True")
    world.wait(lambda: replicas(world) == 1, "its Deployment")
    times = await publish(world, "paid.1", "sent.2", "paid.3", "paid.4", "sent.5", "paid.6")
    assert await handled(world, url_file, 4) == ["paid.1", "paid.3", "paid.4", "paid.6"]
    created = (await durable(world))["created"]
    world.apply(pod(world), pod(world, "billing-0"))
    world.kubectl(
        "patch", "pod", "billing-0", "-n", world.namespace, "--subresource=status",
        "--type=merge", '-p={"status": {"phase": "Failed", "reason": "Evicted"}}',
    )  # fmt: skip
    since = {"to": "Time", "time": times[3]}
    world.apply(
        world.resource(TASK, "asked", {**BILLING, "dryRun": True, "resetConsumer": since}),
        world.resource(TASK, "reset", {**BILLING, "resetConsumer": {**since, "inbox": "Forget"}}),
    )
    world.wait_condition(TASK, "asked", "Complete", "True", "DryRun")
    world.wait(lambda: replicas(world) == 0, "no pods are wanted")
    world.operator.kill()
    world.operator.start()
    await asyncio.to_thread(world.operator.wait_ready)
    waits_for(world, "reset", "billing-1")
    assert (await durable(world))["created"] == created
    end_pod(world)
    world.wait_condition(TASK, "reset", "Complete", "True", "Completed")
    status = (world.get(TASK, "reset") or {})["status"]
    assert status["result"]["counts"] == {"pending": 2, "forgotten": 4}
    world.wait(lambda: replicas(world) == 1, "pods are wanted again")
    world.look_again(CONSUMER, "billing")
    world.wait_condition(CONSUMER, "billing", "ConsumerReady", "True")
    world.wait(
        lambda: (world.get(CONSUMER, "billing") or {})["status"]["consumer"]["pending"] == 2,
        "its status says what waits",
    )
    assert await handled(world, url_file, 2) == ["paid.4", "paid.6"]
    after = await durable(world)
    assert after["created"] == created
    assert after["config"]["deliver_policy"] == "all"
    state = (world.get(CONSUMER, "billing") or {})["status"]["consumer"]
    assert not state.get("driftCorrectedCount")


async def test_with_the_inbox_kept_events_are_skipped_and_a_place_that_is_gone_is_told(
    world: World, tmp_path: Path
) -> None:
    url_file = tmp_path / "url"
    url_file.write_text(world.database)
    world.apply(
        world.secret("database", url=world.database),
        world.stream(),
        world.consumer(
            handler=HANDLER, replicas=0, inbox={"connectionSecretRef": {"name": "database"}}
        ),
    )
    world.wait_condition(CONSUMER, "billing", "SchemaApplied", "True")
    world.wait_condition(CONSUMER, "billing", "ConsumerReady", "True")
    times = await publish(world, "a", "b", "c")
    assert await handled(world, url_file, 3) == ["a", "b", "c"]
    world.apply(world.resource(TASK, "kept", {**BILLING, "resetConsumer": {"to": "Start"}}))
    world.wait_condition(TASK, "kept", "Complete", "True")
    result = (world.get(TASK, "kept") or {})["status"]["result"]
    assert result["counts"]["pending"] == 3
    assert [finding["check"] for finding in result["findings"]] == ["InboxKept"]
    assert await handled(world, url_file, 0) == []
    async with connected(world.nats) as client:
        await client.jetstream().purge_stream(f"{world.prefix}-orders", seq=3)
    for name, place in {
        "sequence": {"to": "Sequence", "sequence": 1},
        "time": {"to": "Time", "time": times[0]},
    }.items():
        world.apply(world.resource(TASK, name, {**BILLING, "resetConsumer": place}))
        failed = world.wait_condition(TASK, name, "Failed", "True", "NoLongerKept")
        assert "its first message is 3" in failed["message"]
    # It is dropped while a pod has still to end; the inbox forgets nothing.
    world.apply(pod(world))
    third = {"to": "Sequence", "sequence": 3, "inbox": "Forget"}
    world.apply(world.resource(TASK, "third", {**BILLING, "resetConsumer": third}))
    waits_for(world, "third", "billing-1")
    await publish(world, "d")
    async with connected(world.nats) as client:
        await client.jetstream().purge_stream(f"{world.prefix}-orders", seq=4)
    end_pod(world)
    failed = world.wait_condition(TASK, "third", "Failed", "True", "NoLongerKept")
    assert "its first message is 4" in failed["message"]
    fourth = {"to": "Sequence", "sequence": 4}
    world.apply(world.resource(TASK, "fourth", {**BILLING, "resetConsumer": fourth}))
    world.wait_condition(TASK, "fourth", "Complete", "True")
    connection = await asyncpg.connect(world.database)
    assert await connection.fetchval("SELECT count(*) FROM outbox.consumer_inbox") == 3
    by_shard = {"connectionSecretRef": {"name": "database"}, "mode": "PerShard"}
    world.apply(world.consumer("audit", handler=HANDLER, replicas=0, inbox=by_shard))
    world.wait_condition(CONSUMER, "audit", "ConsumerReady", "True")
    world.wait_condition(CONSUMER, "audit", "SchemaApplied", "True")
    await connection.execute(
        """INSERT INTO outbox.consumer_positions
           (consumer_name, source, shard, stream, durable_created, first_sequence, last_sequence)
           VALUES ($1, 's', '0', $2, 'then', 1, 1)""",
        f"{world.namespace}/audit", f"{world.prefix}-orders",
    )  # fmt: skip
    end = {"consumerRef": {"name": "audit"}, "resetConsumer": {"to": "End"}}
    world.apply(world.resource(TASK, "end", end))
    world.wait_condition(TASK, "end", "Complete", "True")
    assert await connection.fetchval("SELECT durable_created FROM outbox.consumer_positions") == ""
    await connection.close()
