"""SQLAlchemy sessions with several engines: event and row commit together, or are refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from outbox_operator.client import Event, NatsLink, Nudge, Outbox, SyncOutbox, TransactionError
from support.shop import Shop

pytestmark = pytest.mark.integration

NUDGE = Nudge(
    link=NatsLink("nats://127.0.0.1:1", enabled=False), namespace="shop", pipeline="orders"
)
EVENT = Event(type="order.created", payload={})
SEVERAL = r"several engines.*session\.connection\(bind_arguments="


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[str] = mapped_column(primary_key=True)


@pytest.fixture
def engines(shop: Shop) -> Iterator[tuple[Engine, Engine]]:
    """Two engines; here they lead to one database, so that what is committed can be seen."""
    url = shop.url.replace("postgresql://", "postgresql+psycopg://")
    made = create_engine(url), create_engine(url)
    yield made
    for engine in made:
        engine.dispose()


@pytest.mark.parametrize("write", ["add", "publish_after_commit"])
async def test_an_event_goes_into_no_transaction_by_chance(
    shop: Shop, engines: tuple[Engine, Engine], write: str
) -> None:
    """The order went to one engine and the event to the other, which committed by itself (FU-8)."""
    first, second = engines
    outbox = SyncOutbox(send=NUDGE)
    with Session(first, binds={Order: second}) as session:
        session.add(Order(id="o-1"))
        with pytest.raises(TransactionError, match=SEVERAL):
            getattr(outbox, write)(session, EVENT)
        session.rollback()
    assert await shop.events() == []


async def test_the_engine_may_be_named(shop: Shop, engines: tuple[Engine, Engine]) -> None:
    first, second = engines
    with Session(first, binds={Order: second}) as session:
        session.add(Order(id="o-1"))
        SyncOutbox().add(session.connection(bind_arguments={"mapper": Order}), EVENT)
        session.commit()
    assert await shop.orders() == ["o-1"]
    assert [row["event_id"] for row in await shop.events()] == [EVENT.id]


async def test_one_engine_under_many_names_is_one(
    shop: Shop, engines: tuple[Engine, Engine]
) -> None:
    """Without a default even: a session that has binds only has one engine all the same."""
    outbox = SyncOutbox(send=NUDGE)
    with Session(binds={Order: engines[0]}) as session:
        session.add(Order(id="o-1"))
        outbox.add(session, EVENT)
        outbox.publish_after_commit(session, Event(type="order.created", payload={}))
        session.commit()
    assert len(await shop.events()) == 2


async def test_asynchronous_sessions_are_held_to_the_same(shop: Shop) -> None:
    url = shop.url.replace("postgresql://", "postgresql+asyncpg://")
    first, second = create_async_engine(url), create_async_engine(url)
    async with AsyncSession(first, binds={Order: second}) as session:
        session.add(Order(id="o-1"))
        with pytest.raises(TransactionError, match=SEVERAL):
            await Outbox().add(session, EVENT)
        named = await session.connection(bind_arguments={"mapper": Order})
        await Outbox().add(named, EVENT)
        await session.commit()
    assert await shop.orders() == ["o-1"]
    assert len(await shop.events()) == 1
    for engine in (first, second):
        await engine.dispose()


async def test_a_session_that_routes_by_itself_is_asked(
    shop: Shop, engines: tuple[Engine, Engine]
) -> None:
    """As Flask-SQLAlchemy's does; what is fine there has to stay so."""
    first, second = engines

    class Routing(Session):
        def get_bind(self, mapper: Any = None, **more: Any) -> Engine:
            return second if mapper is not None else first

    class Harmless(Session):
        def get_bind(self, mapper: Any = None, **more: Any) -> Engine:
            return first

    with Routing() as session:
        session.add(Order(id="o-1"))
        with pytest.raises(TransactionError, match=SEVERAL):
            SyncOutbox().add(session, EVENT)
        session.rollback()
    with Harmless() as harmless:
        harmless.add(Order(id="o-2"))
        harmless.flush()
        harmless.execute(text("SELECT 1"))
        SyncOutbox().add(harmless, EVENT)
        harmless.commit()
    assert await shop.orders() == ["o-2"]
    assert len(await shop.events()) == 1
