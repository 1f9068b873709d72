"""An order service with FastAPI and SQLAlchemy: the order and its event are one transaction.

README.md beside this file says how to run it. The same process handles the events of its orders.
NATS_URL may be missing: then the relay finds the events by itself, a little later, and nobody
handles them here.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel, Field
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from outbox_operator.client import Event, NatsLink, Nudge, Outbox, event
from outbox_operator.consumer import Consumer, Handlers

PIPELINE = {"namespace": "shop", "pipeline": "orders"}
CREDIT_CENTS = 100_000

engine = create_async_engine(
    make_url(os.environ["DATABASE_URL"]).set(drivername="postgresql+asyncpg")
)
link = NatsLink(os.environ.get("NATS_URL", "nats://localhost"), enabled="NATS_URL" in os.environ)
outbox = Outbox(send=Nudge(link=link, **PIPELINE))


class Base(DeclarativeBase):
    """All tables of this service."""


class Order(Base):
    """An order in the database."""

    __tablename__ = "orders"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    customer: Mapped[str]
    amount_cents: Mapped[int]


class NewOrder(BaseModel):
    """What a customer sends."""

    customer: str = Field(pattern=r"^\P{C}+$")  # nothing that a column of text cannot hold
    amount_cents: int = Field(gt=0, lt=2**31)


@event("order.created", key="id")
class OrderCreated(NewOrder):
    """What everybody is told."""

    id: uuid.UUID


handlers = Handlers()
consumer = Consumer(
    handlers,
    stream=os.environ.get("OUTBOX_STREAM", "ORDERS"),
    durable=os.environ.get("OUTBOX_CONSUMER", "orders-confirmations"),
)


@handlers.handler(OrderCreated)
async def confirm(order: OrderCreated) -> None:
    """Write to the customer, once or, after a crash, twice."""
    print(f"order {order.id}: confirmed to {order.customer}", flush=True)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Make the table, handle events while the service runs, and close what is open in the end."""
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with AsyncExitStack() as stack:
        if "NATS_URL" in os.environ:
            await stack.enter_async_context(consumer)
        yield
    link.close()
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


async def open_session() -> AsyncIterator[AsyncSession]:
    """A transaction around every request: an exception rolls it back."""
    async with AsyncSession(engine) as session, session.begin():
        yield session


# Scope "function": committed before the answer is sent, not after.
Database = Annotated[AsyncSession, Depends(open_session, scope="function")]


@app.post("/orders", status_code=201)
async def create_order(new: NewOrder, session: Database) -> OrderCreated:
    """Take an order, and tell everybody if and only if it is taken."""
    order = Order(customer=new.customer, amount_cents=new.amount_cents)
    session.add(order)
    await session.flush()  # the id comes with it
    created = OrderCreated(id=order.id, **new.model_dump())
    await outbox.publish_after_commit(session, Event.of(created))
    if new.amount_cents > CREDIT_CENTS:
        raise HTTPException(402, "more than the customer's credit")
    return created
