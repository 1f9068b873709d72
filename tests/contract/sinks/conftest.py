"""Every sink there is, on a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from support.nats import NatsServer
from support.sinks import Place, jetstream_place


@pytest.fixture(params=["jetstream-batches", "jetstream-window"])
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    """A place of each kind in turn, empty."""
    server: NatsServer = request.getfixturevalue("nats_server")
    async with jetstream_place(server, batches=request.param == "jetstream-batches") as found:
        yield found
