"""The last resort against a test that hangs."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import gc
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from support.waiting import frames

SECONDS: Final = 900.0
"""Longer than any test takes with all that it sets up and takes down."""
ENV: Final = "OUTBOX_TEST_SECONDS"
"""Another limit, for somebody who sits in a debugger."""


@contextlib.contextmanager
def watched(item: pytest.Item) -> Iterator[None]:
    """End this process, and say where it hangs, unless the block ends in time.

    Nothing milder is sure: a test that failed may hang where its fixtures are taken down, and
    neither a signal nor a cancellation ends a thread. pytest and its plugins stop watching a test
    when it has failed. Our processes die with us; pytest-xdist names the test and goes on.
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
                sys.stderr.write(f"{task.get_name()} waits:{''.join(frames(task.get_coro()))}\n")
        sys.stderr.flush()
        faulthandler.dump_traceback()
        for pid in _descendants(os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    finally:
        os._exit(1)


def _descendants(pid: int) -> Iterator[int]:
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            yield from _descendants(int(child))
            yield int(child)
