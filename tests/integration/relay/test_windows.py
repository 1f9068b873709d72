"""What became visible between two polls is read whole and in order, wherever its rows are."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import asyncpg
import pytest

from outbox_operator.adapters.postgres.connection import connect
from outbox_operator.adapters.postgres.outbox import OutboxStore
from outbox_operator.adapters.postgres.relay_queries import relay_statement
from outbox_operator.adapters.postgres.url import parse_url
from outbox_operator.relay.reading import Page, Point, Reader
from support.outbox import migrate

pytestmark = pytest.mark.integration

START = Point("1:1:", None, 0)
NEAR, FAR = 4, 80
"""Positions from row to row, where others have theirs."""
ADD = (
    "INSERT INTO outbox.events (position, event_type, payload) "
    "SELECT $1::bigint + n * $2::bigint, 'created', '{}' FROM generate_series(1, $3::int) n"
)


@pytest.fixture
async def store(database: str) -> AsyncIterator[OutboxStore]:
    """Of an outbox with one shard."""
    await migrate(database)
    target = parse_url(database)
    connection = await connect(target, application_name="test-windows")
    made = OutboxStore(connection, target, schema="outbox", payload_type="jsonb", shard=0)
    await made.prepare(60)
    yield made
    await connection.close()


def reader(store: OutboxStore, start: Point) -> Reader:
    return Reader(
        store, start, largest=lambda: 8_000_000, on_poll=lambda: None, page_parts=lambda: 1
    )


async def pages(of: Reader) -> list[Page]:
    found = []
    while (page := await of.next()) is not None:
        found.append(page)
    return found


def positions(read: list[Page]) -> list[int]:
    return [row[0] for page in read for row in page.rows]


@pytest.mark.parametrize("apart", [NEAR, FAR])
async def test_a_window_is_read_whole_and_in_order(
    database: str, store: OutboxStore, apart: int
) -> None:
    """One large transaction, many small ones, one from before it, one undone, one still open."""
    reading = reader(store, START)
    connections = [await asyncpg.connect(database, command_timeout=30) for _ in range(3)]
    writer, early, still_open = connections
    try:
        await early.execute("BEGIN")
        await early.execute(ADD, 1, 150 * apart, 400)  # before, among and behind the others
        await writer.execute("SELECT pg_current_xact_id()")  # so that it is before the next ones
        assert await reading.next() is None
        await writer.execute(ADD, 10_000 * apart, apart, 26_000)
        await still_open.execute("BEGIN")
        await still_open.execute(ADD, 20_000 * apart + 2, 3 * apart, 400)
        for step in range(26):
            await writer.execute(ADD, (36_000 + step * 1000) * apart, apart, 1000)
        await writer.execute("BEGIN")
        await writer.execute(ADD, 10_000 * apart + 3, apart, 5_000)
        await writer.execute("ROLLBACK")
        await early.execute("COMMIT")

        committed = [
            row[0] for row in await writer.fetch("SELECT position FROM outbox.events ORDER BY 1")
        ]
        assert len(committed) == 52_400
        read = await pages(reading)
        assert positions(read) == committed

        # Whoever goes on in the middle of it, or behind all, finds what was left.
        for number in (1, len(read) // 3, len(read) - 1):
            before = read[:number]
            point = before[-1].point(before[-1].rows[-1][0])
            again = reader(store, point)
            assert positions(await pages(again)) == committed[len(positions(before)) :]

        await still_open.execute("COMMIT")
        assert len(positions(await pages(reading))) == 400
    finally:
        for connection in connections:
            await connection.close()


async def test_what_is_done_of_a_huge_window_is_not_looked_at_in_one_statement(
    database: str, store: OutboxStore
) -> None:
    """It takes longer than a statement may, and whoever goes on begins with that."""
    connection = await asyncpg.connect(database, command_timeout=30)
    try:
        await connection.execute(ADD, 0, 1, 1000)
        last_xid = await connection.fetchval("SELECT pg_current_xact_id()::text")
        sql = relay_statement("relay_span_whole", "outbox", "jsonb", modern=True)
        await connection.execute(
            f"PREPARE whole (int, text, text, text[], bigint, bigint) AS {sql}"
        )
        ((plan,),) = await connection.fetch(
            "EXPLAIN (ANALYZE, TIMING off, FORMAT JSON) "
            f"EXECUTE whole (0, '3', '{last_xid}', '{{}}', 999, 10)"
        )
    finally:
        await connection.close()
    looked_at = re.findall('"(?:Actual Rows|Rows Removed by Filter)": ([0-9]+)', plan)
    assert max(int(rows) for rows in looked_at) <= 11


async def test_only_partitions_that_have_such_positions_are_read(
    database: str, store: OutboxStore
) -> None:
    connection = await asyncpg.connect(database, command_timeout=30)
    try:
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        sql = relay_statement("relay_page_at", "outbox", "jsonb", modern=True)
        await connection.execute(f"PREPARE at (bigint[], bigint, bigint) AS {sql}")
        plan = await connection.fetch("EXPLAIN EXECUTE at ('{1,5,9}', 1000, 1000)")
    finally:
        await connection.close()
    partitions = {name for (line,) in plan for name in re.findall("on (events_[a-z0-9]+)", line)}
    assert partitions == {"events_p0"}
