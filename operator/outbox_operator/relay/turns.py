"""Which shards of a process read whole pages: a few at a time, each for a moment.

Used by `relay.loop`; the shards of a process share one `Turns`. Rows in memory are bounded for all
of them together. If each had its part of that, a page of one of 64 would be 60 rows, and to ask for
a page costs as much as 30 rows do. So shards that have more than a page behind each other take
turns.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

WHOLE_PAGES: Final = 4
"""Shards that read whole pages at the same time."""
TURN_SECONDS: Final = 0.05
"""A turn ends after so long, if another shard waits for one."""
PATIENCE_SECONDS: Final = 5.0
"""Who has waited so long, because others do not get on, reads small pages meanwhile."""


class Turns:
    """The turns of one process. Who asked first is first."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(WHOLE_PAGES)
        self._waiting = 0

    @property
    def all_taken(self) -> bool:
        """Whether one has to be waited for."""
        return self._free.locked()

    @property
    def awaited(self) -> bool:
        """Whether a shard waits for one."""
        return self._waiting > 0

    async def take(self) -> None:
        """Wait for one."""
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1

    def leave(self) -> None:
        """Give one back."""
        self._free.release()


class Turn:
    """The turn of one shard, while it has one.

    Attributes:
        held: It has.
    """

    def __init__(self, turns: Turns) -> None:
        self.held = False
        self._turns = turns
        self._since = 0.0
        self._impatient = False

    @property
    def must_wait(self) -> bool:
        """Whether to let others read first: there is no turn for it, or it had one for long."""
        if not self.held:
            return self._turns.all_taken and not self._impatient
        return self._turns.awaited and time.monotonic() - self._since > TURN_SECONDS

    async def take(self) -> None:
        """Have a turn, at once if one is free; or go on without, after a long wait."""
        if self.held or self._impatient:
            return
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._turns.take()
        except TimeoutError:
            self._impatient = True
        else:
            self.held, self._since = True, time.monotonic()

    def leave(self) -> None:
        """Let others have it."""
        self._impatient = False
        if self.held:
            self.held = False
            self._turns.leave()
