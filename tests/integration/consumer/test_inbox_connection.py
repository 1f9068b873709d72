"""What a handler does to the connection it is lent: said if it matters, and undone after it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal
from uuid import UUID, uuid4

import asyncpg
import pytest
from nats.aio.client import Client

from outbox_operator.client import Event, Inbox, Outbox
from outbox_operator.consumer import Context, Handlers, ReceivedEvent
from outbox_operator.wire.config import ConsumerConfig, InboxConfig
from support.consuming import Source, calling, consuming, metric, readiness
from support.outbox import migrate_inbox
from support.waiting import eventually

pytestmark = pytest.mark.integration

Mode = Literal["PerEvent", "PerShard"]
MODES: list[Mode] = ["PerEvent", "PerShard"]


@dataclass(frozen=True)
class Shop:
    """A stream whose consumer has an inbox, and one connection for it."""

    source: Source
    url_file: Path
    owner: asyncpg.Connection[asyncpg.Record]

    async def effects(self) -> list[str]:
        rows = await self.owner.fetch("SELECT event_type FROM effects ORDER BY number")
        return [row["event_type"] for row in rows]

    def config(self, mode: Mode = "PerEvent", **settings: Any) -> ConsumerConfig:
        inbox = InboxConfig(url_file=str(self.url_file), mode=mode)
        return replace(self.source.python(), inbox=inbox, concurrency=1, **settings)

    async def publish(self, *kinds: str) -> None:
        for number, kind in enumerate(kinds, 1):
            headers = {"Outbox-Shard": "0", "Outbox-Emission": str(number)}
            await self.source.publish(type=kind, **headers)


@pytest.fixture
async def shop(
    client: Client, stream_prefix: str, database: str, tmp_path: Path
) -> AsyncIterator[Shop]:
    await migrate_inbox(database)
    owner = await asyncpg.connect(database)
    await owner.execute("CREATE TABLE effects (number bigserial, event_type text)")
    url_file = tmp_path / "url"
    url_file.write_text(database)
    source = await Source.create(client, stream_prefix, max_deliver=3)
    await source.create_ordered()
    yield Shop(source, url_file, owner)
    await owner.close()


async def write(event: ReceivedEvent, context: Context) -> None:
    await context.connection.execute("INSERT INTO effects (event_type) VALUES ($1)", event.type)


ENDS = {
    "COMMIT": ["COMMIT"],
    "COMMIT and BEGIN": ["COMMIT", "BEGIN"],
    "COMMIT and a broken transaction": ["COMMIT", "BEGIN", "SELECT 1/0"],
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("end", [*ENDS, "COMMIT and close"])
async def test_a_handler_that_commits_and_fails_is_called_again(
    end: str, mode: Mode, shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    attempts: list[int] = []

    async def handle(event: ReceivedEvent, context: Context) -> None:
        attempts.append(context.deliveries)
        await write(event, context)
        if len(attempts) < 2:
            for statement in ENDS.get(end, ["COMMIT"]):
                await context.connection.execute(statement)
            if end == "COMMIT and close":
                await context.connection.close()
            raise ValueError("the mail server is away")

    await shop.publish("order.created")
    async with consuming(shop.config(mode), calling(handle)) as app:
        await shop.source.settled(1)
        assert metric(app, "outbox_consumer_duplicates_total") == 0
        assert metric(app, "outbox_consumer_errors_total", reason="TransactionEnded") == 1
    assert len(attempts) == 2
    assert await shop.effects() == ["order.created"] * 2
    assert "handler tests:handler committed the transaction of the inbox and failed" in caplog.text


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("end", [["COMMIT"], ["COMMIT", "BEGIN"]], ids=" and ".join)
async def test_a_handler_that_commits_and_succeeds_is_told(
    end: list[str], mode: Mode, shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    async def handle(event: ReceivedEvent, context: Context) -> None:
        await write(event, context)
        for statement in end:
            await context.connection.execute(statement)

    await shop.publish("a", "b")
    async with consuming(shop.config(mode), calling(handle)) as app:
        await shop.source.settled(2)
        assert metric(app, "outbox_consumer_errors_total", reason="TransactionEnded") >= 1
    assert sorted(set(await shop.effects())) == ["a", "b"]
    assert "handler tests:handler committed the transaction of the inbox" in caplog.text


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("end", [["ROLLBACK"], ["ROLLBACK", "BEGIN"]], ids=" and ".join)
async def test_a_handler_that_rolls_back_has_failed(end: list[str], mode: Mode, shop: Shop) -> None:
    async def handle(event: ReceivedEvent, context: Context) -> None:
        await write(event, context)
        if event.type == "bad":
            for statement in end:
                await context.connection.execute(statement)

    await shop.publish("a", "bad", "b")
    async with consuming(shop.config(mode), calling(handle)):
        await shop.source.settled(3)
    assert await shop.effects() == ["a", "b"]
    [letter] = await shop.source.dead_letters()
    error = (letter.headers or {})["Outbox-Dead-Letter-Error"]
    assert "handler tests:handler rolled back the transaction of the inbox" in error


class Counting(Outbox):
    """An application's own."""

    async def add(self, connection: Any, event: Event) -> UUID:
        return await super().add(connection, event)


