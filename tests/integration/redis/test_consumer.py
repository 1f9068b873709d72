"""The consumer runtime on a consumer group of Redis: handlers, retries, letters, outages."""

from __future__ import annotations

import asyncio
import json
import uuid
from dataclasses import replace

import pytest
from aiohttp import web

from outbox_operator.adapters.redis import group
from outbox_operator.consumer import loop
from outbox_operator.consumer.app import App
from outbox_operator.consumer.handlers.types import Context, DeadLetter, ReceivedEvent, RetryAfter
from support.consuming import Endpoint, answering, calling, consuming, metric, readiness
from support.redis import RedisServer, redis_client
from support.redis_consuming import RedisSource
from support.waiting import eventually

pytestmark = pytest.mark.integration


def _acknowledged(app: App) -> float:
    return metric(app, "outbox_consumer_processed_total", outcome="ack", event_type="user.created")


async def test_events_are_posted_to_an_endpoint(
    redis_server: RedisServer, endpoint: Endpoint
) -> None:
    source = await RedisSource.create(redis_server)
    ids = [await source.publish({"n": n}, key=f"k{n}") for n in range(5)]
    async with consuming(source.http(endpoint)) as app:
        await source.settled()
        assert (await readiness(app))[0] == 200
        await eventually(lambda: _acknowledged(app) == 5, "counted")
    assert sorted(endpoint.ids()) == sorted(ids)
    assert {json.loads(each.body)["n"] for each in endpoint.requests} == set(range(5))


async def test_a_function_is_given_what_the_entry_says(redis_server: RedisServer) -> None:
    source = await RedisSource.create(redis_server, shards=2)
    await source.publish({"n": 1}, key="anna", shard=1)
    found: list[tuple[ReceivedEvent, Context]] = []

    async def handler(event: ReceivedEvent, context: Context) -> None:
        found.append((event, context))

    async with consuming(source.python(), calling(handler)):
        await source.settled()
    ((event, context),) = found
    assert (event.type, event.key, event.subject) == ("user.created", "anna", source.keys[1])
    assert event.headers["Outbox-Emission"] == "1"
    assert (context.stream, context.sequence, context.deliveries) == (source.keys[1], 1, 1)


async def test_types_that_are_not_wanted_are_acknowledged(
    redis_server: RedisServer, endpoint: Endpoint
) -> None:
    source = await RedisSource.create(redis_server, event_types=("user.created",))
    await source.publish(type="user.renamed")
    wanted = await source.publish()
    await source.publish(type="user.renamed")
    async with consuming(source.http(endpoint)):
        await source.settled()
    assert endpoint.ids() == [wanted]


async def test_a_failure_is_tried_again_and_blocks_no_others(
    redis_server: RedisServer,
) -> None:
    source = await RedisSource.create(redis_server, concurrency=1, backoff_seconds=(0.3,))
    bad = await source.publish()
    others = [await source.publish() for _ in range(20)]
    calls: list[tuple[str, int]] = []

    async def handler(event: ReceivedEvent, context: Context) -> RetryAfter | None:
        calls.append((event.id, context.deliveries))
        return RetryAfter(reason="not today") if event.id == bad and len(calls) < 3 else None

    async with consuming(source.python(), calling(handler)):
        await source.settled()
    assert calls[0] == (bad, 1)
    assert calls[-1] == (bad, 2)
    assert sorted(event for event, _ in calls[1:-1]) == sorted(others)


async def test_what_fails_too_often_is_a_dead_letter_once(
    redis_server: RedisServer, endpoint: Endpoint
) -> None:
    source = await RedisSource.create(redis_server, max_deliver=3)
    endpoint.answer = answering(500)
    event_id = await source.publish({"n": 1})
    async with consuming(source.http(endpoint)):
        await source.settled()
    assert endpoint.ids() == [event_id] * 3
    (letter,) = await source.letters()
    assert letter["Ce-Id"] == event_id
    assert letter["Outbox-Data"] == '{"n": 1}'
    assert letter["Outbox-Dead-Letter-Reason"] == "MaxDeliver"
    assert letter["Outbox-Dead-Letter-Deliveries"] == "3"
    assert letter["Outbox-Dead-Letter-Stream"] == source.config.stream
    assert letter["Outbox-Dead-Letter-Sequence"] == "1"
    assert letter["Outbox-Dead-Letter-Consumer"] == "billing"
    assert "Nats-Msg-Id" not in letter


