"""A migrated database, and the drivers to write into it as an application's role."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import asyncpg
import pytest

from support.books import NAMES, Book
from support.outbox import migrate, migrate_inbox
from support.postgres import PostgresServer
from support.shop import DRIVERS, Open, Shop


@dataclass(frozen=True)
class Template:
    """A database with orders, outbox and inbox to copy, and the application's role in it."""

    name: str
    role: str
    password: str


@pytest.fixture(scope="session")
def shop_template(postgres_server: PostgresServer) -> Iterator[Template]:
    """Made once: migrating takes longer than most tests here."""
    url = postgres_server.create_database()
    template = Template(url.rpartition("/")[2], *postgres_server.create_role("shop"))

    async def fill() -> None:
        await migrate(url, writers=(template.role,))
        await migrate_inbox(url, consumer_role=template.role)

    with ThreadPoolExecutor(1) as apart:  # from the event loop of the tests
        apart.submit(asyncio.run, fill()).result(60)
    postgres_server.execute(
        f"CREATE TABLE orders (id text PRIMARY KEY); GRANT ALL ON orders TO {template.role}",
        template.name,
    )
    yield template
    postgres_server.drop_database(url)
    postgres_server.execute(f"DROP ROLE {template.role}")


@pytest.fixture
async def shop(postgres_server: PostgresServer, shop_template: Template) -> AsyncIterator[Shop]:
    """A database with orders, outbox and inbox."""
    database = postgres_server.create_database(shop_template.name)
    owner = await asyncpg.connect(database)
    url = postgres_server.url(
        database.rpartition("/")[2], shop_template.role, shop_template.password
    )
    yield Shop(url, owner)
    await owner.close()
    postgres_server.drop_database(database)


@pytest.fixture(params=DRIVERS)
def opened(request: pytest.FixtureRequest) -> Open:
    """Opens a transaction; each test runs with each driver."""
    return DRIVERS[request.param]


@pytest.fixture(params=NAMES)
def book(request: pytest.FixtureRequest, shop: Shop) -> Book:
    """An outbox; each test runs with each driver and with the recorders."""
    return Book(request.param, shop)
