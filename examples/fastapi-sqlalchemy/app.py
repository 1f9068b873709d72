"""An order service with FastAPI and SQLAlchemy: the order and its event are one transaction.

README.md beside this file says how to run it. NATS_URL may be missing: then the relay finds the
events by itself, a little later.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel, Field
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from outbox_operator.client import Event, NatsLink, Nudge, Outbox

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

    customer: str = Field(min_length=1)
    amount_cents: int = Field(gt=0)


class OrderCreated(NewOrder):
    """What everybody is told."""

    id: uuid.UUID


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Make the table, and close what is open in the end."""
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
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
    await outbox.publish_after_commit(
        session, Event(type="order.created", key=str(order.id), payload=created)
    )
    if new.amount_cents > CREDIT_CENTS:
        raise HTTPException(402, "more than the customer's credit")
    return created
