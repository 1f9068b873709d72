"""Everything a run needs, really running: PostgreSQL, nats-servers, relays behind proxies.

Called by `delivery.run` and `delivery.faults`. Each relay has proxies of its own, so the network of
one can break while the others' works.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import signal
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import nats.errors
from nats.aio.client import Client

from delivery.expected import Row, Stored
from delivery.settings import Settings
from delivery.stream import TAKER, Taker, read_stream
from delivery.workload import LEDGER_SQL
from outbox_operator.errors import OutboxError
from outbox_operator.plan.jetstream.stream_config import desired_stream
from support.jetstream import OWNER, stream_spec
from support.nats import NatsCluster, NatsServer, connected, unique_prefix
from support.outbox import migrate
from support.postgres import PostgresServer
from support.relaying import Outbox, RelayProcess
from support.stream_options import filled
from support.tcp_proxy import TcpProxy
from support.waiting import eventually

PLANTED: Final = Path(__file__).with_name("planted.py")
_ROWS_SQL: Final = """
SELECT e.position, e.shard, e.event_id::text, e.event_type, e.partition_key, e.routing_key,
       CASE WHEN e.event_id = ANY ($1::uuid[]) THEN '' ELSE {payload} END,
       e.headers::text,
       coalesce('epoch'::timestamptz + (e.replay ->> 'time')::bigint * interval '1 microsecond',
                e.created_at),
       l.version, coalesce(e.replay ->> 'name', '')
