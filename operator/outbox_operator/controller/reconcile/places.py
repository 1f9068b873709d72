"""Connections to a server: how long they are kept, a bound on all of them, and whose turn it is.

All logins at a server share its places, so that one operator never takes more of the server's
`max_connections` than was agreed, however many databases and roles there are. When places are short
namespaces take turns, and none has more of them than it leaves free: a crowd of one tenant whose
databases hang keeps nobody else at that server waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

IDLE_SECONDS: Final = 120.0
"""How long a connection that nobody uses is kept: longer than a resync of a quiet resource."""
REFUSAL_SECONDS: Final = 1.0
"""A refused connection is not tried again within this time, however many resources ask. The refusal
is kept as a copy: what was raised holds on to the whole attempt, with its TLS context."""


class Places:
    """The places of one server.

    Work waits for its turn (`work`); whoever then needs a new connection takes a place for as long
    as the connection lives (`take`, `leave`). Those on a shelf, which nobody uses, keep a place
    until somebody needs it.

    Args:
        most: So many connections there may be. At least two: one for work, and one to ask whether
            the server is there while all others wait for it.
        spare: Closes one that nobody uses, and leaves its place; False: there is none.
    """

    def __init__(self, most: int, spare: Callable[[], Awaitable[bool]]) -> None:
        self._most = most
        self._spare = spare
        self._open = 0
        self._working: Counter[str] = Counter()
        """By namespace."""
        self._waiting: list[tuple[str, asyncio.Future[None]]] = []
        """In the order in which they came."""
        self._changed = asyncio.Event()

    @property
    def is_unused(self) -> bool:
        """Whether nobody works here, waits, or has a connection."""
        return not (self._open or self._working or self._waiting)

    @contextlib.asynccontextmanager
    async def work(self, namespace: str) -> AsyncIterator[None]:
        """Wait for a turn, and have it until the end of the block.

        Args:
            namespace: On whose behalf; empty: nobody's.
        """
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((namespace, turn))
        self._admit()
        try:
            await turn
            yield
        finally:
            if (namespace, turn) in self._waiting:  # cut before its turn came
                self._waiting.remove((namespace, turn))
            else:
                self._working[namespace] -= 1
                if not self._working[namespace]:
                    del self._working[namespace]
            self._admit()

    def _admit(self) -> None:
        while True:
            # One fewer than there are places: the last is for the question whether it is there.
            free = self._most - 1 - self._working.total()
            admitted = [one for one in self._waiting if self._working[one[0]] < free]
            if not admitted:
                return
            # Of those with equally few at work the one that came first.
            first = min(admitted, key=lambda one: self._working[one[0]])
            self._waiting.remove(first)
            namespace, turn = first
            self._working[namespace] += 1
            if not turn.done():
                turn.set_result(None)

    async def take(self) -> None:
        """Take a place for a new connection."""
        while self._open >= self._most:
            self._changed.clear()
            # Who works is one fewer than there are places: all others are spare, just closing, or
            # just asked whether their server is there.
            if not await self._spare() and self._open >= self._most:
                await self._changed.wait()
        self._open += 1

    def look(self) -> None:
        """Nobody uses a connection any more: whoever waits for a place may have its."""
        self._changed.set()

    def leave(self) -> None:
        """A connection is closed."""
        self._open -= 1
        self._changed.set()
