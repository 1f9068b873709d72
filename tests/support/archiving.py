"""What tests of the archive need: a database with the three roles, and its configuration."""

from __future__ import annotations

import dataclasses
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg

from outbox_operator.cli import archive_keeping as keeping
from outbox_operator.wire.archive import (
    ArchiveConfig,
    ArchiveDatabase,
    ArchiveRules,
    RetentionClass,
)
from outbox_operator.wire.config import NatsConfig
from support.postgres import PostgresServer

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
        self.keeper, self.writer, self.reader = map(self._role, ("keeper", "writer", "reader"))
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

    async def migrate(self) -> tuple[str, ...]:
        """As `outbox archive migrate` does; what it says."""
        return await keeping.migrate(self.config, "Fail", dry_run=False)

    async def upkeep(self) -> tuple[str, ...]:
        """As `outbox archive upkeep` does; what it says."""
        return await keeping.upkeep(self.config)

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

    def _role(self, prefix: str) -> str:
        role, password = self._server.create_role(prefix)
        self._urls[role] = self._server.url(self._name, role, password)
        return role

    def _file(self, role: str) -> str:
        path = self._folder / role
        path.write_text(self._urls[role])
        return str(path)
