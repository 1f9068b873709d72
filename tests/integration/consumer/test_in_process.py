"""A consumer inside a web service: it reads while the service is there, and ends with it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from fastapi import FastAPI, Response
from httpx import ASGITransport, AsyncClient
from nats.aio.client import Client

from outbox_operator.consumer import Consumer, Context, Handlers, ReceivedEvent
from outbox_operator.errors import SpecError
from support.consuming import Source
from support.outbox import migrate_inbox
from support.ports import free_port
from support.postgres import PostgresServer
from support.waiting import SECONDS, eventually

pytestmark = pytest.mark.integration


def consumer_of(source: Source, app: Handlers, **settings: Any) -> Consumer:
    """As an application makes it."""
    return Consumer(
        app, nats=source.config.jetstream.url, stream=source.config.stream,
        durable=source.config.durable, **settings,
    )  # fmt: skip


async def test_a_service_handles_events_and_ends_what_it_began(
    client: Client, stream_prefix: str, postgres_server: PostgresServer
) -> None:
    database = postgres_server.create_database()
    await migrate_inbox(database)
    owner = await asyncpg.connect(database)
    await owner.execute("CREATE TABLE invoices (number int)")
    source = await Source.create(client, stream_prefix)
    begun, go_on = asyncio.Event(), asyncio.Event()
    handlers = Handlers()

    @handlers.handler("order.created")
    async def invoice(order: dict[str, int], context: Context) -> None:
        await context.connection.execute("INSERT INTO invoices VALUES ($1)", order["id"])
        if order["id"] == 2:
            begun.set()
            await go_on.wait()

    consumer = consumer_of(source, handlers, inbox=database, concurrency=1)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with consumer:
            yield

    service = FastAPI(lifespan=lifespan)

    @service.get("/ready")
    async def ready(response: Response) -> dict[str, tuple[bool, str]]:
        response.status_code = 200 if consumer.ready else 503
        return consumer.checks

    async def once_it_ends() -> None:
        await eventually(lambda: not consumer.ready, "the block ends")
        go_on.set()

    before = asyncio.all_tasks()
    web = AsyncClient(transport=ASGITransport(service), base_url="http://shop")
    assert (await web.get("/ready")).status_code == 503
    async with asyncio.timeout(SECONDS):
        async with service.router.lifespan_context(service):

            async def is_ready() -> bool:
                return (await web.get("/ready")).status_code == 200

            await eventually(is_ready, "the service is ready")
            assert set((await web.get("/ready")).json()) == {
                "nats", "consumer", "handler", "inbox",
            }  # fmt: skip
            for number in (1, 2, 3):
                await source.publish({"id": number})
            await begun.wait()
            ending = asyncio.create_task(once_it_ends())
        await ending
        # Out of the block the second is handled, and the third is not.
    assert [row["number"] for row in await owner.fetch("SELECT * FROM invoices")] == [1, 2]
    assert (await source.info()).ack_floor.stream_seq == 2
    assert not consumer.ready
    await eventually(lambda: not asyncio.all_tasks() - before, "nothing goes on")
    await owner.close()
    postgres_server.drop_database(database)


async def test_a_service_starts_and_ends_whether_nats_is_there_or_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    app = Handlers()
    app.handler(">")(print)
    consumer = Consumer(app, nats=f"nats://127.0.0.1:{free_port()}", stream="S", durable="d")
    async with asyncio.timeout(SECONDS):
        async with consumer:
            await eventually(lambda: "Unreachable" in consumer.checks["nats"][1], "it says so")
            assert not consumer.ready
            with pytest.raises(SpecError, match="one block at a time"):
                await consumer.__aenter__()
        async with consumer:  # again
            assert not consumer.ready


async def test_what_can_never_work_is_said_where_it_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = Handlers()
    monkeypatch.delenv("OUTBOX_STREAM", raising=False)
    with pytest.raises(SpecError, match=r"--stream .or OUTBOX_STREAM. is missing"):
        async with Consumer(app, nats="nats://127.0.0.1", durable="d"):
            pass

    @app.handler("order.created")
    async def handle(event: ReceivedEvent, *, database) -> None: ...  # type: ignore[no-untyped-def]

    with pytest.raises(SpecError, match="does not say what it wants"):
        async with Consumer(app, nats="nats://127.0.0.1", stream="S", durable="d"):
            pass
