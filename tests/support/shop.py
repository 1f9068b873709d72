"""An application's database: its own table beside our outbox and inbox, and its drivers."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import psycopg
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session


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


@asynccontextmanager
async def with_sync_psycopg(url: str) -> AsyncIterator[tuple[Any, Insert]]:
    """A synchronous psycopg connection; its block commits."""
    with psycopg.connect(url) as connection:

        async def insert(order: str) -> None:
            connection.execute("INSERT INTO orders VALUES (%s)", (order,))

        yield connection, insert


@asynccontextmanager
async def with_sync_sqlalchemy(url: str) -> AsyncIterator[tuple[Any, Insert]]:
    """A synchronous SQLAlchemy Core connection on psycopg."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    try:
        with engine.begin() as connection:

            async def insert(order: str) -> None:
                connection.execute(text("INSERT INTO orders VALUES (:id)"), {"id": order})

            yield connection, insert
    finally:
        engine.dispose()


@asynccontextmanager
async def with_sync_session(url: str) -> AsyncIterator[tuple[Any, Insert]]:
    """A synchronous SQLAlchemy ORM session."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    try:
        with Session(engine) as session, session.begin():

            async def insert(order: str) -> None:
                session.execute(text("INSERT INTO orders VALUES (:id)"), {"id": order})

            yield session, insert
    finally:
        engine.dispose()


@asynccontextmanager
async def with_django(url: str) -> AsyncIterator[tuple[Any, Insert]]:
    """Django's connection in an atomic block."""
    with django_connection(url) as connection:
        from django.db import transaction

        with transaction.atomic():

            async def insert(order: str) -> None:
                with connection.cursor() as cursor:
                    cursor.execute("INSERT INTO orders VALUES (%s)", [order])

            yield connection, insert


@contextmanager
def django_connection(url: str) -> Iterator[Any]:
    """`django.db.connection`, to this database."""
    import django
    from django.conf import settings
    from django.db import connection, connections

    # Tests are coroutines; here they may block.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    if not settings.configured:
        settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.postgresql"}})
        django.setup()
    parts = urlsplit(url)
    connections.settings["default"] |= {
        "NAME": parts.path[1:], "USER": parts.username, "PASSWORD": parts.password,
        "HOST": parts.hostname, "PORT": parts.port,
    }  # fmt: skip
    try:
        yield connection
    finally:
        connection.close()
        del connections["default"]


SYNC_DRIVERS: dict[str, Open] = {
    "sync-psycopg": with_sync_psycopg,
    "sync-sqlalchemy": with_sync_sqlalchemy,
    "sync-session": with_sync_session,
    "django": with_django,
}


@asynccontextmanager
async def savepoint(connection: Any) -> AsyncIterator[None]:
    """A savepoint of whatever driver: an exception undoes the block."""
    if hasattr(connection, "begin_nested"):
        opened = connection.begin_nested()
    elif hasattr(connection, "on_commit"):
        from django.db import transaction

        opened = transaction.atomic()
    else:
        opened = connection.transaction()
    if hasattr(opened, "__aenter__"):
        async with opened:
            yield
    else:
        with opened:
            yield
