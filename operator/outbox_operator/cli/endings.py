"""How a verb ends before its time, so that nothing is left of it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from outbox_operator.errors import OutboxError

_SIGNALS: Final = (signal.SIGTERM, signal.SIGHUP)
END_SECONDS: Final = 5.0
"""For a program that a verb has begun to clean up in."""


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
