"""What the pages for application developers show in Python, run as it stands, fence after fence,
with real drivers. Only what a page says is yours is given: an order, an engine, a connection."""

from __future__ import annotations

import ast
import functools
import inspect
import re
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

import asyncpg
import psycopg
import pytest
from fastapi import BackgroundTasks
from sqlalchemy import Column, MetaData, Table, Text, create_engine
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from outbox_operator.client import Event
from outbox_operator.testing import RunningHandlers
from support.kube import ROOT
from support.shop import Shop, django_connection

pytestmark = pytest.mark.integration

REPLAYED = {"Outbox-Replay": "again"}


@dataclass
class Order:
    id: str
    total: int


class Page:
    """The Python fences of a page and the names that they know."""

    def __init__(self, name: str, **names: Any) -> None:
        self._path = ROOT / "docs/how-to" / name
        found = re.findall(r"^```python\n(.*?)^```", self._path.read_text(), re.DOTALL | re.M)
        self._fences: Iterator[str] = iter(found)
        self.names: dict[str, Any] = {"__name__": f"page_{name.partition('.')[0]}", **names}

    async def next(self, **names: Any) -> dict[str, Any]:
        """Run the next fence; returns what is known afterwards."""
        self.names |= names
        code = compile(
            next(self._fences), str(self._path), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        )
        result = eval(code, self.names)
        if inspect.isawaitable(result):
            await result
        return self.names

    def skip(self, fences: int) -> None:
        """Leave out what another test runs."""
        for _ in range(fences):
            next(self._fences)

    def ended(self) -> bool:
        """Whether there is no fence left."""
        return next(self._fences, None) is None


@pytest.fixture
async def tables(shop: Shop) -> Shop:
    """With what the pages' orders have besides an id."""
    await shop.owner.execute(
        "ALTER TABLE orders ADD total int, ADD customer text; CREATE TABLE invoices "
        "(order_id text PRIMARY KEY); GRANT ALL ON invoices TO public"
    )
    return shop


async def is_remembered(shop: Shop, event_id: uuid.UUID) -> bool:
    """Whether the inbox has handled an event of this id, a replay's own one."""
    found = uuid.uuid5(event_id, "again")
    statement = "SELECT count(*) FROM outbox.consumer_inbox WHERE event_id = $1"
    return bool(await shop.owner.fetchval(statement, found))


def event(key: str = "k") -> Event:
    return Event(type="order.created", key=key, payload={})


async def test_write_events(tables: Shop) -> None:
    page = Page("produce-events.md")
    await page.next()
    connection = await asyncpg.connect(tables.url)
    await page.next(connection=connection, order=Order("o-1", 1))
    await page.next(psycopg=psycopg, url=tables.url, order=Order("o-2", 2))
    settings = SimpleNamespace(IMMEDIATE_SENDING=False)
    await page.next(connection=connection, order=Order("o-3", 3), event=event(), settings=settings)
    await connection.close()
    await page.next()

    async def place_order(connection: object, outbox: Any) -> None:
        await outbox.add(connection, event())

    test = await page.next(place_order=place_order, FakeConnection=object)
    await test["test_an_order_is_announced"]()
    assert page.ended()
    assert await tables.orders() == ["o-1", "o-2", "o-3"]
    assert [row["partition_key"] for row in await tables.events()] == ["o-1", "o-2", "k"]


