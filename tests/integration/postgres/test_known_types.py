"""Types of PostgreSQL itself are asked for once in a process; anybody's own in each session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from outbox_operator.adapters.postgres.connection import Connection, connect
from outbox_operator.adapters.postgres.url import parse_url

pytestmark = pytest.mark.integration


@asynccontextmanager
async def asking(url: str) -> AsyncIterator[tuple[Connection, list[str]]]:
    """A connection, and the statements by which its driver asks what types are."""
    connection = await connect(parse_url(url), application_name="outbox-test")
    asked: list[str] = []

    def note(query: Any) -> None:
        if "typeinfo" in query.query:
            asked.append(query.query)

    connection.add_query_logger(note)
    try:
        yield connection, asked
    finally:
        await connection.close()


async def test_a_second_session_does_not_ask_again(any_database: str) -> None:
    values = [[1.5, None, 2.5], [[1, 2], [3, 4]]]
    query = "SELECT $1::float4[], $2::int2[][]"
    async with asking(any_database) as (first, _):
        assert list((await first.fetch(query, *values))[0]) == values
    async with asking(any_database) as (second, asked):
        assert list((await second.fetch(query, *values))[0]) == values
        assert asked == []
        # Nor where the statement that is being prepared has no name.
        assert await second.fetchval(f"{query} -- {'x' * 20_000}", *values) == values[0]


async def test_what_others_have_made_is_asked_for_in_each_session(any_database: str) -> None:
    query = "SELECT $1::things[]"
    async with asking(any_database) as (first, asked):
        await first.execute("CREATE SCHEMA s; SET search_path = s; CREATE TYPE things AS (a int)")
        assert await first.fetchval(query, [(1,)]) == [(1,)]
        assert asked
    async with asking(any_database) as (second, asked):
        await second.execute(
            "SET search_path = s; DROP TYPE things; CREATE TYPE things AS (a text, b int)"
        )
        assert await second.fetchval(query, [("x", 2)]) == [("x", 2)]
        assert asked


async def test_nor_are_rows_of_the_catalog_which_versions_have_changed(any_database: str) -> None:
    for _ in range(2):
        async with asking(any_database) as (connection, asked):
            with pytest.raises(asyncpg.UnsupportedClientFeatureError):
                await connection.fetchval("SELECT NULL::pg_catalog.pg_class")
            await asyncio.sleep(0)  # the driver tells later
            assert asked
