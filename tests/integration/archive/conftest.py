"""A database with the roles of an archive, as in production: no superuser anywhere near."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from outbox_operator.wire.config import NatsConfig
from support.archiving import ArchivePlace, Stream
from support.nats import NatsServer, connected
from support.postgres import PostgresServer


@pytest.fixture
async def place(
    postgres_server: PostgresServer, database: str, tmp_path: Path
) -> AsyncIterator[ArchivePlace]:
    """A fresh database with nothing in it."""
    async with ArchivePlace(postgres_server, database, tmp_path) as place:
        yield place


@pytest.fixture
async def stream(
    place: ArchivePlace, nats_server: NatsServer, stream_prefix: str
) -> AsyncIterator[Stream]:
    """A stream that the archive of `place` reads."""
    async with connected(nats_server) as client:
        stream = Stream(client, stream_prefix)
        await stream.make()
        place.change(nats=NatsConfig(url=nats_server.url), stream=stream.name)
        await place.migrate()
        yield stream
