"""The trigger that wakes a sleeping relay: it notifies when one sleeps, and only then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import asyncpg
import pytest

from outbox_operator.adapters.postgres.connection import connect
from outbox_operator.adapters.postgres.outbox import OutboxStore
from outbox_operator.adapters.postgres.url import parse_url
from outbox_operator.adapters.postgres.wakeup import OutboxWakeup
from outbox_operator.plan.postgres.migrations import DesiredDatabase
from support.owned import OwnedDatabase
from support.postgres import PostgresServer, newest_binaries, running_server
from support.waiting import SECONDS

pytestmark = pytest.mark.integration

DESIRED = DesiredDatabase(schema="outbox", wakeup=True)
ADD = "INSERT INTO outbox.events (event_type, partition_key, payload) VALUES ('a', $1, '{}')"


class Sleeper:
    """A relay's side of it, that counts how often it is woken."""

    def __init__(self, wakeup: OutboxWakeup) -> None:
        self.wakeup = wakeup
        self.woken = 0
        self._event = asyncio.Event()

    def wake(self) -> None:
        self.woken += 1
        self._event.set()

    async def next(self) -> None:
        await asyncio.wait_for(self._event.wait(), SECONDS)
        self._event.clear()


@pytest.fixture
async def place(owned: OwnedDatabase) -> OwnedDatabase:
    await owned.migrate(DESIRED)
    return owned


@pytest.fixture
async def sleeper(place: OwnedDatabase, database: str) -> AsyncIterator[Sleeper]:
    async for one in a_sleeper(database, shard=0):
        yield one


@pytest.fixture(scope="module")
def narrow_server() -> Iterator[PostgresServer]:
    """A PostgreSQL with little room for notifications and locks."""
    with running_server(
        newest_binaries(),
        max_notify_queue_pages="64", max_locks_per_transaction="10", max_connections="20",
    ) as server:  # fmt: skip
        yield server


async def a_sleeper(database: str, shard: int) -> AsyncIterator[Sleeper]:
    target = parse_url(database)
    connection = await connect(target, application_name="test")
    store = OutboxStore(connection, target, schema="outbox", payload_type="jsonb", shard=shard)
    sleeper = Sleeper(store.wakeup())
    await sleeper.wakeup.listen(sleeper.wake)
    yield sleeper
    await store.close()


async def test_it_comes_and_goes_with_the_wish(place: OwnedDatabase) -> None:
    assert (await place.plan(DESIRED)).empty
    await place.connection.execute("ALTER TABLE outbox.events DISABLE TRIGGER events_wakeup")
    repair = await place.migrate(DESIRED)
    assert repair.drift == ("trigger events_wakeup was disabled",)
    await place.connection.execute(
        "CREATE OR REPLACE FUNCTION outbox.wake_relay() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN RETURN NULL; END'"
    )
    assert len((await place.migrate(DESIRED)).statements) == 1
    off = replace(DESIRED, wakeup=False)
    assert len((await place.migrate(off)).statements) == 2
    assert (await place.plan(off)).empty
    left = await place.connection.fetchval(
        "SELECT count(*) FROM pg_trigger WHERE tgname = 'events_wakeup'"
    )
    assert left == 0


async def test_wakes_a_sleeper_and_nobody_else(place: OwnedDatabase, sleeper: Sleeper) -> None:
    role, writer = await place.other_role("writer")
    await place.migrate(replace(DESIRED, writers=(role,)))
    await writer.execute(ADD, "awake")
    assert await sleeper.wakeup.announce_sleep()
    async with writer.transaction():
        for _ in range(5):
            await writer.execute(ADD, "asleep")
    await sleeper.next()
    assert sleeper.woken == 1, "one notification for a transaction, and none while awake"
    await sleeper.wakeup.announce_awake()
    await writer.execute(ADD, "awake")
    assert await sleeper.wakeup.announce_sleep()
    await writer.execute(ADD, "asleep")
    await sleeper.next()
    assert sleeper.woken == 2


