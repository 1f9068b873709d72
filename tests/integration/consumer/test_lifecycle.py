"""Start, stop and outages of the consumer runtime, with real servers."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web
from nats.aio.client import Client
from nats.aio.msg import Msg

from outbox_operator.adapters.nats import api, pull_requests
from outbox_operator.consumer.handlers.registry import Handlers
from outbox_operator.consumer.handlers.types import Context, ReceivedEvent, RetryAfter
from outbox_operator.wire.config import InboxConfig, NatsConfig
from support.consuming import (
    Endpoint,
    Request,
    Source,
    answering,
    calling,
    consuming,
    metric,
    readiness,
)
from support.nats import NatsServer, connected
from support.ports import free_port
from support.waiting import SECONDS, eventually

pytestmark = pytest.mark.integration


async def test_waits_for_its_durable_consumer_and_survives_its_loss(
    client: Client, stream_prefix: str, endpoint: Endpoint
) -> None:
    source = await Source.create(client, stream_prefix)
    js = client.jetstream()
    await js.delete_consumer(stream_prefix, "billing")
    async with consuming(source.http(endpoint)) as app:

        async def missing() -> bool:
            status, checks = await readiness(app)
            reason = checks["consumer"]["reason"]
            # An account may be that of several tenants: what else is there is said by hand alone.
            assert "durable consumers of" not in reason
            return status == 503 and "does not exist" in reason

        async def ready() -> bool:
            return (await readiness(app))[0] == 200

        await eventually(missing, "reported as missing")
        await source.publish()
        await source.create_durable()
        await eventually(ready, "ready")
        await source.settled(1)
        await js.delete_consumer(stream_prefix, "billing")
        await eventually(missing, "reported as missing again")
        await source.create_durable()
        await source.publish()
        await source.settled(2)
    assert len(set(endpoint.ids())) == 2


async def test_a_durable_consumer_that_gives_up_by_itself_is_refused(
    client: Client, stream_prefix: str, endpoint: Endpoint
) -> None:
    """Made by hand with maxDeliver, it lost what failed so often: no dead letter, no word."""
    source = await Source.create(client, stream_prefix, max_deliver=3)
    await source.create_durable(max_deliver=2)
    endpoint.answer = answering(500)
    await source.publish()
    async with consuming(source.http(endpoint)) as app:

        async def refused() -> bool:
            status, checks = await readiness(app)
            return (
                status == 503 and "maxDeliver: wanted -1, found 2" in checks["consumer"]["reason"]
            )

        await eventually(refused, "refused")
        assert endpoint.requests == []
        await source.create_durable()
        await source.settled(1)
    assert len(await source.dead_letters()) == 1


async def test_what_is_in_hand_is_kept_however_short_its_ack_wait(
    client: Client, stream_prefix: str
) -> None:
    """The durable consumer was made by hand, and nobody told the two processes."""
    source = await Source.create(client, stream_prefix, ack_wait=30.0)
    await source.create_durable(ack_wait=2_000_000_000)
    calls: list[str] = []

    async def handle(event: ReceivedEvent, context: Context) -> None:
        calls.append(event.id)
        await asyncio.sleep(2.5)  # longer than ackWait

    sent = await source.publish()
    other = replace(source.config, health_port=free_port())
    async with consuming(source.config, calling(handle)), consuming(other, calling(handle)):
        await source.settled(1)
    assert calls == [sent]


async def test_goes_on_when_nats_is_back(endpoint: Endpoint) -> None:
    with NatsServer() as server:
        async with connected(server) as client:
            source = await Source.create(client, "T", ack_wait=1.0)
            first = await source.publish()
            async with consuming(source.http(endpoint)) as app:
                await source.settled(1)
                server.kill()

                async def unready() -> bool:
                    status, checks = await readiness(app)
                    return status == 503 and not checks["nats"]["ok"]

                await eventually(unready, "not ready without NATS")
                server.start()
                await eventually(lambda: client.is_connected, "test is connected again")
                second = await source.publish()
                await source.settled(2)
    assert set(endpoint.ids()) == {first, second}


async def test_what_is_given_back_comes_soon_although_nats_restarts(endpoint: Endpoint) -> None:
    """As when everything is stopped and started, on a laptop or with a node."""
    nobody = Endpoint(port=free_port())
    with NatsServer() as server:
        async with connected(server) as client:
            source = await Source.create(client, "T", ack_wait=SECONDS * 10)
            await source.publish()
            async with consuming(source.http(nobody)) as app:

                async def unready() -> bool:
                    return (await readiness(app))[0] == 503

                await eventually(unready, "not ready without its endpoint")
            server.stop()
            server.start()
            await eventually(lambda: client.is_connected, "test is connected again")
            async with consuming(source.http(endpoint)):
                await source.settled(1)


async def test_waits_for_nats_at_the_start(endpoint: Endpoint) -> None:
    with NatsServer() as server:
        async with connected(server) as client:
            source = await Source.create(client, "T")
            await source.publish()
            server.stop()
            async with consuming(source.http(endpoint)) as app:

                async def reported() -> bool:
                    status, checks = await readiness(app)
                    return status == 503 and "connection refused" in checks["nats"]["reason"]

                await eventually(reported, "reason on /readyz")
                server.start()
                await eventually(lambda: client.is_connected, "test is connected again")
                await source.settled(1)


async def test_an_answer_due_while_nats_is_away_is_not_lost(endpoint: Endpoint) -> None:
    with NatsServer() as server:
        async with connected(server) as client:
            source = await Source.create(client, "T", ack_wait=1.0)
            arrived, go_on = asyncio.Event(), asyncio.Event()

            async def wait(_: Request) -> web.Response:
                arrived.set()
                await go_on.wait()
                return web.Response()

            endpoint.answer = wait
            await source.publish()
            async with consuming(source.http(endpoint)):
                await asyncio.wait_for(arrived.wait(), SECONDS)
                server.kill()
                go_on.set()
                server.start()
                await eventually(lambda: client.stats["reconnects"], "test is connected again")
                await source.settled(1)


async def test_drain_lets_handlers_end_and_gives_the_rest_back(
    client: Client, stream_prefix: str
) -> None:
    source = await Source.create(client, stream_prefix, concurrency=2, drain_seconds=1.0)
    started: list[str] = []
    ended: list[str] = []
    release = asyncio.Event()

    async def handle(event: ReceivedEvent, context: Context) -> None:
        started.append(event.type)
        await (release.wait() if event.type == "quick" else asyncio.Event().wait())
        ended.append(event.type)

    await source.publish(type="quick")
    await source.publish(type="endless")
    await source.publish(type="never-started")
    async with consuming(source.python(), calling(handle)) as app:
        await eventually(lambda: len(started) == 2, "both slots busy")
        app.stop()
        release.set()
    assert ended == ["quick"]
    assert sorted(started) == ["endless", "quick"]

    async def given_back() -> bool:
        info = await source.info()
        return bool(info.num_ack_pending + info.num_pending == 2)

    await eventually(given_back, "two messages are to be delivered")
    # At once, not after ackWait (30 s):
    seen: list[str] = []

    async def note(event: ReceivedEvent, context: Context) -> None:
        seen.append(event.type)

    async with consuming(source.python(), calling(note)):
        await eventually(lambda: len(seen) == 2, "handled by the next pod", seconds=20.0)
    assert sorted(seen) == ["endless", "never-started"]


async def test_messages_held_for_an_unavailable_endpoint_do_not_delay_the_stop(
    client: Client, stream_prefix: str, endpoint: Endpoint
) -> None:
    source = await Source.create(client, stream_prefix, drain_seconds=60.0)
    await endpoint.stop()
    await source.publish()
    config = source.http(endpoint)
    async with asyncio.timeout(50):
        async with consuming(config) as app:
            await eventually(
                lambda: metric(
                    app, "outbox_consumer_unavailable_total", reason="HandlerUnavailable"
                ),
                "message held",
            )
    await endpoint.start()
    async with consuming(config):
        await source.settled(1)


async def test_python_handlers_answer_as_they_like(client: Client, stream_prefix: str) -> None:
    source = await Source.create(client, stream_prefix, max_deliver=3)
    deliveries: dict[str, list[int]] = {}
    connections: list[object] = []

    async def handle(event: ReceivedEvent, context: Context) -> RetryAfter | None:
        deliveries.setdefault(event.type, []).append(context.deliveries)
        connections.append(context.connection)
        if event.type == "later" and context.deliveries == 1:
            return RetryAfter(0.1, "not yet")
        if event.type == "broken":
            raise ValueError("password=hunter2")
        return None

    for kind in ("good", "later", "broken"):
        await source.publish(type=kind)
    async with consuming(source.python(), calling(handle)):
        await source.settled(3)
    assert deliveries == {"good": [1], "later": [1, 2], "broken": [1, 2, 3]}
    assert set(connections) == {None}
    [letter] = await source.dead_letters()
    error = (letter.headers or {})["Outbox-Dead-Letter-Error"]
    assert error.startswith("ValueError: password=*** at handle (")


async def test_keeps_to_the_limits_of_the_durable_consumer(
    client: Client, stream_prefix: str, endpoint: Endpoint
) -> None:
    source = await Source.create(client, stream_prefix)
    limits = {
        "durable_name": "billing",
        "ack_policy": "explicit",
        "max_batch": 2,
        "max_expires": 1_000_000_000,
        "max_waiting": 1,
    }
    await client.jetstream().delete_consumer(stream_prefix, "billing")
    answer = await client.request(
        f"$JS.API.CONSUMER.CREATE.{stream_prefix}.billing",
        json.dumps({"stream_name": stream_prefix, "config": limits}).encode(),
        timeout=SECONDS,
    )
    assert "error" not in json.loads(answer.data)
    requests: list[dict[str, int]] = []

    async def note(message: Msg) -> None:
        requests.append(json.loads(message.data))

    await client.subscribe(f"$JS.API.CONSUMER.MSG.NEXT.{stream_prefix}.billing", cb=note)
    async with consuming(source.http(endpoint)):
        for _ in range(5):
            await source.publish()
        await source.settled(5)
        before = len(requests)
        await eventually(lambda: len(requests) > before + 1, "asked again after a request expired")
        await source.publish()
        await source.settled(6)
    assert len(endpoint.ids()) == 6
    assert max(request["batch"] for request in requests) == 2
    assert {request["expires"] for request in requests} == {1_000_000_000}


async def test_a_server_that_falls_silent_is_noticed_and_used_again(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull_requests, "HEARTBEAT_SECONDS", 0.3)
    monkeypatch.setattr(api, "REQUEST_SECONDS", 0.5)
    with NatsServer() as server:
        async with connected(server) as client:
            source = await Source.create(client, "T")
            async with consuming(source.http(endpoint)) as app:
                await source.publish()
                await source.settled(1)
                server.pause()

                async def noticed() -> bool:
                    status, checks = await readiness(app)
                    return status == 503 and "no answer" in checks["consumer"]["reason"]

                await eventually(noticed, "silence is reported")
                server.resume()
                await source.publish()
                await source.settled(2)
    assert len(endpoint.ids()) == 2


async def test_stops_at_once_while_nothing_can_be_reached(
    client: Client, stream_prefix: str, tmp_path: Path
) -> None:
    source = await Source.create(client, stream_prefix)
    (tmp_path / "url").write_text("postgresql://shop:secret@127.0.0.1:1/shop")
    config = replace(
        source.python(),
        nats=NatsConfig(url="nats://127.0.0.1:1"),
        inbox=InboxConfig(url_file=str(tmp_path / "url")),
    )
    async with asyncio.timeout(25), consuming(config, calling(print)) as app:
        status, checks = await readiness(app)
    assert status == 503
    assert not any("secret" in check["reason"] for check in checks.values())


async def test_a_handler_that_cannot_start_is_reported_and_started_later(
    client: Client, stream_prefix: str
) -> None:
    source = await Source.create(client, stream_prefix)
    await source.publish()
    app_ = Handlers()
    attempts: list[str] = []
    opened = False

    @app_.on_startup
    async def connect() -> None:
        attempts.append("start")
        if not opened:
            raise ConnectionError("the warehouse is closed")

    @app_.handler(">")
    async def handle(event: ReceivedEvent) -> None:
        attempts.append(event.type)

    async with consuming(source.python(), calling(app_)) as app:

        async def reported() -> bool:
            status, checks = await readiness(app)
            return status == 503 and "the warehouse is closed" in checks["handler"]["reason"]

        await eventually(reported, "reason on /readyz")
        opened = True
        await source.settled(1)
    *starts, last = attempts
    assert (set(starts), last) == ({"start"}, "order.created")
    assert len(starts) > 1
