"""One look for the news of all shards of a process, in place of polls of each.

Run by `relay.ownership` where a process may own several shards. It is asked for by nudges, and goes
on by itself as `spec.relay.polling` says, like the polls of a single shard. Who has news is woken
like by a nudge of its own. Nothing rests on it: each shard polls by itself now and then.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Final

from outbox_operator.adapters.postgres.rows import Bound
from outbox_operator.adapters.postgres.shard_locks import ShardLocks
from outbox_operator.aio import wait
from outbox_operator.errors import OutboxError
from outbox_operator.relay.loop import NUDGED_PAUSES, QUIET_SECONDS
from outbox_operator.relay.metrics import RelayMetrics
from outbox_operator.relay.paging import Snapshot
from outbox_operator.relay.signals import Signals

log = logging.getLogger(__name__)

_SINCE_EVER: Final = Bound("1", ())


class Sweeper:
    """Wakes those shards of a process that have news.

    Args:
        held: Tells the signals of the shards that this process owns.
        floor: Shortest pause between two looks, in seconds.
        ceiling: Tells the longest.

    Attributes:
        works: Whether it can be relied on; without it each shard is to be woken.
    """

    def __init__(
        self,
        locks: ShardLocks,
        metrics: RelayMetrics,
        held: Callable[[], Mapping[int, Signals]],
        *,
        floor: float,
        ceiling: Callable[[], float],
    ) -> None:
        self.works = True
        self._locks = locks
        self._metrics = metrics
        self._held = held
        self._floor = floor
        self._ceiling = ceiling
        self._since = _SINCE_EVER
        self._near: int | None = None
        self._wake = asyncio.Event()
        self._stopping = False

    def nudge(self) -> None:
        """Look at once: a writer has committed events."""
        self._wake.set()

    async def run(self) -> None:
        """Look again and again, until `stop`."""
        try:
            await self._look_until_stopped()
        except OutboxError as error:
            # A lost connection ends the session, which makes another one. Else a right may be
            # missing that came with this version.
            log.warning("cannot look at all shards at once: %s", error.message)
        finally:
            self.works = False

    async def stop(self, task: asyncio.Task[None]) -> None:
        """End it behind the statement under way: to cancel that takes a connection of its own."""
        self._stopping = True
        self._wake.set()
        await asyncio.gather(task, return_exceptions=True)

    async def _look_until_stopped(self) -> None:
        pause, busy_at = self._floor, time.monotonic()
        while not self._stopping:
            nudged = self._wake.is_set()
            self._wake.clear()
            if await self._look():
                busy_at = time.monotonic()
                # The next writer will nudge as well, most likely.
                pause = self._floor * NUDGED_PAUSES if nudged else self._floor
            elif nudged:
                pause = self._floor
            elif time.monotonic() - busy_at >= QUIET_SECONDS:
                pause = pause * 2
            pause = min(pause, self._ceiling())
            await wait(self._wake, pause)

    async def _look(self) -> bool:
        """Whether any shard had news."""
        held = self._held()
        if not held:
            return False
        news = await self._locks.news(sorted(held), self._since, self._near)
        self._since, self._near = Snapshot.parse(news.snapshot).bound(), news.position
        self._metrics.sweeps.inc()
        for shard in news.shards:
            held[shard].nudge()
        return bool(news.shards)
