"""An outbox of its own for each test of the relay."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.nats import NatsServer
from support.relaying import Outbox, an_outbox


@pytest.fixture
async def outbox(database: str, nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[Outbox]:
    """Migrated tables with payload jsonb, and a stream that takes `<prefix>.>`."""
    async with an_outbox(database, nats_server, tmp_path) as made:
        yield made
