"""An outbox whose relays publish to Redis, and what is in its stream."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg

from support.nats import unique_prefix
from support.outbox import migrate
from support.redis import RedisServer, make_stream, redis_client
from support.relaying import Outbox, RelayProcess
from support.waiting import eventually

NO_NATS: Final[Any] = None
"""For outboxes that have nothing to do with it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the stream."""

    number: int
    fields: dict[str, str]


class RedisOutbox(Outbox):
    """As `Outbox`, with a stream in Redis."""

    redis: RedisServer

    def keys(self, shards: int) -> list[str]:
        """Of the stream."""
        several = [f"{self.prefix}.{shard}" for shard in range(shards)]
        return several if shards > 1 else [self.prefix]

    def relay(self, **changes: Any) -> RelayProcess:
        """See `Outbox`."""
        several = ".{shard}" if self.shards > 1 else ""
        there = {"redis": {"url": self.redis.url}, "subject": self.prefix + several}
        return super().relay(**{**there, **changes})

    async def entries(self) -> list[Entry]:
        """All entries in order."""
        async with redis_client(self.redis) as client:
            found = await client.xrange(self.prefix)
        entries = []
        for each, fields in found:
            number, _, part = each.partition("-")
            assert part == "0", each
            entries.append(Entry(int(number), fields))
        return entries

    async def arrived(self, count: int) -> list[Entry]:
        """Wait until there are so many, and return them."""

        async def enough() -> bool:
            async with redis_client(self.redis) as client:
                return bool(await client.xlen(self.prefix) >= count)

        await eventually(enough, f"{count} entries")
        return await self.entries()

    async def check(self) -> None:
        """Every committed event once, in the order of its key, and nothing else."""
        committed = await self.event_ids()
        entries = await self.arrived(len(committed))
        ids = [entry.fields["Ce-Id"] for entry in entries]
        assert [each for each, times in Counter(ids).items() if times > 1] == []
        assert set(ids) == set(committed)
        positions: dict[str, list[int]] = {}
        for entry in entries:
            key = entry.fields.get("Ce-Partitionkey", "")
            positions.setdefault(key, []).append(int(entry.fields["Outbox-Position"]))
        assert all(found == sorted(found) for found in positions.values())


@contextlib.asynccontextmanager
async def redis_outbox(
    url: str, redis: RedisServer, directory: Path, *, shards: int = 1
) -> AsyncIterator[RedisOutbox]:
    """A migrated outbox with its stream, a key each shard; its relays are ended after."""
    await migrate(url, shards=shards)
    connection = await asyncpg.connect(url)
    outbox = RedisOutbox(
        url, NO_NATS, directory, connection, f"{unique_prefix()}.user.v1", shards=shards
    )
    outbox.redis = redis
    try:
        for key in outbox.keys(shards):
            await make_stream(redis.login, key)
        yield outbox
    finally:
        outbox.stop_all()
        with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await connection.close(timeout=2)
