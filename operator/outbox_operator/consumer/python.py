"""Call a Python function with each event.

A handler for the loop. Async functions run in the event loop; all others in threads, so that they
may block.
"""

from __future__ import annotations

import asyncio
import inspect
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from outbox_operator.consumer.handler import (
    Ack,
    Context,
    DeadLetter,
    Outcome,
    ReceivedEvent,
    RetryAfter,
)
from outbox_operator.errors import HandlerUnavailableError


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
        self._threads = None if self._is_async else _Threads(threads)

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
            HandlerUnavailableError: Abandoned calls occupy all threads.
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
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise  # it is us who want to end
            return RetryAfter(reason="the function ended with CancelledError")
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
        if self._threads.all_busy:
            raise HandlerUnavailableError(
                f"handler {self._path}: calls that did not end within {self._timeout:g} s occupy "
                "all its threads; if they never end, restart the pod and give what they wait for "
                "a timeout"
            )
        return await asyncio.wrap_future(
            self._threads.submit(lambda: self._function(event, context))
        )

    async def close(self) -> None:
        """Let go of the threads; calls that still run are not waited for."""
        if self._threads is not None:
            self._threads.close()


class _Threads:
    """Threads that do not keep the process from ending, as those of the standard pool would.

    Args:
        most: Started one by one as they are needed.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._threads: list[threading.Thread] = []
        self._under_way: set[Future[object]] = set()
        self._calls: queue.SimpleQueue[tuple[Future[object], Callable[[], object]] | None] = (
            queue.SimpleQueue()
        )

    @property
    def all_busy(self) -> bool:
        """Whether a call would have to wait for another one to end."""
        return len(self._under_way) >= self._most

    def submit(self, call: Callable[[], object]) -> Future[object]:
        """Run `call` in a thread."""
        future: Future[object] = Future()
        self._under_way.add(future)
        if len(self._under_way) > len(self._threads):
            name = f"handler-{len(self._threads)}"
            self._threads.append(threading.Thread(target=self._work, name=name, daemon=True))
            self._threads[-1].start()
        self._calls.put((future, call))
        return future

    def close(self) -> None:
        """Let the threads end once they are idle."""
        for _ in self._threads:
            self._calls.put(None)

    def _work(self) -> None:
        while (taken := self._calls.get()) is not None:
            future, call = taken
            if not future.set_running_or_notify_cancel():
                self._under_way.discard(future)
                continue
            answer: object = None
            failure: BaseException | None = None
            try:
                answer = call()
            except StopIteration as error:
                # No future can carry this one; whoever waits would wait for ever.
                failure = RuntimeError("the function raised StopIteration")
                failure.__cause__ = error
            except BaseException as error:  # noqa: BLE001 - told to whoever waits
                failure = error
            self._under_way.discard(future)
            if failure is None:
                future.set_result(answer)
            else:
                future.set_exception(failure)
