"""How a verb ends before its time, and the programs that it has begun, so that nothing is left."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from outbox_operator.errors import OutboxError

_SIGNALS: Final = (signal.SIGTERM, signal.SIGHUP)
_END_SECONDS: Final = 5.0


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Within it SIGTERM and SIGHUP end the work as Ctrl-C does, so that what it made is removed.

    Raises:
        OutboxError: One came.
    """
    loop, task, came = asyncio.get_running_loop(), asyncio.current_task(), []

    def end(number: signal.Signals) -> None:
        came.append(number)
        if task is not None:
            task.cancel()

    for number in _SIGNALS:
        loop.add_signal_handler(number, end, number)
    try:
        yield
    except asyncio.CancelledError:
        if not came:
            raise
        raise OutboxError(f"ended by {came[0].name}") from None
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


async def end(process: asyncio.subprocess.Process) -> None:
    """Have a program end that has not yet: let it clean up, but not for ever."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(_END_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
