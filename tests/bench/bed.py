"""The bed of a measurement: PostgreSQL, nats-server, an outbox with its stream, relay processes.

Everything is as the operator would make it: tables by the migrations, the stream by the plan of
an EventStream that sets nothing, relays as `outbox relay` processes with their defaults.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import asyncpg

from bench.measuring import Usage
from outbox_operator.adapters.nats.admin import JetStreamAdmin
from outbox_operator.adapters.nats.auth import NatsAuth
from outbox_operator.adapters.nats.driver import WireClient
from outbox_operator.plan.jetstream.stream_config import desired_stream
from outbox_operator.wire.subjects import nudge_subject
from support.jetstream import OWNER, pass_stream, stream_spec
from support.nats import NatsServer, connected
from support.outbox import migrate
from support.postgres import PostgresServer
from support.relaying import RelayProcess
from support.waiting import eventually

NAMESPACE: Final = "bench"
PIPELINE: Final = "orders"
STREAM: Final = "ORDERS"
KEYS: Final = 1000
LONGEST_SECONDS: Final = 300.0
"""For a bed to get somewhere; a measurement that takes longer has failed."""
POSTGRES_SETTINGS: Final[dict[str, Any]] = {
    "fsync": "on",
    "full_page_writes": "on",
    "shared_buffers": "1GB",
    "max_wal_size": "4GB",
    "shared_preload_libraries": "pg_stat_statements",
}
"""What differs from the defaults of the server, or of servers for tests."""

_FILL: Final = """
CREATE PROCEDURE bench_fill(rows int, bytes int, own_transactions bool) LANGUAGE plpgsql AS $$
DECLARE
    -- Random text, so that compression finds nothing; every row holds another piece of it.
    pool text := (
        SELECT string_agg(md5(random()::text), '') FROM generate_series(1, bytes / 32 + 40));
BEGIN
    FOR n IN 1 .. rows LOOP
        INSERT INTO outbox.events (event_type, partition_key, payload)
        VALUES ('order.created', 'customer-' || n % {keys}, jsonb_build_object(
            'n', lpad(n::text, 8, '0'), 'pad', substr(pool, 1 + n % 1000, bytes - 28)));
        IF own_transactions THEN COMMIT; END IF;
    END LOOP;
END $$
"""


@dataclass
class Bed:
    """Servers of a measurement, and one outbox on them.

    Attributes:
        url: Of the database, as superuser.
        nats: The server relays connect to; `servers` are all of its cluster.
        connection: For preparations and looks.
    """

    postgres: PostgresServer
    nats: NatsServer
    servers: Sequence[NatsServer]
    url: str
    directory: Path
    connection: asyncpg.Connection[Any]
    client: WireClient
    shards: int = 1
    replicas: int = 1
    _relays: list[RelayProcess] = field(default_factory=list)

    @property
    def subject(self) -> str:
        """The pipeline's subject template."""
        return f"{STREAM}.{{shard}}.{{event_type}}" if self.shards > 1 else STREAM + ".{event_type}"

    async def fill(self, rows: int, size: int) -> None:
        """Commit a backlog: a transaction for each event, `size` bytes of jsonb as text."""
        await self.connection.execute("SET synchronous_commit = off")
        await self.connection.execute("CALL bench_fill($1, $2, true)", rows, size)
        await self.connection.execute("RESET synchronous_commit")
        # Autovacuum would have done this while a real backlog grew.
        await self.connection.execute("VACUUM (ANALYZE) outbox.events")
        wrong = await self.connection.fetchval(
            "SELECT count(*) FROM outbox.events WHERE octet_length(payload::text) <> $1", size
        )
        assert wrong == 0, f"{wrong} payloads are not of {size} bytes"

    async def rewind(self) -> None:
        """Everything unpublished again: cursors as at the beginning, an empty stream."""
        for relay in self._relays:
            relay.kill()
        self._relays.clear()
        async with self.connection.transaction():
            await self.connection.execute("DELETE FROM outbox.cursors")
            await self.connection.execute("INSERT INTO outbox.cursors TABLE bench_cursors")
        await self.create_stream()
        await self.connection.execute("CHECKPOINT")

    async def clear(self) -> None:
        """No events at all, otherwise as `rewind`."""
        await self.rewind()
        await self.connection.execute("TRUNCATE outbox.events")

    async def create_stream(self) -> None:
        """The pipeline's stream, empty."""
        await create_stream(self.client, self.nats.auth, STREAM, self.replicas)

    async def nudge(self) -> None:
        """Tell relays that there is something, as a writer does."""
        await self.client.publish(nudge_subject(NAMESPACE, PIPELINE), b"")

    def broker(self) -> dict[str, Any]:
        """Where programs of the bench find the stream."""
        return {"nats": self.nats.url, "stream": STREAM}

    def check(self, state: dict[str, Any], events: int) -> None:
        """That these events are in the stream once, and nothing else is, as its state tells."""
        assert state["messages"] == state["last_seq"] == events, f"wanted {events}, found {state}"

    def broker_pids(self) -> list[int]:
        """Processes of the broker."""
        return [server.pid for server in self.servers]

    def relay(self, **changes: Any) -> RelayProcess:
        """A relay process that is not started yet; `changes` are fields of its configuration."""
        secret = self.directory / "url"
        secret.write_text(self.url)
        config = {
            "namespace": NAMESPACE,
            "pipeline": PIPELINE,
            "database": {"url_file": str(secret)},
            **({} if "redis" in changes else {"nats": {"url": self.nats.url}}),
            "stream": STREAM,
            "subject": self.subject,
            "shards": self.shards,
            "health_port": 0,
            **changes,
        }
        relay = RelayProcess(config, self.directory, f"relay-{time.monotonic_ns()}")
        self._relays.append(relay)
        return relay

    async def claiming_relay(self) -> RelayProcess:
        """A relay process that has this moment taken its first shard."""
        before = await self._epochs()
        relay = self.relay().start()

        async def claimed() -> bool:
            assert relay.running, relay.log
            return await self._epochs() > before

        await eventually(claimed, "the relay to take a shard", pause=0.002, seconds=LONGEST_SECONDS)
        return relay

    def usage(self, *relays: int) -> Usage:
        """Start to count CPU time, of these processes as relays."""
        return Usage(relays, self.postgres.pid, self.broker_pids())

    async def _epochs(self) -> int:
        # Grows whenever a relay takes a shard.
        return int(await self.connection.fetchval("SELECT sum(owner_epoch) FROM outbox.cursors"))

    async def stream_state(self) -> dict[str, Any]:
        """State of the stream as the server tells it."""
        answer = await self.client.request(f"$JS.API.STREAM.INFO.{STREAM}", timeout=10)
        state: dict[str, Any] = json.loads(answer.data)["state"]
        return state

    def stop(self) -> None:
        """End every relay."""
        for relay in self._relays:
            relay.kill()
        self._relays.clear()


