"""Calls that do not end when their time is over hold their event no longer."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated

import pytest

from outbox_operator.consumer import Call, Depends, Handlers, ReceivedEvent
from outbox_operator.consumer.handlers import deadline, python
from outbox_operator.consumer.handlers.middleware import Answers, Next
from outbox_operator.testing.handlers import Handled, RunningHandlers

SHORT = 0.05
LEFT = "no answer within 0.05 s, and it did not end: it is at "
deafness: list[object] = []
"""While there is something in it, nobody hears that he is cancelled."""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadline, "CLEAN_UP_SECONDS", SHORT)
    monkeypatch.setattr(deadline, "LEAVE_SECONDS", SHORT)


async def forever() -> None:
    await asyncio.Event().wait()


async def deaf() -> None:
    while deafness:
        with contextlib.suppress(asyncio.CancelledError):
            await forever()


async def a_deaf_task() -> None:
    await asyncio.create_task(deaf())


async def a_deaf_group() -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(deaf())


async def a_busy_loop() -> None:
    while deafness:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0)


async def delivered(handlers: Handlers, event: str) -> Handled:
    deafness.append(True)
    try:
        async with RunningHandlers(handlers) as running:
            return await asyncio.wait_for(running.deliver(event), 30)
    finally:
        deafness.clear()


chosen: list[Callable[[], Awaitable[None]]] = []


async def pool() -> AsyncIterator[str]:
    """What the handlers below depend on; `chosen` is its end."""
    try:
        yield "pool"
    finally:
        await chosen[-1]()


app = Handlers()


@app.handler("hangs", timeout=SHORT)
async def hangs(event: ReceivedEvent, of: Annotated[str, Depends(pool)]) -> None:
    await forever()


@app.handler("ends", timeout=SHORT)
async def ends(event: ReceivedEvent, of: Annotated[str, Depends(pool)]) -> None:
    return None


@pytest.mark.parametrize("event", ["hangs", "ends"])
@pytest.mark.parametrize("clean_up", [deaf, a_deaf_task, a_deaf_group, a_busy_loop])
async def test_a_clean_up_that_never_ends_is_left_behind_and_named(
    clean_up: Callable[[], Awaitable[None]], event: str, caplog: pytest.LogCaptureFixture
) -> None:
    chosen.append(clean_up)
    handled = await delivered(app, event)
    assert handled.end == "retry"  # a failed delivery like others
    assert handled.reason.startswith(LEFT)
    place = f"{clean_up.__name__} ({__file__}:"
    assert place in handled.reason
    assert place in caplog.text
    assert f"pool ({__file__}:" in handled.reason


async def test_a_clean_up_that_waits_for_ever_is_cancelled_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    chosen.append(forever)
    handled = await delivered(app, "hangs")
    assert handled.reason == "no answer within 0.05 s"
    assert "left where it stands" not in caplog.text


async def test_a_clean_up_has_time_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadline, "CLEAN_UP_SECONDS", 30.0)
    ended: list[str] = []

    async def tidy() -> None:
        for _ in range(3):
            await asyncio.sleep(0.01)
        await asyncio.create_task(asyncio.sleep(0.01))
        ended.append("tidy")

    chosen.append(tidy)
    assert (await delivered(app, "hangs")).reason == "no answer within 0.05 s"
    assert ended == ["tidy"]


async def test_middleware_that_is_deaf_is_left_behind_too() -> None:
    mine = Handlers()

    @mine.middleware
    async def around(call: Call, call_next: Next) -> Answers:
        await call_next(call)
        await deaf()
        return None

    @mine.handler("order", timeout=SHORT)
    async def handle(event: ReceivedEvent) -> None:
        return None

    handled = await delivered(mine, "order")
    assert handled.reason.startswith(LEFT)
    assert "around (" in handled.reason


async def test_a_lifespan_and_a_hook_that_do_not_end_hold_up_no_shut_down(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(python, "END_SECONDS", SHORT)
    mine, threads, released = Handlers(), list[threading.Thread](), threading.Event()

    @mine.lifespan
    async def pool_of_all() -> AsyncIterator[None]:
        yield
        await forever()

    @mine.on_shutdown
    async def hook() -> None:
        await deaf()

    @mine.on_shutdown
    def plain() -> None:
        threads.append(threading.current_thread())
        released.wait(30)

    @mine.handler("order")
    async def handle(event: ReceivedEvent) -> None:
        return None

    assert (await asyncio.wait_for(delivered(mine, "order"), 30)).end == "ack"
    assert "hook at 0x" in caplog.text
    assert "plain at 0x" in caplog.text
    [thread] = threads
    assert thread.daemon  # others are waited for at the end of a process
    released.set()
    assert f"it is left at forever ({__file__}:" in caplog.text
    assert "the end of a lifespan took more than 0.05 s, and was cancelled" in caplog.text


async def itself() -> None:
    this = asyncio.current_task()
    assert this is not None
    await this


class Promise(asyncio.Future[None]):
    """Is waited for as tasks are."""


async def something_of_another_loop() -> None:
    with contextlib.closing(asyncio.new_event_loop()) as loop:
        await Promise(loop=loop)


@pytest.mark.parametrize("wait", [itself, something_of_another_loop])
@pytest.mark.parametrize("event", ["hangs", "ends"])
async def test_who_waits_for_what_never_ends_is_told(
    wait: Callable[[], Awaitable[None]], event: str
) -> None:
    mine = Handlers()

    @mine.handler("ends")
    async def at_once(event: ReceivedEvent) -> None:
        await wait()

    @mine.handler("hangs", timeout=SHORT)
    async def too_late(event: ReceivedEvent) -> None:
        try:
            await forever()
        except asyncio.CancelledError:
            await wait()

    handled = await delivered(mine, event)
    assert handled.end == "retry"
    assert handled.reason.startswith("RuntimeError: Task")


async def test_a_task_is_cancelled_in_the_words_of_whoever_does_it() -> None:
    mine = Handlers()
    heard: list[object] = []

    @mine.handler("order")
    async def handle(event: ReceivedEvent) -> None:
        this = asyncio.current_task()
        assert this is not None
        asyncio.get_running_loop().call_soon(this.cancel, "the scope ends")
        try:
            await asyncio.create_task(forever())
        except asyncio.CancelledError as error:
            heard.extend(error.args)
            this.uncancel()

    assert (await delivered(mine, "order")).end == "ack"
    assert heard == ["the scope ends"]
