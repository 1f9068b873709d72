"""Relays share the shards of an outbox: each has one owner, and moves no more than it must."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from outbox_operator.wire.subjects import nudge_subject
from support.nats import NatsServer, connected
from support.outbox import migrate
from support.postgres import with_login
from support.relaying import (
    NAMESPACE,
    PIPELINE,
    Outbox,
    RelayProcess,
    an_outbox,
    check_delivery,
)
from support.waiting import eventually
from support.writing import check_everything, writing

pytestmark = pytest.mark.integration

SHARDS = 4


@pytest.fixture
async def sharded(database: str, nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[Outbox]:
    """An outbox with four shards and a stream."""
    async with an_outbox(database, nats_server, tmp_path, shards=SHARDS) as made:
        yield made


async def shared(*relays: RelayProcess, shards: int = SHARDS) -> list[set[int]]:
    """Wait until these relays own every shard once, as evenly as can be; what each owns."""

    def fair() -> bool:
        owned = [relay.owned for relay in relays]
        sizes = [len(some) for some in owned]
        return sum(sizes) == shards == len(set().union(*owned)) and max(sizes) - min(sizes) <= 1

    await eventually(fair, f"{shards} shards shared by {len(relays)}", relay=relays[0])
    for relay in relays:
        await relay.ready()
    return [relay.owned for relay in relays]


async def epochs(outbox: Outbox) -> int:
    """How often a shard was taken, of all shards together."""
    total: int = await outbox.connection.fetchval(
        "SELECT sum(owner_epoch)::bigint FROM outbox.cursors"
    )
    return total


async def goes_on(outbox: Outbox) -> None:
    """Wait until every shard has published something committed from now on."""
    before = await outbox.connection.fetchval("SELECT max(position) FROM outbox.events")
    rows = "SELECT count(*) FROM outbox.cursors WHERE last_position > $1"

    async def everywhere() -> bool:
        return bool(await outbox.connection.fetchval(rows, before) == SHARDS)

    await eventually(everywhere, "every shard goes on")


async def test_shards_move_once_with_every_relay_that_comes_or_goes(sharded: Outbox) -> None:
    first, second, third, fourth = (sharded.relay() for _ in range(4))
    async with writing(sharded, keys=12):
        await shared(first.start())
        assert await epochs(sharded) == SHARDS
        await shared(first, second.start())
        assert await epochs(sharded) == SHARDS + 2
        await goes_on(sharded)
        owned = await shared(first, second, third.start())
        assert await epochs(sharded) == SHARDS + 3

        taken = SHARDS + 3
        second.kill()
        taken += len(owned[1])
        owned = await shared(first, third)
        assert await epochs(sharded) == taken
        await goes_on(sharded)

        taken += 1
        owned = await shared(first, third, fourth.start())
        assert await epochs(sharded) == taken

        started = time.monotonic()
        assert first.terminate() == 0
        assert time.monotonic() - started < 9  # and not the whole time that it may take
        taken += len(owned[0])
        await shared(third, fourth)
        assert await epochs(sharded) == taken
        await goes_on(sharded)
    await check_everything(sharded)


async def test_a_frozen_relay_loses_its_shards_and_cannot_write_when_it_wakes(
    sharded: Outbox,
) -> None:
    frozen, other = sharded.relay().start(), sharded.relay().start()
    async with writing(sharded, keys=12):
        lost = (await shared(frozen, other))[0]
        frozen.signal(signal.SIGSTOP)
        # The server hears nothing from it and ends its session.
        await eventually(lambda: len(other.owned) == SHARDS, "the other has all", relay=other)
        taken = await epochs(sharded)
        owners = "SELECT DISTINCT owner FROM outbox.cursors WHERE shard = ANY ($1::int[])"
        (owner,) = await sharded.connection.fetch(owners, sorted(lost))
        assert owner[0].endswith(f"/{other.pid}")
        await goes_on(sharded)
        frozen.signal(signal.SIGCONT)
        await eventually(lambda: "starting over" in frozen.log, "it noticed", relay=frozen)
        await shared(frozen, other)
        assert await epochs(sharded) == taken + 2, "it got its share back by the usual way only"
        await goes_on(sharded)
    await check_everything(sharded)


async def test_one_shard_does_not_move_when_standbys_come_and_go(outbox: Outbox) -> None:
    owner = await outbox.relay().start().active()
    standbys = [await outbox.relay().start().standing_by() for _ in range(2)]
    standbys[0].kill()
    await eventually(lambda: owner.metric("members") == 2, "one standby missed")
    await standbys[0].start().standing_by()
    standbys[1].terminate()
    await eventually(lambda: owner.metric("members") == 2, "the other missed")
    assert owner.owned == {0}
    assert (await outbox.cursor())["owner_epoch"] == 1


async def test_a_shard_that_cannot_go_on_leaves_the_others_alone(sharded: Outbox) -> None:
    bad = "UPDATE outbox.cursors SET system_identifier = $1 WHERE shard = 2"
    await sharded.connection.execute(bad, "42")
    relay = sharded.relay().start()
    await eventually(lambda: relay.owned == {0, 1, 3}, "the other shards owned", relay=relay)
    await eventually(
        lambda: "belong to another PostgreSQL server" in relay.failing().get("role", ""), "told"
    )
    assert relay.failing()["role"].startswith("shard 2: ")
    for _ in range(8):
        await sharded.add()  # in turns: two for each shard
    stored = await sharded.stored(6)
    assert {message.headers["Outbox-Shard"] for message in stored} == {"0", "1", "3"}
    assert relay.owned == {0, 1, 3}
    await sharded.connection.execute(bad, None)
    await sharded.published(8)
    await relay.ready()
    assert await epochs(sharded) == SHARDS


async def test_a_halted_shard_is_named_and_the_others_flow(sharded: Outbox) -> None:
    relay = await sharded.relay(on_poison="Halt").start().active()
    await shared(relay)
    await sharded.add(headers='{"Nats-Msg-Id": "x"}')
    shard = await sharded.connection.fetchval("SELECT shard FROM outbox.events")
    await eventually(
        lambda: f"shard {shard}: halted" in relay.failing().get("progress", ""), "halt", relay=relay
    )
    assert relay.metric("halted") == relay.metric("halted", shard=str(shard)) == 1
    for _ in range(3):
        await sharded.add()
    stored = await sharded.stored(3)
    assert str(shard) not in {message.headers["Outbox-Shard"] for message in stored}


async def test_shards_with_much_behind_them_take_turns_and_none_keeps_others_from_theirs(
    database: str, nats_server: NatsServer, tmp_path: Path
) -> None:
    shards, each = 12, 1500
    async with an_outbox(database, nats_server, tmp_path, shards=shards) as outbox:
        keys = await outbox.key_of_each_shard()
        # More shards than have turns have stopped, each before as much as the others have.
        await outbox.connection.execute(
            "INSERT INTO outbox.events (event_type, partition_key, payload, headers) "
            "SELECT 'bad', key, '0', '{\"Nats-Msg-Id\": \"x\"}' FROM unnest($1::text[]) key",
            keys[:6],
        )
        await outbox.connection.execute(
            "INSERT INTO outbox.events (event_type, partition_key, payload) "
            "SELECT 'created', key, '0' FROM generate_series(1, $2) n, unnest($1::text[]) key",
            keys, each,
        )  # fmt: skip
        relay = outbox.relay(on_poison="Halt").start()
        flowing = (shards - 6) * each
        stored = await outbox.stored(flowing)
        assert {int(message.headers["Outbox-Shard"]) for message in stored} == set(range(6, 12))
        await eventually(lambda: relay.metric("halted") == 6, "six have stopped", relay=relay)
        await outbox.connection.execute("DELETE FROM outbox.events WHERE event_type = 'bad'")
        await outbox.published(shards * each)
        committed = await outbox.event_ids()
        check_delivery(await outbox.stored(len(committed)), committed)
        assert relay.peak_kilobytes() < 150_000


async def test_shards_that_wait_for_their_turn_keep_no_whole_page(
    database: str, nats_server: NatsServer, tmp_path: Path
) -> None:
    shards, each = 48, 1500
    async with an_outbox(database, nats_server, tmp_path, shards=shards) as outbox:
        relay = await outbox.relay(on_poison="Skip").start().active()
        await shared(relay, shards=shards)
        # Whole pages are 4 MB. Runs end early at rows that become dead letters.
        await outbox.connection.execute(
            "INSERT INTO outbox.events (event_type, partition_key, payload, headers) "
            "SELECT 'created', key, to_jsonb(repeat(md5(n::text), 2) || pad), "
            "CASE n % 300 WHEN 0 THEN '{\"Nats-Msg-Id\": \"x\"}' ELSE '{}' END::jsonb "
            "FROM (SELECT string_agg(md5(n::text), '') pad FROM generate_series(1, 126) n) pads, "
            "generate_series(1, $2) n, unnest($1::text[]) key",
            await outbox.key_of_each_shard(), each,
        )  # fmt: skip
        await outbox.published(shards * each * 299 // 300)
        assert relay.peak_kilobytes() < 125_000


async def test_quiet_shards_cost_little(
    database: str, nats_server: NatsServer, tmp_path: Path
) -> None:
    async with an_outbox(database, nats_server, tmp_path, shards=16) as outbox:
        relay = outbox.relay(poll_min_seconds=1, poll_max_seconds=1).start()
        await shared(relay, shards=16)

        async def rate(seconds: float) -> float:
            before, started = relay.metric("polls_total"), time.monotonic()
            await asyncio.sleep(seconds)  # what is measured is a rate
            return (relay.metric("polls_total") - before) / (time.monotonic() - started)

        async def quiet() -> bool:
            return await rate(2) < 9

        await eventually(quiet, "fewer than 9 polls a second")


async def test_news_of_many_shards_cost_one_look(
    database: str, nats_server: NatsServer, tmp_path: Path
) -> None:
    """Not a poll of each; whatever was open meanwhile, or moved the sequence, is found as soon."""
    shards, events = 16, 40
    async with an_outbox(database, nats_server, tmp_path, shards=shards) as outbox:
        relay = outbox.relay(poll_max_seconds=20).start()
        await shared(relay, shards=shards)
        quiet = relay.metric("polls_total")
        # Pauses of each shard double up to 20 s.
        await eventually(lambda: relay.metric("polls_total") >= quiet + 8 * shards, "quiet")
        polls, started = relay.metric("polls_total"), time.monotonic()
        async with connected(nats_server) as client, outbox.session() as late:
            await late.execute("BEGIN")
            await outbox.add("late", on=late)

            async def found(count: int) -> None:
                await client.publish(nudge_subject(NAMESPACE, PIPELINE))
                await outbox.published(count)

            for number in range(1, events + 1):
                await outbox.add(f"k{number}")
                await found(number)
            await late.execute("COMMIT")
            await found(events + 1)
            await outbox.connection.execute(
                "SELECT setval('outbox.events_position_seq', 5000000000)"
            )
            await outbox.add("far")
            await found(events + 2)
        assert time.monotonic() - started < 60  # 42 polls would take 840
        # A poll of each would be 16 for each event; a slow machine sees a few more pauses end.
        assert relay.metric("polls_total") - polls < shards * events // 2
        committed = await outbox.event_ids()
        check_delivery(await outbox.stored(len(committed)), committed)


async def test_shards_are_woken_one_by_one_where_they_cannot_be_looked_at_at_once(
    database: str, nats_server: NatsServer, tmp_path: Path
) -> None:
    """A role of before lacks the right to read the sequence."""
    async with an_outbox(database, nats_server, tmp_path, shards=SHARDS) as outbox:
        role = f"relay_{outbox.prefix}"
        await outbox.connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'a'")
        try:
            await migrate(outbox.url, relay_role=role, shards=SHARDS)
            await outbox.connection.execute(
                f"REVOKE ALL ON SEQUENCE outbox.events_position_seq FROM {role}"
            )
            url, outbox.url = outbox.url, with_login(outbox.url, role, "a")
            relay = outbox.relay(poll_max_seconds=20).start()
            outbox.url = url
            await shared(relay)
            await eventually(lambda: "cannot look at all shards" in relay.log, "said", relay=relay)
            polls = relay.metric("polls_total")
            await eventually(lambda: relay.metric("polls_total") >= polls + 6 * SHARDS, "quiet")
            started = time.monotonic()
            async with connected(nats_server) as client:
                await outbox.add("a")
                await client.publish(nudge_subject(NAMESPACE, PIPELINE))
                await outbox.published(1)
            assert time.monotonic() - started < 5
            assert relay.failing() == {}
            outbox.stop_all()
        finally:
            await outbox.connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
