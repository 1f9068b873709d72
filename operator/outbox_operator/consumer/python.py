"""Call a Python function with each event.

A handler for the loop. Async functions run in the event loop; all others in threads, so that they
may block.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from outbox_operator.consumer.handler import (
    Ack,
    Context,
    DeadLetter,
    Outcome,
    ReceivedEvent,
    RetryAfter,
)


class PythonHandler:
    """Calls `function(event, context)`.

    None and `Ack()` acknowledge; `RetryAfter` and `DeadLetter` do what they say; an exception is
    a failed delivery.

    Args:
        path: Name of the function, for people.
        function: Async or not.
        timeout: Seconds it may take; then it is cancelled (a thread is abandoned) and the event
            is delivered again.
        threads: Most calls at the same time of a function that is not async.
    """

    def __init__(
        self, path: str, function: Callable[..., Any], *, timeout: float, threads: int
    ) -> None:
        self._path = path
        self._function = function
        self._timeout = timeout
        called = function if inspect.isroutine(function) else getattr(function, "__call__", None)  # noqa: B004
        self._is_async = inspect.iscoroutinefunction(called)
        self._threads = None if self._is_async else ThreadPoolExecutor(threads, "handler")

    @property
    def name(self) -> str:
        """`package.module:function`."""
        return self._path

    @property
    def wants_connection(self) -> bool:
        """A thread cannot use a connection of the event loop."""
        return self._is_async

    async def handle(self, event: ReceivedEvent, context: Context) -> Outcome:
        """Call the function.

        Raises:
            TypeError: It returned something else.
            Exception: Whatever it raises.
        """
        deadline = asyncio.timeout(self._timeout)
        try:
            async with deadline:
                answer = await self._call(event, context)
        except TimeoutError:
            if not deadline.expired():
                raise  # the function's own
            return RetryAfter(reason=f"no answer within {self._timeout:g} s")
        if answer is None:
            return Ack()
        if isinstance(answer, Ack | RetryAfter | DeadLetter):
            return answer
        raise TypeError(
            f"{self._path} returned {type(answer).__name__}; "
            "return None, Ack(), RetryAfter(...) or DeadLetter(...)"
        )

    async def _call(self, event: ReceivedEvent, context: Context) -> object:
        if self._threads is None:
            return await self._function(event, context)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._function, event, context)

    async def close(self) -> None:
        """Let go of the threads; calls that still run are not waited for."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