async def test_nobody_falls_asleep_beside_a_writer_that_did_not_notify(
    place: OwnedDatabase, sleeper: Sleeper
) -> None:
    async with place.root.transaction():
        await place.root.execute(ADD, "a")
        assert not await sleeper.wakeup.announce_sleep()
    assert await sleeper.wakeup.announce_sleep()


async def fill_queue(place: OwnedDatabase) -> None:
    for _ in range(100):
        await place.connection.execute(
            "SELECT pg_notify('other', repeat('x', 7000) || n) FROM generate_series(1, 20) n"
        )


async def test_a_full_queue_is_nothing_to_writers(
    narrow_server: PostgresServer,
) -> None:
    """Notifications wait for the slowest listener of the whole server, and a commit fails then."""
    url = narrow_server.create_database()
    async with OwnedDatabase(narrow_server, url) as place:
        await place.migrate(DESIRED)
        async for sleeper in a_sleeper(url, shard=0):
            await place.root.execute("LISTEN other")
            async with place.root.transaction():
                await place.root.execute("SELECT 1")
                with pytest.raises(asyncpg.PostgresError, match="too many notifications"):
                    await fill_queue(place)
                assert await sleeper.wakeup.announce_sleep()
                await place.connection.execute(ADD, "a")
            await place.root.execute("UNLISTEN other")


async def test_an_exhausted_table_of_locks_is_nothing_to_writers(
    narrow_server: PostgresServer,
) -> None:
    """Their own locks fit in, or are short of it; ours may not be what fills it."""
    url = narrow_server.create_database()
    async with OwnedDatabase(narrow_server, url) as place:
        await place.migrate(replace(DESIRED, shards=64))
        with pytest.raises(asyncpg.OutOfMemoryError):
            await place.root.execute("SELECT pg_advisory_lock(n) FROM generate_series(1, 100000) n")
        await place.root.execute("SELECT pg_advisory_unlock(n) FROM generate_series(1, 30) n")
        await place.connection.execute(ADD, "a")


async def test_functions_of_the_writers_path_are_not_called(
    place: OwnedDatabase, sleeper: Sleeper
) -> None:
    await place.connection.execute(
        "CREATE SCHEMA app;"
        "CREATE FUNCTION app.pg_try_advisory_xact_lock_shared(bigint) RETURNS boolean "
        "LANGUAGE plpgsql AS $$ BEGIN RAISE 'called'; END $$;"
        "CREATE FUNCTION app.pg_notify(text, text) RETURNS void "
        "LANGUAGE plpgsql AS $$ BEGIN RAISE 'called'; END $$;"
        "SET search_path = app, pg_catalog"
    )
    assert await sleeper.wakeup.announce_sleep()
    await place.connection.execute(ADD, "a")
    await sleeper.next()
    assert sleeper.woken == 1


async def test_each_shard_sleeps_for_itself(owned: OwnedDatabase, database: str) -> None:
    await owned.migrate(replace(DESIRED, shards=2))
    async for first in a_sleeper(database, shard=0):
        async for second in a_sleeper(database, shard=1):
            assert await second.wakeup.announce_sleep()
            await owned.connection.execute(ADD, "a")
            await second.next()
            assert await first.wakeup.announce_sleep()
            await owned.connection.execute(ADD, "a")
            await asyncio.gather(first.next(), second.next())
            assert (first.woken, second.woken) == (1, 2)


async def test_no_commit_is_missed_however_they_interleave(
    place: OwnedDatabase, sleeper: Sleeper
) -> None:
    """Announce, look once more, pause: a writer that commits at any moment is seen."""
    total, seen = 300, 0
    session, _ = await place.second_owner()

    async def write() -> None:
        for number in range(total):
            await place.root.execute(ADD, str(number))
            await asyncio.sleep(0.0003 * (number % 7))

    async def count() -> int:
        found: int = await session.fetchval("SELECT count(*) FROM outbox.events")
        return found

    writing = asyncio.create_task(write())
    while seen < total:
        before, seen = seen, await count()
        if seen > before:
            continue
        if not await sleeper.wakeup.announce_sleep():
            continue
        seen = await count()
        if seen == before:
            await sleeper.next()  # fails in the end: somebody committed unnoticed
        await sleeper.wakeup.announce_awake()
    await writing
