"""Places that a relay publishes to, for tests of every sink: real servers, alike to use."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator
from typing import Final, Protocol

from outbox_operator.adapters.nats.auth import NatsAuth
from outbox_operator.adapters.nats.publisher import Publisher
from outbox_operator.adapters.redis.login import RedisLogin
from outbox_operator.adapters.redis.sink import RedisSink
from outbox_operator.adapters.sink import Message, Owner, Sent, Sink
from support import nats
from support.nats import NatsServer, connected, remove_streams, unique_prefix
from support.redis import RedisServer, make_stream, redis_client
from support.tcp_proxy import TcpProxy
from support.waiting import SECONDS

SOURCE: Final = "/shop/orders"
LARGEST: Final = 100_000
"""Bytes of a message that every place is set to take at most."""


class Place(Protocol):
    """Where the messages of one shard go, and a sink into it. Empty at first.

    Attributes:
        name: Of the kind of sink.
        subjects: Filter of the shard's messages.
        subject: One of these.
        nudge: Where writers nudge.
    """

    name: str
    subjects: str
    subject: str
    nudge: str

    async def connect(self) -> Sink:
        """Another connection, closed when the test ends."""

    async def cut(self) -> None:
        """Cut every connection that `connect` made."""

    async def foreign(self, above: int) -> None:
        """Somebody else publishes there.

        Args:
            above: Number that its message has to be larger than, where it has one.
        """

    async def make_anew(self) -> None:
        """Take it away with all it holds, and make it again."""

    async def call(self) -> None:
        """Nudge as a writer does."""


def message(subject: str, number: int, size: int = 20) -> Message:
    """The message of an event, with what a relay finds in it again."""
    event_id = uuid.UUID(int=number)
    lines = {
        "Nats-Msg-Id": str(event_id), "Ce-Id": str(event_id), "Ce-Type": "order.created",
        "Ce-Source": SOURCE, "Ce-Partitionkey": f"k{number % 7}", "Outbox-Shard": "0",
        "Outbox-Position": str(1000 + number), "Outbox-Emission": str(number), "own": "b: ar",
    }  # fmt: skip
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return Message(subject, f"NATS/1.0\r\n{head}\r\n", b"x" * size)


def messages(place: Place, count: int, *, first: int = 1, size: int = 20) -> list[Message]:
    """Messages of events with the numbers from `first` on."""
    return [message(place.subject, number, size) for number in range(first, first + count)]


async def numbers(place: Place, sink: Sink, after: int = 0) -> list[int]:
    """Numbers of the events that are there behind a sequence."""
    return [
        int(found.headers.get("Outbox-Emission", "0"))
        async for found in sink.tail(place.subjects, after)
    ]


async def closed_run(sink: Sink, place: Place, sent: list[Message], **options: object) -> Sent:
    """Send messages in one run."""
    run = sink.open_run(
        **{"owner": Owner("a1", 1), "fence": None, "ordered": True, "subjects": place.subjects}
        | options  # type: ignore[arg-type]
    )
    await run.send(sent, last=True)
    return await run.finish()


class JetStreamPlace:
    """A stream of a nats-server, reached through a proxy that can be cut."""

    def __init__(self, server: NatsServer, proxy: TcpProxy, *, batches: bool) -> None:
        self.name = "JetStream"
        self._batches = batches
        self._server = server
        self._proxy = proxy
        self._stream = unique_prefix()
        self.subjects = f"{self._stream}.0.>"
        self.subject = f"{self._stream}.0.order.created"
        self.nudge = f"{self._stream}-nudge"
        self._open: list[Publisher] = []

    async def connect(self) -> Sink:
        auth = NatsAuth(url=f"nats://127.0.0.1:{self._proxy.port}")
        sink = await Publisher.open(
            auth, name="tests", stream=self._stream, subjects=self.subjects, ack_seconds=SECONDS
        )
        self._open.append(sink)
        return sink

    async def cut(self) -> None:
        self._proxy.cut()

    async def foreign(self, above: int) -> None:
        async with connected(self._server) as client:
            await client.jetstream().publish(self.subject, b"not ours")

    async def make(self) -> None:
        async with connected(self._server) as client:
            await nats.make_stream(
                client, name=self._stream, subjects=[f"{self._stream}.>"],
                allow_batched=self._batches, max_msg_size=LARGEST,
            )  # fmt: skip

    async def make_anew(self) -> None:
        async with connected(self._server) as client:
            await client.jetstream().delete_stream(self._stream)
        await self.make()

    async def call(self) -> None:
        async with connected(self._server) as client:
            await client.publish(self.nudge)
            await client.flush()

    async def close(self) -> None:
        for sink in self._open:
            await sink.close()
        async with connected(self._server) as client:
            await remove_streams(client, self._stream)


@contextlib.asynccontextmanager
async def jetstream_place(server: NatsServer, *, batches: bool) -> AsyncIterator[Place]:
    """A place in JetStream, with or without fast-ingest batches."""
    proxy = await TcpProxy(lambda: server.port).start()
    place = JetStreamPlace(server, proxy, batches=batches)
    try:
        await place.make()
        yield place
    finally:
        await place.close()
        await proxy.close()


class RedisPlace:
    """A stream of a Redis server, reached through a proxy that can be cut."""

    def __init__(self, server: RedisServer, proxy: TcpProxy) -> None:
        self.name = "Redis"
        self._server = server
        self._proxy = proxy
        self.subjects = self.subject = f"{unique_prefix()}.user.v1"
        self.nudge = f"{self.subjects}-nudge"
        self._open: list[RedisSink] = []

    async def connect(self) -> Sink:
        login = RedisLogin(url=f"redis://127.0.0.1:{self._proxy.port}")
        sink = await RedisSink.open(
            lambda: login, name="tests", max_message_bytes=LARGEST, answer_seconds=SECONDS
        )
        self._open.append(sink)
        return sink

    async def cut(self) -> None:
        self._proxy.cut()

    async def foreign(self, above: int) -> None:
        async with redis_client(self._server) as client:
            await client.xadd(self.subject, {"not": "ours"}, id=f"{above + 1}-0")

    async def make(self) -> None:
        await make_stream(self._server.login, self.subject)

    async def make_anew(self) -> None:
        async with redis_client(self._server) as client:
            await client.delete(self.subject)
        await self.make()

    async def call(self) -> None:
        async with redis_client(self._server) as client:
            await client.publish(self.nudge, "")

    async def close(self) -> None:
        for sink in self._open:
            await sink.close()


@contextlib.asynccontextmanager
async def redis_place(server: RedisServer) -> AsyncIterator[Place]:
    """A place in Redis."""
    proxy = await TcpProxy(lambda: server.port).start()
    place = RedisPlace(server, proxy)
    try:
        await place.make()
        yield place
    finally:
        await place.close()
        await proxy.close()