async def test_what_another_has_answered_for_is_counted_as_no_dead_letter(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    source = await RedisSource.create(redis_server)
    event_id = await source.publish()

    async def handler(event: ReceivedEvent, context: Context) -> DeadLetter:
        async with redis_client(redis_server) as client:
            await client.xack(source.keys[0], "billing", "1-0")
        return DeadLetter("never")

    with caplog.at_level("INFO"):
        async with consuming(source.python(), calling(handler)) as app:
            await eventually(lambda: f"event {event_id} is" in caplog.text, "it is decided")
            assert metric(app, "outbox_consumer_dead_lettered_total", reason="Refused") == 0
            assert "is a dead letter" not in caplog.text
    assert await source.letters() == []


async def test_what_others_have_in_hand_takes_no_room_from_a_pod(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow member of the group with a thousand entries neither stops nor accuses the others."""
    monkeypatch.setattr(loop, "_STALL_CHECK_SECONDS", 0.0)
    monkeypatch.setattr(group, "MOST_RESTING", 20)
    monkeypatch.setattr(group.RedisGroup, "most_in_flight", 20)
    source = await RedisSource.create(
        redis_server, ack_wait=600.0, backoff_seconds=(600.0,), breaker_failures=0
    )
    for number in range(30):
        await source.publish(number)
    async with redis_client(redis_server) as client:
        await client.xreadgroup("billing", "slow", {source.keys[0]: ">"}, count=30)
    handled: list[str] = []
    fails: set[str] = set()

    async def handler(event: ReceivedEvent, context: Context) -> RetryAfter | None:
        handled.append(event.id)
        return RetryAfter(reason="not today") if event.id in fails else None

    async def another() -> None:
        event_id = await source.publish()
        await eventually(lambda: event_id in handled, "others flow")

    async with consuming(source.python(), calling(handler)) as app:
        bad = str(uuid.uuid4())
        fails.add(bad)
        await source.publish(id=bad)
        await eventually(lambda: bad in handled, "one waits for another try")
        for _ in range(3):
            await another()
            assert (await readiness(app))[0] == 200
        # Its own are what fills it, and it says so.
        for _ in range(20):
            fails.add(event_id := str(uuid.uuid4()))
            await source.publish(id=event_id)

        async def said() -> bool:
            status, checks = await readiness(app)
            return status == 503 and "20 events wait in this pod" in checks["consumer"]["reason"]

        await eventually(said, "says why it reads nothing")


async def test_without_a_place_for_letters_what_is_given_up_is_over(
    redis_server: RedisServer,
) -> None:
    source = await RedisSource.create(redis_server, dead_letter_subject=None)
    await source.publish()

    async def handler(event: ReceivedEvent, context: Context) -> DeadLetter:
        return DeadLetter("never")

    async with consuming(source.python(), calling(handler)):
        await source.settled()
    assert await source.letters() == []


async def test_events_of_a_key_are_handled_in_their_order_whatever_fails(
    redis_server: RedisServer,
) -> None:
    source = await RedisSource.create(redis_server, shards=2, ordering="PerKey")
    for number in range(40):
        await source.publish(number, key=f"k{number % 4}", shard=number % 2)
    handled: dict[str, list[int]] = {}
    failed: set[str] = set()

    async def handler(event: ReceivedEvent, context: Context) -> RetryAfter | None:
        number = json.loads(event.data)
        if number % 7 == 0 and event.id not in failed:
            failed.add(event.id)
            return RetryAfter(reason="not yet")
        handled.setdefault(event.key, []).append(number)
        return None

    async with consuming(source.python(), calling(handler)):
        await source.settled()
    assert {key: sorted(numbers) for key, numbers in handled.items()} == handled
    assert sum(map(len, handled.values())) == 40
    assert len(failed) == 6


async def test_it_waits_for_its_group_and_survives_its_loss(
    redis_server: RedisServer, endpoint: Endpoint
) -> None:
    source = await RedisSource.create(redis_server)
    key = source.keys[0]

    async def remove() -> None:
        async with redis_client(redis_server) as client:
            await client.xgroup_destroy(key, "billing")

    await remove()
    async with consuming(source.http(endpoint)) as app:

        async def missing() -> bool:
            status, checks = await readiness(app)
            return status == 503 and "does not exist" in checks["consumer"]["reason"]

        async def ready() -> bool:
            return (await readiness(app))[0] == 200

        await eventually(missing, "reported as missing")
        await source.publish()
        await source.make_group()
        await eventually(ready, "ready")
        await source.settled()
        await remove()
        await eventually(missing, "reported as missing again")
        await source.publish()
        await source.make_group()
        await source.settled()
    assert len(set(endpoint.ids())) == 2


async def test_a_server_that_is_killed_comes_back_and_nothing_is_lost() -> None:
    """With appendfsync always; what was handled while it was away is acknowledged after."""
    with RedisServer() as server:
        source = await RedisSource.create(server, ack_wait=1.0)
        ids = [await source.publish(n) for n in range(20)]
        handled: list[str] = []
        away = asyncio.Event()
        back = asyncio.Event()

        async def handler(event: ReceivedEvent, context: Context) -> None:
            handled.append(event.id)
            if len(handled) > 5:
                away.set()
                await back.wait()

        async with consuming(source.python(), calling(handler)) as app:
            await away.wait()
            server.kill()

            async def gone() -> bool:
                return not (await readiness(app))[1]["redis"]["ok"]

            await eventually(gone, "reported")
            server.start()
            back.set()
            await source.settled()
            assert (await readiness(app))[1]["redis"]["ok"]
    assert set(handled) == set(ids)


async def test_a_full_server_keeps_letters_waiting_and_acknowledges_the_rest() -> None:
    with RedisServer() as server:
        source = await RedisSource.create(server, max_deliver=1, ack_wait=2.0)
        bad = await source.publish()
        good = [await source.publish() for _ in range(3)]
        async with redis_client(server) as client:
            await client.config_set("maxmemory", "1")
        handled: list[str] = []

        async def handler(event: ReceivedEvent, context: Context) -> DeadLetter | None:
            handled.append(event.id)
            return DeadLetter("no") if event.id == bad else None

        async with consuming(source.python(), calling(handler)) as app:
            await eventually(
                lambda: metric(app, "outbox_consumer_errors_total", reason="StreamRefused"),
                "the letter is refused",
            )
            await eventually(lambda: set(good) <= set(handled), "others are handled")
            assert await source.letters() == []
            async with redis_client(server) as client:
                await client.config_set("maxmemory", "0")
            await source.settled()
        assert [letter["Ce-Id"] for letter in await source.letters()] == [bad]


async def test_rights_that_are_missing_are_told_before_anything_is_handled(
    endpoint: Endpoint,
) -> None:
    with RedisServer() as server:
        source = await RedisSource.create(server)
        await source.publish()
        async with redis_client(server) as client:
            await client.execute_command("ACL", "SETUSER", "default", "-xack")
            async with consuming(source.http(endpoint)) as app:

                async def told() -> bool:
                    reason = (await readiness(app))[1]["consumer"]["reason"]
                    return "PermissionDenied" in reason and "xack" in reason.lower()

                await eventually(told, "told")
                assert endpoint.ids() == []
                await client.execute_command("ACL", "SETUSER", "default", "+xack")
                await source.settled()
    assert len(endpoint.ids()) == 1


async def test_entries_of_somebody_else_have_an_id_of_their_own(
    redis_server: RedisServer, endpoint: Endpoint
) -> None:
    source = await RedisSource.create(redis_server)
    async with redis_client(redis_server) as client:
        first = await client.xadd(source.keys[0], {"n": "1"}, id="7-3")
        second = await client.xadd(source.keys[0], {"n": "2"}, id="7-4")
    async with consuming(source.http(endpoint)):

        async def done() -> bool:
            return len(endpoint.ids()) == 2 and not await source.pending()

        await eventually(done, "both are handled")
    wanted = {f"{source.keys[0]}:{first}", f"{source.keys[0]}:{second}"}
    assert set(endpoint.ids()) == wanted


async def test_what_is_trimmed_while_it_is_pending_is_said(
    redis_server: RedisServer, endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    source = await RedisSource.create(redis_server, ack_wait=0.5)
    await source.publish()
    async with redis_client(redis_server) as client:
        await client.xreadgroup("billing", "gone", {source.keys[0]: ">"})
        await client.xtrim(source.keys[0], maxlen=0)
    async with consuming(source.http(endpoint)):

        async def done() -> bool:
            return not await source.pending()

        await eventually(done, "it is not kept for ever")
    assert endpoint.ids() == []
    assert "1 entry was deleted or trimmed" in caplog.text


async def test_slow_handlers_keep_what_they_have(redis_server: RedisServer) -> None:
    """Two processes, ackWait of 0.6 s and calls of 2 s: nobody else is given what is in hand."""
    source = await RedisSource.create(redis_server, ack_wait=0.6, concurrency=4)
    for number in range(4):
        await source.publish(number)
    calls: list[str] = []

    async def handler(event: ReceivedEvent, context: Context) -> None:
        calls.append(event.id)
        await asyncio.sleep(2.0)

    config = source.python()
    async with (
        consuming(config, calling(handler)),
        consuming(replace(config, health_port=0), calling(handler)),
    ):
        await source.settled()
    assert len(calls) == len(set(calls)) == 4


async def test_readers_leave_the_group_when_they_have_nothing(
    redis_server: RedisServer, endpoint: Endpoint
) -> None:
    source = await RedisSource.create(redis_server)
    async with redis_client(redis_server) as client:
        await source.publish()
        await client.xreadgroup("billing", "somebody", {source.keys[0]: ">"})
    async with consuming(source.http(endpoint)):
        await eventually(lambda: source.published, "it reads")

        async def there() -> bool:
            return any(name.startswith("outbox:") for name in await source.readers())

        await eventually(there, "it has a name")
    assert await source.readers() == ["somebody"]


async def test_the_circuit_opens_and_nothing_more_is_fetched(
    redis_server: RedisServer, endpoint: Endpoint
) -> None:
    source = await RedisSource.create(redis_server, breaker_failures=3, concurrency=2)
    endpoint.answer = answering(503)
    for number in range(50):
        await source.publish(number)
    async with consuming(source.http(endpoint)) as app:
        await eventually(lambda: metric(app, "outbox_consumer_circuit_open"), "open")
        assert await source.pending() < 50

        async def well(_: object) -> web.Response:
            return web.Response(status=204)

        endpoint.answer = well
        await source.settled()
    assert len(set(endpoint.ids())) == 50
