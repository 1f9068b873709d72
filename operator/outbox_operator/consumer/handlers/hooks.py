"""Functions that are called at start and end, with each connection, and around calls of handlers.

What could never be called so is refused where it is decorated, with file and line.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
from collections.abc import Callable
from typing import Any

from outbox_operator.consumer.handlers import unawaited
from outbox_operator.consumer.handlers.callables import (
    hides_yield,
    place,
    runs_in_the_loop,
    signature_of,
    telling,
    yields,
)
from outbox_operator.consumer.handlers.threads import Threads
from outbox_operator.errors import SpecError


def check(function: Callable[..., Any], what: str, *given: str) -> None:
    """Refuse a function that cannot be called with what it is given, or of which nothing would run.

    Args:
        function: What was decorated.
        what: The decorator, for messages.
        given: What the function is given, for messages.

    Raises:
        SpecError: It has a yield, or parameters for something else; or it is no function.
    """
    check_callable(function, what)
    if yields(function) or hides_yield(function):
        raise SpecError(
            f"{what}{place(function)}: it has a yield, so that calling it would run nothing of it; "
            "for what lasts from start to end there is @app.lifespan"
        )
    taken = signature_of(telling(function), f"{what}{place(function)}")
    if taken is None:
        return
    try:
        taken.bind(*given)
    except TypeError as error:
        wanted = f"is given {' and '.join(given)}" if given else "takes nothing"
        raise SpecError(
            f"{what}{place(function)}: wanted a function that {wanted}: {error}"
        ) from error


def check_callable(function: object, what: str) -> None:
    """Refuse what is no function. Raises SpecError."""
    if not callable(function):
        raise SpecError(f"{what}: wanted a function, found {type(function).__name__}")


async def run(function: Callable[[], object]) -> None:
    """Call a hook; one that is not async in a thread that keeps no process from ending.

    Raises:
        SpecError: It threw a coroutine away, so that nothing of that ran.
        Exception: Whatever it raises.
    """
    thrown_away = unawaited.noted()
    if runs_in_the_loop(function):
        answer = function()
    else:
        thread = Threads(1)
        try:
            answer = await asyncio.wrap_future(
                thread.submit(functools.partial(contextvars.copy_context().run, function))
            )
        finally:
            thread.close()
    if inspect.isawaitable(answer):  # of a lambda, or under a decorator that is not async
        await answer
    if thrown_away:
        raise SpecError(f"hook{place(function)}: {thrown_away[0]}")
