"""A migrated database, and the drivers to write into it as an application's role."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from support.books import NAMES, Book
from support.outbox import migrate, migrate_inbox
from support.postgres import PostgresServer
from support.shop import DRIVERS, Open, Shop


@pytest.fixture
async def shop(postgres_server: PostgresServer, database: str) -> AsyncIterator[Shop]:
    """A database with orders, outbox and inbox."""
    role, password = postgres_server.create_role("shop")
    await migrate(database, writers=(role,))
    await migrate_inbox(database, consumer_role=role)
    owner = await asyncpg.connect(database)
    await owner.execute(f"CREATE TABLE orders (id text PRIMARY KEY); GRANT ALL ON orders TO {role}")
    yield Shop(postgres_server.url(database.rpartition("/")[2], role, password), owner)
    await owner.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
    await owner.close()


@pytest.fixture(params=DRIVERS)
def opened(request: pytest.FixtureRequest) -> Open:
    """Opens a transaction; each test runs with each driver."""
    return DRIVERS[request.param]


@pytest.fixture(params=NAMES)
def book(request: pytest.FixtureRequest, shop: Shop) -> Book:
    """An outbox; each test runs with each driver and with the recorders."""
    return Book(request.param, shop)
