"""Locks of what one process at a time may do to a schema: they live as long as their session.

So a process that stands still would hold one for ever. The server ends its session instead, from
PostgreSQL 14 on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from outbox_operator.adapters.postgres.connection import Connection, end_when_idle
from outbox_operator.adapters.postgres.queries import statement

IDLE_SECONDS: Final = 15.0
"""So long a session with such a lock may say nothing. None of ours waits in between for anything
but its server."""
_PAUSE_SECONDS: Final = 0.2


@asynccontextmanager
async def holding(
    connection: Connection, key: int, *, patience: float = 0.0
) -> AsyncIterator[bool]:
    """Try to get a lock, and hold it; whether it was to be had. Raises the driver's errors.

    Args:
        connection: In no transaction.
        key: Of `wire.advisory_locks`.
        patience: Seconds; it is asked for again and again instead of waited for, since a session
            that waits in the server would itself be waited for by CREATE INDEX CONCURRENTLY.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience
    await end_when_idle(connection, IDLE_SECONDS)
    held = False
    try:
        while not (held := await connection.fetchval(statement("lock_try"), key)):
            if loop.time() >= deadline:
                break
            await asyncio.sleep(_PAUSE_SECONDS)
        yield held
    finally:
        if not connection.is_closed():
            if held:
                await connection.execute(statement("lock_release"), key)
            await connection.execute(statement("session_idle_back"))
