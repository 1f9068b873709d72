"""Handlers that need more than the event, in the runtime itself."""

# Without `from __future__ import annotations`: what is annotated with a text is looked for in the
# module, where functions of a test are not.
import datetime as dt
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


@pytest.mark.parametrize("ordering", ["None", "PerKey"])
async def test_an_event_for_later_is_handled_then_and_its_key_waits_where_keys_have_an_order(
    client: Client, stream_prefix: str, ordering: str
) -> None:
    seen: list[tuple[str, dt.datetime]] = []

    async def handle(event: ReceivedEvent) -> None:
        seen.append((event.type, dt.datetime.now(dt.UTC)))

    source = await Source.create(client, stream_prefix, max_deliver=1, ordering=ordering)
    if ordering == "PerKey":
        await source.create_ordered()
    due = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=3)
    later = {"Deliver-After": due.isoformat()}
    await source.publish(type="later", **later, **{"Ce-Partitionkey": "k"})
    await source.publish(type="behind", **{"Ce-Partitionkey": "k"})
    await source.publish(type="other", **{"Ce-Partitionkey": "l"})
    await source.publish(type="never", **{"Ce-Partitionkey": "m", "Deliver-After": "soon"})
    async with consuming(source.config, calling(handle)):
        await source.settled(4)
    times = dict(seen)
    assert times["later"] >= due
    order = [kind for kind, _ in seen]
    if ordering == "PerKey":
        assert order == ["other", "later", "behind"]
    else:
        assert order[-1] == "later"
        assert sorted(order[:2]) == ["behind", "other"]
    [letter] = await source.dead_letters()
    assert "header Deliver-After" in (letter.headers or {})["Outbox-Dead-Letter-Error"]
