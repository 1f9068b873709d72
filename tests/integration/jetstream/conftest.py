"""Servers of every generation that behaves differently, one of each for the whole run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from outbox_operator.adapters.nats.admin import JetStreamAdmin
from support.nats import NatsServer, connected, remove_streams, unique_prefix


@pytest.fixture(scope="session")
def old_server() -> Iterator[NatsServer]:
    """The oldest generation supported: no API levels, unknown fields are ignored."""
    with NatsServer(version="2.10.26") as server:
        yield server


@pytest.fixture(scope="session")
def middle_server() -> Iterator[NatsServer]:
    """Refuses unknown fields, and does not know fast-ingest batches."""
    with NatsServer(version="2.12.8") as server:
        yield server


@pytest.fixture(params=["nats_server", "middle_server", "old_server"])
def any_server(request: pytest.FixtureRequest) -> NatsServer:
    """Each generation in turn, the newest first."""
    server: NatsServer = request.getfixturevalue(request.param)
    return server


@pytest.fixture
async def admin(any_server: NatsServer, prefix: str) -> AsyncIterator[JetStreamAdmin]:
    """Administration of `any_server`; streams named with `prefix` are removed afterwards."""
    async with connected(any_server) as client:
        yield JetStreamAdmin(client, any_server.auth)
        await remove_streams(client, prefix)


@pytest.fixture
async def newest(nats_server: NatsServer, prefix: str) -> AsyncIterator[JetStreamAdmin]:
    """The same for the newest server alone."""
    async with connected(nats_server) as client:
        yield JetStreamAdmin(client, nats_server.auth)
        await remove_streams(client, prefix)


@pytest.fixture
def prefix() -> str:
    """Start of the names and subjects of one test."""
    return unique_prefix()
