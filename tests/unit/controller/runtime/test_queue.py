"""The work queue around the schedule: workers, errors, draining."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from outbox_operator.controller.metrics import OperatorMetrics
from outbox_operator.controller.runtime.queue import WorkQueue
from outbox_operator.controller.runtime.reconciler import ObjectKey, ReconcileResult
from outbox_operator.errors import NatsError
from support.clock import skip_pauses

DEADLINE_S = 10.0


def key(name: str) -> ObjectKey:
    return ObjectKey("EventStream", "shop", name)


class Script:
    """A reconciler that does what the test says, and tells when it did."""

    def __init__(self, work: Callable[[ObjectKey, str], Awaitable[ReconcileResult]]) -> None:
        self._work = work
        self.started: list[ObjectKey] = []
        self.ended = 0
        self._news = asyncio.Condition()

    async def reconcile(self, key: ObjectKey, trigger: str) -> ReconcileResult:
        await self._tell(lambda: self.started.append(key))
        try:
            return await self._work(key, trigger)
        finally:
            await self._tell(self._count)

    def _count(self) -> None:
        self.ended += 1

    async def _tell(self, change: Callable[[], None]) -> None:
        async with self._news:
            change()
            self._news.notify_all()

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S), self._news:
            await self._news.wait_for(holds)


@asynccontextmanager
async def running(
    script: Script,
    *,
    workers: int = 4,
    pass_timeout_seconds: float = 60,
    slow_seconds: float = 600,
) -> AsyncIterator[WorkQueue]:
    loop = asyncio.get_running_loop()
    skip_pauses(loop)
    queue = WorkQueue(
        OperatorMetrics(),
        is_gone=lambda key: False,
        workers=workers,
        retry_ceiling_seconds=15.0,
        clock=loop.time,
        jitter=lambda: 0.5,
        pass_timeout_seconds=pass_timeout_seconds,
        slow_seconds=slow_seconds,
    )
    task = asyncio.create_task(queue.run({"EventStream": script}))
    try:
        yield queue
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def forever(key: ObjectKey, trigger: str) -> ReconcileResult:
    await asyncio.Event().wait()
    return ReconcileResult()


async def test_no_more_passes_at_once_than_workers() -> None:
    go = asyncio.Event()

    async def work(key: ObjectKey, trigger: str) -> ReconcileResult:
        await go.wait()
        return ReconcileResult()

    script = Script(work)
    async with running(script, workers=2) as queue:
        for number in range(5):
            queue.wake(ObjectKey("EventStream", f"shop-{number}", "a"), "created")
        await script.until(lambda: len(script.started) == 2)
        go.set()
        await script.until(lambda: script.ended == 5)


async def test_one_object_is_never_worked_on_twice_at_once() -> None:
    at_once = most = 0
    queues: list[WorkQueue] = []

    async def work(key: ObjectKey, trigger: str) -> ReconcileResult:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        if script.ended < 20:
            queues[0].wake(key, "generation")
        await asyncio.sleep(0)
        at_once -= 1
        return ReconcileResult()

    script = Script(work)
    async with running(script) as queue:
        queues.append(queue)
        queue.wake(key("a"), "created")
        await script.until(lambda: script.ended > 20)

    assert most == 1


@pytest.mark.parametrize(
    ("error", "level", "result"),
    [
        (NatsError("no NATS at nats://nats:4222"), "WARNING", "error"),
        (KeyError("a defect"), "ERROR", "defect"),
        (TimeoutError(), "WARNING", "error"),
        (asyncio.CancelledError(), "ERROR", "defect"),
    ],
)
async def test_an_error_is_logged_once_and_tried_again(
    error: BaseException, level: str, result: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(key: ObjectKey, trigger: str) -> ReconcileResult:
        if trigger == "created":
            raise error
        return ReconcileResult()

    script = Script(work)
    with caplog.at_level(logging.INFO):
        async with running(script) as queue:
            queue.wake(key("a"), "created")
            await script.until(lambda: script.ended == 2)
            metrics = queue._metrics.registry
            count = metrics.get_sample_value(
                "outbox_operator_reconciles_total", {"kind": "EventStream", "result": result}
            )

    assert count == 1
    assert [record.levelname for record in caplog.records] == [level]


async def test_a_pass_that_hangs_is_cut_and_others_go_on() -> None:
    async def work(key: ObjectKey, trigger: str) -> ReconcileResult:
        return await forever(key, trigger) if trigger == "hang" else ReconcileResult()

    script = Script(work)
    async with running(script, workers=1, pass_timeout_seconds=5) as queue:
        queue.wake(key("a"), "hang")
        queue.wake(key("b"), "created")
        await script.until(lambda: key("b") in script.started)


async def test_passes_that_wait_for_servers_hold_no_workers() -> None:
    """However many there are, of one namespace or of many."""

    async def work(key: ObjectKey, trigger: str) -> ReconcileResult:
        return await forever(key, trigger) if trigger == "slow" else ReconcileResult()

    script = Script(work)
    async with running(script, workers=2, slow_seconds=0.1) as queue:
        for number in range(44):
            queue.wake(ObjectKey("EventStream", f"shop-{number % 3}", str(number)), "slow")
        queue.wake(key("healthy"), "created")
        await script.until(lambda: key("healthy") in script.started)
        assert len(script.started) < 10  # its namespace had none under way
        await script.until(lambda: len(script.started) == 45)


async def test_those_who_hang_leave_a_worker_to_the_next() -> None:
    """Nobody has noticed yet that they do: their passes hold what workers they may."""

    async def work(key: ObjectKey, trigger: str) -> ReconcileResult:
        return await forever(key, trigger) if trigger == "slow" else ReconcileResult()

    script = Script(work)
    async with running(script, workers=20) as queue:
        for number in range(200):
            queue.wake(ObjectKey("EventStream", "neighbour", str(number)), "slow")
        for name in ("first", "second", "third"):
            await script.until(lambda: len(script.started) >= 10)
            queue.wake(key(name), "created")
            await script.until(lambda name=name: key(name) in script.started)  # type: ignore[misc]
        assert sum(one.namespace == "neighbour" for one in script.started) == 10


async def test_draining_waits_for_passes_and_starts_none() -> None:
    go = asyncio.Event()

    async def work(key: ObjectKey, trigger: str) -> ReconcileResult:
        await go.wait()
        return ReconcileResult()

    script = Script(work)
    async with running(script) as queue:
        queue.wake(key("a"), "created")
        await script.until(lambda: script.started == [key("a")])
        drain = asyncio.create_task(queue.drain(DEADLINE_S))
        await asyncio.sleep(0)
        queue.wake(key("b"), "created")
        go.set()
        await drain

    assert script.ended == 1
    assert script.started == [key("a")]


async def test_draining_does_not_wait_for_ever() -> None:
    script = Script(forever)
    async with running(script) as queue:
        queue.wake(key("a"), "created")
        await script.until(lambda: len(script.started) == 1)
        await queue.drain(5)
    assert script.ended == 1  # cut when the queue was cancelled
