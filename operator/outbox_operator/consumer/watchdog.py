"""Say so when a handler keeps the event loop from everything else, or does not end when told to.

A blocked loop answers no probe and hands on no event, and nothing of it would stand in a log. A
handler that catches its cancellation keeps a process alive that said it has stopped.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import sys
import threading
import time
import traceback
from types import FrameType, TracebackType
from typing import Any, Final, Self

from outbox_operator.consumer import error_text

log = logging.getLogger(__name__)

BLOCKED_SECONDS: Final = 5.0
"""Longer than a busy machine makes anybody wait, shorter than the liveness probe is patient."""
_CANCEL_SECONDS: Final = 2.0
_BLOCKED: Final = (
    "nothing else has run for %.0f s: a function that is async must not block; make it a plain "
    "one, which gets a thread. It is at %s"
)
_NOTHING_RAN: Final = (
    "nothing of this process has run for %.0f s: it was stopped, got no processor, or compiled "
    "code kept the interpreter to itself. It is at %s"
)


class Watchdog:
    """Watches the running event loop from a thread beside it, for the length of a block.

    Args:
        seconds: How long nothing else may run before it is said.
    """

    def __init__(self, seconds: float = BLOCKED_SECONDS) -> None:
        self._seconds = seconds
        self._ended = threading.Event()
        self._beat = 0.0

    def __enter__(self) -> Self:
        loop, watched = asyncio.get_running_loop(), threading.get_ident()
        self._beat = time.monotonic()
        threading.Thread(
            target=self._watch, args=(loop, watched), name="watchdog", daemon=True
        ).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()

    def _watch(self, loop: asyncio.AbstractEventLoop, watched: int) -> None:
        said, asked = False, time.monotonic()
        while not self._ended.wait(self._seconds / 5):
            before, asked = asked, time.monotonic()
            try:
                loop.call_soon_threadsafe(self._beats)
            except RuntimeError:  # closed
                return
            blocked = asked - self._beat
            if blocked > self._seconds and not said:
                said = True
                # This thread waits by itself: if it was late as well, nothing of the process ran.
                log.error(
                    _NOTHING_RAN if asked - before > self._seconds else _BLOCKED,
                    blocked,
                    error_text.place_of(_stack(watched)),
                )
            elif blocked <= self._seconds:
                said = False

    def _beats(self) -> None:
        self._beat = time.monotonic()


def _stack(thread: int) -> traceback.StackSummary:
    frame = sys._current_frames().get(thread)
    return traceback.StackSummary.extract(
        reversed(list(traceback.walk_stack(frame))) if frame else (), lookup_lines=False
    )


async def all_ended(seconds: float = _CANCEL_SECONDS) -> bool:
    """Cancel whatever still runs in this event loop; return whether it has ended then.

    Says where each that goes on is.
    """
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    if left:
        _, left = await asyncio.wait(left, timeout=seconds)
    for task in left:
        log.error(
            "a handler goes on although it was cancelled twice; the process ends without it. "
            "Raise CancelledError again where it is caught. It is at %s",
            error_text.place_of(waiting(task.get_coro())),
        )
    return not left


def waiting(inside: Any) -> traceback.StackSummary:
    """Where a coroutine waits, from the outside in."""
    frames: list[tuple[FrameType, int]] = []
    while inside is not None:
        if not hasattr(inside, "cr_frame") and not hasattr(inside, "gi_frame"):
            # What steps an asynchronous generator, say that of a dependency, does not name it.
            inside = next(filter(inspect.isasyncgen, gc.get_referents(inside)), None)
        frame = (
            getattr(inside, "cr_frame", None)
            or getattr(inside, "gi_frame", None)
            or getattr(inside, "ag_frame", None)
        )
        if frame is None:
            break
        frames.append((frame, frame.f_lineno))
        # The runtime steps a handler's coroutine by itself, so that nothing awaits it.
        inside = (
            getattr(inside, "cr_await", None)
            or frame.f_locals.get("coroutine")
            or getattr(inside, "gi_yieldfrom", None)
            or getattr(inside, "ag_await", None)
        )
    return traceback.StackSummary.extract(iter(frames), lookup_lines=False)
