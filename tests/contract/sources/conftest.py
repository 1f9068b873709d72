"""Every source there is, on a real server."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from support.sources import Place, jetstream_place, redis_place

Places = Callable[[float], contextlib.AbstractAsyncContextManager[Place]]


@pytest.fixture(params=["jetstream", "redis"])
def places(request: pytest.FixtureRequest) -> Places:
    """Makes places of each kind in turn; takes ackWait."""
    if request.param == "redis":
        redis = request.getfixturevalue("redis_server")
        return lambda ack_wait: redis_place(redis, ack_wait)
    server = request.getfixturevalue("nats_server")
    return lambda ack_wait: jetstream_place(server, ack_wait)


@pytest.fixture
async def place(places: Places) -> AsyncIterator[Place]:
    """A place, empty; what is not answered stays where it is for longer than a test takes."""
    async with places(600.0) as found:
        yield found


@pytest.fixture
async def hasty(places: Places) -> AsyncIterator[Place]:
    """The same; what nobody speaks of comes again soon."""
    async with places(1.0) as found:
        yield found
