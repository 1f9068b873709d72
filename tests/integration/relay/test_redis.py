"""The relay publishes to Redis Streams, whatever becomes of it or of the server."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.redis import RedisServer, redis_client
from support.redis_outbox import RedisOutbox, redis_outbox
from support.waiting import eventually


@pytest.fixture
async def alone(database: str, tmp_path: Path) -> AsyncIterator[RedisOutbox]:
    """With a server of its own, that may be stopped and changed."""
    with RedisServer() as server:
        async with redis_outbox(database, server, tmp_path) as made:
            yield made


async def test_an_event_becomes_an_entry_whose_id_is_its_number(shared: RedisOutbox) -> None:
    relay = await shared.relay().start().ready()
    event_id = await shared.add("anna", value={"n": 1}, event_type="user.created")
    (entry,) = await shared.arrived(1)
    assert entry.number == 1
    assert entry.fields["Ce-Id"] == event_id
    assert entry.fields["Ce-Type"] == "user.created"
    assert entry.fields["Ce-Partitionkey"] == "anna"
    assert entry.fields["Ce-Source"] == "/shop/orders"
    assert entry.fields["Outbox-Data"] == '{"n": 1}'
    assert "Nats-Msg-Id" not in entry.fields
    assert relay.checks()["redis"].startswith("connected to redis://127.0.0.1:")


async def test_a_relay_that_is_killed_repeats_nothing(shared: RedisOutbox) -> None:
    await shared.fill(6000)
    relay = shared.relay().start()
    await shared.arrived(1000)
    await shared.killed(relay)
    await shared.relay().start().ready()
    await shared.check()


async def test_a_frozen_relay_that_wakes_up_adds_nothing(shared: RedisOutbox) -> None:
    first = await shared.relay().start().active()
    await shared.fill(6000)
    await shared.arrived(500)
    first.signal(signal.SIGSTOP)
    await shared.connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name LIKE 'outbox-relay %'"
    )
    await shared.relay().start().active()
    await shared.arrived(6000)
    first.signal(signal.SIGCONT)
    await shared.add("late")
    await shared.check()
    assert len(await shared.entries()) == 6001


async def test_a_server_that_is_killed_loses_nothing(alone: RedisOutbox) -> None:
    await alone.relay().start().active()
    await alone.fill(6000)
    await alone.arrived(500)
    await asyncio.to_thread(alone.redis.restart)
    await alone.check()


async def test_what_a_server_forgot_is_sent_again(alone: RedisOutbox) -> None:
    """As after a fail-over to a replica that had not got everything."""
    relay = await alone.relay().start().active()
    await alone.fill(60)
    await alone.arrived(60)
    await asyncio.to_thread(alone.redis.copy_store)
    await alone.fill(40)
    await alone.arrived(100)
    await alone.saved(100)
    await asyncio.to_thread(alone.redis.roll_back)
    await alone.fill(1)
    await alone.arrived(101)
    await alone.check()
    numbers = [entry.number for entry in await alone.entries()]
    assert numbers[:60] == list(range(1, 61))
    assert numbers[60:] == list(range(101, 142))  # never a number twice
    assert "StreamRolledBack" in relay.log


async def test_numbers_pass_over_the_entries_of_somebody_else(shared: RedisOutbox) -> None:
    relay = await shared.relay().start().active()
    async with redis_client(shared.redis) as client:
        for round in range(3):
            await shared.fill(5)
            await shared.arrived(6 * round + 5)
            await client.xadd(shared.prefix, {"hello": "world"})
    await shared.add("last")
    entries = [each for each in await shared.arrived(19) if "Ce-Id" in each.fields]
    assert [each.fields["Ce-Id"] for each in entries] == await shared.event_ids()
    assert "ForeignEntries" in relay.log
    first = entries[5]  # the first behind an entry of somebody else
    assert first.number > 10**12
    assert first.fields["Outbox-Predecessor"] == "5"
    await relay.ready()


async def test_a_full_server_waits_and_says_so(alone: RedisOutbox) -> None:
    relay = await alone.relay().start().active()
    async with redis_client(alone.redis) as client:
        used = (await client.info("memory"))["used_memory"]
        await client.config_set("maxmemory", used + 3_000_000)
        await alone.fill(3000, bytes_each=2000)
        await eventually(lambda: "Redis is full" in relay.checks()["progress"], "a full server")
        assert await alone.dead_letters() == []
        await client.config_set("maxmemory", 0)
    await alone.check()


async def test_shards_whose_key_takes_nothing_keep_no_other_from_its_turn(
    database: str, redis_server: RedisServer, tmp_path: Path
) -> None:
    shards, each = 12, 1500
    async with (
        redis_outbox(database, redis_server, tmp_path, shards=shards) as outbox,
        redis_client(redis_server) as client,
    ):
        keys = outbox.keys(shards)
        relay = outbox.relay().start()
        await eventually(lambda: len(relay.owned) == shards, "all shards", relay=relay)
        for key in keys[:6]:  # more than have turns
            await client.delete(key)
            await client.set(key, "of somebody else")
        await outbox.connection.execute(
            "INSERT INTO outbox.events (event_type, partition_key, payload) "
            "SELECT 'created', key, '0' FROM generate_series(1, $2) n, unnest($1::text[]) key",
            await outbox.key_of_each_shard(), each,
        )  # fmt: skip

        async def others_are_there() -> bool:
            return [await client.xlen(key) for key in keys[6:]] == 6 * [each]

        await eventually(others_are_there, "what the others have", relay=relay)
