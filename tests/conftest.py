"""Fixtures that start real servers. Helpers live in `support`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from support.nats import NatsServer, connected, remove_streams, unique_prefix
from support.postgres import PostgresServer, newest_binaries, running_server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One PostgreSQL for the whole run; do not stop it (use `running_server` for that)."""
    with running_server() as server:
        yield server


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[str]:
    """Superuser URL of a fresh, empty database."""
    url = postgres_server.create_database()
    yield url
    postgres_server.drop_database(url)


@pytest.fixture(scope="session", params=["usual", "newest"])
def any_postgres(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """Each PostgreSQL that we test with, in turn: the system's, and the newest there is."""
    if request.param == "usual":
        yield request.getfixturevalue("postgres_server")
        return
    with running_server(newest_binaries()) as server:
        yield server


@pytest.fixture
def any_database(any_postgres: PostgresServer) -> Iterator[str]:
    """Superuser URL of a fresh, empty database on each of them."""
    url = any_postgres.create_database()
    yield url
    any_postgres.drop_database(url)


@pytest.fixture(scope="session")
def nats_server() -> Iterator[NatsServer]:
    """One nats-server with JetStream for the whole run; do not stop it (make your own for that)."""
    with NatsServer() as server:
        yield server


@pytest.fixture
async def stream_prefix(nats_server: NatsServer) -> AsyncIterator[str]:
    """Start of every stream name and subject of one test; what is left is removed afterwards."""
    prefix = unique_prefix()
    yield prefix
    async with connected(nats_server) as client:
        await remove_streams(client, prefix)
