"""Handlers that need more than the event, in the runtime itself."""

# Without `from __future__ import annotations`: what is annotated with a text is looked for in the
# module, where functions of a test are not.
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import asyncpg
import pytest
from nats.aio.client import Client

from outbox_operator.client import Event, Outbox
from outbox_operator.consumer import (
    Answers,
    Call,
    Context,
    Depends,
    Handlers,
    Next,
    ReceivedEvent,
)
from outbox_operator.wire.config import InboxConfig
from support.consuming import Source, calling, consuming
from support.outbox import migrate, migrate_inbox

pytestmark = pytest.mark.integration


@pytest.fixture
async def owner(database: str) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    """A database with an outbox and an inbox."""
    await migrate(database)
    await migrate_inbox(database)
    connection = await asyncpg.connect(database)
    yield connection
    await connection.close()


async def test_events_of_a_handler_commit_with_the_note_that_it_handled_one(
    client: Client, stream_prefix: str, database: str, tmp_path: Path,
    owner: "asyncpg.Connection[asyncpg.Record]",
) -> None:  # fmt: skip
    """Once, although the first try fails behind it and the event comes twice; with what the
    handler depends on and what runs around it."""
    (tmp_path / "url").write_text(database)
    app, said = Handlers(), list[str]()

    @app.lifespan
    async def outbox() -> AsyncIterator[Outbox]:
        yield Outbox()
        said.append("ended")

    @app.middleware
    async def counted(call: Call, call_next: Next) -> Answers:
        said.append(f"{call.handler.rpartition('.')[2]} {call.context.deliveries}")
        return await call_next(call)

    @app.handler("order.created")
    async def ship(
        event: ReceivedEvent, context: Context, box: Annotated[Outbox, Depends(outbox)]
    ) -> None:
        shipment = Event(type="shipment.wanted", key=event.id, payload={})
        await box.add(context.connection, shipment)
        if context.deliveries == 1:
            raise ValueError("once")

    source = await Source.create(client, stream_prefix)
    event_id = await source.publish()
    config = replace(source.python(), inbox=InboxConfig(url_file=str(tmp_path / "url")))
    async with consuming(config, calling(app)):
        await source.settled(1)
        await source.publish(id=event_id)
        await source.settled(2)
    keys = await owner.fetch("SELECT partition_key FROM outbox.events")
    assert [row["partition_key"] for row in keys] == [event_id]
    assert said == ["ship 1", "ship 2", "ended"]
