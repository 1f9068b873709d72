"""A database with a role that owns it, as in production: no superuser anywhere near."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from support.owned import OwnedDatabase
from support.postgres import PostgresServer


@pytest.fixture
async def owned(postgres_server: PostgresServer, database: str) -> AsyncIterator[OwnedDatabase]:
    """A fresh database whose migration role may create schemas, and nothing else."""
    async with OwnedDatabase(postgres_server, database) as place:
        yield place
