"""How much one may ask at a time, so that it is in the way of no other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """So many at a time of each; who comes beyond waits.

    Args:
        most: At a time.
        seconds: That one waits at most.
    """

    def __init__(self, most: int, seconds: float) -> None:
        self.most = most
        self._seconds = seconds
        self._rooms: dict[object, tuple[asyncio.Semaphore, int]] = {}

    @asynccontextmanager
    async def of(self, who: object) -> AsyncIterator[None]:
        """One of theirs. Raises TimeoutError: the others took too long."""
        room, users = self._rooms.get(who) or (asyncio.Semaphore(self.most), 0)
        self._rooms[who] = room, users + 1
        try:
            async with asyncio.timeout(self._seconds):
                await room.acquire()
            try:
                yield
            finally:
                room.release()
        finally:
            _, users = self._rooms[who]
            if users == 1:
                del self._rooms[who]
            else:
                self._rooms[who] = room, users - 1
