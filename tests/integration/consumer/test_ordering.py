"""Events of one key one after another: over retries, readers that go and come, and batches."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from nats.aio.client import Client

from outbox_operator.consumer.app import App
from outbox_operator.consumer.handlers.registry import Handlers
from outbox_operator.consumer.handlers.types import (
    Ack,
    Context,
    DeadLetter,
    ReceivedEvent,
    RetryAfter,
)
from support.consuming import Source, calling, consuming, metric, readiness
from support.overtaking_proxy import OvertakingProxy
from support.tcp_proxy import TcpProxy
from support.waiting import SECONDS, eventually

pytestmark = pytest.mark.integration

KEYS = 5


async def publish_in_turn(source: Source, events: int) -> None:
    """Events 0, 1, … with key n modulo KEYS."""
    for number in range(events):
        await source.publish({"n": number}, **{"Ce-Partitionkey": f"key-{number % KEYS}"})


def by_key(handled: list[int]) -> dict[int, list[int]]:
    """What was handled of each key, in order."""
    return {key: [n for n in handled if n % KEYS == key] for key in range(KEYS)}


async def ordered(client: Client, prefix: str, **settings: object) -> Source:
    """A source whose durable consumer has one reader at a time."""
    source = await Source.create(client, prefix, ordering="PerKey", **settings)  # type: ignore[arg-type]
    await source.create_ordered()
    return source


@pytest.mark.parametrize("ack_policy", ["explicit", "all"])
async def test_a_key_keeps_its_order_over_retries_while_others_go_on(
    client: Client, stream_prefix: str, ack_policy: str
) -> None:
    source = await Source.create(client, stream_prefix, ordering="PerKey", max_deliver=4)
    await source.create_ordered(ack_policy=ack_policy)
    handled: list[int] = []
    tries: dict[int, int] = {}
    at_once = most_at_once = 0

    async def handle(event: ReceivedEvent, context: Context) -> RetryAfter | None:
        nonlocal at_once, most_at_once
        number = event.json()["n"]
        tries[number] = tries.get(number, 0) + 1
        assert context.deliveries == tries[number]
        at_once += 1
        most_at_once = max(most_at_once, at_once)
        await asyncio.sleep(random.random() * 0.01)
        at_once -= 1
        if number % 7 == 3 and tries[number] < 3:
            return RetryAfter(0.02)
        handled.append(number)
        return None

    await publish_in_turn(source, 60)
    async with consuming(source.python(), calling(handle)):
        await source.settled(60)
    assert by_key(handled) == {key: list(range(key, 60, KEYS)) for key in range(KEYS)}
    assert most_at_once > 1
    assert await source.dead_letters() == []


async def test_a_dead_letter_lets_its_key_go_on(client: Client, stream_prefix: str) -> None:
    source = await ordered(client, stream_prefix, max_deliver=2)
    handled: list[int] = []

    async def handle(event: ReceivedEvent, context: Context) -> None:
        number = event.json()["n"]
        if number == 0:
            raise ValueError("never")
        if number == 5:
            raise DeadLetter("not this one")
        handled.append(number)

    await publish_in_turn(source, 15)
    async with consuming(source.python(), calling(handle)):
        await source.settled(15)
    assert by_key(handled)[0] == [10]
    letters = {
        (one.headers or {})["Outbox-Dead-Letter-Reason"] for one in await source.dead_letters()
    }
    assert letters == {"MaxDeliver", "Refused"}


async def never(_: ReceivedEvent, __: Context) -> None:
    """A handler that does not end."""
    await asyncio.Event().wait()


def port(source: Source) -> int:
    """Where the server listens."""
    return int(source.config.jetstream.url.rpartition(":")[2])


async def crash(app: App, task: asyncio.Task[None]) -> None:
    """End a consumer without a word to the server about the messages in its hands."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def leave_in_hand(source: Source, events: int) -> None:
    """Have a reader take that many events in hand, and crash."""
    app = App(source.python(), calling(never))
    task = asyncio.create_task(app.run())
    await eventually(
        lambda: metric(app, "outbox_consumer_in_flight") == events, "all are in its hands"
    )
    await crash(app, task)