async def _statement(connection: Any) -> None:
    connection.execute("TABLE effects")


async def _of_an_outbox(connection: Any) -> None:
    Outbox().add(connection, Event(type="order.seen", payload={}))  # type: ignore[unused-coroutine]


async def _of_an_outbox_of_ones_own(connection: Any) -> None:
    Counting().add(connection, Event(type="order.seen", payload={}))  # type: ignore[unused-coroutine]


async def _of_an_inbox(connection: Any) -> None:
    Inbox("other").finish(connection, uuid4(), 1.0)  # type: ignore[unused-coroutine]


async def _prepared(connection: Any) -> None:
    statement = await connection.prepare(
        "INSERT INTO effects (event_type) VALUES ('p') RETURNING 1"
    )
    statement.fetchval()


async def _rollback_of_a_savepoint(connection: Any) -> None:
    savepoint = connection.transaction()
    await savepoint.start()
    await connection.execute("INSERT INTO effects (event_type) VALUES ('to be undone')")
    savepoint.rollback()


async def _of_a_cursor(connection: Any) -> None:
    cursor = await connection.cursor("TABLE effects")
    cursor.fetch(1)


async def _of_a_cursor_of_a_prepared_statement(connection: Any) -> None:
    statement = await connection.prepare("TABLE effects")
    cursor = await statement.cursor()
    cursor.fetch(1)


LEFT_OUT: list[Callable[[Any], Awaitable[None]]] = [
    _statement, _of_an_outbox, _of_an_outbox_of_ones_own, _of_an_inbox, _prepared,
    _rollback_of_a_savepoint, _of_a_cursor, _of_a_cursor_of_a_prepared_statement,
]  # fmt: skip


@pytest.mark.parametrize("left_out", LEFT_OUT)
@pytest.mark.parametrize("mode", MODES)
async def test_what_a_handler_does_not_await_is_not_taken_for_done(
    mode: Mode, left_out: Callable[[Any], Awaitable[None]], shop: Shop
) -> None:
    """Nothing of it ran: the event would be remembered as handled, and its effect never written."""

    async def handle(event: ReceivedEvent, context: Context) -> None:
        if event.type == "bad":
            await left_out(context.connection)
        else:
            await write(event, context)

    await shop.publish("a", "bad", "b")
    async with consuming(shop.config(mode), calling(handle)):
        await shop.source.settled(3)
    assert await shop.effects() == ["a", "b"]
    [letter] = await shop.source.dead_letters()
    error = (letter.headers or {})["Outbox-Dead-Letter-Error"]
    assert "handler tests:handler never awaited what it asked of context.connection" in error
    assert "test_inbox_connection.py:" in error


@pytest.mark.parametrize("mode", MODES)
async def test_what_comes_of_a_connection_works_as_ever(mode: Mode, shop: Shop) -> None:
    async def handle(event: ReceivedEvent, context: Context) -> None:
        connection = context.connection
        statement = await connection.prepare("INSERT INTO effects (event_type) VALUES ($1)")
        await statement.executemany([(event.type,)])
        with contextlib.suppress(ZeroDivisionError):
            async with connection.transaction():
                await write(event, context)
                raise ZeroDivisionError
        async for row in connection.cursor("SELECT event_type FROM effects"):
            assert row[0]
        cursor = await connection.cursor("SELECT 1")
        assert await cursor.fetchrow() is not None
        assert await (await connection.prepare("SELECT 1")).fetchval() == 1

    await shop.publish("a", "b")
    async with consuming(shop.config(mode), calling(handle)):
        await shop.source.settled(2)
    assert await shop.effects() == ["a", "b"]


async def test_a_task_of_a_handler_is_waited_for(shop: Shop) -> None:
    """What goes on would be cut off in the middle."""
    tasks = []

    async def handle(event: ReceivedEvent, context: Context) -> None:
        tasks.append(asyncio.create_task(context.connection.execute("SELECT pg_sleep(0.3)")))
        await asyncio.sleep(0.05)

    await shop.publish("bad")
    async with consuming(shop.config(), calling(handle)):
        await shop.source.settled(1)
    [letter] = await shop.source.dead_letters()
    error = (letter.headers or {})["Outbox-Dead-Letter-Error"]
    assert "did not wait for the end of what it asked of context.connection at" in error
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [1, 5])
async def test_who_throws_away_what_is_prepared_hits_nobody_else(
    mode: Mode, size: int, shop: Shop
) -> None:
    handlers = Handlers()

    @handlers.batch("bad", size=size)
    async def throw_away(events: list[ReceivedEvent], context: Context) -> None:
        await context.connection.execute("DEALLOCATE ALL")

    @handlers.handler("good")
    async def handle(event: ReceivedEvent, context: Context) -> None:
        await write(event, context)

    await shop.publish("good", *["bad"] * size, "good", "good")
    async with consuming(shop.config(mode), calling(handlers)):
        await shop.source.settled(3 + size)
    assert await shop.effects() == ["good"] * 3
    letters = await shop.source.dead_letters()
    assert {(letter.headers or {})["Ce-Type"] for letter in letters} <= {"bad"}


