"""What becomes of events without servers is what becomes of them with servers."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, replace
from typing import Any

import pytest
from nats.aio.client import Client

from outbox_operator.consumer import Context, DeadLetter, Handlers, ReceivedEvent, Retry, RetryAfter
from outbox_operator.testing import RunningHandlers
from support.consuming import Source, calling, consuming

pytestmark = pytest.mark.integration


@dataclass
class Order:
    id: int
    total: int = 0


class RefusedError(Exception):
    """What one handler gives up on."""


def application(calls: list[Any]) -> Handlers:
    """Handlers for every way that an event can go."""
    app = Handlers()

    @app.handler("handled")
    async def handled(order: Order, event: ReceivedEvent, context: Context) -> None:
        calls.append((event.type, order, event.key, event.headers["Tenant"], context.connection))

    @app.handler("in.a.thread")
    def in_a_thread(event: ReceivedEvent, context: Context) -> None:
        calls.append((event.type, event.json(), event.is_json, context.deliveries))

    @app.handler("third.time")
    async def third_time(event: ReceivedEvent, context: Context) -> RetryAfter | None:
        calls.append((event.type, context.deliveries))
        return RetryAfter() if context.deliveries < 3 else None

    @app.handler("fails")
    async def fails(event: ReceivedEvent, context: Context) -> None:
        calls.append((event.type, context.deliveries))
        raise ValueError("no such order")

    @app.handler("fails.less", retry=Retry(max_deliver=2, backoff=(0.02,), give_up_on=RefusedError))
    async def fails_less(order: Order) -> None:
        calls.append(("fails.less", order.id))
        raise RefusedError("stolen") if order.id == 2 else ValueError("no such order")

    @app.handler("refused")
    async def refused(event: ReceivedEvent) -> None:
        raise DeadLetter("negative total")

    @app.handler("means.nothing")
    async def means_nothing(event: ReceivedEvent) -> Any:
        calls.append(event.type)
        return 7

    @app.batch("many", size=10)
    async def many(orders: list[Order]) -> None:
        calls.extend(("many", order.id) for order in orders)

    return app


EVENTS: list[tuple[str, Any]] = [
    ("handled", {"id": 1}),
    ("handled", {"id": "x"}),
    ("in.a.thread", [1, "é"]),
    ("third.time", None),
    ("fails", None),
    ("fails.less", {"id": 1}),
    ("fails.less", {"id": 2}),
    ("refused", None),
    ("means.nothing", None),
    ("nobodys", None),
    ("many", {"id": 3}),
]


async def test_an_event_ends_as_it_does_with_servers(client: Client, stream_prefix: str) -> None:
    source = await Source.create(
        client, stream_prefix, max_deliver=4, breaker_failures=0, concurrency=1
    )
    real: list[Any] = []
    ids = [
        await source.publish(payload, type=kind, Tenant="t", **{"Ce-Partitionkey": "k"})
        for kind, payload in EVENTS
    ]
    config = replace(source.config, consumer="handlers")
    async with consuming(config, calling(application(real), name="handlers")):
        await source.settled(len(EVENTS))
    letters = {
        str((letter.headers or {})["Ce-Id"]): str(
            (letter.headers or {})["Outbox-Dead-Letter-Error"]
        )
        for letter in await source.dead_letters()
    }

    alone: list[Any] = []
    async with RunningHandlers(application(alone), max_deliver=4) as handlers:
        ends = [
            await handlers.settle(kind, payload, key="k", headers={"Tenant": "t"})
            for kind, payload in EVENTS
        ]
    assert sorted(alone, key=str) == sorted(real, key=str)
    for (kind, _), event_id, handled in zip(EVENTS, ids, ends, strict=True):
        said = letters.get(event_id)
        assert (handled.end == "ack") == (said is None), kind
        assert handled.reason == (said or ""), kind
    assert [handled.end for handled in ends if handled.end != "ack"] == [
        "dead_letter", "dead_letter", "dead_letter", "dead_letter", "dead_letter", "dead_letter",
        "unhandled",
    ]  # fmt: skip
    assert [handled.attempts for handled in ends] == [1, 1, 1, 3, 4, 2, 1, 1, 1, 1, 1]
    assert isinstance(ends[6].error, RefusedError)


async def test_one_attempt_and_a_batch_are_told_as_they_are() -> None:
    calls: list[Any] = []
    app = application(calls)

    @app.handler("closed")
    async def closed(event: ReceivedEvent) -> None:
        raise RetryAfter(60, "warehouse closed")

    @app.batch("mixed", size=10)
    async def mixed(orders: list[Order]) -> list[DeadLetter | None]:
        return [None if order.total else DeadLetter("no total") for order in orders]

    @app.on_startup
    async def start() -> None:
        calls.append("start")

    @app.on_connect
    async def connect(connection: Any) -> None:
        calls.append(connection)

    @app.on_shutdown
    def stop() -> None:
        calls.append("stop")

    async with RunningHandlers(app, connection="c", backoff=(5.0,)) as handlers:
        failed = await handlers.deliver("fails", attempt=2)
        assert (failed.end, failed.seconds, failed.attempts) == ("retry", 5.0, 2)
        assert isinstance(failed.error, ValueError)
        put_off = await handlers.settle("closed")
        assert (put_off.end, put_off.seconds, put_off.reason) == (
            "put_off", 60.0, "warehouse closed",
        )  # fmt: skip
        ends = await handlers.deliver_batch("mixed", [Order(1, 5), dataclasses.asdict(Order(2))])
        assert [one.end for one in ends] == ["ack", "dead_letter"]
        await handlers.deliver("handled", Order(3), headers={"Tenant": "t"})
    assert calls == ["start", "c", ("fails", 2), ("handled", Order(3), "", "t", "c"), "stop"]
