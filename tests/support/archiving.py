"""What tests of the archive need: a database with the three roles, and its configuration."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig

from outbox_operator.adapters.postgres.archive_store import ArchiveStore
from outbox_operator.adapters.postgres.url import parse_url
from outbox_operator.archive import settings
from outbox_operator.archive.app import ArchiveApp
from outbox_operator.archive.records import columns
from outbox_operator.cli import archive_keeping as keeping
from outbox_operator.wire.archive import (
    ArchiveConfig,
    ArchiveDatabase,
    ArchiveRules,
    RetentionClass,
)
from outbox_operator.wire.config import NatsConfig
from support.postgres import PostgresServer
from support.waiting import SECONDS, ended, eventually

DAY = 86_400.0
RULES = ArchiveRules(
    retention=(
        RetentionClass(name="orders", keep_seconds=400 * DAY, event_types=("order.*",)),
        RetentionClass(name="default", keep_seconds=10 * DAY),
    ),
    extract={"actor": "$.actor.id", "correlation": "ce:correlationid"},
)


class ArchivePlace:
    """A database for an archive, and who works on it.

    Attributes:
        root: Superuser's connection, to look and to arrange things.
        keeper: Role that owns the tables.
        writer: Role that writes.
        reader: Role that reads.
        api: Role of what answers over HTTP; `with_api` gives it its rights.
        config: Of the archive; `change` replaces parts of it.
    """

    def __init__(self, server: PostgresServer, url: str, folder: Path) -> None:
        self._server = server
        self.url = url
        self._name = url.rpartition("/")[2]
        self._folder = folder
        self._stack = AsyncExitStack()
        self.root: asyncpg.Connection[asyncpg.Record]
        self._urls: dict[str, str] = {}
        roles = ("keeper", "writer", "reader", "api")
        self.keeper, self.writer, self.reader, self.api = map(self._role, roles)
        self.config = ArchiveConfig(
            namespace="shop",
            consumer="audit",
            database=ArchiveDatabase(url_file=self._file(self.writer)),
            migration=ArchiveDatabase(url_file=self._file(self.keeper)),
            nats=NatsConfig(url="nats://127.0.0.1:1"),
            stream="ORDERS",
            durable="audit",
            rules=RULES,
            readers=(self.reader,),
            health_port=0,
            drain_seconds=10.0,
        )

    async def __aenter__(self) -> ArchivePlace:
        self.root = await self.open(None)
        await self.root.execute(f'GRANT CREATE ON DATABASE "{self._name}" TO "{self.keeper}"')
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def change(self, **fields: Any) -> None:
        """Give the configuration other values."""
        self.config = dataclasses.replace(self.config, **fields)

    def rules(self, **fields: Any) -> None:
        """Give its rules other values."""
        self.change(rules=dataclasses.replace(self.config.rules, **fields))

    def with_api(self, tenant_column: str | None = None) -> ArchiveDatabase:
        """Give it an API; where that finds the database."""
        self.change(api_role=self.api, tenant_column=tenant_column)
        return ArchiveDatabase(url_file=self._file(self.api))

    def store(
        self,
        window: timedelta = timedelta(days=1),
        *,
        classes: Sequence[str] = ("default",),
        role: str = "",
    ) -> ArchiveStore:
        """What writes its events.

        Args:
            window: Of the stream, within which it knows duplicates.
            classes: Of its rules.
            role: Who writes; empty: who may do everything.
        """
        url = Path(self.login_file(role)).read_text() if role else self.url
        return ArchiveStore(
            lambda: parse_url(url),
            schema="archive",
            columns=columns(RULES),
            classes=list(classes),
            owner_uid="archive/shop/audit",
            duplicate_window=window,
            application_name="test",
        )

    async def migrate(self) -> tuple[str, ...]:
        """As `outbox archive migrate` does; what it says."""
        return (await keeping.migrate(self.config, "Fail", dry_run=False))[1]

    async def as_version_1(self) -> None:
        """Give its events the key that version 1 gave them."""
        await self.root.execute(
            "ALTER TABLE archive.events DROP CONSTRAINT events_pkey; "
            "ALTER TABLE archive.events ADD CONSTRAINT events_pkey "
            "PRIMARY KEY (id, stored_at, class); UPDATE archive.schema_version SET version = 1"
        )

    async def upkeep(self) -> tuple[str, ...]:
        """As `outbox archive upkeep` does; what it says."""
        return (await keeping.upkeep(self.config))[1]

    async def open(self, role: str | None) -> asyncpg.Connection[asyncpg.Record]:
        """A session of a role; None: the superuser's."""
        connection = await asyncpg.connect(self.url if role is None else self._urls[role])
        self._stack.push_async_callback(connection.close)
        return connection

    async def rows(self, columns: str = "*", more: str = "") -> list[asyncpg.Record]:
        """Events of the archive, in the order of their sequences."""
        return await self.root.fetch(
            f"SELECT {columns} FROM archive.events {more} ORDER BY sequence, archived_at"
        )

    def login_file(self, role: str) -> str:
        """A file with the URL of a role."""
        return self._file(role)

    def write_login(self, role: str, *, password: str) -> None:
        """Have a role's file say another password."""
        found = urlsplit(self._urls[role]).password
        self._urls[role] = self._urls[role].replace(f":{found}@", f":{password}@")
        self._file(role)

    def _role(self, prefix: str) -> str:
        role, password = self._server.create_role(prefix)
        self._urls[role] = self._server.url(self._name, role, password)
        return role

    def _file(self, role: str) -> str:
        path = self._folder / role
        path.write_text(self._urls[role])
        return str(path)


