"""Blocks of `outbox.transaction`: whose they are, and that their end commits or raises."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import psycopg
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import async_scoped_session, async_sessionmaker, create_async_engine
from sqlalchemy.orm import scoped_session, sessionmaker

from outbox_operator.client import Event, NatsLink, Nudge, Outbox, SyncOutbox, TransactionError
from support.books import call
from support.shop import Shop, django_connection

pytestmark = pytest.mark.integration


@pytest.fixture
def nudge() -> Nudge:
    """Immediate sending that is turned off: nobody listens here."""
    link = NatsLink("nats://127.0.0.1:1", enabled=False)
    return Nudge(link=link, namespace="shop", pipeline="orders")


def event(key: str) -> Event:
    return Event(type="order.created", key=key, payload={})


async def committed(shop: Shop) -> list[str]:
    """Keys of the committed events, sorted."""
    return sorted(row["partition_key"] for row in await shop.events())


async def test_overlapping_threads_of_django_have_a_block_each(shop: Shop, nudge: Nudge) -> None:
    """`django.db.connection` is one object that stands for another one in each thread (FU-6)."""
    outbox, meet = SyncOutbox(send=nudge), threading.Barrier(2)

    def order(connection: Any, key: str) -> None:
        try:
            with outbox.transaction(connection):
                meet.wait(60)
                outbox.publish_after_commit(connection, event(key))
                meet.wait(60)
        finally:
            connection.close()

    with django_connection(shop.url) as connection:
        await asyncio.gather(*(asyncio.to_thread(order, connection, key) for key in "ab"))
    assert await committed(shop) == ["a", "b"]


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_a_second_block_on_one_connection_is_refused_and_spares_the_first(
    shop: Shop, nudge: Nudge, driver: str
) -> None:
    """Tasks that share a connection by mistake: the second began before BEGIN was answered."""
    outbox = Outbox(send=nudge)
    connection: Any = await (
        asyncpg.connect(shop.url)
        if driver == "asyncpg"
        else psycopg.AsyncConnection.connect(shop.url)
    )
    refused = asyncio.Event()

    async def first() -> None:
        async with outbox.transaction(connection):
            await asyncio.wait_for(refused.wait(), 60)
            await outbox.publish_after_commit(connection, event("first"))

    async def second() -> None:
        try:
            with pytest.raises(TransactionError, match="is open on this connection already"):
                async with outbox.transaction(connection):
                    pass
        finally:
            refused.set()

    try:
        await asyncio.gather(first(), second())
    finally:
        await connection.close()
    assert await committed(shop) == ["first"]


async def test_scoped_sessions_may_open_a_block(shop: Shop, nudge: Nudge) -> None:
    """They stand for a session, and lack some of its methods (FU-9)."""
    engine = create_engine(shop.url.replace("postgresql://", "postgresql+psycopg://"))
    session = scoped_session(sessionmaker(engine))
    outbox = SyncOutbox(send=nudge)
    with outbox.transaction(session):
        outbox.add(session, event("a"))
        outbox.publish_after_commit(session(), event("b"))
    session.remove()
    engine.dispose()
    aengine = create_async_engine(shop.url.replace("postgresql://", "postgresql+asyncpg://"))
    asession = async_scoped_session(async_sessionmaker(aengine), asyncio.current_task)
    aoutbox = Outbox(send=nudge)
    async with aoutbox.transaction(asession):
        await aoutbox.add(asession, event("c"))
        await aoutbox.publish_after_commit(asession(), event("d"))
    await asession.remove()
    await aengine.dispose()
    assert await committed(shop) == ["a", "b", "c", "d"]


async def test_what_begins_by_itself_is_not_refused_and_needs_a_commit(shop: Shop) -> None:
    """As a background task finds the session of a request; the page says what to do instead."""
    engine = create_async_engine(shop.url.replace("postgresql://", "postgresql+asyncpg://"))
    sessions, outbox = async_sessionmaker(engine), Outbox()
    async with sessions() as session:
        async with session.begin():
            await outbox.add(session, event("a"))
        await outbox.add(session, event("of nobody"))
    await outbox.add(session, event("of nobody"))
    await session.close()
    async with sessions() as own, own.begin():
        await outbox.add(own, event("b"))
    await engine.dispose()
    plain = await psycopg.AsyncConnection.connect(shop.url)
    await outbox.add(plain, event("of nobody"))
    await plain.close()
    assert await committed(shop) == ["a", "b"]


async def fail(connection: Any) -> None:
    """A statement whose error the application does not let through."""
    broken: Any = "SELECT 1/0"
    if type(connection).__module__.startswith("sqlalchemy"):
        broken = text(broken)
    django = hasattr(connection, "vendor")
    with pytest.raises(Exception, match="division by zero"):
        await call((connection.cursor() if django else connection).execute(broken))


async def lose(outbox: Any, connection: Any, write: str) -> None:
    """A block that writes an event, after which something fails quietly."""
    if isinstance(outbox, Outbox):
        async with outbox.transaction(connection):
            await getattr(outbox, write)(connection, event("lost"))
            await fail(connection)
    else:
        with outbox.transaction(connection):
            getattr(outbox, write)(connection, event("lost"))
            await fail(connection)


async def keep(outbox: Any, connection: Any) -> None:
    """The next block on the same connection."""
    if isinstance(outbox, Outbox):
        async with outbox.transaction(connection):
            await outbox.add(connection, event("kept"))
    else:
        with outbox.transaction(connection):
            outbox.add(connection, event("kept"))


@asynccontextmanager
async def every_connection(url: str, kind: type[Outbox | SyncOutbox]) -> AsyncIterator[list[Any]]:
    """A connection of each driver."""
    if kind is Outbox:
        engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://"))
        connections: list[Any] = [
            await asyncpg.connect(url),
            await psycopg.AsyncConnection.connect(url),
            await engine.connect(),
            async_sessionmaker(engine)(),
        ]
        yield connections
        for connection in connections:
            await connection.close()
        await engine.dispose()
    else:
        sync_engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
        with django_connection(url) as django:
            opened = [
                psycopg.connect(url), sync_engine.connect(), sessionmaker(sync_engine)(), django,
            ]  # fmt: skip
            yield opened
            for one in opened:
                one.close()
        sync_engine.dispose()


@pytest.mark.parametrize("write", ["add", "publish_after_commit"])
@pytest.mark.parametrize("kind", [Outbox, SyncOutbox])
async def test_a_block_that_cannot_commit_says_so(
    shop: Shop, nudge: Nudge, kind: type[Outbox | SyncOutbox], write: str
) -> None:
    """PostgreSQL answers the COMMIT of a failed transaction with a rollback, and no driver minds:
    an error that was swallowed inside the block took the event with it (FU-10)."""
    outbox = kind(send=nudge)
    async with every_connection(shop.url, kind) as connections:
        for connection in connections:
            with pytest.raises(TransactionError, match="a statement in it had failed"):
                await lose(outbox, connection, write)
            await keep(outbox, connection)
    assert await committed(shop) == ["kept"] * len(connections)
