"""Fixtures of the tests on Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from support.consuming import Endpoint


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    """A healthy HTTP endpoint."""
    endpoint = Endpoint()
    await endpoint.start()
    yield endpoint
    await endpoint.stop()
