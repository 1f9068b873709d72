"""Waiting for conditions: the one loop of the tests, asynchronous and not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final, Protocol, TypeVar

SECONDS: Final = 120.0
"""Longer than anything takes on a machine that is busy with other workers' tests."""
_FIRST_PAUSE_SECONDS: Final = 0.02
_LONGEST_PAUSE_SECONDS: Final = 0.1
_PART: Final = 0.05
"""Of what was waited: nobody waits much longer for it, and looks take less from others' tests."""
T = TypeVar("T")


class HangsError(AssertionError):
    """What was to end does not."""


class HasLog(Protocol):
    """A process whose log says why something did not come true."""

    @property
    def log(self) -> str: ...


async def eventually(
    condition: Callable[[], Any],
    what: str,
    *,
    seconds: float = SECONDS,
    relay: HasLog | None = None,
    pause: float | None = None,
) -> Any:
    """Wait until `condition` (plain or async) holds; returns what it returned.

    Args:
        what: In words, for the failure.
        relay: Whose log is shown then.
        pause: Between two looks, in seconds. Default: longer and longer, up to a tenth of one.
    """
    start = time.monotonic()
    while True:
        result = condition()
        if isinstance(result, Awaitable):
            result = await result
        if result:
            return result
        log = f"\n{relay.log[-3000:]}" if relay else ""
        waited = time.monotonic() - start
        assert waited < seconds, f"not within {seconds:g} s: {what}{log}"
        await asyncio.sleep(_longer(waited) if pause is None else pause)


async def ended(task: asyncio.Task[T], what: str, *, seconds: float = SECONDS) -> T:
    """What a task returns.

    Raises:
        HangsError: It does not end; says where it waits.
    """
    await asyncio.wait([task], timeout=seconds)
    if not task.done():
        where = "".join(frames(task.get_coro()))
        raise HangsError(f"not within {seconds:g} s: {what}: {where}")
    return await task


def frames(coroutine: Any) -> Iterator[str]:
    """Where a task waits, from the outside to the inside."""
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None)
        if frame is not None:
            yield f"\n  {frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}"
        coroutine = getattr(coroutine, "cr_await", None)


def wait_until(
    holds: Callable[[], bool],
    what: str,
    *,
    seconds: float = SECONDS,
    detail: Callable[[], str] = str,
    pause: float | None = None,
) -> None:
    """The same without an event loop.

    Args:
        detail: More words for the failure, asked for only then.
        pause: As of `eventually`: a long one where a look starts a program.
    """
    start = time.monotonic()
    while not holds():
        waited = time.monotonic() - start
        assert waited < seconds, f"not within {seconds:g} s: {what}\n{detail()}"
        time.sleep(_longer(waited) if pause is None else pause)


def _longer(waited: float) -> float:
    """Seconds to the next look after so many."""
    return min(_FIRST_PAUSE_SECONDS + _PART * waited, _LONGEST_PAUSE_SECONDS)
