"""Fixtures of the consumer runtime's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from nats.aio.client import Client

from support.consuming import Endpoint
from support.nats import NatsServer, connected


@pytest.fixture
async def client(nats_server: NatsServer, stream_prefix: str) -> AsyncIterator[Client]:
    """A connection of the test's own."""
    async with connected(nats_server) as client:
        yield client


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    """A healthy HTTP endpoint."""
    endpoint = Endpoint()
    await endpoint.start()
    yield endpoint
    await endpoint.stop()
