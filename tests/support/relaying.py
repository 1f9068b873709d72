"""What tests of the relay need: an outbox with a stream, writers, and relay processes to kill."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Self

import asyncpg
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import DeliverPolicy
from nats.js.client import JetStreamContext

from outbox_operator.adapters.nats.driver import WireClient
from outbox_operator.relay.progress import NOT_ASKED
from support.nats import NatsCluster, NatsServer, connected, make_stream, unique_prefix
from support.outbox import migrate
from support.postgres import sessions_ended
from support.starter import Started, starter
from support.waiting import SECONDS, eventually

NAMESPACE, PIPELINE = "shop", "orders"
POINT: Final = (
    "snapshot_from", "snapshot_to", "last_position", "emission", "emission_gaps",
    "stream_sequence", "stream_created", "checkpoints",
)  # fmt: skip
"""What a save of a cursor says of how far it is: to be taken back together or not at all."""
FORGETFUL: Final[dict[str, Any]] = {"duplicate_window": 100_000_000}
"""Of a stream that remembers ids for a tenth of a second only."""
WITH_IDS: Final[dict[str, Any]] = {"duplicate_window": 180_000_000_000}
"""Of a stream all of whose messages have ids: its window is not the usual one."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A message of the stream."""

    sequence: int
    subject: str
    headers: Mapping[str, str]
    data: bytes

    @property
    def event_id(self) -> str:
        """Id of the event."""
        return self.headers["Ce-Id"]

    @property
    def key(self) -> str:
        """Ordering key."""
        return self.headers.get("Ce-Partitionkey", "")


class RelayProcess:
    """`outbox relay` as a process of its own.

    Args:
        config: Its configuration.
        directory: For its files.
        name: Of them.
        forked: Whether it begins with everything imported.
    """

    def __init__(
        self, config: Mapping[str, Any], directory: Path, name: str, *, forked: bool = False
    ) -> None:
        self.config = directory / f"{name}.json"
        self.config.write_text(json.dumps(config))
        self._log = directory / f"{name}.log"
        self._log.touch()
        self._process: subprocess.Popen[bytes] | Started | None = None
        self._forked = forked
        self._log_start = 0
        self.environment: dict[str, str] = {}
        self._program: tuple[str, ...] = ("-m", "outbox_operator.cli.main")

    def run_by(self, program: Path | str, *arguments: str) -> Self:
        """Have a file run it instead of the command line.

        Args:
            program: The file, with a path.
            *arguments: What it takes before the verb.
        """
        self._program = ("-P", str(program), *arguments)
        self._forked = False
        return self

    def start(self) -> Self:
        """Start (again)."""
        self._log_start = self._log.stat().st_size
        environment = {**os.environ, "OUTBOX_CONFIG": str(self.config), **self.environment}
        with self._log.open("ab") as log:
            if self._forked:
                self._process = starter("relay").start(environment, log.fileno())
            else:
                self._process = subprocess.Popen(
                    [sys.executable, *self._program, "relay"], env=environment, stderr=log
                )
        return self

    @property
    def pid(self) -> int:
        """Of the process started last."""
        assert self._process is not None, "never started"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """What it logged since it was started last, in whole lines."""
        said = self._log.read_bytes()[self._log_start :].decode()
        return said[: said.rfind("\n") + 1]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def wait(self, seconds: float = SECONDS) -> int:
        """Wait for the end; returns the exit code."""
        assert self._process is not None, "never started"
        return self._process.wait(seconds)

    def terminate(self) -> int:
        """Ask to stop and wait; returns the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """End it at once, if it runs."""
        if self._process is not None and self.running:
            self._process.kill()
            self._process.wait(SECONDS)

    def peak_kilobytes(self) -> int:
        """Most memory it ever used."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert found is not None
        return int(found.group(1))

    @property
    def health_port(self) -> int:
        """Of its probes and metrics; 0 while it does not listen."""
        found = re.search(r'"health_port": (\d+)', self.log)
        return int(found.group(1)) if found else 0

    def get(self, path: str) -> tuple[int, str]:
        """Ask the probe server; status 0 while it does not listen."""
        if not self.health_port:
            return 0, ""
        connection = http.client.HTTPConnection("127.0.0.1", self.health_port, timeout=SECONDS)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        except (OSError, http.client.HTTPException):  # also one that was killed meanwhile
            return 0, ""
        finally:
            connection.close()

    def checks(self) -> dict[str, str]:
        """What each readiness check says; empty while it does not answer."""
        status, body = self.get("/readyz")
        if status == 0:
            return {}
        return {name: check["reason"] for name, check in json.loads(body)["checks"].items()}

    def failing(self) -> dict[str, str]:
        """Failed readiness checks with their reasons; empty when ready."""
        status, body = self.get("/readyz")
        if status == 0:
            return {"process": "does not answer"}
        checks = json.loads(body)["checks"]
        return {name: check["reason"] for name, check in checks.items() if not check["ok"]}

    def metric(self, name: str, **labels: str) -> float:
        """Sum over the series of a metric with these labels, 0 when it has none."""
        _, body = self.get("/metrics")
        return sum(
            float(line.rpartition(" ")[2])
            for line in body.splitlines()
            if line.startswith(f"outbox_relay_{name}{{")
            and all(f'{label}="{value}"' in line for label, value in labels.items())
        )

    async def ready(self) -> Self:
        """Wait until /readyz says yes."""
        await eventually(lambda: self.get("/readyz")[0] == 200, "relay ready", relay=self)
        return self

    async def active(self) -> Self:
        """Wait until it owns a shard, or the shard, and has asked what its stream is like.

        Whatever then happens to the broker or in the stream meets a relay that has begun.
        """

        def begun() -> bool:
            said = self.checks()
            asked = NOT_ASKED not in said.get("stream", NOT_ASKED)
            return asked and "active: owns" in said["role"]

        await eventually(begun, "active", relay=self)
        return self

    @property
    def owned(self) -> set[int]:
        """Shards it says it owns; none when it does not answer."""
        _, body = self.get("/metrics")
        owners = re.findall(r'^outbox_relay_owner\{.*shard="(\d+)"\} 1\.0$', body, re.MULTILINE)
        return {int(shard) for shard in owners}

    async def standing_by(self) -> Self:
        """Wait until it is a ready standby."""
        await eventually(lambda: "standby" in self.get("/readyz")[1], "standby")
        return await self.ready()


