"""What is declared elsewhere than it was leaves nothing behind unless somebody says so."""

from __future__ import annotations

from typing import Any

from support.nats import NatsServer, connected
from support.world import World

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
            notes = [one["note"] for one in world.events("orders") if one["reason"] == "Moved"]
            assert any("nothing waited where it was" in note for note in notes), notes
            # Back again, and what waits there may stay: somebody says so.
            async with connected(other) as there:
                await there.jetstream().publish(f"{world.prefix}.orders.created", b"{}")
            world.apply(pointed_at(world, world.nats.url))
            held = world.wait_condition(*PIPELINE, "StreamReady", "False", "ApprovalPending")
            world.annotate("obp", "orders", held["message"].rsplit("annotation ", 1)[1])
            world.wait_ready(*PIPELINE)
            notes = [one["note"] for one in world.events("orders") if one["reason"] == "Moved"]
            assert any("1 messages wait" in note and "stay there" in note for note in notes), notes
            body = world.get(*PIPELINE)
            assert body is not None
            assert "outbox.dev/approve-plan" not in body["metadata"].get("annotations", {})
