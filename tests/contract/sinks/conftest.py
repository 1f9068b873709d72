"""Every sink there is, on a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from support.nats import NatsServer
from support.sinks import Place, jetstream_place, redis_place


@pytest.fixture(params=["jetstream-batches", "jetstream-window", "redis"])
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    """A place of each kind in turn, empty."""
    if request.param == "redis":
        async with redis_place(request.getfixturevalue("redis_server")) as found:
            yield found
        return
    server: NatsServer = request.getfixturevalue("nats_server")
    async with jetstream_place(server, batches=request.param == "jetstream-batches") as found:
        yield found