@dataclass
class Outbox:
    """An outbox in a database, its stream, and the relays of a test.

    Attributes:
        connection: Superuser's; for inserts and looks.
        prefix: Name of the stream; its subjects are `<prefix>.>`.
    """

    url: str
    nats: NatsServer | NatsCluster
    directory: Path
    connection: asyncpg.Connection[Any]
    prefix: str
    payload_type: Literal["jsonb", "bytea"] = "jsonb"
    shards: int = 1
    _relays: list[RelayProcess] = field(default_factory=list)

    def relay(self, **changes: Any) -> RelayProcess:
        """A relay process that is not started yet; `changes` are fields of its configuration."""
        secret = self.directory / "url"
        secret.write_text(self.url)
        config = {
            "namespace": NAMESPACE,
            "pipeline": PIPELINE,
            "database": {"url_file": str(secret)},
            **({} if "redis" in changes else {"nats": {"url": self.nats.auth.url}}),
            "stream": self.prefix,
            "subject": self.prefix + (".{shard}" if self.shards > 1 else "") + ".{event_type}",
            "shards": self.shards,
            "payload_type": self.payload_type,
            "poll_max_seconds": 0.1,
            "drain_seconds": 10,
            "health_port": 0,
            **changes,
        }
        relay = RelayProcess(config, self.directory, f"relay-{len(self._relays)}", forked=True)
        self._relays.append(relay)
        return relay

    async def killed(self, relay: RelayProcess) -> None:
        """Kill a relay, and wait until nothing comes of what it had sent to PostgreSQL."""
        relay.kill()
        await sessions_ended(self.url, "application_name LIKE 'outbox-relay %'")

    def stop_all(self) -> None:
        """End every relay."""
        for relay in self._relays:
            with contextlib.suppress(ProcessLookupError):
                relay.kill()

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[asyncpg.Connection[Any]]:
        """Another connection, for a transaction of its own."""
        connection = await asyncpg.connect(self.url)
        try:
            yield connection
        finally:
            await connection.close()

    async def add(
        self,
        key: str = "",
        *,
        value: Any = None,
        event_type: str = "created",
        on: asyncpg.Connection[Any] | None = None,
        **columns: Any,
    ) -> str:
        """Insert one event; returns its id."""
        payload = value if isinstance(value, bytes) else json.dumps(value)
        names = ["event_type", "partition_key", "payload", *columns]
        values = [event_type, key, payload, *columns.values()]
        row = await (on or self.connection).fetchrow(
            f"INSERT INTO outbox.events ({', '.join(names)}) "
            f"VALUES ({', '.join(f'${n + 1}' for n in range(len(names)))}) RETURNING event_id",
            *values,
        )
        assert row is not None
        return str(row[0])

    async def fill(self, rows: int, *, keys: int = 10, bytes_each: int = 20) -> None:
        """Insert many events in one transaction; the payload holds their number."""
        await self.connection.execute(
            "INSERT INTO outbox.events (event_type, partition_key, payload) "
            "SELECT 'created', 'k' || n % $2::int, "
            "jsonb_build_object('n', n, 'pad', repeat('x', $3::int)) "
            "FROM generate_series(1, $1::int) n",
            rows,
            keys,
            bytes_each,
        )

    async def key_of_each_shard(self) -> list[str]:
        """A key whose events are in the shard, for each of them."""
        undone = self.connection.transaction()
        await undone.start()
        rows = await self.connection.fetch(
            "INSERT INTO outbox.events (event_type, partition_key, payload) "
            "SELECT 'created', 'key-' || n, '0' FROM generate_series(1, 50 * $1::int) n "
            "RETURNING shard, partition_key",
            self.shards,
        )
        await undone.rollback()
        keys = {row["shard"]: row["partition_key"] for row in rows}
        return [keys[shard] for shard in range(self.shards)]

    async def event_ids(self) -> list[str]:
        """Ids of all committed events by position."""
        rows = await self.connection.fetch("SELECT event_id FROM outbox.events ORDER BY position")
        return [str(row[0]) for row in rows]

    async def cursor(self) -> asyncpg.Record:
        """The cursor's row."""
        row: asyncpg.Record | None = await self.connection.fetchrow(
            "SELECT * FROM outbox.cursors WHERE shard = 0"
        )
        assert row is not None
        return row

    async def saved(self, emission: int) -> asyncpg.Record:
        """Wait until the cursor is stored with everything done up to this emission."""

        async def at_rest() -> asyncpg.Record | None:
            row = await self.cursor()
            return row if (row["emission"], row["snapshot_to"]) == (emission, None) else None

        found: asyncpg.Record = await eventually(at_rest, f"a cursor with emission {emission}")
        return found

    async def forget_saves(
        self, relay: RelayProcess, before: asyncpg.Record | Mapping[str, Any]
    ) -> None:
        """Kill the relay and take its saves back, as if it had died before the first of them.

        Args:
            before: The cursor as it was then.
        """
        await self.killed(relay)
        await go_back(self.connection, before)
        await asyncio.sleep(0.15)  # longer than a forgetful stream remembers ids

    async def dead_letters(self) -> list[asyncpg.Record]:
        """Dead letters by position."""
        return await self.connection.fetch("SELECT * FROM outbox.dead_letters ORDER BY position")

    async def create_stream(self, **config: Any) -> None:
        """Create the stream, or update it when it exists."""
        async with connected(self.nats) as client:
            await self._stream_request(client, "CREATE", config)

    async def update_stream(self, **config: Any) -> None:
        """Change the stream's configuration; what is not given goes back to its default."""
        async with connected(self.nats) as client:
            await self._stream_request(client, "UPDATE", config)

    async def delete_stream(self) -> None:
        """Delete the stream."""
        async with connected(self.nats) as client:
            await client.request(f"$JS.API.STREAM.DELETE.{self.prefix}")

    async def purge_stream(self) -> None:
        """Remove all messages of the stream."""
        async with connected(self.nats) as client:
            await client.request(f"$JS.API.STREAM.PURGE.{self.prefix}")

    async def _stream_request(
        self, client: WireClient, verb: str, config: Mapping[str, Any]
    ) -> None:
        version = tuple(map(int, client.greeting["version"].split(".")[:2]))
        document = {
            "name": self.prefix,
            "subjects": [f"{self.prefix}.>"],
            "storage": "file",
            # As the operator makes streams; older servers refuse what they do not know.
            **({"allow_batched": True} if version >= (2, 14) else {}),
            **config,
        }
        if verb == "CREATE":
            await make_stream(client, **document)
            return
        answer = await client.request(
            f"$JS.API.STREAM.{verb}.{self.prefix}", json.dumps(document).encode()
        )
        assert "error" not in json.loads(answer.data), answer.data

    async def count(self) -> int:
        """Number of messages in the stream."""
        async with connected(self.nats) as client:
            return await _count(client, self.prefix)

    async def published(self, at_least: int) -> None:
        """Wait until the stream has enough messages."""
        async with connected(self.nats) as client:

            async def enough() -> bool:
                return await _count(client, self.prefix) >= at_least

            await eventually(enough, f"{at_least} messages in stream {self.prefix}")

    async def stored(self, at_least: int = 0) -> list[Stored]:
        """All messages of the stream in order, once it has enough of them."""
        await self.published(at_least)
        async with connected(self.nats) as client:
            context: JetStreamContext = client.jetstream()
            count = await _count(client, self.prefix)
            found: list[Stored] = []
            complete = asyncio.Event()

            async def take(message: Msg) -> None:
                found.append(
                    Stored(
                        message.metadata.sequence.stream,
                        message.subject,
                        message.headers or {},
                        message.data,
                    )
                )
                if len(found) == count:
                    complete.set()

            if count:
                subscription = await context.subscribe(
                    f"{self.prefix}.>",
                    stream=self.prefix,
                    cb=take,
                    ordered_consumer=True,
                    deliver_policy=DeliverPolicy.ALL,
                )
                async with asyncio.timeout(SECONDS):
                    await complete.wait()
                await subscription.unsubscribe()
            return found[:count]

    async def idle(self, relay: RelayProcess) -> None:
        """Wait until the relay polled twice and found nothing: all that was committed is done."""
        before = relay.metric("polls_total")
        await eventually(
            lambda: (
                relay.metric("polls_total") >= before + 2
                and relay.metric("known_backlog_rows") == 0
            ),
            "an idle relay",
        )


