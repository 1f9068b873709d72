"""The bed of a measurement with Redis in the place of NATS: the same tables, a key as stream."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.bed import NAMESPACE, PIPELINE, Bed, an_outbox
from outbox_operator.adapters.redis.entries import DATA_FIELD
from outbox_operator.wire.headers import EVENT_ID
from outbox_operator.wire.subjects import nudge_subject
from support.postgres import PostgresServer
from support.redis import RedisServer, make_stream, redis_client
from support.redis_outbox import NO_NATS
from support.relaying import RelayProcess

KEY: Final = "ORDERS"


class Fields(NamedTuple):
    """Names of what is in an entry: the event's id, its payload."""

    event_id: str
    data: str


class RedisBed(Bed):
    """As `Bed`, with a stream of one shard in Redis.

    Attributes:
        fields: Of the entries of whoever appends.
    """

    redis: RedisServer
    fields = Fields(EVENT_ID, DATA_FIELD.decode())

    async def nudge(self) -> None:
        """See `Bed`."""
        async with redis_client(self.redis) as client:
            await client.publish(nudge_subject(NAMESPACE, PIPELINE), b"")

    def broker(self) -> dict[str, Any]:
        """See `Bed`."""
        return {"redis": self.redis.port, "stream": KEY, "data": self.fields.data}

    def broker_pids(self) -> list[int]:
        """See `Bed`."""
        return [self.redis.pid]

    def relay(self, **changes: Any) -> RelayProcess:
        """See `Bed`."""
        return super().relay(**{"redis": {"url": self.redis.url}, "subject": KEY, **changes})

    async def create_stream(self) -> None:
        """See `Bed`."""
        async with redis_client(self.redis) as client:
            await client.delete(KEY, f"{{{KEY}}}:outbox")
        await make_stream(self.redis.login, KEY)

    async def stream_state(self) -> dict[str, Any]:
        """See `Bed`: in the words of JetStream. Nobody notes when an entry came: it is now."""
        async with redis_client(self.redis) as client:
            messages = await client.xlen(KEY)
            last = await client.xrevrange(KEY, count=1)
            size = await client.memory_usage(KEY)
        now = datetime.now(UTC).replace(tzinfo=None).isoformat()
        number = int(last[0][0].partition("-")[0]) if last else 0
        return {"messages": messages, "last_seq": number, "bytes": size, "last_ts": f"{now}Z"}

    async def entry(self) -> dict[bytes, bytes]:
        """Fields of an entry as the relay has stored it."""
        async with redis_client(self.redis) as client:
            ((_, fields),) = await client.xrevrange(KEY, count=1)
        return {name.encode(): value.encode() for name, value in fields.items()}


@contextlib.asynccontextmanager
async def a_redis_bed(
    postgres: PostgresServer,
    redis: RedisServer,
    directory: Path,
    kind: type[RedisBed] = RedisBed,
) -> AsyncIterator[RedisBed]:
    """A fresh outbox in a database of its own, and its key; both gone afterwards."""
    async with an_outbox(postgres) as (url, connection):
        bed = kind(postgres, NO_NATS, [], url, directory, connection, NO_NATS)
        bed.redis = redis
        await bed.create_stream()
        try:
            yield bed
        finally:
            bed.stop()
