"""Writing events through each driver, with no more rights than the operator grants."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import psycopg
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    TraceFlags,
    TraceState,
    use_span,
)
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine

from outbox_operator.client import Event, EventError, Outbox, SyncOutbox, TransactionError
from outbox_operator.errors import OutboxError
from outbox_operator.testing import RecordedEvent, RecordingConnection, RecordingOutbox
from support.books import Book, call
from support.outbox import migrate
from support.shop import DRIVERS, SYNC_DRIVERS, Open, Shop, django_connection, savepoint
from support.waiting import eventually

pytestmark = pytest.mark.integration


class _OutOfStockError(Exception):
    pass


async def test_event_and_order_commit_together(book: Book) -> None:
    event = Event(
        type="order.created",
        key="o-1",
        payload={"id": uuid.UUID(int=7), "total": Decimal("12.30"), "text": "Größe 7' \\ \" %s :x"},
        headers={"tenant": "a % :b $1"},
        routing_key="eu.order.created",
    )
    outbox = book.outbox()
    async with book.opened() as (connection, insert):
        await insert("o-1")
        assert await call(outbox.add(connection, event)) == event.id
        assert await book.events() == []
    [found] = await book.events()
    assert found == RecordedEvent(
        id=event.id,
        type="order.created",
        key="o-1",
        payload={
            "id": "00000000-0000-0000-0000-000000000007",
            "total": "12.30",
            "text": "Größe 7' \\ \" %s :x",
        },
        headers={"tenant": "a % :b $1"},
        routing_key="eu.order.created",
    )
    assert await book.shop.orders() == ([] if book.records else ["o-1"])


async def test_event_and_order_roll_back_together(book: Book) -> None:
    outbox = book.outbox()

    async def order() -> None:
        async with book.opened() as (connection, insert):
            await insert("o-1")
            await call(outbox.add(connection, Event(type="order.created", payload={})))
            await call(outbox.add_many(connection, [Event(type="a", payload=n) for n in range(3)]))
            raise _OutOfStockError

    with pytest.raises(_OutOfStockError):
        await order()
    assert await book.events() == []
    assert await book.shop.orders() == []


async def test_a_savepoint_takes_back_its_events_only(book: Book) -> None:
    outbox = book.outbox()
    async with book.opened() as (connection, _):
        await call(outbox.add(connection, Event(type="first", payload=1)))
        with contextlib.suppress(_OutOfStockError):
            async with savepoint(connection):
                await call(outbox.add(connection, Event(type="undone", payload=2)))
                raise _OutOfStockError
        async with savepoint(connection):
            await call(outbox.add(connection, Event(type="second", payload=3)))
    assert [event.type for event in await book.events()] == ["first", "second"]


async def test_many_events_keep_their_order(book: Book) -> None:
    events = [
        Event(
            type="order.created",
            key=f"k{n % 3}",
            payload={"n": n, "odd": "\\N\t\n{\"},'"},
            headers={"x": "\\ ,{}"} if n % 2 else {},
            routing_key="eu.orders" if n % 2 else None,
        )
        for n in range(2500)
    ]
    outbox = book.outbox()
    async with book.opened() as (connection, _):
        ids = await call(outbox.add_many(connection, iter(events)))
        assert await call(outbox.add_many(connection, [])) == []
        await call(outbox.add_many(connection, [Event(type="alone", payload=None)]))
    found = await book.events()
    assert ids == [event.id for event in events]
    assert [one.type for one in found[2500:]] == ["alone"]
    assert [
        (one.id, one.key, one.payload, one.headers, one.routing_key) for one in found[:2500]
    ] == [(one.id, one.key, one.payload, one.headers, one.routing_key) for one in events]


BAD: list[tuple[dict[str, Any], str]] = [
    ({"payload": {"picture": b"\xff"}}, r"payload\.picture is bytes"),
    ({"payload": {}, "key": 7}, "key is int, wanted text"),
    ({"payload": {}, "routing_key": "eu..orders"}, "routing_key 'eu..orders' is not a dotted name"),
    ({"payload": {}, "type": "a" * 1025}, "type takes 1025 bytes of the subject"),
    ({"payload": "x" * 400}, "are 402 bytes of jsonb text, at most 300 are allowed"),
]


async def test_refused_events_leave_the_transaction_usable(book: Book) -> None:
    outbox, good = book.outbox(max_bytes=300), Event(type="order.created", payload={})
    async with book.opened() as (connection, insert):
        await insert("o-1")
        for fields, message in BAD:
            bad = Event(**{"type": "a", **fields})
            with pytest.raises(EventError, match=f"^event {bad.id}.*{message}"):
                await call(outbox.add(connection, bad))
            with pytest.raises(EventError, match=rf"^events\[1\]: event {bad.id}.*{message}"):
                await call(outbox.add_many(connection, [good, bad]))
        with pytest.raises(
            EventError, match=r"^events\[0\]: wanted an Event behind the connection, found dict"
        ):
            await call(outbox.add_many(connection, [{}]))
    assert await book.shop.orders() == ([] if book.records else ["o-1"])
    assert await book.events() == []


async def test_an_event_carries_the_trace_that_is_active(book: Book) -> None:
    tracer = TracerProvider().get_tracer("test")
    outbox = book.outbox()
    state = TraceState([("vendor", "x")])
    long = TraceState([(f"vendor{number}", "x" * 200) for number in range(3)])
    with tracer.start_as_current_span("order") as span:
        context = span.get_span_context()
        other = NonRecordingSpan(
            SpanContext(context.trace_id, context.span_id, False, TraceFlags(1), state)
        )
        async with book.opened() as (connection, _):
            await call(outbox.add(connection, Event(type="a", payload=1)))
            with use_span(other):
                await call(outbox.add(connection, Event(type="b", payload=1)))
            with use_span(NonRecordingSpan(SpanContext(*other.get_span_context()[:4], long))):
                await call(outbox.add(connection, Event(type="long", payload=1)))
            own = {"Traceparent": "mine"}
            await call(outbox.add(connection, Event(type="c", payload=1, headers=own)))
    async with book.opened() as (connection, _):
        await call(outbox.add(connection, Event(type="d", payload=1, headers={"x": "y"})))
    parent = f"00-{context.trace_id:032x}-{context.span_id:016x}-"
    flags = f"{context.trace_flags:02x}"
    assert [event.headers for event in await book.events()] == [
        {"traceparent": parent + flags},
        {"traceparent": parent + "01", "tracestate": "vendor=x"},
        {"traceparent": parent + "01"},
        {"Traceparent": "mine"},
        {"x": "y"},
    ]


async def test_the_writing_of_events_is_a_span_of_the_application(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    monkeypatch.setattr("opentelemetry.trace._TRACER_PROVIDER", provider)
    tracer, outbox = provider.get_tracer("test"), book.outbox()
    first = Event(type="order.created", payload=1)
    with tracer.start_as_current_span("order") as order:
        async with book.opened() as (connection, _):
            await call(outbox.add(connection, first))
            await call(outbox.add_many(connection, [Event(type="b", payload=n) for n in (1, 2)]))
            await call(outbox.add_many(connection, []))
            with pytest.raises(EventError):
                await call(outbox.add(connection, Event(type="c", payload=object())))
            unsampled = NonRecordingSpan(SpanContext(7, 8, False, TraceFlags(0)))
            with use_span(unsampled):
                await call(outbox.add(connection, Event(type="d", payload=1)))
            own = {"traceparent": "mine"}
            await call(outbox.add(connection, Event(type="e", payload=1, headers=own)))
    one, several, refused, _ = kept.get_finished_spans()
    assert [span.name for span in (one, several, refused)] == [
        "create order.created", "create events", "create c",
    ]  # fmt: skip
    for span in (one, several, refused):
        assert span.parent == order.get_span_context()
        assert span.kind is SpanKind.PRODUCER
    assert one.attributes == {
        "messaging.system": "nats",
        "messaging.operation.name": "create",
        "messaging.operation.type": "create",
        "messaging.message.id": str(first.id),
        "cloudevents.event_type": "order.created",
        "outbox.schema": "outbox",
    }
    assert several.attributes is not None
    assert several.attributes["messaging.batch.message_count"] == 2
    assert (one.status.is_ok or one.status.is_unset, refused.status.description) == (
        True, "EventError",
    )  # fmt: skip
    carried = [event.headers.get("traceparent", "")[36:] for event in await book.events()]
    ids = [f"{span.context.span_id:016x}-" for span in (one, several)]
    assert [text[:17] for text in carried] == [
        ids[0], ids[1], ids[1], "0000000000000008-", "",
    ]  # fmt: skip


async def test_publish_after_commit_wants_to_be_told_of_the_commit(book: Book) -> None:
    """Sessions and Django tell themselves; the others need `outbox.transaction`."""
    outbox, event = book.outbox(), Event(type="order.created", payload={})
    tells = book.name.endswith(("session", "django"))
    async with book.opened() as (connection, insert):
        await insert("o-1")
        if tells:
            assert await call(outbox.publish_after_commit(connection, event)) == event.id
        else:
            with pytest.raises(TransactionError, match=r"open it with outbox\.transaction"):
                await call(outbox.publish_after_commit(connection, event))
            with pytest.raises(TransactionError, match="is open on this connection already"):
                await open_inside(outbox, connection)
    assert [one.id for one in await book.events()] == ([event.id] if tells else [])


async def open_inside(outbox: Any, connection: Any) -> None:
    """Open a transaction through the outbox."""
    if isinstance(outbox, Outbox):
        async with outbox.transaction(connection):
            pass
    else:
        with outbox.transaction(connection):
            pass


async def test_the_recorder_takes_any_object_for_a_connection() -> None:
    outbox, connection = RecordingOutbox(), object()
    await outbox.add(connection, Event(type="at.once", payload={}))
    with contextlib.suppress(_OutOfStockError):
        async with outbox.transaction(connection):
            await outbox.publish_after_commit(connection, Event(type="undone", payload={}))
            raise _OutOfStockError
    async with outbox.transaction(connection):
        await outbox.publish_after_commit(connection, Event(type="sent", payload={}))
        assert [event.type for event in outbox.events] == ["at.once"]
    assert [event.type for event in outbox.events] == ["at.once", "sent"]


async def test_strict_keys_wait_for_each_other_and_never_in_a_circle(shop: Shop) -> None:
    strict = Outbox(strict_keys=True)
    first, second = await asyncpg.connect(shop.url), await asyncpg.connect(shop.url)
    try:
        async with first.transaction():
            await strict.add(first, Event(type="a", key="k1", payload=1))

            async def write() -> None:
                async with second.transaction():
                    await strict.add(second, Event(type="a", key="free", payload=2))
                    await strict.add(second, Event(type="a", payload=3))
                    keys = ("k2", "k1")
                    await strict.add_many(
                        second, [Event(type="a", key=key, payload=5) for key in keys]
                    )

            waiting = asyncio.create_task(write())
            pid = first.get_server_pid()

            async def blocked() -> bool:
                found: bool = await shop.owner.fetchval(
                    "SELECT EXISTS (SELECT FROM pg_stat_activity "
                    "WHERE $1 = ANY (pg_blocking_pids(pid)))",
                    pid,
                )
                return found

            await eventually(blocked, "the second writer waits for the first")
            # It took the turn of k1 first, and so holds that of no later key.
            await strict.add(first, Event(type="a", key="k2", payload=4))
        await waiting
    finally:
        await first.close()
        await second.close()
    rows = {json.loads(row["payload"]): row["position"] for row in await shop.events()}
    assert rows[4] < rows[5]


@pytest.mark.parametrize("many", [1, 2])
async def test_errors_of_the_driver_reach_the_caller_and_are_explained(
    many: int, shop: Shop, opened: Open
) -> None:
    events = [Event(type="order.created", payload={})] * many
    with pytest.raises(Exception, match="elsewhere") as caught:
        async with opened(shop.url) as (connection, _):
            await Outbox(schema="elsewhere").add_many(connection, events)
    assert not isinstance(caught.value, OutboxError)
    [note] = caught.value.__notes__
    assert note.startswith("elsewhere.events is not in this database: `schema` has to be the right")


@pytest.mark.parametrize("name", ["asyncpg", "sqlalchemy-asyncpg", "sync-sqlalchemy", "django"])
async def test_without_the_right_to_write_it_is_said_who_has_it(name: str, shop: Shop) -> None:
    await shop.owner.execute(f'REVOKE ALL ON outbox.events FROM "{urlsplit(shop.url).username}"')
    outbox: Any = Outbox() if name in DRIVERS else SyncOutbox()
    with pytest.raises(Exception, match="permission denied") as caught:
        async with {**DRIVERS, **SYNC_DRIVERS}[name](shop.url) as (connection, _):
            await call(outbox.add(connection, Event(type="order.created", payload={})))
    [note] = caught.value.__notes__
    assert "has to be in spec.database.grants.writers" in note


OTHERS = {
    "a table that a trigger writes": "INSERT INTO audit.log VALUES (1)",
    "a schema that a trigger writes": "INSERT INTO hidden.log VALUES (1)",
}


@pytest.mark.parametrize("name", OTHERS)
async def test_errors_about_something_else_are_not_explained(
    name: str, shop: Shop, opened: Open
) -> None:
    await shop.owner.execute(
        "CREATE SCHEMA hidden; CREATE TABLE hidden.log (number int);"
        "CREATE FUNCTION told() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN {OTHERS[name]}; RETURN NULL; END $$;"
        "CREATE TRIGGER told AFTER INSERT ON outbox.events FOR EACH ROW EXECUTE FUNCTION told()"
    )
    with pytest.raises(Exception, match=r"audit|hidden") as caught:
        async with opened(shop.url) as (connection, _):
            await Outbox().add(connection, Event(type="order.created", payload={}))
    assert not hasattr(caught.value, "__notes__")


async def test_another_type_of_payload_is_explained(shop: Shop, opened: Open) -> None:
    outbox = Outbox(payload_type="bytea")
    with pytest.raises(Exception, match="payload") as caught:
        async with opened(shop.url) as (connection, _):
            await outbox.add(connection, Event(type="order.created", payload=b"x"))
    assert caught.value.__notes__ == [
        "`payload_type` has to be the `outbox.payloadType` of the pipeline"
    ]


async def test_bytes_go_into_a_bytea_outbox_as_they_are(
    postgres_server: object, database: str, opened: Open
) -> None:
    await migrate(database, payload_type="bytea")
    outbox = Outbox(payload_type="bytea")
    owner = await asyncpg.connect(database)
    try:
        await owner.execute("CREATE TABLE orders (id text PRIMARY KEY)")
        async with opened(database) as (connection, _):
            await outbox.add(connection, Event(type="order.created", payload=b"\x00\xff"))
        assert await owner.fetchval("SELECT payload FROM outbox.events") == b"\x00\xff"
    finally:
        await owner.close()


async def test_refuses_to_write_outside_a_transaction(shop: Shop) -> None:
    event = Event(type="order.created", payload={})
    plain = await asyncpg.connect(shop.url)
    autocommit = await psycopg.AsyncConnection.connect(shop.url, autocommit=True)
    engine = create_async_engine(
        shop.url.replace("postgresql://", "postgresql+asyncpg://"), isolation_level="AUTOCOMMIT"
    )
    try:
        with pytest.raises(TransactionError, match="no transaction is open on this asyncpg"):
            await Outbox().add(plain, event)
        for write in (Outbox().add(autocommit, event), Outbox().add_many(autocommit, [event] * 2)):
            with pytest.raises(TransactionError, match=r"psycopg \(autocommit\)"):
                await write
        async with engine.connect() as connection:
            with pytest.raises(TransactionError, match=r"SQLAlchemy \(AUTOCOMMIT\)"):
                await Outbox().add(connection, event)
        async with autocommit.transaction():
            await Outbox().add(autocommit, event)
    finally:
        await plain.close()
        await autocommit.close()
        await engine.dispose()
    assert len(await shop.events()) == 1


async def test_refuses_to_write_outside_a_transaction_synchronously(shop: Shop) -> None:
    event, outbox = Event(type="order.created", payload={}), SyncOutbox()
    engine = create_engine(
        shop.url.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT"
    )
    with psycopg.connect(shop.url, autocommit=True) as autocommit:
        for write in (outbox.add, outbox.publish_after_commit):
            with pytest.raises(TransactionError):
                write(autocommit, event)
    with (
        engine.connect() as connection,
        pytest.raises(TransactionError, match=r"SQLAlchemy \(AUTOCOMMIT\)"),
    ):
        outbox.add(connection, event)
    engine.dispose()
    with django_connection(shop.url) as django:
        for write in (outbox.add, outbox.publish_after_commit):
            with pytest.raises(TransactionError, match=r"transaction\.atomic"):
                write(django, event)
    with pytest.raises(TransactionError, match="recording"):
        await RecordingOutbox().add(RecordingConnection(), event)
    assert await shop.events() == []


async def test_a_psycopg_pipeline_takes_many_events_too(shop: Shop) -> None:
    events = [Event(type="a", payload=n) for n in range(3)]
    async with await psycopg.AsyncConnection.connect(shop.url) as connection, connection.pipeline():
        await Outbox().add_many(connection, events)
    assert [row["event_id"] for row in await shop.events()] == [event.id for event in events]


@pytest.mark.parametrize("many", [False, True])
async def test_a_psycopg_pipeline_hides_no_missing_transaction(shop: Shop, many: bool) -> None:
    """In a pipeline an autocommit connection looks as if it were in a transaction (FU-10)."""
    events = (
        [Event(type="a", payload=n) for n in range(2)] if many else [Event(type="a", payload=0)]
    )
    connection = await psycopg.AsyncConnection.connect(shop.url, autocommit=True)
    async with connection, connection.pipeline():
        await connection.execute("SELECT 1")
        with pytest.raises(TransactionError, match="no transaction is open"):
            await Outbox().add_many(connection, events)
        async with connection.transaction():
            await Outbox().add_many(connection, events)
    assert [row["event_id"] for row in await shop.events()] == [event.id for event in events]
    with psycopg.connect(shop.url, autocommit=True) as plain, plain.pipeline():
        plain.execute("SELECT 1")
        with pytest.raises(TransactionError, match="no transaction is open"):
            SyncOutbox().add_many(plain, events)


@pytest.mark.parametrize("cursor", [psycopg.AsyncRawCursor, psycopg.AsyncClientCursor])
async def test_the_applications_kind_of_cursor_is_its_own_business(shop: Shop, cursor: Any) -> None:
    """The library's placeholders are not those of every kind of cursor (FU-10)."""
    sync = psycopg.RawCursor if cursor is psycopg.AsyncRawCursor else psycopg.ClientCursor
    events = [Event(type="a", payload={"n": n}) for n in range(3)]
    outbox = Outbox(strict_keys=True)
    async with await psycopg.AsyncConnection.connect(shop.url, cursor_factory=cursor) as connection:
        await outbox.add(connection, Event(type="a", key="k", payload={}))
        await outbox.add_many(connection, events)
    with psycopg.connect(shop.url, cursor_factory=sync) as connection_:
        SyncOutbox().add(connection_, Event(type="a", payload={}))
    assert len(await shop.events()) == 5


async def test_the_documented_sql_does_the_same(shop: Shop) -> None:
    page = (Path(__file__).parents[3] / "docs/how-to/other-languages.md").read_text()
    blocks = re.findall(r"```sql\n(.*?)```", page, flags=re.DOTALL)
    assert len(blocks) == 2
    await shop.owner.execute("ALTER TABLE orders ADD total numeric")
    connection = await asyncpg.connect(shop.url)
    try:
        for block in blocks:
            await connection.execute(block)
    finally:
        await connection.close()
    assert await shop.orders() == ["o-1"]
    for row in await shop.events():
        assert (row["event_type"], row["partition_key"]) == ("order.created", "o-1")
        assert json.loads(row["payload"]) == {"id": "o-1", "total": "12.30"}
    assert len(await shop.events()) == 2