async def test_the_next_reader_waits_for_what_the_last_one_held(
    client: Client, stream_prefix: str
) -> None:
    source = await ordered(client, stream_prefix, ack_wait=2.0)
    held = asyncio.Event()

    async def hold(event: ReceivedEvent, context: Context) -> None:
        held.set()
        await asyncio.Event().wait()

    handled: list[int] = []

    async def handle(event: ReceivedEvent, context: Context) -> None:
        handled.append(event.json()["n"])

    await publish_in_turn(source, 10)
    first = App(source.python(), calling(hold))
    task = asyncio.create_task(first.run())
    await asyncio.wait_for(held.wait(), SECONDS)
    await eventually(
        lambda: metric(first, "outbox_consumer_in_flight") == 10, "all are in its hands"
    )
    await crash(first, task)
    await publish_in_turn(source, 20)
    async with consuming(source.python(), calling(handle)):
        await source.settled(30)
    assert handled[:1] != [], "something was handled"
    expected = [*range(10), *range(20)]
    assert by_key(handled) == by_key(expected)


@pytest.mark.parametrize("ack_policy", ["explicit", "all"])
async def test_what_the_server_knew_before_it_delivered_is_not_taken_for_all(
    client: Client, stream_prefix: str, ack_policy: str
) -> None:
    source = await Source.create(client, stream_prefix, ordering="PerKey", ack_wait=1.5)
    await source.create_ordered(ack_policy=ack_policy)
    await publish_in_turn(source, 10)
    await leave_in_hand(source, 10)
    await publish_in_turn(source, 60)
    proxy = await OvertakingProxy(lambda: port(source)).start()
    handled: list[int] = []

    async def handle(event: ReceivedEvent, context: Context) -> None:
        handled.append(event.json()["n"])
        proxy.late = False  # it has decided

    nats = replace(source.config.jetstream, url=f"nats://127.0.0.1:{proxy.port}")
    try:
        async with consuming(replace(source.python(), nats=nats), calling(handle)):
            await source.settled(70)
    finally:
        await proxy.close()
    assert by_key(handled) == by_key([*range(10), *range(60)])


@pytest.mark.parametrize("how", ["unpinned", "cut off"])
async def test_readers_that_hold_something_back_do_not_wait_for_each_other(
    client: Client, stream_prefix: str, how: str
) -> None:
    """A reader loses its place while it still waits for what a killed one had."""
    source = await ordered(client, stream_prefix, ack_wait=2.5)
    await publish_in_turn(source, 10)
    await leave_in_hand(source, 10)
    handled: list[int] = []

    async def handle(event: ReceivedEvent, context: Context) -> None:
        handled.append(event.json()["n"])

    proxy = await TcpProxy(lambda: port(source)).start()
    nats = replace(source.config.jetstream, url=f"nats://127.0.0.1:{proxy.port}")
    config = replace(source.python(), health_port=0)
    try:
        async with consuming(replace(config, nats=nats), calling(handle)) as one:
            await publish_in_turn(source, 5)
            await eventually(
                lambda: metric(one, "outbox_consumer_in_flight") >= 5, "one holds back"
            )
            async with consuming(config, calling(handle)) as other:
                if how == "unpinned":
                    await source.unpin()
                else:
                    proxy.hold()
                await publish_in_turn(source, 5)
                await eventually(
                    lambda: metric(other, "outbox_consumer_in_flight") > 0 or handled,
                    "the other reads, unless all that was held has come by now",
                )
                proxy.release()
                await source.settled(20)
    finally:
        await proxy.close()
    assert by_key(handled) == by_key([*range(10), *range(5), *range(5)])


