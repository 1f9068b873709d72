"""An application's database: its own table beside our outbox and inbox, and its drivers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import psycopg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine


@dataclass(frozen=True)
class Shop:
    """Where an application writes.

    Attributes:
        url: Login of the application's role, which has the rights that the operator grants.
        owner: A superuser's connection, to look at what was committed.
    """

    url: str
    owner: asyncpg.Connection[asyncpg.Record]

    async def events(self) -> list[asyncpg.Record]:
        """All committed events."""
        return await self.owner.fetch("SELECT * FROM outbox.events ORDER BY position")

    async def orders(self) -> list[str]:
        """All committed orders."""
        return [row["id"] for row in await self.owner.fetch("SELECT id FROM orders ORDER BY id")]


Insert = Callable[[str], Awaitable[None]]
"""Writes one order."""

Open = Callable[[str], AbstractAsyncContextManager[tuple[Any, Insert]]]
"""A transaction of some driver: the connection, and how to write an order through it. Leaving
the block commits, an exception rolls back."""


@asynccontextmanager
async def with_asyncpg(url: str) -> AsyncIterator[tuple[Any, Insert]]:
    """A plain asyncpg connection."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():

            async def insert(order: str) -> None:
                await connection.execute("INSERT INTO orders VALUES ($1)", order)

            yield connection, insert
    finally:
        await connection.close()


@asynccontextmanager
async def with_asyncpg_pool(url: str) -> AsyncIterator[tuple[Any, Insert]]:
    """A connection of an asyncpg pool, with a JSON codec as many applications set it."""
    import json

    async def prepare(connection: Any) -> None:
        await connection.set_type_codec(
            "jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog"
        )

    async with (
        asyncpg.create_pool(url, min_size=1, max_size=1, init=prepare) as pool,
        pool.acquire() as connection,
        connection.transaction(),
    ):

        async def insert(order: str) -> None:
            await connection.execute("INSERT INTO orders VALUES ($1)", order)

        yield connection, insert


@asynccontextmanager
async def with_psycopg(url: str) -> AsyncIterator[tuple[Any, Insert]]:
    """A psycopg connection; its block commits."""
    async with await psycopg.AsyncConnection.connect(url) as connection:

        async def insert(order: str) -> None:
            await connection.execute("INSERT INTO orders VALUES (%s)", (order,))

        yield connection, insert


@asynccontextmanager
async def _with_sqlalchemy(url: str, driver: str) -> AsyncIterator[tuple[Any, Insert]]:
    engine = create_async_engine(url.replace("postgresql://", f"postgresql+{driver}://"))
    try:
        async with engine.begin() as connection:

            async def insert(order: str) -> None:
                await connection.execute(text("INSERT INTO orders VALUES (:id)"), {"id": order})

            yield connection, insert
    finally:
        await engine.dispose()


def with_sqlalchemy_asyncpg(url: str) -> AbstractAsyncContextManager[tuple[Any, Insert]]:
    """A SQLAlchemy Core connection on asyncpg."""
    return _with_sqlalchemy(url, "asyncpg")


def with_sqlalchemy_psycopg(url: str) -> AbstractAsyncContextManager[tuple[Any, Insert]]:
    """A SQLAlchemy Core connection on psycopg."""
    return _with_sqlalchemy(url, "psycopg")


@asynccontextmanager
async def with_sqlalchemy_session(url: str) -> AsyncIterator[tuple[Any, Insert]]:
    """A SQLAlchemy ORM session."""
    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://"))
    try:
        async with AsyncSession(engine) as session, session.begin():

            async def insert(order: str) -> None:
                await session.execute(text("INSERT INTO orders VALUES (:id)"), {"id": order})

            yield session, insert
    finally:
        await engine.dispose()


DRIVERS: dict[str, Open] = {
    "asyncpg": with_asyncpg,
    "asyncpg-pool": with_asyncpg_pool,
    "psycopg": with_psycopg,
    "sqlalchemy-asyncpg": with_sqlalchemy_asyncpg,
    "sqlalchemy-psycopg": with_sqlalchemy_psycopg,
    "sqlalchemy-session": with_sqlalchemy_session,
}
