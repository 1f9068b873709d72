"""Places that a consumer reads from, for tests of every source: real servers, alike to use."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from outbox_operator.adapters.source import Delivery, Source
from outbox_operator.consumer import sources
from outbox_operator.telemetry.readiness import ServerState
from outbox_operator.wire.config import ConsumerConfig, NatsConfig, RedisConfig
from support import nats
from support.nats import NatsServer, connected, remove_streams, unique_prefix
from support.redis import RedisServer, redis_client
from support.tcp_proxy import TcpProxy
from support.waiting import eventually

READER: Final = "billing"


@dataclass
class Reader:
    """A source that is read, and what it delivered."""

    session: sources.Session
    state: ServerState
    arrived: list[Delivery] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)

    @property
    def source(self) -> Source:
        """What reads."""
        return self.session.source

    async def take(self, count: int) -> list[Delivery]:
        """Request so many and wait for them."""
        before = len(self.arrived)
        await self.source.request(count)
        await eventually(lambda: len(self.arrived) >= before + count, f"{count} messages")
        return self.arrived[before:]

    async def open(self) -> None:
        """As the runtime does after a failure: again, until it can."""

        async def opened() -> bool:
            try:
                await self.source.open()
            except Exception:  # noqa: BLE001 - the next time
                return False
            return True

        await eventually(opened, "open")


class Place(Protocol):
    """Where messages are stored that a reader named `READER` is given. Empty at first.

    Attributes:
        name: Of the kind of source.
        config: Of a consumer of it.
        letters: Where dead letters go.
    """

    name: str
    config: ConsumerConfig
    letters: str

    async def publish(self, count: int) -> list[str]:
        """Store so many events, and return their ids."""

    async def make_reader(self) -> None:
        """Make what keeps the progress."""

    async def remove_reader(self) -> None:
        """Delete it."""

    async def stored_letters(self) -> list[dict[str, str]]:
        """Headers of dead letters."""

    async def cut(self) -> None:
        """Cut every connection of readers."""


@contextlib.asynccontextmanager
async def reading(place: Place) -> AsyncIterator[Reader]:
    """A source of a place, not open yet; its session ends with the block."""
    found: list[Reader] = []
    arrived: list[Delivery] = []
    refused: list[int] = []
    state = ServerState()
    reports = sources.Reports(
        state=state, on_delivery=arrived.append, on_change=lambda: None, on_refused=refused.append
    )
    async with sources.session(place.config, reports, asyncio.Event()) as session:
        found.append(Reader(session, state, arrived, refused))
        yield found[0]


def _headers(number: int) -> dict[str, str]:
    return {
        "Ce-Id": f"id-{number}", "Ce-Type": "order.created", "Ce-Source": "/shop/orders",
        "Ce-Partitionkey": f"k{number % 3}", "Ce-Time": "2026-01-01T00:00:00Z",
        "Outbox-Shard": "0", "Outbox-Position": str(1000 + number), "own": "b: \u00e4r",
    }  # fmt: skip


class JetStreamPlace:
    """A durable consumer of a nats-server, reached through a proxy that can be cut."""

    name = "JetStream"

    def __init__(self, server: NatsServer, proxy: TcpProxy, ack_wait: float) -> None:
        self._server = server
        self._proxy = proxy
        self._stream = unique_prefix()
        self._published = 0
        self.letters = f"{self._stream}.dead.{READER}"
        self.config = ConsumerConfig(
            namespace="shop", consumer=READER, durable=READER, stream=self._stream,
            nats=NatsConfig(url=f"nats://127.0.0.1:{proxy.port}"), ack_wait_seconds=ack_wait,
        )  # fmt: skip

    async def make(self) -> None:
        async with connected(self._server) as client:
            await nats.make_stream(client, name=self._stream, subjects=[f"{self._stream}.evt.>"])
            await nats.make_stream(
                client, name=f"{self._stream}-dead", subjects=[f"{self._stream}.dead.>"]
            )
        await self.make_reader()

    async def make_reader(self) -> None:
        config = {
            "durable_name": READER, "ack_policy": "explicit", "max_deliver": -1,
            "ack_wait": int(self.config.ack_wait_seconds * 1e9),
        }  # fmt: skip
        async with connected(self._server) as client:
            answer = await client.request(
                f"$JS.API.CONSUMER.CREATE.{self._stream}.{READER}",
                json.dumps({"stream_name": self._stream, "config": config}).encode(),
            )
        assert "error" not in json.loads(answer.data), answer.data

    async def remove_reader(self) -> None:
        async with connected(self._server) as client:
            await client.jetstream().delete_consumer(self._stream, READER)

    async def publish(self, count: int) -> list[str]:
        first = self._published + 1
        self._published += count
        numbers = range(first, first + count)
        async with connected(self._server) as client:
            for number in numbers:
                await client.jetstream().publish(
                    f"{self._stream}.evt.order.created", b"%d" % number,
                    headers={**_headers(number), "Outbox-Emission": str(number)},
                )  # fmt: skip
        return [f"id-{number}" for number in numbers]

    async def stored_letters(self) -> list[dict[str, str]]:
        async with connected(self._server) as client:
            js = client.jetstream()
            last = (await js.stream_info(f"{self._stream}-dead")).state.last_seq
            found = [await js.get_msg(f"{self._stream}-dead", n) for n in range(1, last + 1)]
        return [dict(each.headers or {}) for each in found]

    async def cut(self) -> None:
        self._proxy.cut()

    async def close(self) -> None:
        async with connected(self._server) as client:
            await remove_streams(client, self._stream)


class RedisPlace:
    """A consumer group of a Redis server, reached through a proxy that can be cut."""

    name = "Redis"

    def __init__(self, server: RedisServer, proxy: TcpProxy, ack_wait: float) -> None:
        self._server = server
        self._proxy = proxy
        self._published = 0
        self.key = f"{unique_prefix()}.user.v1"
        self.letters = f"{self.key}.dlq"
        self.config = ConsumerConfig(
            namespace="shop", consumer=READER, durable=READER, stream=self.key,
            redis=RedisConfig(url=f"redis://127.0.0.1:{proxy.port}"), ack_wait_seconds=ack_wait,
        )  # fmt: skip

    async def make_reader(self) -> None:
        async with redis_client(self._server) as client:
            await client.xgroup_create(self.key, READER, id="0", mkstream=True)

    async def remove_reader(self) -> None:
        async with redis_client(self._server) as client:
            await client.xgroup_destroy(self.key, READER)

    async def publish(self, count: int) -> list[str]:
        first = self._published + 1
        self._published += count
        numbers = range(first, first + count)
        async with redis_client(self._server) as client, client.pipeline() as together:
            for number in numbers:
                fields: dict[Any, Any] = {**_headers(number), "Outbox-Data": b"%d" % number}
                together.xadd(self.key, fields, id=f"{number}-0")
            await together.execute()
        return [f"id-{number}" for number in numbers]

    async def stored_letters(self) -> list[dict[str, str]]:
        async with redis_client(self._server) as client:
            return [fields for _, fields in await client.xrange(self.letters)]

    async def cut(self) -> None:
        self._proxy.cut()


@contextlib.asynccontextmanager
async def jetstream_place(server: NatsServer, ack_wait: float) -> AsyncIterator[Place]:
    """A place in JetStream."""
    proxy = await TcpProxy(lambda: server.port).start()
    place = JetStreamPlace(server, proxy, ack_wait)
    try:
        await place.make()
        yield place
    finally:
        await place.close()
        await proxy.close()


@contextlib.asynccontextmanager
async def redis_place(server: RedisServer, ack_wait: float) -> AsyncIterator[RedisPlace]:
    """A place in Redis."""
    proxy = await TcpProxy(lambda: server.port).start()
    place = RedisPlace(server, proxy, ack_wait)
    try:
        await place.make_reader()
        yield place
    finally:
        await proxy.close()
