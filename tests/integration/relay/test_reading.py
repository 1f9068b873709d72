"""What is committed is read: all of it, nothing else, in the order of each key."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from support.nats import NatsServer, connected
from support.postgres import PostgresServer, sessions_ended
from support.relaying import NAMESPACE, PIPELINE, Outbox, an_outbox, check_delivery, per_key
from support.waiting import eventually

pytestmark = pytest.mark.integration


async def test_a_writer_that_waited_for_another_comes_after_it(outbox: Outbox) -> None:
    # T2 has the smaller transaction id, but its event was caused by what T1 committed.
    await outbox.connection.execute("CREATE TABLE account (id int PRIMARY KEY, n int)")
    await outbox.connection.execute("INSERT INTO account VALUES (1, 0)")
    relay = await outbox.relay().start().active()
    async with outbox.session() as one, outbox.session() as two:
        first, second = one.transaction(), two.transaction()
        await second.start()
        await two.execute("SELECT pg_current_xact_id()")
        await first.start()
        await one.execute("UPDATE account SET n = 1 WHERE id = 1")
        blocked = asyncio.create_task(two.execute("UPDATE account SET n = 2 WHERE id = 1"))
        await outbox.add("account-1", value="first", on=one)
        await first.commit()
        await blocked
        await outbox.add("account-1", value="second", on=two)
        await second.commit()
    stored = await outbox.stored(2)
    assert [message.data for message in stored] == [b'"first"', b'"second"']
    assert relay.terminate() == 0


async def test_the_same_when_both_commit_before_the_relay_looks(outbox: Outbox) -> None:
    async with outbox.session() as one, outbox.session() as two:
        second = two.transaction()
        await second.start()
        await two.execute("SELECT pg_current_xact_id()")
        await outbox.add("account-1", value="first", on=one)
        await outbox.add("account-1", value="second", on=two)
        await second.commit()
    outbox.relay().start()
    assert [message.data for message in await outbox.stored(2)] == [b'"first"', b'"second"']


async def test_a_late_commit_with_a_small_position_is_published(outbox: Outbox) -> None:
    outbox.relay().start()
    async with outbox.session() as slow:
        late = slow.transaction()
        await late.start()
        slow_id = await outbox.add("slow", on=slow)
        fast_ids = [await outbox.add("fast") for _ in range(5)]
        assert [message.event_id for message in await outbox.stored(5)] == fast_ids
        await late.commit()
    stored = await outbox.stored(6)
    assert stored[-1].event_id == slow_id
    positions = [int(message.headers["Outbox-Position"]) for message in stored]
    assert positions[-1] < positions[0]
    check_delivery(stored, [*fast_ids, slow_id])


async def test_open_transactions_anywhere_delay_nobody(
    outbox: Outbox, postgres_server: PostgresServer
) -> None:
    other_url = postgres_server.create_database()
    other = await asyncpg.connect(other_url)
    try:
        held = other.transaction()
        await held.start()
        await other.execute("SELECT pg_current_xact_id()")
        async with outbox.session() as here:
            also_held = here.transaction()
            await also_held.start()
            await here.execute("SELECT pg_current_xact_id()")
            outbox.relay().start()
            ids = [await outbox.add("a") for _ in range(3)]
            check_delivery(await outbox.stored(3), ids)
            await also_held.rollback()
        await held.rollback()
    finally:
        await other.close()
        postgres_server.drop_database(other_url)


async def test_what_was_rolled_back_is_never_published(outbox: Outbox) -> None:
    relay = await outbox.relay().start().active()
    kept = [await outbox.add("a")]
    async with outbox.session() as writer:
        undone = writer.transaction()
        await undone.start()
        await outbox.add("a", on=writer)
        await undone.rollback()
        async with writer.transaction():
            kept.append(await outbox.add("a", on=writer))
            inner = writer.transaction()
            await inner.start()
            await outbox.add("a", on=writer)
            await inner.rollback()
            async with writer.transaction():
                kept.append(await outbox.add("a", on=writer))
    await outbox.published(3)
    await outbox.idle(relay)
    check_delivery(await outbox.stored(), kept)


async def test_a_backlog_of_many_pages_with_holes_keeps_its_order(outbox: Outbox) -> None:
    async with outbox.session() as early:
        late = early.transaction()
        await late.start()
        await outbox.add("late", on=early)
        await outbox.fill(1500, keys=7)
        async with outbox.session() as writer:
            undone = writer.transaction()
            await undone.start()
            await writer.execute(
                "INSERT INTO outbox.events (event_type, partition_key, payload) "
                "SELECT 'created', 'undone', '0' FROM generate_series(1, 300)"
            )
            await undone.rollback()
        await outbox.fill(2000, keys=7)
        await late.commit()
    relay = outbox.relay().start()
    committed = await outbox.event_ids()
    stored = await outbox.stored(len(committed))
    await outbox.idle(relay)
    assert [message.event_id for message in stored] == committed
    check_delivery(await outbox.stored(), committed)
    await outbox.saved(len(committed))


async def test_interleaved_writers_keep_the_order_of_each_key(outbox: Outbox) -> None:
    await outbox.connection.execute("CREATE TABLE aggregate (id int PRIMARY KEY, n int)")
    await outbox.connection.execute("INSERT INTO aggregate SELECT i, 0 FROM generate_series(0,4) i")
    relay = await outbox.relay().start().active()
    chance = random.Random(7)
    undone = 0

    async def write() -> None:
        nonlocal undone
        async with outbox.session() as writer:
            for _ in range(40):
                transaction = writer.transaction()
                await transaction.start()
                for key in sorted(chance.sample(range(5), 2)):
                    n = await writer.fetchval(
                        "UPDATE aggregate SET n = n + 1 WHERE id = $1 RETURNING n", key
                    )
                    await outbox.add(f"k{key}", value=n, on=writer)
                if chance.random() < 0.2:
                    undone += 1
                    await transaction.rollback()
                else:
                    await transaction.commit()

    await asyncio.gather(*(write() for _ in range(6)))
    assert undone
    committed = await outbox.event_ids()
    stored = await outbox.stored(len(committed))
    await outbox.idle(relay)
    check_delivery(await outbox.stored(), committed)
    for key, messages in per_key(stored):
        numbers = [int(message.data) for message in messages]
        assert numbers == list(range(1, len(numbers) + 1)), f"key {key} out of order"


async def test_an_idle_relay_writes_nothing_and_polls_rarely(outbox: Outbox) -> None:
    relay = await outbox.relay(poll_max_seconds=0.5).start().active()
    await outbox.add("a")
    await outbox.published(1)
    before, polls = await outbox.saved(1), relay.metric("polls_total")
    await eventually(lambda: relay.metric("polls_total") >= polls + 6, "pauses at their longest")
    started, polls = time.monotonic(), relay.metric("polls_total")
    await eventually(lambda: relay.metric("polls_total") >= polls + 4, "four idle polls")
    assert time.monotonic() - started > 1.0
    assert await outbox.cursor() == before


async def test_a_nudge_beats_the_poll(outbox: Outbox) -> None:
    relay = await outbox.relay(poll_max_seconds=20).start().active()

    async def sleeps() -> bool:
        # Its pauses double up to 20 s: after this many polls the next pause exceeds 5 s.
        return relay.metric("polls_total") >= 10

    await eventually(sleeps, "a relay that hardly polls any more")
    await outbox.add("a")
    async with connected(outbox.nats) as client:
        started = time.monotonic()
        await client.publish(f"outbox.nudge.{NAMESPACE}.{PIPELINE}", b"")
        await outbox.published(1)
        assert time.monotonic() - started < 5


async def test_writers_that_nudge_cost_one_poll_each(outbox: Outbox) -> None:
    """Polls in between would find nothing and hold up those that do."""
    relay = await outbox.relay().start().active()
    await outbox.idle(relay)
    async with connected(outbox.nats) as client:
        started, before = time.monotonic(), relay.metric("polls_total")
        for _ in range(200):
            await outbox.add("a")
            await client.publish(f"outbox.nudge.{NAMESPACE}.{PIPELINE}", b"")
            await client.flush()
        await outbox.published(200)
        polls, seconds = relay.metric("polls_total") - before, time.monotonic() - started
    assert polls <= 200 + seconds / 0.02 + 20


async def test_nudges_that_come_together_count_as_one(outbox: Outbox) -> None:
    relay = await outbox.relay(poll_max_seconds=20).start().active()
    before = relay.metric("polls_total")
    async with connected(outbox.nats) as client:
        for _ in range(2000):
            await client.publish(f"outbox.nudge.{NAMESPACE}.{PIPELINE}", b"")
    await eventually(lambda: relay.metric("nudges_total") == 2000, "2000 nudges")
    assert relay.metric("polls_total") - before < 1000


async def test_events_restored_from_another_server_are_not_published_over_and_over(
    outbox: Outbox,
) -> None:
    relay = await outbox.relay().start().active()
    # What a restored dump brings: a transaction this server is far from.
    await outbox.connection.execute(
        "INSERT INTO outbox.events (xid, event_type, payload) VALUES ('999999999', 'created', '1')"
    )
    await outbox.add("a")
    await outbox.published(1)
    await outbox.idle(relay)
    await outbox.saved(1)
    assert relay.terminate() == 0
    relay.start()
    await eventually(
        lambda: "transaction 999999999 wrote an event" in relay.failing().get("role", ""), "said"
    )


@pytest.mark.parametrize(("shards", "analyzed"), [(4, True), (4, False), (32, False)])
async def test_a_page_of_a_shard_is_not_sought_among_all_its_rows(
    database: str, nats_server: NatsServer, tmp_path: Path, shards: int, analyzed: bool
) -> None:
    """Nor among those of the other shards, if they are many."""
    rows = 40_000
    async with an_outbox(database, nats_server, tmp_path, shards=shards) as outbox:
        await outbox.fill(rows, keys=1000)
        if analyzed:
            await outbox.connection.execute("ANALYZE outbox.events")
        outbox.relay().start()
        await outbox.published(rows)
        outbox.stop_all()
        read = "SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE indexrelname LIKE $1"

        async def counted() -> bool:
            await outbox.connection.execute("SELECT pg_stat_clear_snapshot()")
            return bool(await outbox.connection.fetchval(read, "events%pkey") >= rows)

        await eventually(counted, "statistics of all reads")
        # Its extent is looked up by this index, once or twice.
        assert await outbox.connection.fetchval(read, "events%shard_xid_idx") < 5 * rows
        assert await outbox.connection.fetchval(read, "events%pkey") <= 4 * rows


async def test_what_was_published_before_is_not_read_again(outbox: Outbox) -> None:
    """Not by windows larger than a page either, of which the extent is looked up first."""
    relay = await outbox.relay().start().active()
    for _ in range(8):
        await outbox.fill(3000)
    await outbox.published(24_000)
    await outbox.idle(relay)
    assert relay.terminate() == 0
    await sessions_ended(outbox.url, "application_name LIKE 'outbox-relay %'")
    before = await rows_read_by_index(outbox)
    relay.start()
    async with outbox.session() as held:  # as is usual; and one more range to look through
        await held.execute("BEGIN; SELECT pg_current_xact_id()")
        await outbox.fill(3000)
        await outbox.published(27_000)
        await outbox.idle(relay)
    assert relay.terminate() == 0
    assert await rows_read_by_index(outbox) - before < 6 * 3000


async def test_the_tail_is_read_by_index_at_any_table_size(outbox: Outbox) -> None:
    # Statistics from before the rows came are the worst case for the planner.
    relay = outbox.relay().start()
    await outbox.fill(3000)
    await outbox.published(3000)
    await outbox.idle(relay)
    await outbox.connection.execute("SELECT pg_stat_force_next_flush()")
    name = "SELECT sum(seq_tup_read) FROM pg_stat_user_tables WHERE relname LIKE 'events%'"
    before = await outbox.connection.fetchval(name)
    polls = relay.metric("polls_total")
    await eventually(lambda: relay.metric("polls_total") >= polls + 10, "ten idle polls")
    assert relay.terminate() == 0
    await outbox.connection.execute("SELECT pg_stat_clear_snapshot()")
    assert await outbox.connection.fetchval(name) == before


BULK_ROWS = 20_000
BULK = (
    "INSERT INTO outbox.events (event_type, partition_key, payload) "
    "SELECT 'bulk', 'b' || n % 100, '{}' FROM generate_series(1, $1::int) n"
)


async def rows_read_by_index(outbox: Outbox) -> int:
    """Entries of indexes that were read, visible or not, by sessions that have ended."""
    await outbox.connection.execute("SELECT pg_stat_clear_snapshot()")
    read: int = await outbox.connection.fetchval(
        "SELECT sum(idx_tup_read)::bigint FROM pg_stat_user_indexes WHERE relname LIKE 'events%'"
    )
    return read


@pytest.mark.parametrize("kind", ["one", "several", "savepoints", "rolled back"])
async def test_rows_of_an_open_transaction_are_no_work_for_others(
    outbox: Outbox, kind: str
) -> None:
    """They are passed over, however many there are, until their transaction has ended."""
    await check_that_others_are_spared(outbox, kind)


async def test_nor_are_those_of_a_prepared_one(
    two_phase_server: PostgresServer, nats_server: NatsServer, tmp_path: Path
) -> None:
    url = two_phase_server.create_database()
    async with an_outbox(url, nats_server, tmp_path) as outbox:
        await check_that_others_are_spared(outbox, "prepared")


async def check_that_others_are_spared(outbox: Outbox, kind: str) -> None:
    relay = await outbox.relay().start().active()
    before = await rows_read_by_index(outbox)
    async with contextlib.AsyncExitStack() as stack:
        held: list[asyncpg.Connection[Any]] = []
        for _ in range(4 if kind == "several" else 1):
            session = await stack.enter_async_context(outbox.session())
            await session.execute("BEGIN")
            for part in range(2):
                if kind == "savepoints":
                    await session.execute(f"SAVEPOINT part_{part}")
                await session.execute(BULK, BULK_ROWS // 2)
            if kind == "prepared":
                await session.execute("PREPARE TRANSACTION 'bulk'")
            held.append(session)
        for number in range(1, 21):
            await outbox.add("a")
            await outbox.published(number)
        if kind == "rolled back":
            await held[0].execute("ROLLBACK")
            await outbox.add("a")
            await outbox.published(21)
        await outbox.idle(relay)
        assert relay.terminate() == 0
        read = await rows_read_by_index(outbox) - before
        assert read < BULK_ROWS, "each row of it was visited"
        relay.start()
        for session in held:
            finish = {"prepared": "COMMIT PREPARED 'bulk'", "rolled back": "SELECT"}
            await session.execute(finish.get(kind, "COMMIT"))
    committed = await outbox.event_ids()
    check_delivery(await outbox.stored(len(committed)), committed)


@pytest.mark.parametrize("gap", ["setval", "rotations"])
async def test_gaps_of_positions_cost_nothing(outbox: Outbox, gap: str) -> None:
    """A window across them is larger than a page, so that it is walked."""
    rows, jumps = 1000, 40
    async with outbox.session() as writer, writer.transaction():
        for _ in range(jumps):
            await writer.execute(
                "INSERT INTO outbox.events (event_type, partition_key, payload) "
                "SELECT 'created', 'k' || n % 10, '{}' FROM generate_series(1, $1::int) n",
                rows // jumps * 10,
            )
            step = 10**9 if gap == "rotations" else 10**12
            await writer.execute(
                "SELECT setval('outbox.events_position_seq', "
                "nextval('outbox.events_position_seq') + $1::bigint)",
                step,
            )
    committed = await outbox.event_ids()
    relay = await outbox.relay().start().active()
    stored = await outbox.stored(len(committed))
    check_delivery(stored, committed)
    assert relay.failing() == {}


@pytest.mark.parametrize("others", [1, 5000])
async def test_positions_below_one_are_published_too(outbox: Outbox, others: int) -> None:
    async with outbox.session() as writer, writer.transaction():
        for position in (-7, 0):
            await outbox.add("k", value=position, position=position, on=writer)
        await writer.execute(
            "INSERT INTO outbox.events (event_type, partition_key, payload) "
            "SELECT 'created', 'k', '{}' FROM generate_series(1, $1::int)",
            others,
        )
    committed = await outbox.event_ids()
    outbox.relay().start()
    stored = await outbox.stored(len(committed))
    check_delivery(stored, committed)
    assert [message.event_id for message in stored] == committed
