"""Handling each event once, through each driver."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import uuid
from collections.abc import Awaitable
from typing import Any

import pytest

from outbox_operator.client import EventError, Inbox, SyncInbox, sync_drivers
from outbox_operator.errors import OutboxError
from support.shop import DRIVERS, SYNC_DRIVERS, Insert, Open, Shop
from support.waiting import eventually

pytestmark = pytest.mark.integration

EVENT = uuid.UUID("0b0f7a2e-7d46-4c5e-8f0a-3c3b8a2d9c11")


@pytest.fixture(params=[*DRIVERS, *SYNC_DRIVERS])
def opened(request: pytest.FixtureRequest) -> Open:
    """Opens a transaction; each test runs with each driver of both inboxes."""
    return {**DRIVERS, **SYNC_DRIVERS}[request.param]


async def handle(
    connection: object,
    insert: Insert,
    order: str,
    consumer: str = "billing",
    schema: str = "outbox",
    **options: Any,
) -> bool:
    """What an application does with each event."""
    is_async = _is_async(connection)
    inbox: Any = (Inbox if is_async else SyncInbox)(consumer, schema=schema)
    call: dict[str, Any] = {
        "event_id": EVENT,
        "source_topic": "orders.order.created",
        "event_type": "order.created",
        "payload": {"order": order},
        "handler": (lambda: insert(order)) if is_async else (lambda: at_once(insert(order))),
    }
    result = inbox.process_idempotent(connection, **call | options)
    return bool(await result if is_async else result)


def _is_async(connection: object) -> bool:
    try:
        sync_drivers.driver_of(connection)
    except TypeError:
        return True
    return False


def at_once(awaitable: Awaitable[None]) -> None:
    """Run to the end what waits for nothing."""
    with pytest.raises(StopIteration):
        awaitable.__await__().__next__()


async def test_the_second_time_the_handler_is_not_called(shop: Shop, opened: Open) -> None:
    async with opened(shop.url) as (connection, insert):
        assert await handle(connection, insert, "o-1") is True
    async with opened(shop.url) as (connection, insert):
        assert await handle(connection, insert, "o-2") is False
    assert await shop.orders() == ["o-1"]
    [row] = await shop.owner.fetch("SELECT * FROM outbox.consumer_inbox")
    assert row["consumer_name"] == "billing"
    assert row["source_topic"] == "orders.order.created"
    assert row["event_type"] == "order.created"
    assert row["payload"] == b'{"order":"o-1"}'
    assert row["processing_duration_ms"] >= 0


async def test_a_rolled_back_handling_does_not_count(shop: Shop, opened: Open) -> None:

    async def failing() -> None:
        async with opened(shop.url) as (connection, insert):
            await handle(connection, insert, "o-1")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await failing()
    async with opened(shop.url) as (connection, insert):
        assert await handle(connection, insert, "o-2") is True
    assert await shop.orders() == ["o-2"]


async def test_consumers_do_not_share_what_they_handled(shop: Shop, opened: Open) -> None:
    for name in ("billing", "shipping"):
        async with opened(shop.url) as (connection, insert):
            assert await handle(connection, insert, name, name) is True
    assert await shop.orders() == ["billing", "shipping"]


async def test_an_event_that_a_replay_sends_again_is_new_once(shop: Shop, opened: Open) -> None:
    """With the very ids that the consumer runtime has for it."""
    async with opened(shop.url) as (connection, insert):
        assert await handle(connection, insert, "first") is True
    for place, expected in (("again", True), ("once-more", False)):
        async with opened(shop.url) as (connection, insert):
            new = await handle(connection, insert, place, replay="monday.1a2b3c4d")
        assert new is expected
    assert sorted(await shop.orders()) == ["again", "first"]
    rows = await shop.owner.fetch(
        "SELECT event_id, processing_duration_ms FROM outbox.consumer_inbox"
    )
    assert {row["event_id"] for row in rows} == {EVENT, uuid.uuid5(EVENT, "monday.1a2b3c4d")}
    assert all(row["processing_duration_ms"] >= 0 for row in rows)


@pytest.mark.parametrize("opened", DRIVERS, indirect=True)
async def test_a_second_transaction_waits_for_the_first(shop: Shop, opened: Open) -> None:

    async def second() -> bool:
        async with opened(shop.url) as (connection, insert):
            return await handle(connection, insert, "o-2")

    async with opened(shop.url) as (connection, insert):
        assert await handle(connection, insert, "o-1") is True
        task = asyncio.create_task(second())

        async def waiting() -> bool:
            return bool(
                await shop.owner.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted")
            )

        await eventually(waiting, "the second one waits")
    assert await task is False
    assert await shop.orders() == ["o-1"]


@pytest.mark.parametrize("opened", ["sync-psycopg"], indirect=True)
async def test_an_async_handler_of_a_synchronous_inbox_is_refused(shop: Shop, opened: Open) -> None:
    async def never() -> None:
        raise AssertionError

    with pytest.raises(TypeError, match="the handler is async, so that nothing of it ran"):
        async with opened(shop.url) as (connection, _):
            SyncInbox("billing").process_idempotent(
                connection, event_id=EVENT, source_topic="s", event_type="e", payload=None,
                handler=never,
            )  # fmt: skip
    assert await shop.owner.fetchval("SELECT count(*) FROM outbox.consumer_inbox") == 0


@pytest.mark.parametrize("opened", ["asyncpg", "sync-psycopg"], indirect=True)
@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        ({"event_id": "o-1"}, EventError, "event_id is 'o-1', wanted a uuid.UUID"),
        ({"event_id": None}, EventError, "event_id is None, wanted a uuid.UUID"),
        ({"source_topic": None}, EventError, f"event {EVENT}: source_topic is None, wanted text"),
        ({"event_type": "a\0"}, EventError, f"event {EVENT}: event_type is 'a.x00', wanted text"),
        ({"event_id": "-" * 1_000_000}, EventError, f"event_id is '{'-' * 90}"),
        ({"event_type": "\ud800"}, EventError, f"event {EVENT}: event_type is .*, wanted text"),
        ({"handler": None}, TypeError, "handler is NoneType, wanted a function"),
    ],
)
async def test_what_cannot_be_is_refused_before_anything_is_written(
    wrong: dict[str, Any], error: type[Exception], said: str, shop: Shop, opened: Open
) -> None:
    async with opened(shop.url) as (connection, insert):
        with pytest.raises(error, match=said):
            await handle(connection, insert, "o-1", **wrong)
        assert await handle(connection, insert, "o-2") is True  # the transaction is usable
    assert await shop.orders() == ["o-2"]


async def test_an_id_may_be_text_as_headers_have_it(shop: Shop, opened: Open) -> None:
    async with opened(shop.url) as (connection, insert):
        assert await handle(connection, insert, "o-1", event_id=str(EVENT)) is True
        assert await handle(connection, insert, "o-2", event_id=EVENT) is False
        assert await handle(connection, insert, "o-3", event_id=str(EVENT), replay="r") is True


async def test_a_handler_that_is_not_async_is_refused(shop: Shop) -> None:
    with pytest.raises(TypeError, match="the handler is not async: it returned NoneType"):
        async with DRIVERS["asyncpg"](shop.url) as (connection, _):
            await handle(connection, at_once, "o-1", handler=lambda: None)  # type: ignore[arg-type]
    assert await shop.owner.fetchval("SELECT count(*) FROM outbox.consumer_inbox") == 0


async def test_an_inbox_that_is_not_there_is_explained(shop: Shop, opened: Open) -> None:
    with pytest.raises(Exception, match="elsewhere") as caught:
        async with opened(shop.url) as (connection, insert):
            await handle(connection, insert, "o-1", schema="elsewhere")
    assert not isinstance(caught.value, OutboxError)
    [note] = caught.value.__notes__
    assert note.startswith("elsewhere.consumer_inbox is not in this database: `schema` has to be")


def _generator() -> Any:
    yield


RETURNED: dict[str, Any] = {
    "a function": handle,
    "a method": "".join,
    "a generator": _generator(),
    "a partial": functools.partial(print),
    "a future": concurrent.futures.Future(),
}


@pytest.mark.parametrize("name", RETURNED)
@pytest.mark.parametrize("opened", ["asyncpg", "sync-psycopg"], indirect=True)
async def test_work_that_a_handler_returns_is_not_taken_for_done(
    name: str, shop: Shop, opened: Open
) -> None:
    async def later() -> Any:
        return RETURNED[name]

    with contextlib.suppress(ZeroDivisionError):
        async with opened(shop.url) as (connection, insert):
            handler = later if _is_async(connection) else lambda: RETURNED[name]
            with pytest.raises(TypeError, match=r"the handler returned .*, of which nothing ran"):
                await handle(connection, insert, "o-1", handler=handler)
            raise ZeroDivisionError  # as the caller's transaction would end
    assert await shop.owner.fetchval("SELECT count(*) FROM outbox.consumer_inbox") == 0
