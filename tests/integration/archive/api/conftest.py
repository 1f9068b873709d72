"""One archive with events for all tests of the API: they only read it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from support.archive_api import Client, FilledArchive, fill, serving
from support.postgres import PostgresServer


@pytest.fixture(scope="package")
def archive(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FilledArchive]:
    """An archive with events of two tenants."""
    url = postgres_server.create_database()
    yield fill(postgres_server, url, tmp_path_factory.mktemp("archive"))
    postgres_server.drop_database(url)


@pytest.fixture
async def client(archive: FilledArchive) -> AsyncIterator[Client]:
    """Who asks it."""
    async with serving(archive.config, archive.issuer) as client:
        yield client
