"""Endpoints that are asked too much, restart, or cannot be reached: no event is given up for it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest
from aiohttp import web
from nats.aio.client import Client

from outbox_operator.consumer import Context, ReceivedEvent, RetryAfter, breaker, disposition, loop
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
    monkeypatch.setattr(disposition, "UNANSWERED_FIRST_SECONDS", 0.05)
    monkeypatch.setattr(disposition, "UNANSWERED_LONGEST_SECONDS", 0.1)


class Limited:
    """Takes so many requests in each second."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._taken: Counter[int] = Counter()

    async def __call__(self, _: Request) -> web.Response:
        second = int(time.monotonic())
        if self._taken[second] >= self._rate:
            return web.Response(status=429, headers={"Retry-After": "1"})
        self._taken[second] += 1
        return web.Response(status=204)


@pytest.mark.parametrize("ordering", ["None", "PerKey"])
async def test_a_rate_limit_slows_the_pod_down_and_costs_no_event(
    client: Client, stream_prefix: str, endpoint: Endpoint, ordering: str
) -> None:
    source = await Source.create(client, stream_prefix, max_deliver=2, ordering=ordering)
    if ordering == "PerKey":
        await source.create_ordered()
    endpoint.answer = Limited(10)
    sent = [await source.publish(**{"Ce-Partitionkey": f"k{n % 10}"}) for n in range(40)]
    async with consuming(source.http(endpoint)) as app:
        await source.settled(40)
        labels = {"outcome": "put_off", "event_type": "order.created"}
        assert metric(app, "outbox_consumer_processed_total", **labels) > 0
    assert await source.dead_letters() == []
    assert set(endpoint.ids()) == set(sent)
    assert len(endpoint.requests) < 2.5 * len(sent), "it is not hammered"


async def test_not_now_ends_only_by_order(
    client: Client, stream_prefix: str, endpoint: Endpoint
) -> None:
    source = await Source.create(client, stream_prefix, max_deliver=1, give_up_after_seconds=1.0)
    endpoint.answer = answering(429, Retry_After="0")
    await source.publish()
    async with consuming(source.http(endpoint)):
        await source.settled(1)
    [letter] = await source.dead_letters()
    headers = letter.headers or {}
    assert headers["Outbox-Dead-Letter-Reason"] == "PutOffTooLong"
    assert "answered 429" in headers["Outbox-Dead-Letter-Error"]
    assert len(endpoint.requests) > 1


async def test_a_function_that_says_not_now_is_asked_again_as_often_as_it_likes(
    client: Client, stream_prefix: str
) -> None:
    source = await Source.create(client, stream_prefix, max_deliver=2)
    seen: list[int] = []

    async def handle(event: ReceivedEvent, context: Context) -> None:
        seen.append(context.deliveries)
        if event.json() == "busy" and len(seen) < 6:
            raise RetryAfter(0.01, "closed")

    await source.publish("busy")
    async with consuming(source.config, calling(handle)):
        await source.settled(1)
    assert seen == [1, 2, 3, 4, 5, 6], "it is told how often"
    assert await source.dead_letters() == []


async def test_what_is_put_off_takes_no_room_and_is_given_back_with_its_delay(
    client: Client, stream_prefix: str
) -> None:
    source = await Source.create(client, stream_prefix, concurrency=2)
    handled: list[str] = []

    async def handle(event: ReceivedEvent, context: Context) -> None:
        if event.type == "later":
            raise RetryAfter(600, "closed")
        handled.append(event.id)

    for _ in range(40):
        await source.publish(type="later")
    good = [await source.publish() for _ in range(10)]
    async with consuming(source.config, calling(handle)):
        await eventually(lambda: len(handled) == 10, "others flow")
    assert handled == good
    handled.clear()
    async with consuming(source.config, calling(handle)) as app:
        await source.publish()
        await eventually(lambda: handled, "the next process works")
        assert metric(app, "outbox_consumer_redeliveries_total") == 0, "not before their time"


async def test_it_is_said_when_what_failed_leaves_no_room_for_others(
    client: Client, stream_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "_STALL_CHECK_SECONDS", 0.05)
    source = await Source.create(
        client, stream_prefix, backoff_seconds=(0.05, 3.0), breaker_failures=0
    )
    await client.jetstream().delete_consumer(source.prefix, source.config.durable)
    await source.create_durable(max_ack_pending=4)
    cured = asyncio.Event()

    async def handle(event: ReceivedEvent, context: Context) -> None:
        if not cured.is_set():
            raise ValueError("no")

    for _ in range(6):
        await source.publish()
    async with consuming(source.config, calling(handle)) as app:

        async def said() -> bool:
            status, checks = await readiness(app)
            return status == 503 and "maxAckPending" in checks["consumer"]["reason"]

        await eventually(said, "says why nothing comes")
        cured.set()
        await source.settled(6)
        assert (await readiness(app))[0] == 200


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_a_restart_behind_a_proxy_costs_no_event(
    client: Client, stream_prefix: str, endpoint: Endpoint, status: int
) -> None:
    source = await Source.create(client, stream_prefix, max_deliver=1)
    endpoint.answer = answering(status)
    sent = [await source.publish() for _ in range(3)]
    async with consuming(source.http(endpoint)):
        await eventually(lambda: len(endpoint.requests) >= 12, "tries")
        endpoint.answer = accept
        await source.settled(3)
    assert await source.dead_letters() == []
    assert set(endpoint.ids()) == set(sent)


