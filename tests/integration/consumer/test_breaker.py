"""A failing dependency: fetching stops, one event at a time is tried, no event is lost to it."""

from __future__ import annotations

import json
import time

import pytest
from aiohttp import web
from nats.aio.client import Client

from outbox_operator.consumer import Handlers, ReceivedEvent, breaker, progress
from support.consuming import (
    Endpoint,
    Request,
    Source,
    accept,
    answering,
    calling,
    consuming,
    metric,
    readiness,
)
from support.waiting import eventually

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses that do not make the suite wait."""
    monkeypatch.setattr(breaker, "FIRST_PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(breaker, "LONGEST_PAUSE_SECONDS", 0.2)
    monkeypatch.setattr(progress, "FAILING_AFTER_SECONDS", 0.3)


async def test_an_endpoint_that_fails_for_long_costs_no_event(
    client: Client, stream_prefix: str, endpoint: Endpoint
) -> None:
    source = await Source.create(
        client, stream_prefix, max_deliver=2, concurrency=4, breaker_failures=5
    )
    endpoint.answer = answering(500)
    for _ in range(60):
        await source.publish()
    async with consuming(source.http(endpoint)) as app:
        await eventually(lambda: metric(app, "outbox_consumer_circuit_open"), "circuit open")

        async def reported() -> bool:
            status, checks = await readiness(app)
            return status == 503 and "answered 500" in checks["handler"]["reason"]

        await eventually(reported, "readiness says why")
        asked = len(endpoint.requests)
        await eventually(lambda: len(endpoint.requests) >= asked + 10, "tries go on")
        # Those that failed before the circuit opened may have used up their deliveries.
        info = await source.info()
        assert info.num_pending > 30, "the others are not even fetched"
        endpoint.answer = accept
        await source.settled(60)
        assert metric(app, "outbox_consumer_circuit_open") == 0
        assert metric(app, "outbox_consumer_circuit_openings_total") >= 1
    letters = await source.dead_letters()
    assert len(letters) <= 4, "only what failed twice before the circuit opened"


async def test_one_bad_kind_of_event_stops_nothing_while_others_succeed(
    client: Client, stream_prefix: str, endpoint: Endpoint
) -> None:
    source = await Source.create(client, stream_prefix, max_deliver=3, breaker_failures=8)

    async def answer(request: Request) -> web.Response:
        return web.Response(status=500 if json.loads(request.body)["n"] % 4 == 0 else 204)

    endpoint.answer = answer
    for number in range(80):
        await source.publish({"n": number})
    async with consuming(source.http(endpoint)):
        await source.settled(80)
    dead = {json.loads(letter.data or b"")["n"] for letter in await source.dead_letters()}
    assert dead == set(range(0, 80, 4))


async def test_an_endpoint_that_refuses_events_works(
    client: Client, stream_prefix: str, endpoint: Endpoint
) -> None:
    source = await Source.create(client, stream_prefix, breaker_failures=2, concurrency=2)
    endpoint.answer = answering(500)
    for _ in range(4):
        await source.publish()
    async with consuming(source.http(endpoint)) as app:
        await eventually(lambda: metric(app, "outbox_consumer_circuit_open"), "circuit open")
        endpoint.answer = answering(400)
        await source.settled(4)
        assert metric(app, "outbox_consumer_circuit_open") == 0


async def test_what_nobody_takes_says_nothing_of_the_handler(
    client: Client, stream_prefix: str
) -> None:
    source = await Source.create(
        client, stream_prefix, breaker_failures=2, concurrency=8, max_deliver=50
    )
    app = Handlers()
    works = False

    @app.handler("order.created")
    async def handle(event: ReceivedEvent) -> None:
        if not works:
            raise ConnectionError("no database")

    for _ in range(2):
        await source.publish()
    for _ in range(20):
        await source.publish(type="strange")
    async with consuming(source.config, calling(app)) as running:
        await eventually(lambda: metric(running, "outbox_consumer_circuit_open"), "circuit open")

        async def others_are() -> bool:
            return len(await source.dead_letters()) == 20

        await eventually(others_are, "dead letters of what nobody takes")
        assert metric(running, "outbox_consumer_circuit_open") == 1
        assert metric(running, "outbox_consumer_circuit_openings_total") == 1
        works = True
        await source.settled(22)
        assert metric(running, "outbox_consumer_circuit_open") == 0


async def test_an_endpoint_that_is_asked_too_much_as_it_comes_back_is_not_hammered(
    client: Client, stream_prefix: str, endpoint: Endpoint
) -> None:
    source = await Source.create(client, stream_prefix, breaker_failures=3, concurrency=4)
    failed: set[str] = set()
    tries: list[float] = []
    busy = True

    async def answer(request: Request) -> web.Response:
        if len(failed) < 3:
            failed.add(request.id)
            return web.Response(status=500)
        tries.append(time.monotonic())
        return web.Response(status=429 if busy else 204, headers={"Retry-After": "0"})

    endpoint.answer = answer
    for _ in range(100):
        await source.publish()
    async with consuming(source.http(endpoint)) as app:
        await eventually(lambda: len(tries) > 10, "it is tried")
        assert metric(app, "outbox_consumer_circuit_open") == 1
        assert tries[10] - tries[5] > 0.4, "with a pause each time"
        busy = False
        await source.settled(100)
        assert metric(app, "outbox_consumer_circuit_open") == 0
    assert await source.dead_letters() == []


async def test_an_endpoint_that_comes_back_to_answer_500_is_not_away(
    client: Client, stream_prefix: str, endpoint: Endpoint
) -> None:
    """Where failures do not open the circuit, bad events become dead letters as ever."""
    source = await Source.create(
        client, stream_prefix, max_deliver=2, concurrency=4, breaker_failures=0
    )

    async def answer(request: Request) -> web.Response:
        return web.Response(status=500 if json.loads(request.body)["n"] < 40 else 204)

    endpoint.answer = answer
    config = source.http(endpoint)
    await endpoint.stop()
    for number in range(60):
        await source.publish({"n": number})
    async with consuming(config) as app:
        await eventually(lambda: metric(app, "outbox_consumer_circuit_open"), "circuit open")
        await endpoint.start()
        await source.settled(60)
        assert metric(app, "outbox_consumer_circuit_open") == 0
    assert len(await source.dead_letters()) == 40
