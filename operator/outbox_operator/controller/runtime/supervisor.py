"""Supervised tasks: those without which the process must not go on."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from outbox_operator.errors import OutboxError


class SupervisedTaskError(OutboxError):
    """A supervised task ended, by itself or by an unexpected error."""


class Supervisor:
    """Runs supervised tasks and notices when one ends or a stop is asked for."""

    def __init__(self, stop: asyncio.Event) -> None:
        self._stop = stop
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a supervised task."""
        task = asyncio.create_task(work, name=name)
        self._tasks.append(task)
        return task

    async def until(self, work: Coroutine[Any, Any, object]) -> bool:
        """Do something while watching over the supervised tasks.

        Returns:
            True when `work` is done, False when it was cut because a stop was asked for.

        Raises:
            OutboxError: The cause that ended a supervised task (SupervisedTaskError if it is none
                of ours), or what `work` raised.
        """
        main = asyncio.create_task(work, name="main")
        stopped = asyncio.create_task(self._stop.wait(), name="stop")
        try:
            await asyncio.wait({main, stopped, *self._tasks}, return_when=asyncio.FIRST_COMPLETED)
            for task in self._tasks:
                if task.done():
                    raise cause_of(task)
            if stopped.done():
                return False
            await main
            return True
        finally:
            await cancel(main, stopped)

    async def run(self) -> None:
        """Wait until a stop is asked for; raises as `until` when a supervised task ends."""
        await self.until(asyncio.Event().wait())

    async def cancel(self) -> None:
        """Cancel all supervised tasks, the last one started first."""
        for task in reversed(self._tasks):
            await cancel(task)


async def cancel(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and wait for them; their errors are dropped."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def cause_of(task: asyncio.Task[None]) -> OutboxError:
    """What to say about a task that should not have ended."""
    error = None if task.cancelled() else task.exception()
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, OutboxError):
        return error
    problem = SupervisedTaskError(f"{task.get_name()} ended: {error or 'nobody asked it to'}")
    problem.__cause__ = error
    return problem
