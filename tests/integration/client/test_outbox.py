"""Writing events through each driver, with no more rights than the operator grants."""

from __future__ import annotations

import datetime as dt
import json
import re
import uuid
from decimal import Decimal
from pathlib import Path

import asyncpg
import psycopg
import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from outbox_operator.client import Event, EventError, Outbox, TransactionError
from support.outbox import migrate
from support.shop import Open, Shop

pytestmark = pytest.mark.integration


class _OutOfStockError(Exception):
    pass


async def test_event_and_order_commit_together(shop: Shop, opened: Open) -> None:
    event = Event(
        type="order.created",
        key="o-1",
        payload={"id": uuid.UUID(int=7), "total": Decimal("12.30"), "text": "Größe 7' \\ \" %s :x"},
        headers={"tenant": "a % :b $1"},
        routing_key="eu.order.created",
    )
    async with opened(shop.url) as (connection, insert):
        await insert("o-1")
        assert await Outbox().add(connection, event) == event.id
        assert await shop.events() == []
    [row] = await shop.events()
    assert await shop.orders() == ["o-1"]
    assert row["event_id"] == event.id
    assert row["event_type"] == "order.created"
    assert row["partition_key"] == "o-1"
    assert row["routing_key"] == "eu.order.created"
    assert json.loads(row["headers"]) == {"tenant": "a % :b $1"}
    assert json.loads(row["payload"]) == {
        "id": "00000000-0000-0000-0000-000000000007",
        "total": "12.30",
        "text": "Größe 7' \\ \" %s :x",
    }
    assert row["created_at"] > dt.datetime.now(dt.UTC) - dt.timedelta(minutes=5)


async def test_event_and_order_roll_back_together(shop: Shop, opened: Open) -> None:
    async def order() -> None:
        async with opened(shop.url) as (connection, insert):
            await insert("o-1")
            await Outbox().add(connection, Event(type="order.created", payload={}))
            raise _OutOfStockError

    with pytest.raises(_OutOfStockError):
        await order()
    assert await shop.events() == []
    assert await shop.orders() == []


async def test_a_refused_event_leaves_the_transaction_usable(shop: Shop, opened: Open) -> None:
    async with opened(shop.url) as (connection, insert):
        await insert("o-1")
        with pytest.raises(EventError, match=r"payload\.picture is bytes"):
            await Outbox().add(
                connection, Event(type="order.created", payload={"picture": b"\xff"})
            )
    assert await shop.orders() == ["o-1"]


async def test_errors_of_the_driver_reach_the_caller(shop: Shop, opened: Open) -> None:
    event = Event(type="order.created", payload={})
    with pytest.raises(Exception, match="elsewhere"):
        async with opened(shop.url) as (connection, _):
            await Outbox(schema="elsewhere").add(connection, event)


async def test_bytes_go_into_a_bytea_outbox_as_they_are(
    postgres_server: object, database: str, opened: Open
) -> None:
    await migrate(database, payload_type="bytea")
    outbox = Outbox(payload_type="bytea")
    owner = await asyncpg.connect(database)
    try:
        await owner.execute("CREATE TABLE orders (id text PRIMARY KEY)")
        async with opened(database) as (connection, _):
            await outbox.add(connection, Event(type="order.created", payload=b"\x00\xff"))
        assert await owner.fetchval("SELECT payload FROM outbox.events") == b"\x00\xff"
    finally:
        await owner.close()


async def test_refuses_to_write_outside_a_transaction(shop: Shop) -> None:
    event = Event(type="order.created", payload={})
    plain = await asyncpg.connect(shop.url)
    autocommit = await psycopg.AsyncConnection.connect(shop.url, autocommit=True)
    engine = create_async_engine(
        shop.url.replace("postgresql://", "postgresql+asyncpg://"), isolation_level="AUTOCOMMIT"
    )
    try:
        with pytest.raises(TransactionError, match="no transaction is open on this asyncpg"):
            await Outbox().add(plain, event)
        with pytest.raises(TransactionError, match=r"psycopg \(autocommit\)"):
            await Outbox().add(autocommit, event)
        async with engine.connect() as connection:
            with pytest.raises(TransactionError, match=r"SQLAlchemy \(AUTOCOMMIT\)"):
                await Outbox().add(connection, event)
        async with autocommit.transaction():
            await Outbox().add(autocommit, event)
    finally:
        await plain.close()
        await autocommit.close()
        await engine.dispose()
    assert len(await shop.events()) == 1


async def test_the_documented_sql_does_the_same(shop: Shop) -> None:
    page = (Path(__file__).parents[3] / "docs/how-to/produce-events.md").read_text()
    blocks = re.findall(r"```sql\n(.*?)```", page, flags=re.DOTALL)
    assert len(blocks) == 2
    await shop.owner.execute("ALTER TABLE orders ADD total numeric")
    connection = await asyncpg.connect(shop.url)
    try:
        for block in blocks:
            await connection.execute(block)
    finally:
        await connection.close()
    assert await shop.orders() == ["o-1"]
    for row in await shop.events():
        assert (row["event_type"], row["partition_key"]) == ("order.created", "o-1")
        assert json.loads(row["payload"]) == {"id": "o-1", "total": "12.30"}
    assert len(await shop.events()) == 2
