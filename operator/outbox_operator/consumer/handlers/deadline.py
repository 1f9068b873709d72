"""Calls that may take so long and no longer, with a deadline that the call itself may move."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import time
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Final

from outbox_operator.consumer import error_text
from outbox_operator.consumer.handlers.types import Context
from outbox_operator.consumer.watchdog import waiting

CLEAN_UP_SECONDS: Final = 5.0
"""After its deadline a call may so long put things in order, before it is cancelled again."""
LEAVE_SECONDS: Final = 1.0
"""After that it is left where it stands."""


class TooLateError(Exception):
    """The deadline passed."""


class LeftBehindError(TooLateError):
    """The deadline passed, and the call did not end when it was cancelled.

    Attributes:
        place: Where it stands.
    """

    def __init__(self, place: str) -> None:
        super().__init__(place)
        self.place = place


async def bounded(coroutine: Coroutine[Any, Any, object], context: Context) -> object:
    """Return the result of a coroutine, which is cancelled at the context's deadline.

    What it does to context variables is gone with it, as it is of a task of its own: the next call
    in this one may be for somebody else. One that ends without waiting for anything needs no timer,
    which costs as much as all else.

    Raises:
        TooLateError: The deadline passed; also if the coroutine swallowed that and has no answer.
        LeftBehindError: It did not end then; nothing runs it any more.
        Exception: Whatever the coroutine raises.
    """
    variables = contextvars.copy_context()
    try:
        waits_for = variables.run(coroutine.send, None)
    except StopIteration as done:
        return done.value
    loop = asyncio.get_running_loop()
    offset = loop.time() - time.monotonic()
    timer = asyncio.timeout_at(None if context.deadline is None else context.deadline + offset)
    context._moved = lambda deadline: _move(loop, timer, deadline + offset)
    try:
        return await _timed(coroutine, waits_for, timer, variables)
    finally:
        context._moved = None


async def within(seconds: float, coroutine: Coroutine[Any, Any, object]) -> None:
    """Run a coroutine, which is cancelled after some seconds, in this task. Raises as `bounded`."""
    variables = contextvars.copy_context()
    with contextlib.suppress(StopIteration):
        waits_for = variables.run(coroutine.send, None)
        await _timed(coroutine, waits_for, asyncio.timeout(seconds), variables)


async def _timed(
    coroutine: Coroutine[Any, Any, object],
    waits_for: object,
    timer: asyncio.Timeout,
    variables: contextvars.Context,
) -> object:
    """Return the result of a coroutine that waits for something. Raises as `bounded`."""
    try:
        async with timer:
            answer = await _Rest(coroutine, timer, variables).run(waits_for)
    except TimeoutError:
        if not timer.expired():
            raise  # the function's own
        raise TooLateError from None
    if answer is None and timer.expired():
        raise TooLateError
    return answer


def _move(loop: asyncio.AbstractEventLoop, timer: asyncio.Timeout, when: float) -> None:
    """Set a timer anew; handlers in threads may ask for it too."""

    def move() -> None:
        if not timer.expired():
            timer.reschedule(when)

    loop.call_soon_threadsafe(move)


class _Rest:
    """The rest of a coroutine that waits for something.

    Args:
        coroutine: Is stepped by whoever awaits `run`, as if it were awaited itself.
        timer: Cancels it.
        variables: It runs with these.
    """

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, object],
        timer: asyncio.Timeout,
        variables: contextvars.Context,
    ) -> None:
        self._coroutine = coroutine
        self._timer = timer
        self._variables = variables
        self._until: float | None = None
        """When there is no time left to put things in order either."""
        self._again = False
        """Whether it was cancelled again."""

    @types.coroutine
    def run(self, waits_for: Any) -> Generator[object, Any, object]:
        """Go on to the end. Raises `LeftBehindError`, and whatever the coroutine raises."""
        coroutine = self._coroutine  # `watchdog.waiting` looks for it here
        while True:
            if self._is_ours(waits_for):
                step = yield from self._step_after(waits_for)
            else:
                try:
                    got = yield waits_for
                except BaseException as error:  # noqa: BLE001 - the coroutine's business
                    self._look_at_the_time()
                    step = functools.partial(coroutine.throw, error)
                else:
                    step = functools.partial(coroutine.send, got)
            try:
                waits_for = self._variables.run(step)
            except StopIteration as done:
                return done.value

    def _is_ours(self, waits_for: Any) -> bool:
        """Whether we wait for it ourselves, and not the task that we run in.

        A task, or some of them together, may swallow its cancellation; then whoever waits for it
        is not told that it was cancelled, either.
        """
        if not isinstance(waits_for, asyncio.Future):
            return waits_for is None and self._until is not None
        if self._until is None and type(waits_for) is asyncio.Future:
            return False
        # What no task waits for, it says itself.
        strange = waits_for.get_loop() is not asyncio.get_running_loop()
        return not strange and waits_for is not asyncio.current_task()

    def _look_at_the_time(self) -> None:
        if self._until is None and self._timer.expired():
            self._until = asyncio.get_running_loop().time() + CLEAN_UP_SECONDS

    def _step_after(
        self, waits_for: asyncio.Future[Any] | None
    ) -> Generator[object, Any, Callable[[], Any]]:
        """Wait, and return how the coroutine goes on. Raises `LeftBehindError`."""
        while True:
            error = asyncio.CancelledError()
            try:
                if (yield from _ended(waits_for, self._until)):
                    return functools.partial(self._coroutine.send, None)
            except asyncio.CancelledError as found:
                error = found
                self._look_at_the_time()
            else:
                if self._again:
                    raise LeftBehindError(_leave(self._coroutine))
                self._until = asyncio.get_running_loop().time() + LEAVE_SECONDS
                self._again = True
            # With the same words, by which some who cancel know their own.
            if waits_for is None or not waits_for.cancel(*error.args):
                return functools.partial(self._coroutine.throw, error)


def _ended(
    waits_for: asyncio.Future[Any] | None, until: float | None
) -> Generator[object, Any, bool]:
    """Wait; return whether a coroutine may go on, and there was time left."""
    loop = asyncio.get_running_loop()
    woken = loop.create_future()

    def wake(_: object = None) -> None:
        if not woken.done():
            woken.set_result(None)

    timer = None if until is None else loop.call_at(until, wake)
    if waits_for is None:  # it lets others run
        loop.call_soon(wake)
    else:
        waits_for._asyncio_future_blocking = False  # as a task does with what is yielded to it
        waits_for.add_done_callback(wake)
    try:
        yield from woken
    finally:
        if timer is not None:
            timer.cancel()
        if waits_for is not None:
            waits_for.remove_done_callback(wake)
    ended = waits_for is None or waits_for.done()
    return ended and (until is None or loop.time() < until)


def _leave(coroutine: Coroutine[Any, Any, object]) -> str:
    """Leave a coroutine where it stands; return the place."""
    place = error_text.place_of(waiting(coroutine))
    # Else this happens when nobody refers to it any more, and is said without its name.
    with contextlib.suppress(BaseException):
        coroutine.close()
    return place
