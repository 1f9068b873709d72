"""History that is sent again while everything breaks, by an operator that dies at that.

Called by `delivery.run` in worlds with `replays`. Each replay takes all that there is at its start.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from random import Random
from typing import Final

from outbox_operator.adapters.postgres.connection import connect
from outbox_operator.adapters.postgres.replays import Bounds, ReplayStore, Selection
from outbox_operator.adapters.postgres.url import parse_url
from outbox_operator.errors import OutboxError

_PAUSE_SECONDS: Final = 4.0
"""Between two replays: each doubles the table, if it is let."""
_RETRY_SECONDS: Final = 0.3
_MOST_ROWS: Final = 3000
"""A replay takes the last of them, so that a run does not grow without end."""
_DYING: Final = 0.2
"""Share of the sessions, and of the steps, that end with a death."""


class Replays:
    """Replays, one after the other.

    Args:
        url: Of the database.
        seed: Of the run.

    Attributes:
        troubles: Replays that did not copy what they were to copy, in words.
        done: How many there were.
    """

    def __init__(self, url: str, seed: int) -> None:
        self._url = url
        self._dice = Random(f"{seed}/replaying")
        self._stopping = False
        self.troubles: list[str] = []
        self.done = 0

    async def run(self) -> None:
        """Until `stop`; a replay that has begun is brought to its end."""
        while not self._stopping:
            await self.one(f"replay-{self.done + 1}")
            self.done += 1
            for _ in range(int(_PAUSE_SECONDS / _RETRY_SECONDS)):
                if not self._stopping:
                    await asyncio.sleep(_RETRY_SECONDS)

    def stop(self) -> None:
        """Begin none any more."""
        self._stopping = True

    async def one(self, name: str) -> None:
        """Replay the last rows that there are, whatever happens meanwhile."""
        bounds: Bounds | None = None
        first, wanted = None, 0
        while True:
            try:
                async with self._store(name, Selection(first=first)) as store:
                    if bounds is None:
                        found = await store.settle()
                        first = max(1, found.up_to - _MOST_ROWS)
                        bounds = found
                        continue
                    if not wanted:
                        wanted = (await store.count(bounds, None)).chosen
                    copied = await store.begin(bounds)
                    while not copied.all:
                        copied = await store.copy(bounds, self._dice.choice((1, 20, 200)))
                        if self._dice.random() < _DYING:
                            raise ConnectionError("dead")
                    await store.end()
                if copied.rows != wanted:
                    self.troubles.append(f"{name} copied {copied.rows} rows of {wanted}")
                return
            except (OutboxError, OSError):
                await asyncio.sleep(_RETRY_SECONDS)

    @contextlib.asynccontextmanager
    async def _store(self, name: str, selection: Selection) -> AsyncIterator[ReplayStore]:
        target = parse_url(self._url)
        connection = await connect(target, application_name="replays")
        # In the middle of a transaction, perhaps.
        dying = self._dice.random() * 0.05 if self._dice.random() < _DYING else None
        try:
            async with asyncio.timeout(dying):
                yield ReplayStore(connection, target, "outbox", name=name, selection=selection)
        finally:
            connection.terminate()
