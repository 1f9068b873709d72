"""Threads for handler functions that are not async."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future


class Threads:
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
            except BaseException as error:  # noqa: BLE001 - raised where it is awaited
                failure = error
            self._under_way.discard(future)
            if failure is None:
                future.set_result(answer)
            else:
                future.set_exception(failure)
