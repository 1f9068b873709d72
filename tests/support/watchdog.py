"""The last resort against a test that hangs."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import gc
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any, Final

import pytest

SECONDS: Final = 900.0
"""Longer than any test takes with all that it sets up and takes down."""
ENV: Final = "OUTBOX_TEST_SECONDS"
"""Another limit, for somebody who sits in a debugger."""


@contextlib.contextmanager
def watched(item: pytest.Item) -> Iterator[None]:
    """End this process, and say where it hangs, unless the block ends in time.

    Nothing milder is sure: a test that failed may hang where its fixtures are taken down, and
    neither a signal nor a cancellation ends a thread. pytest and its plugins stop watching a test
    when it has failed. Servers die with us, pytest-xdist names the test and goes on without it.
    """
    seconds = float(os.environ.get(ENV, SECONDS))
    watchdog = threading.Timer(seconds, _end, (item, seconds))
    watchdog.daemon = True
    watchdog.start()
    try:
        yield
    finally:
        watchdog.cancel()


def _end(item: pytest.Item, seconds: float) -> None:
    try:
        capture = item.config.pluginmanager.getplugin("capturemanager")
        if capture is not None:
            capture.suspend_global_capture(in_=True)
            sys.stderr.write("".join(capture.read_global_capture()))
        sys.stderr.write(f"\n{item.nodeid} hangs: no end within {seconds:g} s\n")
        for task in gc.get_objects():
            if isinstance(task, asyncio.Task) and not task.done():
                sys.stderr.write(f"{task.get_name()} waits:{''.join(_frames(task.get_coro()))}\n")
        sys.stderr.flush()
        faulthandler.dump_traceback()
    finally:
        os._exit(1)


def _frames(coroutine: Any) -> Iterator[str]:
    """Where it waits, from the outside to the inside."""
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None)
        if frame is not None:
            yield f"\n  {frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}"
        coroutine = getattr(coroutine, "cr_await", None)
