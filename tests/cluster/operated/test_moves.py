"""What is declared elsewhere than it was leaves nothing behind unless somebody says so."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from support.nats import NatsServer, connected
from support.postgres import execute
from support.waiting import SECONDS
from support.world import HANDLER, World

PIPELINE = ("OutboxPipeline", "orders")
STREAM = ("EventStream", "orders")


def pointed_at(world: World, url: str) -> dict[str, Any]:
    return world.pipeline(nats={"url": url}, consumers=[{"name": "audit"}])


async def test_a_stream_leaves_no_messages_behind(world: World) -> None:
    world.apply(world.secret("database", url=world.database), pointed_at(world, world.nats.url))
    world.wait_ready(*PIPELINE)
    async with connected(world.nats) as client:
        for _ in range(2):
            await client.jetstream().publish(f"{world.prefix}.orders.created", b"{}")
        # The same server by another name is no other place.
        world.apply(pointed_at(world, world.nats.url.replace("127.0.0.1", "localhost")))
        world.wait_ready(*PIPELINE)
        assert not [one for one in world.events("orders") if one["reason"] == "Moved"]
        with NatsServer() as other:
            world.apply(pointed_at(world, other.url))
            held = world.wait_condition(*PIPELINE, "StreamReady", "False", "ApprovalPending")
            assert "2 messages wait for consumers at nats://localhost" in held["message"]
            assert world.condition(*PIPELINE, "Stalled")["status"] == "True"
            stream, relay = world.get(*STREAM), world.get("ConfigMap", "orders-relay")
            assert stream is not None
            assert "localhost" in stream["spec"]["nats"]["url"]
            assert relay is not None
            assert "localhost" in str(relay["data"])
            # Once they are handled it goes by itself.
            await client.jetstream().purge_stream(f"{world.prefix}-orders")
            world.look_again("obp", "orders")
            world.wait_ready(*PIPELINE)
            world.wait_event("orders", "Moved", "nothing waited where it was")
            # Back again, and what waits there may stay: somebody says so.
            async with connected(other) as there:
                await there.jetstream().publish(f"{world.prefix}.orders.created", b"{}")
            world.apply(pointed_at(world, world.nats.url))
            world.wait_condition(*PIPELINE, "StreamReady", "False", "ApprovalPending")
            waiting = world.get(*PIPELINE)
            assert waiting is not None
            pending = waiting["status"]["pendingMove"]
            assert "1 message waits" in pending["text"]
            moved = pointed_at(world, world.nats.url)
            moved["spec"]["database"]["migrations"] = {"approvedPlan": pending["hash"]}
            world.apply(moved)
            world.wait_ready(*PIPELINE)
            world.wait_event("orders", "Moved", "1 message waits", "stay there")
            body = world.get(*PIPELINE)
            assert body is not None
            assert "pendingMove" not in body["status"]
            assert [one["part"] for one in body["status"]["approvals"]["history"]] == ["Stream"]


async def test_an_inbox_stays_where_it_knows_what_was_handled(world: World) -> None:
    """Messages that come again would be handled again by one that does not."""
    billing = ("EventConsumer", "billing")
    inbox = {"connectionSecretRef": {"name": "inbox"}}
    world.apply(
        world.secret("inbox", url=world.database),
        world.stream(),
        world.consumer(handler=HANDLER, replicas=0, inbox=inbox),
    )
    world.wait_ready(*billing)
    there = f"{urlsplit(world.database).path[1:]}_there"
    await execute(world.database, f'CREATE DATABASE "{there}"')
    try:
        async with connected(world.nats) as client:
            await client.jetstream().publish(f"{world.prefix}.orders.created", b"{}")
            reader = await client.jetstream().pull_subscribe_bind(
                "billing", f"{world.prefix}-orders"
            )
            (message,) = await reader.fetch(1, timeout=SECONDS)
            before = world.deployment("billing-consumer")
            moved = urlsplit(world.database)._replace(path=f"/{there}").geturl()
            world.apply(world.secret("inbox", url=moved))
            held = world.wait_condition(*billing, "SchemaApplied", "False", "ApprovalPending")
            assert "1 message is handed out and not acknowledged" in held["message"]
            now = world.deployment("billing-consumer")
            assert now["spec"]["template"] == before["spec"]["template"]
            reset = {
                "consumerRef": {"name": "billing"},
                "resetConsumer": {"to": "Start", "inbox": "Forget"},
            }
            world.apply(world.resource("OutboxTask", "reset", reset))
            said = world.wait_condition(
                "OutboxTask", "reset", "Complete", "False", "ApprovalPending"
            )
            assert "1 message is handed out" in said["message"]
            world.kubectl("delete", "obt", "reset", "-n", world.namespace)
            await message.ack()
        world.look_again(*billing)
        world.wait_ready(*billing)
        world.wait_event("billing", "Moved", "the inbox is in another database now")
    finally:
        world.kubectl("delete", "evc", "billing", "-n", world.namespace)
        await execute(world.database, f'DROP DATABASE "{there}" WITH (FORCE)')