async def test_readers_of_a_durable_that_gives_to_several_do_not_wait_for_each_other(
    client: Client, stream_prefix: str
) -> None:
    """Somebody else made it, without a place for one reader; the server's restart cuts both off."""
    source = await Source.create(client, stream_prefix, ordering="PerKey", ack_wait=1.0)
    handled: list[int] = []
    goes_on = asyncio.Event()

    async def handle(event: ReceivedEvent, context: Context) -> None:
        handled.append(event.json()["n"])
        await goes_on.wait()

    proxy = await TcpProxy(lambda: port(source)).start()
    nats = replace(source.config.jetstream, url=f"nats://127.0.0.1:{proxy.port}")
    config = replace(source.python(), health_port=0, nats=nats)
    try:
        async with consuming(config, calling(handle)) as a, consuming(config, calling(handle)) as b:

            def both_have(more_than: int) -> bool:
                held = (metric(app, "outbox_consumer_in_flight") for app in (a, b))
                return min(held) > more_than

            await publish_until(source, lambda: both_have(0))
            had = max(metric(app, "outbox_consumer_in_flight") for app in (a, b))
            proxy.cut()
            await publish_until(source, lambda: both_have(int(had)))
            goes_on.set()
            await source.settled((await source.info()).delivered.stream_seq)
    finally:
        await proxy.close()
    assert handled


async def publish_until(source: Source, done: Callable[[], bool]) -> None:
    """Publish one event after the other until it is so."""

    async def one_more() -> bool:
        await publish_in_turn(source, 1)
        return done()

    await eventually(one_more, "published enough")


async def test_of_two_readers_one_works_and_the_other_takes_over(
    client: Client, stream_prefix: str
) -> None:
    source = await ordered(client, stream_prefix)
    handled: dict[str, list[int]] = {"a": [], "b": []}

    def noting(name: str) -> Callable[[ReceivedEvent, Context], Awaitable[None]]:
        async def handle(event: ReceivedEvent, context: Context) -> None:
            handled[name].append(event.json()["n"])

        return handle

    async with consuming(source.python(), calling(noting("a"))):
        await publish_in_turn(source, 10)
        await source.settled(10)
        async with consuming(replace(source.python(), health_port=0), calling(noting("b"))):
            await publish_in_turn(source, 20)
            await source.settled(30)
            assert sorted(len(numbers) for numbers in handled.values()) in ([0, 30], [10, 20])
    async with consuming(source.python(), calling(noting("b"))):
        await publish_in_turn(source, 5)
        await source.settled(35)
    assert handled["b"][-5:] == list(range(5))


async def test_pods_come_and_go_and_each_key_keeps_its_order(
    client: Client, stream_prefix: str
) -> None:
    """From one to five to two while events come: nothing overtakes, and nothing is done twice."""
    source = await ordered(client, stream_prefix, concurrency=4)
    handled: list[int] = []
    by_pod: dict[int, int] = {}

    def noting(pod: int) -> Callable[[ReceivedEvent, Context], Awaitable[None]]:
        async def handle(event: ReceivedEvent, context: Context) -> None:
            await asyncio.sleep(0.001)
            handled.append(event.json()["n"])
            by_pod[pod] = by_pod.get(pod, 0) + 1

        return handle

    def pod(number: int) -> contextlib.AbstractAsyncContextManager[App]:
        config = replace(source.python(), health_port=0)
        return consuming(config, calling(noting(number)))

    written = 0

    async def write(done: asyncio.Event) -> None:
        nonlocal written
        while not done.is_set():
            key = {"Ce-Partitionkey": f"key-{written % KEYS}"}
            await source.publish({"n": written}, **key)
            written += 1

    async def more() -> None:
        before = len(handled)
        await eventually(lambda: len(handled) >= before + 100, "events are handled")

    done = asyncio.Event()
    async with contextlib.AsyncExitStack() as first, contextlib.AsyncExitStack() as staying:
        await first.enter_async_context(pod(0))
        writing = asyncio.create_task(write(done))
        await more()
        for number in (1, 2):
            await staying.enter_async_context(pod(number))
        for number in (3, 4):
            await first.enter_async_context(pod(number))
        await more()
        await first.aclose()
        await more()
        done.set()
        await writing
        await source.settled(written)
    assert by_key(handled) == by_key(list(range(written)))
    assert by_pod.keys() & {1, 2}, "another took over"