FROM outbox.events e LEFT JOIN shop.ledger l USING (event_id)
ORDER BY e.position
"""
_ELECTION_SECONDS: Final = 30.0
_ANSWER_SECONDS: Final = 5.0
_TAKING_SECONDS: Final = 60.0
_PAYLOAD: Final = {"jsonb": "convert_to(e.payload::text, 'UTF8')", "bytea": "e.payload"}


@dataclass
class Replica:
    """A relay process, its network, and whether it is meant to run.

    Attributes:
        down: Whether a fault has ended it; otherwise it is started again when it ends by itself.
        exits: How often it ended by itself, and with which code.
    """

    process: RelayProcess
    postgres: TcpProxy
    nats: list[TcpProxy]
    down: bool = False
    exits: list[int] = field(default_factory=list)


class Servers:
    """What runs. Make it with `running`."""

    def __init__(
        self, settings: Settings, postgres: PostgresServer, brokers: NatsServer | NatsCluster
    ) -> None:
        self._settings = settings
        self._outbox: Outbox | None = None
        self.postgres = postgres
        self.brokers = brokers
        self.replicas: list[Replica] = []
        self.taker: Taker | None = None

    @property
    def members(self) -> list[NatsServer]:
        """The nats-servers one by one."""
        return self.brokers.servers if isinstance(self.brokers, NatsCluster) else [self.brokers]

    @property
    def stream(self) -> str:
        """Its name, which is also the prefix of its subjects."""
        assert self._outbox is not None
        return self._outbox.prefix

    @property
    def database_url(self) -> str:
        """Of the superuser, without a proxy."""
        assert self._outbox is not None
        return self._outbox.url

    async def set_up(self, directory: Path) -> None:
        """Tables, stream, proxies and relays."""
        settings = self._settings
        url = self.postgres.create_database()
        await migrate(
            url, payload_type=settings.payload_type, shards=settings.shards,
            wakeup=settings.world.wakeup != "Never",
        )  # fmt: skip
        connection = await asyncpg.connect(url)
        await connection.execute(LEDGER_SQL)
        outbox = self._outbox = Outbox(
            url, self.brokers, directory, connection, unique_prefix(), settings.payload_type
        )
        await self._set_up_stream(outbox)
        await connection.close()
        for number in range(settings.replicas):
            self.replicas.append(await self._replica(outbox, directory, number))

    async def _set_up_stream(self, outbox: Outbox) -> None:
        """The stream, and what else there is in the world."""
        world = self._settings.world
        await outbox.create_stream(**self._stream_config())
        if world.copies:
            await self._copy(outbox.prefix)
        if world.consumed:
            self.taker = Taker(outbox.prefix, lambda: self.members[0].port)
            await self._request(f"CONSUMER.CREATE.{outbox.prefix}.{TAKER}", self.taker.config)

    def _place(self, links: Sequence[TcpProxy]) -> dict[str, Any]:
        """Where a relay publishes to, as its configuration has it."""
        return {"nats": {"url": ",".join(f"nats://127.0.0.1:{link.port}" for link in links)}}

    def _stream_config(self) -> dict[str, Any]:
        """As the operator would have it, for the fields of the world."""
        settings, name = self._settings, self.stream
        window = f"{settings.duplicate_window_seconds * 1000:.0f}ms"
        fields = {"duplicateWindow": window, **filled(settings.world.stream, name)}
        config = desired_stream(stream_spec(name, replicas=len(self.members), **fields), OWNER)
        config = {name: value for name, value in config.items() if value is not None}
        if "allowBatchPublish" not in fields:
            config["allow_batched"] = settings.publishing == "fast"
        if settings.world.copies == "republish":
            config["republish"] = {"src": f"{name}.>", "dest": f"copy.{name}.>"}
        return config

    async def _copy(self, name: str) -> None:
        """A second stream that gets all that the first one stores."""
        config: dict[str, Any] = {
            "name": f"{name}-copy", "num_replicas": len(self.members), "storage": "file",
        }  # fmt: skip
        if self._settings.world.copies == "republish":
            config["subjects"] = [f"copy.{name}.>"]
        else:
            moved = {"src": f"{name}.>", "dest": f"copy.{name}.>"}
            config["sources"] = [{"name": name, "subject_transforms": [moved]}]
        await self._request(f"STREAM.CREATE.{name}-copy", config)

    async def _request(self, subject: str, body: dict[str, Any]) -> dict[str, Any]:
        async with self.client() as client:
            answer = await client.request(f"$JS.API.{subject}", json.dumps(body).encode())
        document: dict[str, Any] = json.loads(answer.data)
        assert "error" not in document, (subject, document)
        return document

    async def _replica(self, outbox: Outbox, directory: Path, number: int) -> Replica:
        postgres = await TcpProxy(lambda: self.postgres.port).start()
        links = [await TcpProxy(partial(_port, member)).start() for member in self.members]
        secret = directory / f"url-{number}"
        secret.write_text(_through(outbox.url, postgres.port))
        process = outbox.relay(
            database={"url_file": str(secret)},
            **self._place(links),
            subject=self._settings.form(outbox.prefix).subject,
            shards=self._settings.shards,
            ordering=self._settings.world.ordering,
            on_poison=self._settings.world.on_poison,
            wakeup=self._settings.world.wakeup,
        )
        if self._settings.plant:
            process.run_by(PLANTED, self._settings.plant)
        return Replica(process, postgres, links)

    async def forget_ids(self) -> None:
        """Make the server forget the ids of messages: de-duplication helps no more."""

        async def told() -> bool:
            # Who asks while there is no leader is never answered, also when there is one again.
            async with asyncio.timeout(_ANSWER_SECONDS):
                await self.change_stream(duplicate_window=100_000_000)
            return True

        # A cluster that was just healed may take its time to elect.
        assert await until(told, _ELECTION_SECONDS), f"stream {self.stream} has no leader"

    async def change_stream(self, **changes: Any) -> None:
        """Change fields of the stream's configuration; None takes one away."""
        config = (await self._request(f"STREAM.INFO.{self.stream}", {}))["config"] | changes
        config = {name: value for name, value in config.items() if value is not None}
        await self._request(f"STREAM.UPDATE.{self.stream}", config)

    async def committed(self) -> int:
        """Number of rows in the outbox."""
        async with self._session() as connection:
            return int(await connection.fetchval("SELECT count(*) FROM outbox.events"))

    async def rows(self, unread: Collection[str] = ()) -> list[Row]:
        """All rows of the outbox with their place in the ledger.

        Args:
            unread: Events whose payload is left out: it may be larger than anybody can take.
        """
        statement = _ROWS_SQL.format(payload=_PAYLOAD[self._settings.payload_type])
        async with self._session() as connection:
            return [Row(*record) for record in await connection.fetch(statement, list(unread))]

    async def dead_letters(self) -> dict[str, str]:
        """What a relay gave up, by event id, and why."""
        async with self._session() as connection:
            found = await connection.fetch(
                "SELECT event_id::text, reason, left(error, 200) AS error "
                "FROM outbox.dead_letters ORDER BY position"
            )
        return {row["event_id"]: f"{row['reason']}: {row['error']}" for row in found}

    async def stored(self, client: Client) -> int:
        """Number of events that have arrived, as messages or as dead letters."""
        world = self._settings.world
        async with self._session() as connection:
            counted = await connection.fetchval("SELECT count(*) FROM outbox.dead_letters")
        letters = int(counted)
        if self.taker is not None:
            return len(self.taker.found) + letters
        answer = await client.request(f"$JS.API.STREAM.INFO.{self.stream}")
        state = json.loads(answer.data).get("state", {"last_seq": 0, "messages": 0})
        before = int(world.stream.get("firstSequence", 1)) - 1
        return letters + int(state["last_seq"] - before if world.drops else state["messages"])

    async def all_taken(self) -> None:
        """Wait until whoever consumes has consumed everything."""

        async def empty() -> bool:
            info = await self._request(f"STREAM.INFO.{self.stream}", {})
            return bool(info["state"]["messages"] == 0)

        await until(empty, _TAKING_SECONDS)

    async def messages(self, stream: str) -> list[Stored]:
        """Every message of a stream, also those that left it."""
        if self.taker is None or stream != self.stream:
            leader = await self.leader() or self.members[0]
            return await asyncio.to_thread(read_stream, "127.0.0.1", leader.port, stream)
        await self.all_taken()
        return [self.taker.found[sequence] for sequence in sorted(self.taker.found)]

    async def leader(self) -> NatsServer | None:
        """The server that leads the stream; None when there is one server, or no leader."""
        if not isinstance(self.brokers, NatsCluster):
            return None
        with contextlib.suppress(nats.errors.Error, OutboxError, OSError, RuntimeError):
            async with self.client() as client:
                return await self.brokers.leader(client, self.stream)
        return None

    def client(self) -> contextlib.AbstractAsyncContextManager[Client]:
        """A connection to NATS without a proxy."""
        return connected(self.brokers)

    async def evict(self, replica: Replica) -> None:
        """End the database sessions of a relay, as a server does with those that are idle."""
        async with self._session() as connection:
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE client_port = ANY ($1::int[])",
                replica.postgres.upstream_ports,
            )

    async def supervise(self) -> None:
        """Start relays again that end by themselves, as Kubernetes does."""
        while True:
            for replica in self.replicas:
                if not replica.down and not replica.process.running:
                    replica.exits.append(await asyncio.to_thread(replica.process.wait))
                    replica.process.start()
            await asyncio.sleep(0.1)

    async def heal(self) -> None:
        """Whatever was broken works again."""
        if not self.postgres.running:
            await asyncio.to_thread(self.postgres.start)
        for member in self.members:
            if not member.running:
                await asyncio.to_thread(member.start)
            member.resume()
        for replica in self.replicas:
            for link in (replica.postgres, *replica.nats):
                link.heal()
            if replica.process.running:
                replica.process.signal(signal.SIGCONT)
            elif replica.down:
                replica.process.start()
            replica.down = False

    async def close(self) -> None:
        """End the relays and their proxies."""
        if self.taker is not None:
            await asyncio.to_thread(self.taker.stop)
        for replica in self.replicas:
            replica.down = True
            replica.process.kill()
            for link in (replica.postgres, *replica.nats):
                await link.close()

    @contextlib.asynccontextmanager
    async def _session(self) -> AsyncIterator[asyncpg.Connection[Any]]:
        connection = await asyncpg.connect(self.database_url, timeout=10)
        try:
            yield connection
        finally:
            connection.terminate()


