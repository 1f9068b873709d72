"""How long to wait and how to: between failed attempts, for an event, for a program to end.

A layer below all that waits. Whoever tries something again, with a pause that grows, takes it from
here, so that all of these double, end at a ceiling, and are spread.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeVar

T = TypeVar("T")

JITTER: Final = 0.2
"""Pauses are shortened by up to this share, so that what failed together comes back one by one."""
_MOST_DOUBLINGS: Final = 30
"""Bounds the power, which would overflow a float after enough failures."""


def pause_after(failures: int, first: float, ceiling: float) -> float:
    """Seconds to wait after the n-th failure in a row (from 1), before jitter.

    Args:
        failures: How often it failed.
        first: Seconds after the first failure; doubled after each other.
        ceiling: Most seconds.
    """
    return min(ceiling, first * 2.0 ** min(failures - 1, _MOST_DOUBLINGS))


def jittered(seconds: float, jitter: float, share: float = JITTER) -> float:
    """A pause shortened at random, so never longer than its ceiling.

    Args:
        seconds: The pause.
        jitter: A random number in [0, 1).
        share: By how much of the pause at most.
    """
    return seconds * (1 - share * jitter)


class Backoff:
    """Pauses between attempts at one thing: doubled from failure to failure, and spread.

    Args:
        first: Seconds after the first failure.
        ceiling: Most seconds.
        stable_after: What lasted so many seconds before it failed was fine: the pauses start anew.
        jitter: Random numbers in [0, 1).
    """

    def __init__(
        self,
        first: float,
        ceiling: float,
        stable_after: float = math.inf,
        *,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._first = first
        self._ceiling = ceiling
        self._stable_after = stable_after
        self._jitter = jitter
        self._failures = 0

    def next(self, lasted: float = 0.0) -> float:
        """Seconds to wait after one more failure.

        Args:
            lasted: For how many seconds it had worked before.
        """
        if lasted > self._stable_after:
            self._failures = 0
        self._failures += 1
        return jittered(pause_after(self._failures, self._first, self._ceiling), self._jitter())

    def reset(self) -> None:
        """It works; the pauses start anew."""
        self._failures = 0


def cancellations() -> int:
    """Return how often this task was asked to end; to be compared with what it was before.

    Before Python 3.13 a task group in which a task fails while it ends leaves one behind, though
    nobody asked for anything.
    """
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


async def heed_cancellation(work: Awaitable[T]) -> T:
    """Await something that may lose the cancellation of this task, and raise it all the same.

    `asyncio.wait_for` of Python 3.11 gives back an answer that came in the very moment of the
    cancellation, and forgets that (nats-py is built on it): the task goes on for ever, and so does
    who waits for its end. `asyncio.timeout` does not.
    """
    before = cancellations()
    result = await work
    if cancellations() > before:
        raise asyncio.CancelledError
    return result


async def wait(event: asyncio.Event, seconds: float | None) -> bool:
    """Wait for an event, no longer than so many seconds (None: however long it takes).

    Returns:
        Whether it is set.
    """
    try:
        async with asyncio.timeout(seconds):  # takes no task of its own, as `wait_for` may
            await event.wait()
    except TimeoutError:
        return event.is_set()
    return True


async def end(process: asyncio.subprocess.Process, patience: float) -> None:
    """Have a program end that has not yet: let it clean up, but not for ever.

    Args:
        process: Is sent SIGTERM, and killed if that does not do.
        patience: Seconds until then.
    """
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):  # it has ended, and nobody has heard of it yet
        process.terminate()
    try:
        async with asyncio.timeout(patience):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
