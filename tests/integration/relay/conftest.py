"""An outbox of its own for each test of the relay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.nats import NatsServer
from support.outbox import migrate
from support.postgres import PostgresServer
from support.redis import RedisServer
from support.redis_outbox import RedisOutbox, redis_outbox
from support.relaying import FORGETFUL, Outbox, an_outbox
from support.waiting import SECONDS


@pytest.fixture(scope="session")
def outbox_template(postgres_server: PostgresServer) -> Iterator[str]:
    """Name of a database with an outbox, to copy: made once, because migrating takes longer."""
    url = postgres_server.create_database()
    with ThreadPoolExecutor(1) as apart:  # from the event loop of the tests
        apart.submit(asyncio.run, migrate(url)).result(SECONDS)
    yield url.rpartition("/")[2]
    postgres_server.drop_database(url)


@pytest.fixture
async def outbox(
    postgres_server: PostgresServer, outbox_template: str, nats_server: NatsServer, tmp_path: Path
) -> AsyncIterator[Outbox]:
    """Migrated tables with payload jsonb, and a stream that takes `<prefix>.>`."""
    url = postgres_server.create_database(outbox_template)
    async with an_outbox(url, nats_server, tmp_path, migrated=True) as made:
        yield made
    postgres_server.drop_database(url)


@pytest.fixture
async def last_of_type(
    database: str, nats_server: NatsServer, tmp_path: Path
) -> AsyncIterator[Outbox]:
    """An outbox whose stream keeps the last message of each event type."""
    config = {**FORGETFUL, "max_msgs_per_subject": 1, "deny_delete": True}
    async with an_outbox(database, nats_server, tmp_path, **config) as outbox:
        yield outbox


@pytest.fixture
async def shared(
    database: str, redis_server: RedisServer, tmp_path: Path
) -> AsyncIterator[RedisOutbox]:
    """An outbox of its own that is published to the Redis of all tests."""
    async with redis_outbox(database, redis_server, tmp_path) as made:
        yield made