async def test_an_open_savepoint_is_committed_with_the_rest(shop: Shop) -> None:
    async def handle(event: ReceivedEvent, context: Context) -> None:
        await context.connection.execute("SAVEPOINT mine")
        await write(event, context)

    await shop.publish("a", "b")
    async with consuming(shop.config(), calling(handle)):
        await shop.source.settled(2)
    assert await shop.effects() == ["a", "b"]


async def set_codec(connection: Any) -> None:
    await connection.set_type_codec(
        "json", schema="pg_catalog", encoder=json.dumps, decoder=json.loads
    )


async def listen(connection: Any) -> None:
    await connection.add_listener("orders", print)


def sql(text: str) -> Callable[[Any], Awaitable[None]]:
    async def execute(connection: Any) -> None:
        await connection.execute(text)

    return execute


LEFT: dict[str, tuple[Callable[[Any], Awaitable[None]], str, object]] = {
    "type codec": (set_codec, "SELECT '[1]'::json", "[1]"),
    "setting": (sql("SET work_mem = '1MB'"), "SHOW work_mem", "4MB"),
    "role": (sql("SET ROLE helper"), "SELECT current_user = session_user", True),
    "temporary table": (
        sql("CREATE TEMP TABLE mine ()"), "SELECT to_regclass('pg_temp.mine')::text", None,
    ),
    "advisory lock": (
        sql("SELECT pg_advisory_lock(7)"),
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 7", 0,
    ),
    "LISTEN": (listen, "SELECT count(*) FROM pg_listening_channels()", 0),
    "cursor": (
        sql("DECLARE mine CURSOR WITH HOLD FOR SELECT 1"),
        "SELECT count(*) FROM pg_cursors WHERE name = 'mine'", 0,
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*active notification listener")
@pytest.mark.parametrize("what", LEFT)
async def test_what_a_handler_leaves_does_not_reach_the_next_event(what: str, shop: Shop) -> None:
    leave, look, clean = LEFT[what]
    if what == "role":
        await shop.owner.execute("CREATE ROLE helper SUPERUSER")
    seen: list[object] = []

    async def handle(event: ReceivedEvent, context: Context) -> None:
        if event.type == "leaves":
            await leave(context.connection)
        else:
            seen.append(await context.connection.fetchval(look))

    await shop.publish("looks", "leaves", "looks")
    async with consuming(shop.config(), calling(handle)):
        await shop.source.settled(3)
    if what == "role":
        await shop.owner.execute("DROP ROLE helper")
    assert seen == [clean, clean]
    assert await shop.source.dead_letters() == []


async def test_codecs_have_a_hook_and_the_connection_is_kept(shop: Shop) -> None:
    app = Handlers()
    app.on_connect(set_codec)
    seen: list[tuple[int, object]] = []

    @app.handler(">")
    async def handle(event: ReceivedEvent, context: Context) -> None:
        value = await context.connection.fetchval("SELECT '[1]'::json")
        seen.append((context.connection.get_server_pid(), value))

    await shop.publish("a", "b", "c")
    async with consuming(shop.config(), calling(app)):
        await shop.source.settled(3)
    assert [value for _, value in seen] == [[1]] * 3
    assert len({pid for pid, _ in seen}) == 1


async def test_a_hook_that_fails_is_said_and_costs_no_event(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    app = Handlers()
    ready = asyncio.Event()

    @app.on_connect
    async def connect(connection: Any) -> None:
        if not ready.is_set():
            raise ValueError("no such type")

    app.handler(">")(write)
    await shop.publish("a")
    async with consuming(shop.config(max_deliver=1), calling(app)) as running:

        async def said() -> bool:
            status, checks = await readiness(running)
            return status == 503 and "connect failed" in checks["inbox"]["reason"]

        await eventually(said, "the reason on /readyz")
        ready.set()
        await shop.source.settled(1)
    assert await shop.effects() == ["a"]
    assert await shop.source.dead_letters() == []


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("end", ["fails", "returns"])
async def test_what_a_handler_left_running_writes_nothing_behind_its_transaction(
    end: str, mode: Mode, shop: Shop
) -> None:
    left: list[asyncio.Task[None]] = []

    async def behind(event: ReceivedEvent, context: Context) -> None:
        while context.connection.is_in_transaction():  # noqa: ASYNC110 - the very next turn
            await asyncio.sleep(0)
        await write(event, context)

    async def handle(event: ReceivedEvent, context: Context) -> None:
        left.append(asyncio.create_task(behind(event, context)))
        await asyncio.sleep(0)
        if end == "fails" and len(left) < 2:
            raise ValueError("no card")

    await shop.publish("order")
    async with consuming(shop.config(mode), calling(handle)):
        await shop.source.settled(1)
        ended = await asyncio.gather(*left, return_exceptions=True)
    assert await shop.effects() == []
    assert [type(error) for error in ended] == [asyncpg.InterfaceError] * len(left)
    assert "await what uses it before the handler returns" in str(ended[0])
