"""A database with the roles of an archive, as in production: no superuser anywhere near."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.archiving import ArchivePlace
from support.postgres import PostgresServer


@pytest.fixture
async def place(
    postgres_server: PostgresServer, database: str, tmp_path: Path
) -> AsyncIterator[ArchivePlace]:
    """A fresh database with nothing in it."""
    async with ArchivePlace(postgres_server, database, tmp_path) as place:
        yield place
