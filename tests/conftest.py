"""Fixtures that start real servers. Helpers live in `support`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.postgres import PostgresServer, running_server


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
