"""The relay's side of the trigger that wakes it: announce sleep, listen, announce that it is over.

Part of `adapters.postgres.outbox`, whose connection it shares. The statements are two calls for an
advisory lock; `wire.wakeup` says why no wake-up is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from outbox_operator.adapters.postgres.connection import Connection
from outbox_operator.adapters.postgres.queries import statement
from outbox_operator.wire.advisory_locks import sleep_lock
from outbox_operator.wire.wakeup import wakeup_channel


class OutboxWakeup:
    """Sleep and wake-ups of one shard.

    Every method may raise the errors of `adapters.postgres.errors`.

    Args:
        turn: Entered for each statement on the connection.
    """

    def __init__(
        self,
        connection: Connection,
        turn: Callable[[], AbstractAsyncContextManager[None]],
        *,
        schema: str,
        shard: int,
    ) -> None:
        self._connection = connection
        self._turn = turn
        self._shard = shard
        self._channel = wakeup_channel(schema)
        self._lock = sleep_lock(schema, shard)

    async def listen(self, woken: Callable[[], None]) -> None:
        """Call `woken` whenever a transaction that found us asleep has committed."""

        def on_notification(_connection: object, _pid: int, _channel: str, payload: object) -> None:
            if payload == str(self._shard):
                woken()

        async with self._turn():
            await self._connection.add_listener(self._channel, on_notification)

    async def announce_sleep(self) -> bool:
        """Let writers notify from now on; False while one that did not is still under way."""
        async with self._turn():
            asleep: bool = await self._connection.fetchval(statement("lock_try"), self._lock)
        return asleep

    async def announce_awake(self) -> None:
        """Writers need not notify any more."""
        async with self._turn():
            await self._connection.execute(statement("lock_release"), self._lock)
