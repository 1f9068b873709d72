"""Behind a pooler in session mode everything works; a transaction pooler is told by name."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest

from outbox_operator.adapters.postgres import connection as postgres
from outbox_operator.adapters.postgres.connection import connect
from outbox_operator.adapters.postgres.shard_locks import ShardLocks
from outbox_operator.adapters.postgres.url import parse_url
from outbox_operator.errors import UnsupportedServerError
from support.pgbouncer import pooler, through
from support.postgres import PostgresServer
from support.waiting import SECONDS, eventually

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def session_port(postgres_server: PostgresServer) -> Iterator[int]:
    with pooler(postgres_server, "session") as port:
        yield port


@pytest.fixture(scope="module")
def transaction_port(postgres_server: PostgresServer) -> Iterator[int]:
    with pooler(postgres_server, "transaction") as port:
        yield port


async def test_session_mode_keeps_settings_statements_and_locks(
    database: str, session_port: int
) -> None:
    target = parse_url(through(session_port, database))
    connection = await connect(target, application_name="t", statement_timeout=7)
    other = await connect(target, application_name="t")
    assert await connection.fetchval("SHOW statement_timeout") == "7s"
    assert await other.fetchval("SHOW statement_timeout") == "30s"
    for _ in range(3):
        assert await connection.fetchval("SELECT $1::int", 1) == 1
    locks, second = (ShardLocks(one, target, schema="s") for one in (connection, other))
    changed = asyncio.Event()
    await locks.join(lambda: None)
    await second.join(changed.set)
    assert await locks.take(0)
    assert not await second.take(0)
    assert (await second.view()).holders == {0: locks.member}
    await locks.release(0)
    await asyncio.wait_for(changed.wait(), SECONDS)
    await locks.close()
    await second.close()


async def test_session_mode_passes_the_end_of_an_idle_session_on(
    database: str, session_port: int
) -> None:
    connection = await connect(parse_url(through(session_port, database)), application_name="t")
    await postgres.end_when_idle(connection, 0.1)
    await eventually(connection.is_closed, "the session ended")


async def test_transaction_mode_is_refused_with_what_to_do(
    database: str, transaction_port: int
) -> None:
    target = parse_url(through(transaction_port, database))
    for _ in range(5):
        with pytest.raises(UnsupportedServerError, match="pool in session mode") as caught:
            await connect(target, application_name="t")
        assert caught.value.reason == "TransactionPooler"
        assert target.address in caught.value.message


async def test_transaction_mode_is_refused_however_busy_the_pool_is(
    database: str, transaction_port: int
) -> None:
    target = parse_url(through(transaction_port, database))
    done = asyncio.Event()

    async def keep_busy() -> None:
        connection = await asyncpg.connect(
            through(transaction_port, database), statement_cache_size=0
        )
        while not done.is_set():
            await connection.execute("SELECT pg_sleep(0.001)")
        await connection.close()

    busy = [asyncio.create_task(keep_busy()) for _ in range(6)]
    try:
        for _ in range(10):
            with pytest.raises(UnsupportedServerError) as caught:
                await connect(target, application_name="t")
            assert caught.value.reason == "TransactionPooler"
    finally:
        done.set()
        await asyncio.gather(*busy)


async def test_a_lease_notices_that_its_session_is_none(
    database: str, transaction_port: int
) -> None:
    """The last line of defence: a pooler that looked like sessions when we connected."""
    target = parse_url(through(transaction_port, database))
    one, other = [
        await asyncpg.connect(through(transaction_port, database), statement_cache_size=0)
        for _ in range(2)
    ]
    locks = ShardLocks(one, target, schema="s")
    await locks.join(lambda: None)
    async with other.transaction():
        # Now the process that holds our locks is somebody else's.
        await other.execute("SELECT 1")
        with pytest.raises(UnsupportedServerError) as caught:
            await locks.view()
    assert caught.value.reason == "TransactionPooler"
    await locks.close()
    await other.close()
