"""A coroutine that a handler throws away has not run: its event is not handled."""

from __future__ import annotations

import asyncio
import gc
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from outbox_operator.consumer import (
    Ack,
    Answers,
    Call,
    DeadLetter,
    Handlers,
    Next,
    ReceivedEvent,
)
from outbox_operator.errors import SpecError
from outbox_operator.testing.handlers import RunningHandlers

pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")

kept: list[Any] = []


async def helper(event: ReceivedEvent) -> None:
    await asyncio.sleep(0)


async def in_a_statement(event: ReceivedEvent) -> None:
    helper(event)  # type: ignore[unused-coroutine]


async def behind_an_await(event: ReceivedEvent) -> None:
    await asyncio.sleep(0)
    asyncio.sleep(1)  # type: ignore[unused-coroutine]


async def at_its_end(event: ReceivedEvent) -> None:
    left = helper(event)
    assert left is not None


async def further_inside(event: ReceivedEvent) -> None:
    await in_a_statement(event)


async def in_a_task(event: ReceivedEvent) -> None:
    await asyncio.create_task(in_a_statement(event))


def in_a_thread(event: ReceivedEvent) -> None:
    helper(event)  # type: ignore[unused-coroutine]


async def awaited(event: ReceivedEvent) -> None:
    await asyncio.gather(helper(event), helper(event))
    helper(event).close()


async def of_another(event: ReceivedEvent) -> None:
    """What the garbage collector throws away in a call need not be of this one."""
    gc.collect()


async def given_up(event: ReceivedEvent) -> None:
    helper(event)  # type: ignore[unused-coroutine]
    raise DeadLetter("given up")


async def deliver(function: Callable[[ReceivedEvent], Awaitable[None] | None]) -> tuple[str, str]:
    app = Handlers()
    app.handler("a")(function)
    async with RunningHandlers(app) as handlers:
        handled = await handlers.deliver("a")
    return handled.end, handled.reason


@pytest.mark.parametrize(
    ("function", "name", "place"),
    [
        (in_a_statement, "helper", " at "),
        (behind_an_await, "sleep", " at "),
        (at_its_end, "helper", "; nothing"),
        (further_inside, "helper", " at "),
        (in_a_task, "helper", " at "),
        (in_a_thread, "helper", " at "),
    ],
)
async def test_what_a_call_threw_away_fails_it(function: Any, name: str, place: str) -> None:
    end, reason = await deliver(function)
    assert end == "retry"
    written = re.match(r"a coroutine was never awaited: '(\w+)' \((.*?):\d+\)", reason)
    assert written is not None
    assert written.group(1) == name
    assert Path(written.group(2)).name == ("tasks.py" if name == "sleep" else "test_unawaited.py")
    assert reason[written.end() :].startswith(place)
    assert place != " at " or "/test_unawaited.py:" in reason[written.end() :]


async def test_only_of_its_own_call() -> None:
    """Certain, or not said: the next call, one beside it, and what is collected are others'."""
    assert await deliver(awaited) == ("ack", "")
    await deliver(in_a_statement)
    assert await deliver(awaited) == ("ack", "")
    gc.disable()
    try:
        circle: list[Any] = []
        circle += [circle, helper(None)]  # type: ignore[arg-type]
        del circle
        assert await deliver(of_another) == ("ack", "")
    finally:
        gc.enable()


async def test_two_calls_at_once() -> None:
    async def waits(event: ReceivedEvent) -> None:
        await asyncio.sleep(0.05)

    found = await asyncio.gather(deliver(waits), deliver(behind_an_await), deliver(waits))
    assert [end for end, _ in found] == ["ack", "retry", "ack"]


async def test_a_batch_and_what_stands_around_a_call_count_too() -> None:
    """None of the events is handled: nobody knows of which the coroutine was."""
    app = Handlers()

    @app.middleware
    async def around(call: Call, call_next: Next) -> Answers:
        if call.events[0].type == "b":
            helper(call.events[0])  # type: ignore[unused-coroutine]
        return await call_next(call)

    @app.batch("a", size=2)
    async def batch(events: list[ReceivedEvent]) -> list[Ack]:
        await in_a_statement(events[0])
        return [Ack(), Ack()]

    app.handler("b")(awaited)
    async with RunningHandlers(app) as handlers:
        assert [one.end for one in await handlers.deliver_batch("a", [{}, {}])] == ["retry"] * 2
        assert (await handlers.deliver("b")).end == "retry"


async def test_an_answer_of_the_handler_stands() -> None:
    assert await deliver(given_up) == ("dead_letter", "given up")


async def open_pool() -> None:
    await asyncio.sleep(0)


def starts_in_a_thread() -> None:
    open_pool()  # type: ignore[unused-coroutine]


async def starts() -> None:
    open_pool()  # type: ignore[unused-coroutine]


@pytest.mark.parametrize("starter", [starts, starts_in_a_thread])
async def test_a_start_that_throws_one_away_has_failed(starter: Callable[[], Any]) -> None:
    app = Handlers()
    app.handler("a")(helper)
    app.on_startup(starter)
    with pytest.raises(SpecError, match=r"hook at .*: a coroutine was never awaited: 'open_pool'"):
        async with RunningHandlers(app):
            pass