async def go_back(
    connection: asyncpg.Connection[Any], save: asyncpg.Record | Mapping[str, Any]
) -> None:
    """Have the cursor of a table with one shard say what it said after this save."""
    fields = ", ".join(f"{name} = ${n}" for n, name in enumerate(POINT, 1))
    await connection.execute(f"UPDATE outbox.cursors SET {fields}", *[save[name] for name in POINT])


async def _count(client: Client, stream: str) -> int:
    answer = await client.request(f"$JS.API.STREAM.INFO.{stream}")
    document = json.loads(answer.data)
    return int(document["state"]["messages"]) if "state" in document else 0


@contextlib.asynccontextmanager
async def an_outbox(
    url: str,
    nats: NatsServer,
    directory: Path,
    *,
    payload_type: Literal["jsonb", "bytea"] = "jsonb",
    shards: int = 1,
    migrated: bool = False,
    **stream: Any,
) -> AsyncIterator[Outbox]:
    """An outbox with its stream; its relays are ended and its stream deleted after.

    Args:
        url: Of a database that is empty, or `migrated` already.
        nats: Where the stream is.
        directory: For files of its relays.
        payload_type: Of its rows.
        shards: How many there are.
        **stream: Of the stream's configuration.
    """
    if not migrated:
        await migrate(url, payload_type=payload_type, shards=shards)
    connection = await asyncpg.connect(url)
    outbox = Outbox(url, nats, directory, connection, unique_prefix(), payload_type, shards)
    try:
        await outbox.create_stream(**stream)
        yield outbox
    finally:
        outbox.stop_all()
        with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await connection.close(timeout=2)
        if nats.running:
            await outbox.delete_stream()


def check_delivery(stored: list[Stored], committed: list[str]) -> None:
    """Every committed event once, nothing else; emission numbers dense and in order by shard."""
    ids = [message.event_id for message in stored]
    twice = [event for event, times in Counter(ids).items() if times > 1]
    assert not twice, f"{len(twice)} events twice"
    assert set(ids) == set(committed), (
        f"lost {len(set(committed) - set(ids))}, phantom {len(set(ids) - set(committed))}"
    )
    emissions: dict[str, list[int]] = {}
    for message in stored:
        shard = message.headers["Outbox-Shard"]
        emissions.setdefault(shard, []).append(int(message.headers["Outbox-Emission"]))
    for shard, numbers in emissions.items():
        assert numbers == list(range(1, len(numbers) + 1)), f"shard {shard}"


def per_key(stored: list[Stored]) -> Iterator[tuple[str, list[Stored]]]:
    """Messages by key, in stream order."""
    keys = dict.fromkeys(message.key for message in stored)
    for key in keys:
        yield key, [message for message in stored if message.key == key]
