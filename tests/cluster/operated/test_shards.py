"""A pipeline with several shards, and a database that is reached through a pooler."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from support.nats import connected
from support.pgbouncer import pooler, through
from support.postgres import PostgresServer
from support.world import World

PIPELINE = ("OutboxPipeline", "orders")


def with_shards(world: World, shards: int, **spec: Any) -> dict[str, Any]:
    document = world.pipeline(outbox={"shards": shards}, **spec)
    document["spec"]["stream"]["subject"] = f"{world.prefix}.orders.{{shard}}.{{event_type}}"
    return document


async def test_shards_are_made_watched_and_never_changed(world: World) -> None:
    consumers = [{"name": "billing", "filterEventTypes": ["order.created"]}]
    world.apply(
        world.secret("database", url=world.database), with_shards(world, 4, consumers=consumers)
    )
    world.wait_ready(*PIPELINE)
    async with connected(world.nats) as client:
        context = client.jetstream()
        stream = await context.stream_info(f"{world.prefix}-orders")
        assert stream.config.subjects == [f"{world.prefix}.orders.*.>"]
        billing = await context.consumer_info(f"{world.prefix}-orders", "orders-billing")
        assert billing.config.filter_subject == f"{world.prefix}.orders.*.order.created"
    connection = await asyncpg.connect(world.database)
    try:
        assert await connection.fetchval("SELECT count(*) FROM outbox.cursors") == 4
        await connection.execute(
            "INSERT INTO outbox.events (event_type, payload) "
            "SELECT 'order.created', '{}' FROM generate_series(1, 8)"
        )
        spread = "SELECT count(DISTINCT shard) FROM outbox.events"
        assert await connection.fetchval(spread) == 4
    finally:
        await connection.close()

    said = world.refused(with_shards(world, 8))
    assert "shards is fixed at creation" in said
    assert 'the how-to "Scale with shards"' in said

    # Whoever deletes the resource to get around that finds the tables as they are.
    world.kubectl("delete", "obp", "orders", "-n", world.namespace, "--timeout=120s")
    world.apply(with_shards(world, 8))
    seen = world.wait_condition(*PIPELINE, "Stalled", "True", "IncompatibleTable")
    assert "shards is fixed at creation" in seen["message"]


def test_a_subject_without_the_shard_is_refused(world: World) -> None:
    said = world.refused(world.pipeline(outbox={"shards": 4}))
    assert "stream.subject needs {shard} as a token of its own" in said


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_a_pooler_works_in_session_mode_only(
    world: World, postgres_server: PostgresServer, mode: Any
) -> None:
    with pooler(postgres_server, mode) as port:
        url = through(port, world.database)
        world.apply(world.secret("database", url=url), world.pipeline())
        if mode == "session":
            world.wait_ready(*PIPELINE)
        else:
            seen = world.wait_condition(*PIPELINE, "Ready", "False", "TransactionPooler")
            assert "pool in session mode" in seen["message"]
        world.kubectl("delete", "obp", "orders", "-n", world.namespace, "--timeout=120s")
