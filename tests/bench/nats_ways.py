"""What a message costs with nats-py's own ways and with those of `adapters.nats`, in CPU time.

Part of `make bench-decisions`. The server, which also sends what is only received, is another
process.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import statistics
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from outbox_operator.adapters.nats.auth import NatsAuth
from outbox_operator.adapters.nats.connection import connect
from outbox_operator.adapters.nats.publisher import Publisher
from outbox_operator.adapters.nats.pull_consumer import Delivery, PullConsumer
from outbox_operator.adapters.sink import Message, Owner
from support.nats import NatsServer

MESSAGES: Final = 10_000
STREAM: Final = "BENCH"
_BATCH: Final = 500
_BODY: Final = b"x" * 200
_TYPES: Final = {"Ce-Type": "order.placed", "Outbox-Key": "42"}

Run = Callable[[NatsServer], Awaitable[float]]


def messages() -> list[Message]:
    """Events as a relay publishes them."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in _TYPES.items())
    return [
        Message(f"{STREAM}.a", f"NATS/1.0\r\nNats-Msg-Id: {uuid.uuid4()}\r\n{lines}\r\n", _BODY)
        for _ in range(MESSAGES)
    ]


@contextlib.asynccontextmanager
async def a_client(server: NatsServer) -> AsyncIterator[Client]:
    """nats-py as it comes."""
    client = await nats.connect(server.url)
    yield client
    await client.close()


async def a_stream(client: Client, **config: Any) -> None:
    """An empty stream, in memory: the disk is not what is compared."""
    js = client.jetstream()
    with contextlib.suppress(nats.js.errors.NotFoundError):
        await js.delete_stream(STREAM)
    await client.request(
        f"$JS.API.STREAM.CREATE.{STREAM}",
        b'{"name":"%b","subjects":["%b.>"],"storage":"memory","allow_batched":true}'
        % (STREAM.encode(), STREAM.encode()),
    )


async def filled(server: NatsServer) -> None:
    """A stream with messages and a durable consumer."""
    async with a_client(server) as client:
        await a_stream(client)
        await publish_into(server)
        await client.jetstream().add_consumer(
            STREAM, durable_name="d", ack_policy="explicit", max_ack_pending=10_000
        )


async def publish_into(server: NatsServer) -> float:
    """A run of the publisher, until all is acknowledged."""
    publisher = await Publisher.open(server.auth, name="bench", stream=STREAM)
    await publisher.facts()
    made = messages()
    began = time.process_time()
    run = publisher.open_run(owner=Owner("bench", 1), fence=None, ordered=True)
    await run.send(made, last=True)
    sent = await run.finish()
    used = time.process_time() - began
    assert sent.count == MESSAGES, sent
    await publisher.close()
    return used


async def published_by_us(server: NatsServer) -> float:
    """Fast-ingest batches of our own frames."""
    async with a_client(server) as client:
        await a_stream(client)
    return await publish_into(server)


async def published_by_the_library(server: NatsServer) -> float:
    """`publish_async`, until all is acknowledged."""
    async with a_client(server) as client:
        await a_stream(client)
        ids = [str(uuid.uuid4()) for _ in range(MESSAGES)]
        js = client.jetstream(publish_async_max_pending=1024)
        began = time.process_time()
        for number in ids:
            await js.publish_async(
                f"{STREAM}.a", _BODY, headers={"Nats-Msg-Id": number, **_TYPES}, wait_stall=10
            )
        await js.publish_async_completed()
        return time.process_time() - began


async def received(client: Client, listen: Callable[[Callable[[], None]], Awaitable[Any]]) -> float:
    """CPU time of receiving what another connection of another process sends."""
    seen, done = 0, asyncio.Event()

    def one() -> None:
        nonlocal seen
        seen += 1
        if seen == MESSAGES:
            done.set()

    await listen(one)
    await client.flush()
    # The stream's own server sends: a push consumer that wants no answers.
    began = time.process_time()
    await client.jetstream().add_consumer(
        STREAM, deliver_subject="bench.in", ack_policy="none", durable_name="push"
    )
    await asyncio.wait_for(done.wait(), 60)
    return time.process_time() - began


async def received_by_us(server: NatsServer) -> float:
    """A sink of the frame reader."""
    await filled(server)
    client = await connect(server.auth, name="bench")
    used = await received(
        client, lambda one: client.listen("bench.in", lambda _s, _r, _h, _d: one())
    )
    await client.close()
    return used


async def received_by_the_library(server: NatsServer) -> float:
    """A callback of a subscription."""
    await filled(server)
    async with a_client(server) as client:

        async def listen(one: Callable[[], None]) -> None:
            async def call(_: Msg) -> None:
                one()

            await client.subscribe(
                "bench.in", cb=call, pending_msgs_limit=-1, pending_bytes_limit=-1
            )

        return await received(client, listen)


async def consumed_by_us(server: NatsServer) -> float:
    """Requests that overlap, answers in batches."""
    await filled(server)
    client = await connect(server.auth, name="bench")
    seen, changed = 0, asyncio.Event()

    def deliver(delivery: Delivery) -> None:
        nonlocal seen
        seen += 1
        delivery.ack()
        if reader.requested <= _BATCH or seen == MESSAGES:
            changed.set()

    reader = PullConsumer(
        client,
        NatsAuth(url=server.url),
        STREAM,
        "d",
        on_delivery=deliver,
        on_change=changed.set,
        on_refused=lambda _: None,
    )
    await reader.open()
    began = time.process_time()
    while seen < MESSAGES:
        changed.clear()
        await reader.request(min(2 * _BATCH, MESSAGES - seen))
        await changed.wait()
    await client.flush()
    used = time.process_time() - began
    await reader.close()
    await client.close()
    return used


async def consumed_by_the_library(server: NatsServer) -> float:
    """`fetch` and `ack`."""
    await filled(server)
    async with a_client(server) as client:
        pull = await client.jetstream().pull_subscribe_bind(durable="d", stream=STREAM)
        seen, began = 0, time.process_time()
        while seen < MESSAGES:
            for message in await pull.fetch(_BATCH, timeout=10):
                seen += 1
                await message.ack()
        await client.flush()
        return time.process_time() - began


PAIRS: Final[dict[str, tuple[Run, Run]]] = {
    "published": (published_by_us, published_by_the_library),
    "received": (received_by_us, received_by_the_library),
    "consumed": (consumed_by_us, consumed_by_the_library),
}


async def figures(rounds: int) -> dict[str, Any]:
    """Microseconds of CPU a message, median of the rounds."""
    result: dict[str, Any] = {
        "messages": MESSAGES, "client": importlib.metadata.version("nats-py")
    }  # fmt: skip
    with NatsServer() as server:
        for name, pair in PAIRS.items():
            found: list[list[float]] = [[], []]
            for _ in range(rounds):
                for each, run in zip(found, pair, strict=True):
                    each.append(await run(server) / MESSAGES * 1e6)
            ours, theirs = (round(statistics.median(each), 2) for each in found)
            result[f"{name}_us_per_message"] = {"ours": ours, "library": theirs}
    return result
