"""One session of a relay: how long it waits for the server, and how it ends.

What `outbox` and `shard_locks` have in common.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from outbox_operator.adapters.postgres.connection import Connection, close
from outbox_operator.adapters.postgres.errors import errors
from outbox_operator.adapters.postgres.queries import statement
from outbox_operator.adapters.postgres.url import PostgresTarget

PLANNING: Final = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    # Else a planner that thinks few rows are the shard's reads all of these and sorts them, for
    # every page.
    "enable_bitmapscan": "off",
    "enable_sort": "off",
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
}


class Session:
    """A connection that nobody else uses.

    Args:
        connection: From `adapters.postgres.connection.connect`.
        target: For messages.
    """

    def __init__(self, connection: Connection, target: PostgresTarget) -> None:
        self._connection = connection
        self._target = target
        self._closing = False
        self._asked_at: float | None = None

    def waiting_seconds(self) -> float:
        """How long the statement under way has gone without an answer; 0 when there is none."""
        return 0.0 if self._asked_at is None else time.monotonic() - self._asked_at

    def on_lost(self, callback: Callable[[], None]) -> None:
        """Call `callback` when the connection ends for whatever reason but `close`."""

        def ended(_: object) -> None:
            if not self._closing:
                callback()

        self._connection.add_termination_listener(ended)

    async def close(self) -> None:
        """End the connection, and with it what the server holds for it."""
        self._closing = True
        await close(self._connection)

    async def _plan_as_walks(self) -> None:
        """Let the server plan each statement once, as a walk along an index."""
        for name, value in PLANNING.items():
            await self._connection.execute(statement("session_set"), name, value)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Translate the errors of a statement, and time it."""
        self._asked_at = time.monotonic()
        try:
            with errors(self._target):
                yield
        finally:
            self._asked_at = None