class Stream:
    """A stream with a durable consumer that an archive reads, and who publishes to it.

    Attributes:
        name: Of the stream.
        subject: Prefix of its subjects.
        durable: Name of the durable consumer.
    """

    def __init__(self, client: Client, prefix: str) -> None:
        self._client = client
        self._js = client.jetstream()
        self.name = prefix.upper()
        self.subject = prefix
        self.durable = "audit"

    async def make(self, **options: Any) -> None:
        """Make both; `options` are of the durable consumer."""
        await self._js.add_stream(
            name=self.name, subjects=[f"{self.subject}.>"], duplicate_window=0.1
        )
        await self.make_durable(**options)

    async def make_durable(self, **options: Any) -> None:
        """Make the durable consumer."""
        settings = {
            "ack_policy": AckPolicy.EXPLICIT, "ack_wait": 2.0, "max_ack_pending": 10_000, **options
        }  # fmt: skip
        await self._js.add_consumer(
            self.name, ConsumerConfig(durable_name=self.durable, **settings)
        )

    async def make_narrow(self, *, most_bytes: int) -> None:
        """Make the durable consumer so that no request may be for more bytes."""
        config = {
            "durable_name": self.durable, "ack_policy": "explicit", "max_bytes": most_bytes
        }  # fmt: skip
        answer = await self._client.request(
            f"$JS.API.CONSUMER.DURABLE.CREATE.{self.name}.{self.durable}",
            json.dumps({"stream_name": self.name, "config": config}).encode(),
            timeout=SECONDS,
        )
        assert json.loads(answer.data)["config"]["max_bytes"] == most_bytes

    async def publish(self, data: bytes, headers: Mapping[str, str] | None = None) -> int:
        """Publish a message as it is; its sequence."""
        ack = await self._js.publish(
            f"{self.subject}.x", data, headers=None if headers is None else dict(headers)
        )
        return int(ack.seq)

    async def emit(
        self,
        numbers: Iterable[int],
        *,
        predecessor: int | None = None,
        more: Mapping[str, str] | None = None,
    ) -> None:
        """Publish events as a relay does, with these numbers; the first names a predecessor.

        Args:
            more: Headers of each.
        """
        for number in numbers:
            named = {} if predecessor is None else {"Outbox-Predecessor": str(predecessor)}
            predecessor = None
            await self.publish(
                json.dumps({"actor": {"id": f"a{number % 7}"}, "n": number}).encode(),
                relayed(number) | named | dict(more or {}),
            )

    async def unanswered(self) -> int:
        """Messages that are not acknowledged yet."""
        info = await self._js.consumer_info(self.name, self.durable)
        return int(info.num_pending or 0) + int(info.num_ack_pending or 0)

    async def settled(self) -> None:
        """Wait until every message is acknowledged."""

        async def answered() -> bool:
            return await self.unanswered() == 0

        await eventually(answered, "every message acknowledged")


def relayed(number: int) -> dict[str, str]:
    """Headers of an event as a relay writes them."""
    return {
        "Ce-Id": str(uuid.uuid5(uuid.NAMESPACE_OID, str(number))),
        "Ce-Type": "order.placed" if number % 2 else "auth.login",
        "Ce-Source": "/shop/orders",
        "Ce-Time": "2026-03-01T12:00:00.123456Z",
        "Ce-Partitionkey": f"k{number % 10}",
        "Content-Type": "application/json",
        "Outbox-Shard": "0",
        "Outbox-Emission": str(number),
        "Outbox-Position": str(number * 2),
    }


def noon_of_yesterday() -> datetime:
    """When the newest of many rows shall be from: at any time of day half a day of them is before
    it, so that no partition of a day is nearly empty, which is read as a whole.
    """
    noon = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
    return noon - timedelta(days=1)


def days_opened(plan: str, class_: str) -> set[date]:
    """Whose partitions of a day a plan reads; the names of their indexes have more behind it."""
    found = re.findall(rf"on rows_{class_}_(\d{{8}})t\d{{4}}\b", plan)
    return {datetime.strptime(one, "%Y%m%d").replace(tzinfo=UTC).date() for one in found}


def as_a_pod(document: Mapping[str, Any], url: str, folder: Path, **fields: Any) -> ArchiveConfig:
    """What the operator tells the pods of an archive, for a process of this machine.

    Args:
        document: Their ConfigMap.
        url: Of the database, for whoever writes.
        folder: For the login's file.
        fields: What is otherwise than for a pod.
    """
    [text] = document["data"].values()
    login = folder / "archive.url"
    login.write_text(url)
    config = settings.parse(text, where="the ConfigMap")
    database = ArchiveDatabase(url_file=str(login), schema=config.database.schema)
    return dataclasses.replace(config, database=database, **{"health_port": 0, **fields})


def write_process(config: Path) -> subprocess.Popen[bytes]:
    """The process that writes, configured by a file."""
    return subprocess.Popen(
        [sys.executable, "-m", "outbox_operator.cli.main", "archive", "write"],
        env={**os.environ, "OUTBOX_CONFIG": str(config)},
        stderr=subprocess.DEVNULL,
    )


@asynccontextmanager
async def writing(config: ArchiveConfig) -> AsyncIterator[ArchiveApp]:
    """The process that writes, within this one; it drains at the end."""
    app = ArchiveApp(config)
    task = asyncio.create_task(app.run())
    try:
        yield app
    finally:
        app.stop()
        await ended(task, "the archive's end")
