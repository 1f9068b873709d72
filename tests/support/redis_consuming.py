"""What tests of the consumer runtime on Redis need: streams with a group, and events in them."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field, replace
from typing import Any

from outbox_operator.wire.config import (
    ConsumerConfig,
    HttpHandlerConfig,
    PythonHandlerConfig,
    RedisConfig,
)
from support.consuming import Endpoint
from support.nats import unique_prefix
from support.ports import free_port
from support.redis import RedisServer, redis_client
from support.waiting import eventually

GROUP = "billing"


@dataclass
class RedisSource:
    """Streams of the shards of one outbox, a group on each, and a consumer's configuration."""

    server: RedisServer
    config: ConsumerConfig
    keys: tuple[str, ...]
    published: dict[str, int] = field(default_factory=dict)

    @classmethod
    async def create(
        cls, server: RedisServer, *, shards: int = 1, ack_wait: float = 30.0, **settings: Any
    ) -> RedisSource:
        """Lay everything out. `settings` go into the consumer's configuration."""
        stream = f"{unique_prefix()}.user.v1"
        keys = (stream,) if shards == 1 else tuple(f"{stream}.{n}" for n in range(shards))
        config = ConsumerConfig(
            namespace="shop",
            consumer="billing",
            redis=RedisConfig(url=server.url),
            stream=stream,
            durable=GROUP,
            shard_streams=None if shards == 1 else keys,
            ack_wait_seconds=ack_wait,
            dead_letter_subject=f"{stream}.dlq",
            backoff_seconds=(0.05,),
            health_port=free_port(),
        )
        source = cls(server, replace(config, **settings), keys)
        await source.make_group()
        return source

    async def make_group(self) -> None:
        """Make it as the operator would."""
        async with redis_client(self.server) as client:
            for key in self.keys:
                await client.xgroup_create(key, GROUP, id="0", mkstream=True)

    async def publish(
        self,
        payload: Any = None,
        *,
        type: str = "user.created",
        key: str = "",
        shard: int = 0,
        id: str | None = None,
    ) -> str:
        """Store an event as the relay would; returns its id."""
        event_id = id or str(uuid.uuid4())
        stream = self.keys[shard]
        number = self.published[stream] = self.published.get(stream, 0) + 1
        async with redis_client(self.server) as client:
            await client.xadd(
                stream,
                {
                    "Ce-Id": event_id, "Ce-Type": type, "Ce-Source": "/shop/identity",
                    "Ce-Specversion": "1.0", "Content-Type": "application/json",
                    **({"Ce-Partitionkey": key} if key else {}),
                    "Outbox-Data": json.dumps(payload),
                },
                id=f"{number}-0",
            )  # fmt: skip
        return event_id

    async def pending(self) -> int:
        """How many entries are given to a reader and not acknowledged."""
        async with redis_client(self.server) as client:
            return sum([(await client.xpending(key, GROUP))["pending"] for key in self.keys])

    async def readers(self) -> list[str]:
        """Names in the group of the first key."""
        async with redis_client(self.server) as client:
            return [each["name"] for each in await client.xinfo_consumers(self.keys[0], GROUP)]

    async def settled(self) -> None:
        """Wait until every entry was delivered and acknowledged."""

        async def done() -> bool:
            try:
                async with redis_client(self.server) as client:
                    for key in self.keys:
                        (group,) = [
                            each for each in await client.xinfo_groups(key) if each["name"] == GROUP
                        ]
                        last = f"{self.published.get(key, 0)}-0"
                        if group["pending"] or group["last-delivered-id"] != last:
                            return False
            except OSError:
                return False  # the server is being restarted
            return True

        await eventually(done, "every entry is acknowledged")

    async def letters(self) -> list[dict[str, str]]:
        """Fields of dead letters."""
        async with redis_client(self.server) as client:
            found = await client.xrange(f"{self.config.stream}.dlq")
        return [fields for _, fields in found]

    def http(self, endpoint: Endpoint, **settings: Any) -> ConsumerConfig:
        """A configuration that delivers to an endpoint."""
        return replace(self.config, http=HttpHandlerConfig(url=endpoint.url, **settings))

    def python(self, module: str = "tests:handler", **settings: Any) -> ConsumerConfig:
        """A configuration that calls a function."""
        return replace(self.config, python=PythonHandlerConfig(module=module, **settings))
