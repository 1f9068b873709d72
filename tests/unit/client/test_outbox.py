"""What the library refuses before it talks to a database, and what it needs to be imported."""

from __future__ import annotations

import functools
import inspect
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest.mock import AsyncMock, create_autospec

import pytest

import outbox_operator.client
from outbox_operator.client import Event, EventError, Inbox, Outbox, SyncOutbox, event
from outbox_operator.errors import SpecError


class Connection:
    """Goes for an open one, as long as nothing is asked of it."""

    __module__ = "asyncpg.connection"

    def is_in_transaction(self) -> bool:
        raise AssertionError("it was looked at")


@pytest.mark.parametrize(
    ("outbox", "fields", "message"),
    [
        (Outbox(), {"payload": {"a": b""}}, r"payload\.a is bytes"),
        (Outbox(), {"payload": {}, "key": 7}, "key is int, wanted text"),
        (Outbox(), {"payload": {}, "key": "a\x00"}, "key holds a NUL character"),
        (Outbox(), {"payload": {}, "routing_key": ""}, "routing_key is empty"),
        (
            Outbox(max_bytes=100),
            {"payload": "ä" * 60},
            "are 122 bytes of jsonb text, at most 100 are allowed",
        ),
        (Outbox(payload_type="bytea"), {"payload": "text"}, "payload is str, wanted bytes"),
        (Outbox(), {"payload": object()}, "no JSON form here; pass a dict, a dataclass or a pyd"),
    ],
)
async def test_refuses_bad_events_before_it_looks_at_the_connection(
    outbox: Outbox, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(EventError, match=message):
        await outbox.add(Connection(), Event(type="order.created", **fields))


@event("order.paid")
@dataclass
class OrderPaid:
    id: int


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"id": 1}, "found dict; write Event(type=…, key=…, payload=…)"),
        (OrderPaid(1), "found OrderPaid; write Event.of(…)"),
    ],
)
async def test_what_is_no_event_is_told_how_one_is_written(given: Any, said: str) -> None:
    with pytest.raises(EventError) as error:
        await Outbox().add(Connection(), given)
    assert error.value.message == f"wanted an Event behind the connection, {said}"
    with pytest.raises(EventError) as error:
        Event.of(OrderPaid)
    assert error.value.message.endswith(
        "found the class OrderPaid itself; write Event.of(OrderPaid(…))"
    )


@pytest.mark.parametrize("given", [Event(type="order.paid", payload={}), None])
async def test_several_events_are_told_from_one(given: Any) -> None:
    with pytest.raises(EventError, match=r"wanted several events, .* one alone is written by add"):
        await Outbox().add_many(Connection(), given)
    with pytest.raises(EventError, match="wanted several events"):
        SyncOutbox().add_many(None, given)  # type: ignore[arg-type]


def test_refuses_a_payload_type_that_there_is_not() -> None:
    with pytest.raises(SpecError, match="payload_type: wanted jsonb or bytea, found 'json'"):
        Outbox(payload_type="json")  # type: ignore[arg-type]


async def test_refuses_what_is_no_connection() -> None:
    one = Event(type="order.created", payload={})
    with pytest.raises(TypeError, match=r"builtins\.str is not a connection"):
        await Outbox().add("postgresql://db", one)  # type: ignore[arg-type]


def test_what_nobody_awaits_is_refused_at_the_call() -> None:
    # In synchronous code: nothing of a coroutine that is thrown away runs, and `claim` seems true.
    with sqlite3.connect(":memory:") as connection:
        one = Event(type="order.created", payload={})
        outbox: Any = Outbox()
        inbox: Any = Inbox("billing")
        calls: list[Callable[[], object]] = [
            lambda: outbox.add(connection, one),
            lambda: outbox.add(connection=connection, event=one),
            lambda: outbox.add_many(connection, [one]),
            lambda: outbox.publish_after_commit(connection, one),
            lambda: inbox.claim(connection, one.id, source_topic="s", event_type="e"),
            lambda: inbox.finish(connection, one.id, 1.0),
            lambda: inbox.process_idempotent(
                connection, event_id=one.id, source_topic="s", event_type="e", payload=None,
                handler=lambda: None,
            ),
        ]  # fmt: skip
        for call in calls:
            with pytest.raises(TypeError, match="synchronous connections go to SyncOutbox"):
                call()
    connection.close()


@pytest.mark.parametrize("name", ["add", "add_many", "publish_after_commit"])
async def test_it_is_a_coroutine_function_to_those_who_ask(name: str) -> None:
    """Retries, spans and doubles: one that takes it for a plain function lets the error pass."""
    bound = getattr(Outbox(), name)
    assert inspect.iscoroutinefunction(bound)
    assert inspect.iscoroutinefunction(getattr(Outbox, name))
    assert inspect.iscoroutinefunction(functools.partial(bound, Connection()))
    assert inspect.signature(bound).return_annotation.startswith(("uuid", "list"))
    for double in (create_autospec(Outbox, instance=True), AsyncMock(spec=Outbox)):
        await getattr(double, name)(Connection(), Event(type="order.created", payload={}))
        getattr(double, name).assert_awaited_once()


async def test_calls_that_lack_something_are_told_what() -> None:
    outbox: Any = Outbox
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'event'"):
        await outbox.add(Connection(), Event(type="order.created", payload={}))
    with pytest.raises(TypeError, match="missing 2 required positional arguments"):
        await outbox().add()


@pytest.mark.parametrize("schema", ["Outbox", "out-box", "", 'a"; DROP TABLE x; --', "a" * 64])
def test_refuses_odd_schema_names(schema: str) -> None:
    with pytest.raises(SpecError, match="lower-case"):
        Outbox(schema=schema)


@pytest.mark.parametrize("schema", ["postgresql://shop:S3cr3t@db/shop", None])
def test_what_is_no_schema_is_not_repeated(schema: Any) -> None:
    for kind in (Outbox, lambda schema: Inbox("billing", schema=schema)):
        with pytest.raises(SpecError, match="schema") as caught:
            kind(schema=schema)
        assert "S3cr3t" not in str(caught.value)


@pytest.mark.parametrize("name", [b"postgresql://shop:S3cr3t@db/shop", None, "", "a\0"])
def test_what_is_no_name_of_a_consumer_is_not_repeated(name: Any) -> None:
    with pytest.raises(SpecError, match="consumer_name: wanted text, not empty, without NUL") as e:
        Inbox(name)
    assert "S3cr3t" not in str(e.value)


async def test_no_connection_at_all_is_told_where_there_is_one() -> None:
    one = Event(type="order.created", payload={})
    with pytest.raises(TypeError, match=r"only None; pass .* where its consumer has an inbox"):
        await Outbox().add(None, one)  # type: ignore[arg-type]


def test_offers_what_it_says() -> None:
    for name in outbox_operator.client.__all__:
        assert hasattr(outbox_operator.client, name)


def test_needs_the_standard_library_only() -> None:
    script = (
        "import sys; import outbox_operator.client, outbox_operator.consumer;"
        "print(sorted({m.partition('.')[0] for m in sys.modules} - set(sys.stdlib_module_names)"
        "- {'outbox_operator', '__main__', '__mp_main__'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = {name for name in eval(done.stdout) if not name.startswith(("_", "sitecustomize"))}
    assert loaded == set()