@contextlib.asynccontextmanager
async def running(settings: Settings, directory: Path) -> AsyncIterator[Servers]:
    """Servers of one's own with relays that are not started yet."""
    async with contextlib.AsyncExitStack() as stack:
        postgres = PostgresServer(max_connections="200")
        stack.callback(postgres.remove)
        brokers = NatsCluster() if settings.servers == "cluster" else NatsServer()
        stack.callback(brokers.close)
        await asyncio.gather(asyncio.to_thread(postgres.start), asyncio.to_thread(brokers.start))
        yield await stack.enter_async_context(relays(settings, directory, postgres, brokers))


@contextlib.asynccontextmanager
async def relays(
    settings: Settings,
    directory: Path,
    postgres: PostgresServer,
    brokers: NatsServer | NatsCluster,
) -> AsyncIterator[Servers]:
    """Relays that are not started yet, with a new database and stream on servers that run."""
    async with set_up(Servers(settings, postgres, brokers), directory) as servers:
        yield servers


@contextlib.asynccontextmanager
async def set_up(servers: Servers, directory: Path) -> AsyncIterator[Servers]:
    """What runs until the end of this."""
    try:
        await servers.set_up(directory)
        yield servers
    finally:
        await servers.close()


async def until(condition: Callable[[], Any], seconds: float) -> bool:
    """Wait for an async condition; False when it does not come true in time."""
    end = time.monotonic() + seconds

    async def holds() -> bool:
        # A driver that is being closed may answer the one cancellation with an error of its own.
        if time.monotonic() > end:
            raise TimeoutError
        with contextlib.suppress(nats.errors.Error, OSError, asyncpg.PostgresError):
            return bool(await condition())
        return False

    with contextlib.suppress(TimeoutError):
        # A question may hang as well.
        async with asyncio.timeout(seconds):
            return bool(await eventually(holds, "the condition", seconds=math.inf))
    return False


def _port(server: NatsServer) -> int:
    return server.port


def _through(url: str, port: int) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{port}"))