async def test_pods_of_lanes_come_and_go_and_work_side_by_side(
    client: Client, stream_prefix: str
) -> None:
    """As the operator makes them of `lanes: 5`: from one pod to five to two, and all again."""
    source = await Source.create(client, stream_prefix, ordering="PerKey", concurrency=4)
    handled: list[int] = []
    written = 0
    working, together = set[int](), asyncio.Event()

    async def lane(number: int) -> Source:
        one = replace(source, config=replace(source.config, durable=f"lane-{number}"))
        await one.create_durable(
            filter_subject=f"{stream_prefix}.evt.{number}.>",
            priority_policy="pinned_client", priority_groups=["outbox"],
            priority_timeout=1_000_000_000,
        )  # fmt: skip
        return one

    def pod(number: int) -> contextlib.AbstractAsyncContextManager[App]:
        async def handle(event: ReceivedEvent, context: Context) -> None:
            working.add(number)
            if len(working) == KEYS:
                together.set()
            if number and not together.is_set():
                await together.wait()  # for events that the others have in hand
            handled.append(event.json()["n"])

        return consuming(replace(lanes[number].python(), health_port=0), calling(handle))

    async def write(events: int) -> None:
        nonlocal written
        for number in range(written, written + events):
            key = {"Ce-Partitionkey": f"key-{number % KEYS}"}
            await source.publish({"n": number}, type=f"{number % KEYS}.order.created", **key)
        written += events

    async def done_of(*numbers: int) -> None:
        wanted = sum(n % KEYS in numbers for n in range(written))
        await eventually(
            lambda: sum(n % KEYS in numbers for n in handled) >= wanted, "they have handled all"
        )

    lanes = [await lane(number) for number in range(KEYS)]
    async with pod(0):
        await write(50)
        await done_of(0)
        async with contextlib.AsyncExitStack() as others:
            for number in range(1, KEYS):
                await others.enter_async_context(pod(number))
            await write(200)
            await done_of(*range(KEYS))
        async with pod(1):
            await write(50)
            await done_of(0, 1)
            assert {n % KEYS for n in handled if n >= 250} == {0, 1}
    async with contextlib.AsyncExitStack() as all_:
        for number in range(KEYS):
            await all_.enter_async_context(pod(number))
        await done_of(*range(KEYS))
    assert by_key(handled) == by_key(list(range(written)))


async def test_an_ordered_batch_holds_one_event_of_each_key(
    client: Client, stream_prefix: str
) -> None:
    source = await ordered(client, stream_prefix)
    app = Handlers()
    batches: list[list[int]] = []

    @app.batch("order.>", size=100)
    async def handle(events: list[ReceivedEvent]) -> None:
        await asyncio.sleep(0.01)
        batches.append([event.json()["n"] for event in events])

    await publish_in_turn(source, 40)
    async with consuming(source.python(), calling(app)):
        await source.settled(40)
    assert max(len(batch) for batch in batches) > 1
    assert all(len({n % KEYS for n in batch}) == len(batch) for batch in batches)
    flat = [n for batch in batches for n in batch]
    assert by_key(flat) == by_key(list(range(40)))


async def test_keys_go_on_when_the_circuit_opens_in_a_batch(
    client: Client, stream_prefix: str
) -> None:
    """Some of the batch are done, some go back, and some are not to blame any more."""
    source = await ordered(client, stream_prefix, breaker_failures=2)
    app = Handlers()
    handled: list[int] = []
    down = True

    @app.batch("order.>", size=100)
    async def handle(events: list[ReceivedEvent]) -> list[Ack | RetryAfter]:
        nonlocal down
        works = [not down or place == 0 for place in range(len(events))]
        down = len(events) < KEYS
        handled.extend(event.json()["n"] for event, ok in zip(events, works, strict=True) if ok)
        return [Ack() if ok else RetryAfter() for ok in works]

    await publish_in_turn(source, 20)
    async with consuming(source.python(), calling(app)) as running:
        await source.settled(20)
        assert metric(running, "outbox_consumer_circuit_openings_total") >= 1
    assert by_key(handled) == by_key(list(range(20)))


async def test_one_answer_for_many_needs_an_order(client: Client, stream_prefix: str) -> None:
    source = await Source.create(client, stream_prefix)
    await source.create_ordered(ack_policy="all")

    async with consuming(source.python(), calling(print)) as app:

        async def reported() -> bool:
            _, checks = await readiness(app)
            return "ackPolicy All needs ordering" in checks["consumer"]["reason"]

        await eventually(reported, "the mistake is on /readyz")
