"""Calls that may take so long and no longer, with a deadline that the call itself may move."""

from __future__ import annotations

import asyncio
import functools
import time
import types
from collections.abc import Coroutine, Generator
from typing import Any

from outbox_operator.consumer.handlers.types import Context


class TooLateError(Exception):
    """The deadline passed."""


async def bounded(coroutine: Coroutine[Any, Any, object], context: Context) -> object:
    """Return the result of a coroutine, which is cancelled at the context's deadline.

    One that ends without waiting for anything needs no timer, which costs as much as all else.

    Raises:
        TooLateError: The deadline passed; also if the coroutine swallowed that and has no answer.
        Exception: Whatever the coroutine raises.
    """
    try:
        waits_for = coroutine.send(None)
    except StopIteration as done:
        return done.value
    loop = asyncio.get_running_loop()
    offset = loop.time() - time.monotonic()
    timer = asyncio.timeout_at(None if context.deadline is None else context.deadline + offset)
    context._moved = lambda deadline: _move(loop, timer, deadline + offset)
    try:
        async with timer:
            answer = await _rest(coroutine, waits_for)
    except TimeoutError:
        if not timer.expired():
            raise  # the function's own
        raise TooLateError from None
    finally:
        context._moved = None
    if answer is None and timer.expired():
        raise TooLateError
    return answer


def _move(loop: asyncio.AbstractEventLoop, timer: asyncio.Timeout, when: float) -> None:
    """Set a timer anew; handlers in threads may ask for it too."""

    def move() -> None:
        if not timer.expired():
            timer.reschedule(when)

    loop.call_soon_threadsafe(move)


@types.coroutine
def _rest(
    coroutine: Coroutine[Any, Any, object], waits_for: object
) -> Generator[object, Any, object]:
    """Go on with a coroutine that waits for something."""
    while True:
        try:
            got = yield waits_for
        except BaseException as error:  # noqa: BLE001 - the coroutine's business
            step = functools.partial(coroutine.throw, error)
        else:
            step = functools.partial(coroutine.send, got)
        try:
            waits_for = step()
        except StopIteration as done:
            return done.value