async def create_stream(client: WireClient, auth: NatsAuth, name: str, replicas: int) -> None:
    """A stream as an EventStream that sets nothing asks for; one of that name goes first."""
    await client.request(f"$JS.API.STREAM.DELETE.{name}", timeout=10)
    admin = JetStreamAdmin(client, auth)
    await pass_stream(admin, desired_stream(stream_spec(name, replicas=replicas), OWNER))


@contextlib.asynccontextmanager
async def a_bed(
    postgres: PostgresServer,
    servers: Sequence[NatsServer],
    directory: Path,
    *,
    shards: int = 1,
    replicas: int = 1,
) -> AsyncIterator[Bed]:
    """A fresh outbox in a database of its own, and its stream; both gone afterwards."""
    async with an_outbox(postgres, shards) as (url, connection), connected(servers[0]) as client:
        bed = Bed(
            postgres, servers[0], servers, url, directory, connection, client, shards, replicas
        )
        await bed.create_stream()
        try:
            yield bed
        finally:
            bed.stop()
            await client.request(f"$JS.API.STREAM.DELETE.{STREAM}", timeout=10)


@contextlib.asynccontextmanager
async def an_outbox(
    postgres: PostgresServer, shards: int = 1
) -> AsyncIterator[tuple[str, asyncpg.Connection[Any]]]:
    """The tables of a bed in a database of their own, which is gone afterwards; its URL."""
    url = postgres.create_database()
    await migrate(url, shards=shards)
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("CREATE TABLE bench_cursors AS TABLE outbox.cursors")
        await connection.execute(_FILL.format(keys=KEYS))
        yield url, connection
    finally:
        await connection.close()
        await asyncio.to_thread(postgres.drop_database, url)


@contextlib.asynccontextmanager
async def held_transactions(postgres: PostgresServer, url: str) -> AsyncIterator[None]:
    """Write transactions that stay open: one in this database, one in another of the server."""
    other = postgres.create_database()
    connections = [await asyncpg.connect(place) for place in (url, other)]
    try:
        for connection in connections:
            await connection.execute("CREATE TABLE bench_held (n int)")
            await connection.execute("BEGIN; INSERT INTO bench_held VALUES (1)")
        yield
    finally:
        for connection in connections:
            await connection.close()
        await asyncio.to_thread(postgres.drop_database, other)
