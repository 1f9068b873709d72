"""A user's project that is right: `make check` runs mypy in strict mode over it."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import asyncpg
import psycopg
from pydantic import BaseModel, Field
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, scoped_session

from outbox_operator.client import (
    Event,
    Inbox,
    Outbox,
    OutboxConnection,
    SyncInbox,
    SyncOutbox,
    SyncOutboxConnection,
    event,
)  # fmt: skip
from outbox_operator.consumer import (
    Ack,
    Answers,
    Call,
    Consumer,
    Context,
    DeadLetter,
    Depends,
    Handlers,
    Next,
    ReceivedEvent,
    Retry,
    RetryAfter,
)  # fmt: skip
from outbox_operator.testing import RecordingConnection, RecordingOutbox, RunningHandlers

if TYPE_CHECKING:  # generic in asyncpg's types, and not when it runs
    Pool = asyncpg.Pool[asyncpg.Record]
else:
    Pool = asyncpg.Pool

outbox, sync_outbox = Outbox(), SyncOutbox()
app = Handlers(retry=Retry(give_up_on=ValueError, put_off={ConnectionError: 60}))


class Order(BaseModel):
    id: int
    total: Annotated[int, Field(ge=0)]


@event("order.shipped", version=2, key="id", deprecated=True)
class Shipped(Order):
    by: str


SHIPPED = Shipped(id=1, total=2, by="air").by  # what is declared is the class it was
LATER = Event.of(Shipped(id=1, total=2, by="sea"), deliver_after=timedelta(hours=1))
DECLARED = Outbox(catalog=[Shipped])


@dataclass
class Click:
    page: str


EVENT = Event(type="order.created", key="1", payload=Order(id=1, total=2))


def traced(
    function: Callable[[Order, Context], Awaitable[None]],
) -> Callable[[Order, Context], Awaitable[None]]:
    @functools.wraps(function)
    async def wrapper(order: Order, context: Context) -> None:
        await function(order, context)

    return wrapper


@app.handler("order.created")
async def invoice(order: Order, context: Context) -> None:
    status: str = await context.connection.execute("INSERT INTO invoices VALUES ($1)", order.id)
    await outbox.add(context.connection, Event(type="invoice.created", payload={"said": status}))


@app.handler("order.paid", timeout=10)
async def paid(event: ReceivedEvent) -> RetryAfter | DeadLetter | None:
    return None if event.json() else DeadLetter("empty")


@app.handler("order.lost")
def lost(event: ReceivedEvent) -> Ack:
    return Ack()


@app.handler(Shipped)
async def shipped_later(order: Shipped) -> None: ...


@app.handler("order.shipped")
@traced
async def shipped(order: Order, context: Context) -> None: ...


@app.batch("click", size=500)
async def clicks(clicks: list[Click], context: Context) -> Sequence[Ack | DeadLetter | None]:
    return [None for _ in clicks]


@app.lifespan
async def pool() -> AsyncIterator[asyncpg.Pool[asyncpg.Record]]:
    async with asyncpg.create_pool("postgresql://db") as made:
        yield made


@app.middleware
async def watched(call: Call, call_next: Next) -> Answers:
    if call.events[0].key:
        return RetryAfter(call.context.remaining)
    return await call_next(call)


async def rate(event: ReceivedEvent, pool: Annotated[Pool, Depends(pool)]) -> int:
    return int(await pool.fetchval("SELECT 1"))


@app.handler("rated")
async def rated(order: Order, rate: Annotated[int, Depends(rate)]) -> None:
    assert rate + order.total


@app.on_startup
async def start() -> None: ...


@app.on_connect
async def connect(connection: Any) -> None: ...


@app.on_shutdown
def stop() -> None: ...


async def write(
    first: asyncpg.Connection[asyncpg.Record],
    second: psycopg.AsyncConnection[tuple[Any, ...]],
    third: AsyncConnection,
    fourth: AsyncSession,
    fifth: async_scoped_session[AsyncSession],
) -> None:
    for connection in (first, second, third, fourth, fifth):
        await outbox.add(connection, EVENT)
        await outbox.publish_after_commit(connection, EVENT)
        async with outbox.transaction(connection):
            await outbox.add_many(connection, [EVENT])
    await passed_on(first)


async def passed_on(connection: OutboxConnection) -> None:
    await outbox.add(connection, EVENT)


def write_sync(
    first: psycopg.Connection[tuple[Any, ...]],
    second: Connection,
    third: Session,
    fourth: scoped_session[Session],
) -> None:
    for connection in (first, second, third, fourth):
        sync_outbox.add(connection, EVENT)
        with sync_outbox.transaction(connection):
            sync_outbox.publish_after_commit(connection, EVENT)
    passed_on_sync(first)


def passed_on_sync(connection: SyncOutboxConnection) -> None:
    sync_outbox.add(connection, EVENT)


async def handle_once(connection: AsyncSession, other: Session) -> bool:
    async def handler() -> None: ...

    new = await Inbox("shop/billing").process_idempotent(
        connection, event_id=EVENT.id, source_topic="s", event_type="e", payload=None,
        handler=handler,
    )  # fmt: skip
    return new and SyncInbox("shop/billing").process_idempotent(
        other, event_id=EVENT.id, source_topic="s", event_type="e", payload=None, handler=stop
    )


async def tests() -> None:
    recorder = RecordingOutbox()
    async with RecordingConnection().transaction():
        await recorder.add(object(), EVENT)
    async with RunningHandlers(app) as handlers:
        assert (await handlers.settle("order.paid", {"id": 1})).end == "ack"
    async with Consumer(app, nats="nats://nats:4222", stream="ORDERS", durable="d") as consumer:
        assert consumer.ready or consumer.checks
