"""What a blocked event loop and a task that does not end are said to be."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import time
from collections.abc import Callable

import pytest

from outbox_operator.consumer.watchdog import Watchdog, all_ended
from support.waiting import SECONDS, eventually


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]


def block_until(holds: Callable[[], object]) -> None:
    """What a handler must not do."""
    end = time.monotonic() + SECONDS
    while not holds() and time.monotonic() < end:
        time.sleep(0.01)


async def test_who_blocks_the_loop_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    with Watchdog(0.2):
        block_until(lambda: said(caplog))
        [text] = said(caplog)
        assert "a function that is async must not block" in text
        assert "block_until (" in text
        assert "test_who_blocks_the_loop_is_named_once (" in text


async def test_where_nothing_ran_no_handler_is_blamed(caplog: pytest.LogCaptureFixture) -> None:
    with Watchdog(0.2):
        await asyncio.sleep(0.1)
        ctypes.PyDLL(None).usleep(900_000)  # holds the interpreter, as a process that is stopped
        await asyncio.sleep(0.1)
        [text] = said(caplog)
    assert text.startswith("nothing of this process has run for 1 s: it was stopped, got no proce")


async def test_a_task_that_ends_when_it_is_told_to_is_not_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    task = asyncio.create_task(asyncio.sleep(600))
    assert await all_ended(SECONDS)
    assert task.cancelled()
    assert said(caplog) == []


async def test_a_task_that_goes_on_is_named(caplog: pytest.LogCaptureFixture) -> None:
    free = asyncio.Event()

    async def clings() -> None:
        while not free.is_set():
            try:
                await free.wait()
            except asyncio.CancelledError:
                continue

    task = asyncio.create_task(clings())
    await asyncio.sleep(0)
    assert not await all_ended(0.05)
    assert "clings (" in said(caplog)[0]
    free.set()
    await eventually(task.done, "it ends")
