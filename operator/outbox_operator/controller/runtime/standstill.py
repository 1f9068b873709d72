"""An event loop for a process that may stand still and go on: it asks first whether it still may.

A machine whose snapshot is taken, a node without memory or processor time, a debugger: any of them
freezes a process in the middle of what it does. When it goes on, answers that came meanwhile are
acted upon before a timer says how much time has passed. So after each wait, and before anything
that was waited for, the loop asks; if the answer is no, nothing of this process runs any more.
"""

from __future__ import annotations

import asyncio
import logging
import os
import selectors
from collections.abc import Callable, Coroutine
from typing import Any

from outbox_operator.errors import OutboxError

log = logging.getLogger(__name__)


class _Asking(selectors.DefaultSelector):
    """What a loop waits with."""

    def __init__(self, ask: Callable[[], None]) -> None:
        super().__init__()
        self._ask = ask

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """As the parent's, and then the question."""
        ready = super().select(timeout)
        try:
            self._ask()
        except OutboxError as error:
            # To end in good order would take statements and requests: it is too late for them.
            log.error("ended at once: %s", error, extra={"reason": error.reason})
            os._exit(1)
        return ready


def run(work: Coroutine[Any, Any, None], ask: Callable[[], None]) -> None:
    """Run a coroutine to its end, as `asyncio.run`.

    Args:
        work: What to run.
        ask: Raises an OutboxError when nothing may be done any more. Called often, so cheap.
    """
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(_Asking(ask))) as runner:
        runner.run(work)
