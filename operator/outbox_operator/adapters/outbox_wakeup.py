"""The relay's side of the trigger that wakes it: announce sleep, listen, announce that it is over.

Uses the connection of a shard's tenure. The statements are two advisory lock calls; see
`wire.wakeup` for why none is lost.
"""

from __future__ import annotations

from collections.abc import Callable

from outbox_operator.adapters import postgres
from outbox_operator.wire.wakeup import sleep_lock, wakeup_channel


class OutboxWakeup:
    """Sleep and wake-ups of one shard.

    Every method may raise the errors of `adapters.postgres.errors`.
    """

    def __init__(
        self,
        connection: postgres.Connection,
        target: postgres.PostgresTarget,
        *,
        schema: str,
        shard: int,
    ) -> None:
        self._connection = connection
        self._target = target
        self._shard = shard
        self._channel = wakeup_channel(schema)
        self._lock = sleep_lock(schema, shard)

    async def listen(self, woken: Callable[[], None]) -> None:
        """Call `woken` whenever a transaction finds us asleep and commits."""

        def heard(_connection: object, _pid: int, _channel: str, payload: object) -> None:
            if payload == str(self._shard):
                woken()

        with postgres.errors(self._target):
            await self._connection.add_listener(self._channel, heard)

    async def announce_sleep(self) -> bool:
        """Let writers notify from now on; False while one that did not is still under way."""
        with postgres.errors(self._target):
            asleep: bool = await self._connection.fetchval(
                "SELECT pg_try_advisory_lock($1)", self._lock
            )
        return asleep

    async def announce_awake(self) -> None:
        """Writers need not notify any more."""
        with postgres.errors(self._target):
            await self._connection.execute("SELECT pg_advisory_unlock($1)", self._lock)
