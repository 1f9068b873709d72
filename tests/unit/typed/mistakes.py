"""What a type checker is to find in a user's project: `make check` runs mypy over it, which
complains of a comment that hides nothing. Nothing here is ever called."""

from __future__ import annotations

from typing import Any

import asyncpg
import psycopg
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.orm import Session

from outbox_operator.client import (
    Event,
    Inbox,
    NatsLink,
    Nudge,
    Outbox,
    SyncInbox,
    SyncOutbox,
    event,
)  # fmt: skip
from outbox_operator.consumer import (
    Answers,
    Call,
    Consumer,
    Context,
    Depends,
    Handlers,
    Next,
    ReceivedEvent,
    Retry,
    TableSink,
)
from outbox_operator.testing import RunningHandlers

outbox, sync_outbox = Outbox(), SyncOutbox()
app = Handlers()
EVENT = Event(type="order.created", payload={})


async def connections(
    pool: asyncpg.Pool[asyncpg.Record],
    engine: AsyncEngine,
    session: Session,
    sync: psycopg.Connection[tuple[Any, ...]],
    cursor: psycopg.AsyncCursor[tuple[Any, ...]],
) -> None:
    await outbox.add(pool, EVENT)  # type: ignore[arg-type]
    await outbox.add(engine, EVENT)  # type: ignore[arg-type]
    await outbox.add(session, EVENT)  # type: ignore[arg-type]
    await outbox.add(sync, EVENT)  # type: ignore[arg-type]
    await outbox.add(cursor, EVENT)  # type: ignore[arg-type]
    await outbox.publish_after_commit("postgresql://db", EVENT)  # type: ignore[arg-type]
    await outbox.add_many(None, [EVENT])  # type: ignore[arg-type]
    async with outbox.transaction(pool):  # type: ignore[arg-type]
        pass


def sync_connections(
    connection: asyncpg.Connection[asyncpg.Record],
    other: psycopg.AsyncConnection[tuple[Any, ...]],
    third: AsyncConnection,
    cursor: psycopg.Cursor[tuple[Any, ...]],
) -> None:
    sync_outbox.add(connection, EVENT)  # type: ignore[arg-type]
    sync_outbox.add(other, EVENT)  # type: ignore[arg-type]
    sync_outbox.add(third, EVENT)  # type: ignore[arg-type]
    sync_outbox.add(cursor, EVENT)  # type: ignore[arg-type]
    with sync_outbox.transaction("shop"):  # type: ignore[arg-type]
        pass


async def events(connection: AsyncConnection) -> None:
    await outbox.add(connection, {"type": "order.created"})  # type: ignore[arg-type]
    await outbox.add(connection, Event("order.created"))  # type: ignore[call-arg]
    await outbox.add(connection, Event(type="order.created"))  # type: ignore[call-arg]
    await outbox.add(connection, Event(type="a", key=7, payload={}))  # type: ignore[arg-type]
    Event(type="a", payload={}, deliver_after=60)  # type: ignore[arg-type]
    Event.of(EVENT, key=7)  # type: ignore[arg-type]
    Event.of(EVENT, type="a")  # type: ignore[call-arg]
    event("order.created", version="2")  # type: ignore[arg-type]
    event(name="order.created", keys="id")  # type: ignore[call-arg]
    event("order.created")(len)  # type: ignore[arg-type]
    Outbox(catalog="shop.events")  # type: ignore[arg-type]
    outbox.add(connection, EVENT)  # type: ignore[unused-coroutine]


def inboxes(session: Session, other: AsyncConnection) -> None:
    async def handler() -> None: ...

    SyncInbox("a").claim(other, EVENT.id, source_topic="s", event_type="e")  # type: ignore[arg-type]
    Inbox("a").claim(session, EVENT.id, source_topic="s", event_type="e")  # type: ignore[arg-type,unused-coroutine]


@app.handler("flag")  # type: ignore[type-var]
async def a_flag(event: ReceivedEvent) -> bool:
    return True


@app.handler("text")  # type: ignore[type-var]
def a_text(event: ReceivedEvent) -> str:
    return "done"


@app.batch("many", size=5)  # type: ignore[type-var]
async def some_flags(events: list[ReceivedEvent]) -> list[bool]:
    return [True for _ in events]


@app.handler  # type: ignore[arg-type]
async def without_parentheses(event: ReceivedEvent) -> None: ...


@app.on_connect  # type: ignore[type-var]
def not_async(connection: Any) -> None: ...


@app.on_startup  # type: ignore[type-var]
async def with_a_parameter(connection: Any) -> None: ...


@app.lifespan  # type: ignore[type-var]
async def without_a_yield() -> int:
    return 1


@app.middleware  # type: ignore[type-var]
async def without_the_next(call: Call) -> Answers:
    return None


@app.middleware  # type: ignore[type-var]
def not_async_either(call: Call, call_next: Next) -> None: ...


async def a_default(event: ReceivedEvent, pool: str = Depends(without_a_yield)) -> None: ...  # type: ignore[assignment]


async def statements(event: ReceivedEvent, context: Context) -> None:
    await context.connection.exceute("SELECT 1")  # type: ignore[attr-defined]
    context.connection.execute("SELECT 1")  # type: ignore[unused-coroutine]
    await context.extend(5)  # type: ignore[func-returns-value,misc]
    context.deliveries.increase()  # type: ignore[attr-defined]


app.handler("row")(TableSink("t", {"id": "data.id"}))  # type: ignore[type-var]
TableSink("t", ["id"])  # type: ignore[arg-type]
TableSink("t", {"id": "data.id"}, keys=["id"])  # type: ignore[call-arg]
app.include(a_flag)  # type: ignore[arg-type]
Nudge(link="nats://nats:4222", namespace="shop", pipeline="orders")  # type: ignore[arg-type]
Outbox(send=NatsLink("nats://nats:4222"))  # type: ignore[arg-type]
Retry(give_up_on=ValueError())  # type: ignore[arg-type]
Retry(backoff=5)  # type: ignore[arg-type]
Consumer(a_flag, stream="S")  # type: ignore[arg-type]
Consumer(app, ordering="per-key")  # type: ignore[arg-type]
Depends("shop:pool")  # type: ignore[arg-type]
RunningHandlers("shop:app")  # type: ignore[arg-type]