@pytest.mark.parametrize("ordering", ["None", "PerKey"])
async def test_an_event_that_breaks_its_proxy_alone_is_given_up_and_hurts_nobody(
    client: Client, stream_prefix: str, endpoint: Endpoint, ordering: str
) -> None:
    source = await Source.create(client, stream_prefix, max_deliver=2, ordering=ordering)
    if ordering == "PerKey":
        await source.create_ordered()

    async def answer(request: Request) -> web.Response:
        return web.Response(status=502 if json.loads(request.body) == "bad" else 204)

    endpoint.answer = answer
    bad = await source.publish("bad", **{"Ce-Partitionkey": "bad"})
    async with consuming(source.http(endpoint)) as app:

        async def given_up() -> bool:
            await source.publish("good")
            return bool(await source.dead_letters())

        await eventually(given_up, "given up")
        assert metric(app, "outbox_consumer_circuit_openings_total") == 0
    [letter] = await source.dead_letters()
    assert (letter.headers or {})["Ce-Id"] == bad


@contextlib.asynccontextmanager
async def deaf(port: int) -> AsyncIterator[None]:
    """A port whose connections are never accepted: SYNs are dropped, as by a policy."""
    listener = socket.create_server(("127.0.0.1", port), backlog=0)
    fillers = []
    for _ in range(4):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(("127.0.0.1", port))
        fillers.append(filler)
    yield
    for filler in fillers:
        filler.close()
    listener.close()


Act = Callable[[asyncio.StreamWriter], None]


@contextlib.asynccontextmanager
async def answering_with(port: int, act: Act) -> AsyncIterator[None]:
    """A server that does something as soon as it is sent something."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(OSError):
            await reader.read(1)
            act(writer)

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    yield
    server.close()
    for writer in writers:
        writer.transport.abort()
    await server.wait_closed()


def reset(writer: asyncio.StreamWriter) -> None:
    """RST instead of an answer."""
    writer.transport.abort()


def hang_up(writer: asyncio.StreamWriter) -> None:
    """FIN instead of an answer."""
    writer.close()


def babble(writer: asyncio.StreamWriter) -> None:
    """Speak no TLS."""
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    writer.close()


@pytest.mark.parametrize(
    ("scheme", "around"),
    [
        ("http", deaf),
        ("http", lambda port: answering_with(port, reset)),
        ("http", lambda port: answering_with(port, hang_up)),
        ("https", lambda port: answering_with(port, babble)),
        ("https", lambda port: answering_with(port, lambda writer: None)),
    ],
    ids=["no connection", "reset", "hung up", "no TLS", "TLS hangs"],
)
async def test_an_endpoint_that_is_not_reached_costs_no_event(
    client: Client,
    stream_prefix: str,
    endpoint: Endpoint,
    scheme: str,
    around: Callable[[int], contextlib.AbstractAsyncContextManager[None]],
) -> None:
    source = await Source.create(client, stream_prefix, max_deliver=1)
    await endpoint.stop()
    sent = await source.publish()
    config = source.http(endpoint, timeout_seconds=0.4)
    assert config.http is not None
    url = f"{scheme}://127.0.0.1:{endpoint.port}/events"
    config = replace(config, http=replace(config.http, url=url))
    async with around(endpoint.port), consuming(config) as app:

        async def tried() -> bool:
            reason = (await readiness(app))[1]["handler"]["reason"]
            found = re.search(r"failed (\d+) times", reason)
            return found is not None and int(found[1]) >= 3

        await eventually(tried, "tries")
        assert await source.dead_letters() == []
        assert (await source.info()).num_ack_pending == 1
    if scheme == "http":
        await endpoint.start()
        assert config.http is not None
        patient = replace(config, http=replace(config.http, timeout_seconds=60.0))
        async with consuming(patient):
            await source.settled(1)
        assert endpoint.ids() == [sent]
        assert await source.dead_letters() == []


async def test_an_endpoint_that_was_reached_and_says_nothing_was_asked(
    client: Client, stream_prefix: str, endpoint: Endpoint
) -> None:
    source = await Source.create(client, stream_prefix, max_deliver=2)

    async def never(_: Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    endpoint.answer = never
    await source.publish()
    async with consuming(source.http(endpoint, timeout_seconds=0.2)):
        await source.settled(1)
    [letter] = await source.dead_letters()
    assert "no answer within 0.2 s" in (letter.headers or {})["Outbox-Dead-Letter-Error"]
    # It may hang up before this busy process has read what it sent.
    assert len(endpoint.requests) in (1, 2)
