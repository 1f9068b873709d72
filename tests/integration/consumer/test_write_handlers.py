"""Handlers that need more than the event, in the runtime itself."""

# Without `from __future__ import annotations`: what is annotated with a text is looked for in the
# module, where functions of a test are not.
import datetime as dt
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

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
    TableSink,
)
from outbox_operator.errors import SpecError
from outbox_operator.testing import RunningHandlers
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
    later = {"deliver-after" if ordering == "None" else "Deliver-After": due.isoformat()}
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


REPORTS = """CREATE SCHEMA "odd name"; CREATE TABLE "odd name"."it's" (
  "I""d" int PRIMARY KEY, city text, total numeric(20, 10), at timestamptz, whole jsonb,
  place int, data int)"""
COLUMNS = {
    'I"d': "data.id", "city": "data.to.it's", "total": "data.total", "at": "event.time",
    "whole": "data", "place": "data.place", "data": "data.data",
}  # fmt: skip


def reports(**settings: Any) -> Handlers:
    app = Handlers()
    app.batch("report", size=100)(TableSink("odd name.it's", COLUMNS, **settings))
    return app


async def test_a_sink_writes_batches_as_rows_each_key_once(
    owner: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    async with RunningHandlers(reports(key=['I"d']), connection=owner) as handlers:
        early = await handlers.deliver("report", {"id": 1})
        assert early.end == "retry"
        assert 'TableSink: no table "odd name.it\'s" in the database' in early.reason
    await owner.execute(REPORTS)
    exact = '{"id": 1, "total": 1234567890.0123456789, "to": {"it\'s": "Zürich"}}'
    app = reports(key=['I"d'], version="at")
    async with RunningHandlers(app, connection=owner, max_deliver=2) as handlers:
        first = [{"id": 1, "total": 1}, {"id": 2, "total": 2}, exact.encode()]
        assert {h.end for h in await handlers.deliver_batch("report", first)} == {"ack"}
        rows = await owner.fetch('SELECT * FROM "odd name"."it\'s" ORDER BY 1')
        assert [(row["city"], str(row["total"])) for row in rows] == [
            ("Zürich", "1234567890.0123456789"), (None, "2.0000000000")
        ]  # fmt: skip
        assert json.loads(rows[0]["whole"])["id"] == 1
        bad = [{"id": 3}, {"id": "x"}]
        assert {h.end for h in await handlers.deliver_batch("report", bad)} == {"retry"}
        assert (await handlers.settle("report", {"id": "x"})).end == "dead_letter"
        assert (await handlers.settle("report", b'{"id": 4}, "event": {}')).end == "dead_letter"
        keyless = [{"total": 5}, {"id": 6}, {"id": None}]
        ends = [one.end for one in await handlers.deliver_batch("report", keyless)]
        assert ends == ["dead_letter", "ack", "dead_letter"], "nobody could replace that row"
        letter = await handlers.settle("report", {"total": 5})
        assert (letter.end, letter.attempts) == ("dead_letter", 1)
        assert letter.reason == 'no row for the table: NULL in its key (I"d)'
        await owner.execute('UPDATE "odd name"."it\'s" SET at = now() + interval \'1 day\'')
        await handlers.settle("report", {"id": 2, "total": 9})
        statement = 'SELECT total FROM "odd name"."it\'s" WHERE "I""d" = 2'
        assert await owner.fetchval(statement) == 2, "what is older replaces nothing"
    async with RunningHandlers(reports(key=["place", "data"]), connection=owner) as handlers:
        early = await handlers.deliver("report", {"id": 8, "place": 1, "data": 2})
        assert early.end == "retry"
        assert "no unique index of exactly the columns of key (place, data)" in early.reason
    # An index, unlike a primary key, takes NULL as often as it comes (FU-Z14).
    await owner.execute('CREATE UNIQUE INDEX ON "odd name"."it\'s" (place, data)')
    async with RunningHandlers(reports(key=["place", "data"]), connection=owner) as handlers:
        half = {"id": 8, "place": 1}
        assert (await handlers.settle("report", half)).end == "dead_letter"
        assert (await handlers.settle("report", {**half, "data": 2})).end == "ack"
        assert (await handlers.settle("report", {**half, "data": 2, "total": 3})).end == "ack"
    async with RunningHandlers(reports(key=['I"d']), connection=owner) as handlers:
        await handlers.settle("report", {"id": 2, "total": 9})
        assert await owner.fetchval(statement) == 9
    async with RunningHandlers(reports(), connection=owner) as handlers:
        assert (await handlers.settle("report", {"id": 2})).end == "dead_letter", "every one a row"
        assert (await handlers.settle("report", {"id": 5})).end == "ack"


@pytest.mark.parametrize(
    ("table", "columns", "settings", "said"),
    [
        ("a.b.c", {"id": "data.id"}, {}, "table: wanted schema.table, found 'a.b.c'"),
        ("", {"id": "data.id"}, {}, "table: wanted"),
        ("a", {}, {}, "columns: wanted 1 to 50, found 0"),
        ("a", {"id": "id"}, {}, "column 'id': wanted data, data.NAME or event"),
        ("a", {"id": "event.headers"}, {}, "column 'id': wanted data"),
        ("a", {"id": "data..id"}, {}, "column 'id': wanted data"),
        ("a", {"id": "data.id"}, {"key": ["no"]}, "'no' is none of the columns id"),
        ("a", {"id": "data.id"}, {"key": "id"}, "key: wanted a list"),
        ("a", {"id": "data.id"}, {"version": "id"}, "key: wanted a list"),
    ],
)
def test_a_sink_that_cannot_be_meant_is_refused(
    table: str, columns: dict[str, str], settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(SpecError, match=f"TableSink: {said}"):
        TableSink(table, columns, **settings)
