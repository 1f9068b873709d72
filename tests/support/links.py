"""Links of the library that end with their test, whatever becomes of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from outbox_operator.client import NatsLink


@contextlib.asynccontextmanager
async def open_link(nats: Any, **options: Any) -> AsyncIterator[NatsLink]:
    """A `NatsLink`: left open it would try for minutes to connect to a server that is gone."""
    link = NatsLink(nats, **options)
    try:
        yield link
    finally:
        await asyncio.to_thread(link.close)
