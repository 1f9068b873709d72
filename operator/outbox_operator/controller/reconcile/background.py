"""Work of a part that may take long, beside the passes over its object.

A pass waits a moment for it. If that is not enough, the pass goes on with what is known, says the
other parts, and leaves its worker to others; the end of the work wakes the object, and the next
pass takes up what came of it. For a server that has kept one pass waiting none waits at all, until
it has answered in time again: hundreds of passes that each wait a moment hold up everybody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from outbox_operator.api.resource import Meta
from outbox_operator.controller.runtime.reconciler import ObjectKey

T = TypeVar("T")

PATIENCE_SECONDS: Final = 2.0
"""How long a pass waits: longer than a look at a server that is well, with its migration."""
SOON: Final = 0.25
"""Of this patience, for one of the few answers that a pass waits for."""
LATE_SECONDS: Final = 0.05
"""A pass that goes on so much later than it wanted has waited for this process, and says nothing of
the server."""
MOST_SERVERS: Final = 10_000
"""That are remembered for having kept passes waiting; tenants name servers."""
CLOSE_SECONDS: Final = 1.0
END_SECONDS: Final = 3.0
"""Longer than a session takes to close whose work was cut."""
LONGEST_SECONDS: Final = 1800.0
"""Work that takes longer is cut: what hangs must not keep its object's part for ever. Longer than
the longest statement of a migration, which ends with an error that names it."""


@dataclass(slots=True)
class _Work:
    task: asyncio.Task[Any]
    token: Hashable
    left: bool = False
    """Whether a pass went on without it."""


class Background:
    """The work under way, at most one piece for each object.

    Args:
        wake: Asks for a pass over an object.
        patience_seconds: How long a pass waits for its work.
        longest_seconds: How long work may take.
    """

    def __init__(
        self,
        wake: Callable[[ObjectKey, str], None],
        patience_seconds: float = PATIENCE_SECONDS,
        longest_seconds: float = LONGEST_SECONDS,
    ) -> None:
        self._wake = wake
        self._patience_seconds = patience_seconds
        self.longest_seconds: Final = longest_seconds
        self._works: dict[str, _Work] = {}
        self._answered: dict[str, Hashable] = {}
        """By UID, the token of the last work that ended by itself."""
        self._slow: set[Hashable] = set()
        """Servers that kept a pass waiting, and have not answered in time since."""
        self._tasks: set[asyncio.Task[Any]] = set()

    async def result(
        self,
        owner: Meta,
        token: Hashable,
        work: Callable[[], Coroutine[Any, Any, T]],
        server: Hashable = None,
    ) -> T | None:
        """What came of an object's work, which is begun unless it is under way.

        Args:
            owner: The object.
            token: What the work depends on. Work that was begun for another one is cut: a person
                who mends something does not wait for what hangs because of it.
            work: Begins it.
            server: Which one it waits for; None: its own, or none.

        Returns:
            None: it is under way; its end wakes the object.

        Raises:
            TimeoutError: It was cut because it took too long.
        """
        running = self._works.get(owner.uid)
        if running is not None and running.token != token:
            self._cut(owner.uid)
            running = None
        if running is None:
            task = asyncio.create_task(self._bounded(work), name=f"background {owner.name}")
            running = self._works[owner.uid] = _Work(task, token)
            self._tasks.add(task)
            task.add_done_callback(lambda _: self._ended(ObjectKey.of(owner), owner.uid, running))
            patience = 0.0 if server in self._slow else self._patience_seconds
            loop = asyncio.get_running_loop()
            end = loop.time() + patience
            try:
                await asyncio.wait({task}, timeout=patience)
            finally:
                running.left = not task.done()
            if running.left and server is not None and loop.time() - end < LATE_SECONDS:
                self._remember_slow(server)
        if not running.task.done():
            return None
        if self._works.get(owner.uid) is running:
            del self._works[owner.uid]
        answer: T = running.task.result()
        self._answered[owner.uid] = token
        return answer

    def answers(self, server: Hashable, seconds: float) -> None:
        """A server has answered, after so many seconds: were they few, passes wait for it again."""
        if seconds < self._patience_seconds * SOON:
            self._slow.discard(server)

    def answered(self, uid: str) -> Hashable | None:
        """Token of an object's last work that ended by itself; None: there was none."""
        return self._answered.get(uid)

    def _remember_slow(self, server: Hashable) -> None:
        if len(self._slow) >= MOST_SERVERS:
            self._slow.clear()
        self._slow.add(server)

    async def _bounded(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        async with asyncio.timeout(self.longest_seconds):
            return await work()

    def _ended(self, key: ObjectKey, uid: str, work: _Work) -> None:
        self._tasks.discard(work.task)
        if not work.task.cancelled():
            work.task.exception()  # raised where it is taken up, if anybody still does
        if work.left and self._works.get(uid) is work:
            self._wake(key, "background")

    def cancel(self, uid: str) -> None:
        """Cut an object's work, and forget what came of it. Its session ends in its own time."""
        self._cut(uid)
        self._answered.pop(uid, None)

    async def end(self, uid: str) -> None:
        """The same, and wait until it has ended: nothing of it is done beside what comes now."""
        work = self._works.get(uid)
        self.cancel(uid)
        if work is not None:
            await asyncio.wait({work.task}, timeout=END_SECONDS)

    async def end_all(self, uids: Iterable[str]) -> None:
        """The same for many."""
        await asyncio.gather(*(self.end(uid) for uid in uids))

    def _cut(self, uid: str) -> None:
        work = self._works.pop(uid, None)
        if work is not None:
            work.task.cancel()

    async def drain(self, timeout_seconds: float) -> None:
        """Wait for what is under way, but not for ever."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=timeout_seconds)

    async def close(self) -> None:
        """Cut all, and wait for a moment until it has ended."""
        for task in self._tasks:
            task.cancel()
        await self.drain(CLOSE_SECONDS)