async def test_write_handlers(
    tables: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = Page("write-handlers.md")
    monkeypatch.setenv("PRICES_URL", tables.url)
    await tables.owner.execute("INSERT INTO orders (id, total) VALUES ('o-1', 1999)")
    known = await page.next()
    async with RunningHandlers(known["app"]) as handlers:
        assert (await handlers.settle("order.created", {"id": 1}, key="o-1")).end == "ack"
    assert capsys.readouterr().out == "order 1 for 1999\n"
    await (await page.next())["test_an_order_is_invoiced"](capsys)
    await page.next()

    @known["app"].handler("order.garbled")  # type: ignore[untyped-decorator]
    async def garbled(order: dict[str, int]) -> None:
        b"\xff".decode()

    async with RunningHandlers(known["app"]) as handlers:
        letter = await handlers.settle("order.garbled", {})
    assert (letter.end, letter.attempts) == ("dead_letter", 1), "not as any other exception"
    assert capsys.readouterr().out.endswith("garbled: 1 events in 0 s\n")
    await page.next()
    connection = await asyncpg.connect(tables.url)
    running = RunningHandlers(known["app"], connection=connection)
    async with running as handlers, connection.transaction():
        assert (await handlers.settle("order.paid", {"id": "o-1"})).end == "ack"
    assert capsys.readouterr().out == "ship: 1 events in 0 s\n"
    await connection.close()
    await page.next()
    assert "Deliver-After" in (await page.next())["reminder"].headers
    assert page.ended()
    assert [row["event_type"] for row in await tables.events()] == ["shipment.wanted"]
    assert await tables.owner.fetchval("SELECT order_id FROM invoices") == "o-1"


async def test_django(tables: Shop) -> None:
    page = Page("django.md", customer="ada", total=3)
    settings = SimpleNamespace(OUTBOX_IMMEDIATE=False)
    with django_connection(tables.url):
        order, invoice = _models()
        made = (await page.next(Order=order))["order"]
        await page.next(settings=settings, event=event())
        data = {"id": made.pk}
        message = {"event_id": uuid.uuid4(), "subject": "s", "data": data, "headers": REPLAYED}
        assert (await page.next(Invoice=invoice, **message))["new"] is True
    assert await is_remembered(tables, page.names["event_id"])
    assert page.ended()
    assert await tables.orders() == [made.pk]
    assert await tables.owner.fetchval("SELECT order_id FROM invoices") == made.pk
    assert [row["partition_key"] for row in await tables.events()] == [made.pk, "k"]


@functools.cache
def _models() -> tuple[Any, Any]:
    """Django's models of both tables; made once in a process."""
    from django.db import models

    class Order(models.Model):  # type: ignore[misc]
        id = models.TextField(primary_key=True, default=lambda: str(uuid.uuid4()))
        customer = models.TextField()
        total = models.IntegerField()

        class Meta:
            app_label, db_table, managed = "shop", "orders", False

    class Invoice(models.Model):  # type: ignore[misc]
        order_id = models.TextField(primary_key=True)

        class Meta:
            app_label, db_table, managed = "shop", "invoices", False

    return Order, Invoice


class Base(DeclarativeBase):
    """Of the model below."""


class OrmOrder(Base):
    """An order."""

    __tablename__ = "orders"

    id: Mapped[str] = mapped_column(primary_key=True)
    total: Mapped[int]

    def as_dict(self) -> dict[str, object]:
        return {"id": self.id, "total": self.total}


async def test_sqlalchemy(tables: Shop) -> None:
    engine = create_async_engine(tables.url.replace("postgresql://", "postgresql+asyncpg://"))
    orders = Table("orders", MetaData(), Column("id", Text))
    page = Page("sqlalchemy.md", engine=engine, orders=orders, Order=OrmOrder, event=event())
    known = await page.next(order=OrmOrder(id="o-1", total=1))
    sync_engine = create_engine(tables.url.replace("postgresql://", "postgresql+psycopg://"))
    await page.next(order=OrmOrder(id="o-0", total=0), sync_engine=sync_engine)
    sync_engine.dispose()
    tasks = BackgroundTasks()
    await page.next(tasks=tasks, event=event("later"))
    await tasks()
    await page.next(order=OrmOrder(id="o-2", total=2), event=event())
    await page.next(order=Order("o-3", 3), event=event())
    async with known["AsyncSession"](engine) as session, session.begin():
        await page.next(session=session, event=event())
    await engine.dispose()
    assert page.ended()
    assert await tables.orders() == ["o-0", "o-1", "o-2", "o-3"]
    keys = [row["partition_key"] for row in await tables.events()]
    assert keys == ["o-1", "o-0", "later", "k", "k", "k", "k"]


async def test_handle_events(
    tables: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sent: list[Any] = []

    def later(answer: Any = None) -> Callable[..., Any]:
        async def function(*given: Any) -> Any:
            sent.extend(given)
            return answer

        return function

    page = Page("consume-events.md")
    page.skip(2)  # signatures, in tests/unit/consumer/handlers/test_webhook_signature.py
    is_open = later(True)
    # pydantic looks annotations up in the module.
    module = ModuleType("page_consume-events")
    monkeypatch.setitem(sys.modules, "page_consume-events", module)
    known = await page.next(warehouse_is_open=is_open, send=later(), store=later())
    async with RunningHandlers(known["app"]) as handlers:
        assert (await handlers.settle("order.created", {"id": 1, "total": 2})).end == "ack"
        assert (await handlers.settle("order.created", {"id": 1, "total": -2})).end == "dead_letter"
        assert (await handlers.settle("invoice.paid.late", 7)).end == "ack"
        assert [one.end for one in await handlers.deliver_batch("click", [{}, {}])] == ["ack"] * 2
    assert sent == [known["Order"](1, 2), [{}, {}]]
    assert "invoice.paid.late" in capsys.readouterr().out

    shipping = ModuleType("shop.shipping")
    shipping.app = known["app"]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "shop", ModuleType("shop"))
    monkeypatch.setitem(sys.modules, "shop.shipping", shipping)
    assert (await page.next())["consumer"].ready is False

    await page.next()
    await page.next()
    known["app"].handler("order.paid")(known["handle"])
    connection = await asyncpg.connect(tables.url)
    async with RunningHandlers(known["app"], connection=connection) as handlers:
        assert (await handlers.settle("order.paid", {"id": "o-1"})).end == "ack"

    async def write_invoice(connection: Any, data: dict[str, str]) -> None:
        await connection.execute("INSERT INTO invoices VALUES ($1)", data["id"])

    known = await page.next(
        connection=connection, event_id=uuid.uuid4(), subject="s", data={"id": "o-2"},
        headers=REPLAYED, write_invoice=write_invoice,
    )  # fmt: skip
    assert known["new"] is True
    assert await is_remembered(tables, known["event_id"])
    assert page.ended()
    assert await connection.fetchval("SELECT count(*) FROM invoices") == 2
    await connection.close()
