"""A run whose relays publish to Redis Streams, which writes each command to disk before it answers.

Called by `delivery.run` with `SINK=redis`. Reads streams by an ordinary client, not by the relay's.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final

from redis.asyncio import Redis

from delivery.expected import Stored
from delivery.servers import Servers, set_up
from delivery.settings import Settings
from support.postgres import PostgresServer
from support.redis import RedisServer, make_stream
from support.relaying import Outbox
from support.tcp_proxy import TcpProxy

_DATA: Final = b"Outbox-Data"


class RedisServers(Servers):
    """What runs, with a Redis where else is NATS."""

    def __init__(self, settings: Settings, postgres: PostgresServer, redis: Any) -> None:
        # The same verbs: kill, start, pause, resume, copy_store, restore_store.
        super().__init__(settings, postgres, redis)
        self._redis: RedisServer = redis

    @property
    def keys(self) -> list[str]:
        """Of the streams, one a shard."""
        if self._settings.shards == 1:
            return [self.stream]
        return [f"{self.stream}.{shard}" for shard in range(self._settings.shards)]

    async def forget_ids(self) -> None:
        """There are none: numbers alone keep a second copy out."""

    async def stored(self, client: Any) -> int:
        """See `Servers`."""
        async with self._session() as connection:
            letters = await connection.fetchval("SELECT count(*) FROM outbox.dead_letters")
        return int(letters) + sum([int(await client.xlen(key)) for key in self.keys])

    async def messages(self, stream: str) -> list[Stored]:
        """See `Servers`."""
        found: list[Stored] = []
        async with self.client() as client:
            for key in self.keys:
                for entry, fields in await client.xrange(key):
                    found.append(_stored(len(found) + 1, key, entry, fields))
        return found

    def client(self) -> contextlib.AbstractAsyncContextManager[Any]:
        """A connection without a proxy."""
        return _client(self._redis.port)

    async def _set_up_stream(self, outbox: Outbox) -> None:
        for key in self.keys:
            await make_stream(self._redis.login, key)

    def _place(self, links: Sequence[TcpProxy]) -> dict[str, Any]:
        (link,) = links
        return {"redis": {"url": f"redis://127.0.0.1:{link.port}"}}


def _stored(sequence: int, key: str, entry: bytes, fields: dict[bytes, bytes]) -> Stored:
    number, _, part = entry.decode().partition("-")
    if part != "0":
        raise ValueError(f"{key}: an entry that no relay writes: {entry!r}")
    headers = {
        name.decode("utf-8", "surrogateescape"): value.decode("utf-8", "surrogateescape")
        for name, value in fields.items()
        if name != _DATA
    }
    every = {"Outbox-Emission": number, **headers}  # which is the id here
    return Stored(sequence, key, tuple(every.items()), fields[_DATA])


@contextlib.asynccontextmanager
async def _client(port: int) -> AsyncIterator[Any]:
    client = Redis(host="127.0.0.1", port=port)
    try:
        yield client
    finally:
        await client.aclose()


@contextlib.asynccontextmanager
async def running_redis(settings: Settings, directory: Path) -> AsyncIterator[Servers]:
    """Servers of one's own with relays that are not started yet."""
    async with contextlib.AsyncExitStack() as stack:
        postgres = PostgresServer(max_connections="200")
        stack.callback(postgres.remove)
        redis = RedisServer()
        stack.callback(redis.close)
        await asyncio.gather(asyncio.to_thread(postgres.start), asyncio.to_thread(redis.start))
        servers = RedisServers(settings, postgres, redis)
        yield await stack.enter_async_context(set_up(servers, directory))
