"""The work queue: runs passes of the reconcilers, several objects at once, each one alone.

Woken by the watches, the resync and the reconcilers' own tools; `schedule` decides, this module
carries it out, logs and counts. Whatever a reconciler does, nothing escapes from here: an error
is logged once with its pass and becomes a back-off.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from outbox_operator.aio import cancellations, wait
from outbox_operator.controller.metrics import OperatorMetrics
from outbox_operator.controller.runtime.reconciler import ObjectKey, Reconciler, ReconcileResult
from outbox_operator.controller.runtime.schedule import Schedule, Turn, Urgency
from outbox_operator.errors import OutboxError
from outbox_operator.telemetry.logging import bind

log = logging.getLogger(__name__)

PASS_TIMEOUT_SECONDS: Final = 600.0
"""A pass that takes longer is cut: one that hangs must not keep its object for ever."""
SLOW_SECONDS: Final = 2.0
"""A pass that takes longer waits for a server, and holds no worker any more: slow servers of some
objects must not keep others waiting. See `schedule`."""


class WorkQueue:
    """Runs passes until it is stopped.

    Args:
        metrics: Where to count.
        is_gone: Whether an object no longer exists, so that it can be forgotten.
        workers: How many passes run at once, besides slow ones; of one namespace half as many. Of
            slow ones there are at most as many as objects.
        retry_ceiling_seconds: Longest pause after an error that time can heal: what comes back
            must be noticed soon.
        clock: Monotonic seconds.
        leads: Whether this process looks after a namespace: no pass begins over what is in another.
        jitter: 0 to 1, spreads retries.
        pass_timeout_seconds: Longest pass.
        slow_seconds: From when on a pass is a slow one.
    """

    def __init__(
        self,
        metrics: OperatorMetrics,
        is_gone: Callable[[ObjectKey], bool],
        *,
        workers: int,
        retry_ceiling_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        leads: Callable[[str], bool] = lambda _: True,
        jitter: Callable[[], float] = random.random,
        pass_timeout_seconds: float = PASS_TIMEOUT_SECONDS,
        slow_seconds: float = SLOW_SECONDS,
    ) -> None:
        self._reconcilers: Mapping[str, Reconciler] = {}
        self._metrics = metrics
        self._is_gone = is_gone
        self._leads = leads
        self._retry_ceiling_seconds = retry_ceiling_seconds
        self._clock = clock
        self._jitter = jitter
        self._pass_timeout_seconds = pass_timeout_seconds
        self._slow_seconds = slow_seconds
        self._schedule = Schedule(workers)
        self._changed = asyncio.Event()
        self._draining = False
        self._defect: BaseException | None = None
        self._running: dict[asyncio.Task[None], ObjectKey] = {}
        metrics.observe_queue(
            depth=lambda: self._schedule.ready(self._clock()),
            running=lambda: len(self._running),
            objects=lambda: len(self._schedule),
            failing=self._schedule.failing,
        )

    def wake(self, key: ObjectKey, trigger: str, urgency: Urgency = Urgency.URGENT) -> None:
        """Something happened to an object. Cheap; call it from the event loop."""
        if not self._leads(key.namespace):
            return
        self._metrics.wakeups(key.kind, trigger.partition(":")[0]).inc()
        self._schedule.wake(key, trigger, urgency, self._clock())
        self._changed.set()

    async def run(self, reconcilers: Mapping[str, Reconciler]) -> None:
        """Run passes for ever; cancelled, it cuts those under way.

        Args:
            reconcilers: By kind.
        """
        self._reconcilers = reconcilers
        try:
            while True:
                self._changed.clear()
                if self._defect is not None:
                    raise self._defect
                self._start_due()
                await self._pause()
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    async def drain(self, timeout_seconds: float) -> None:
        """Start no more passes and wait for those under way, but not for ever."""
        self._draining = True
        if self._running:
            await asyncio.wait(set(self._running), timeout=timeout_seconds)

    async def leave_others(self, timeout_seconds: float) -> None:
        """Wait until no pass is under way over what this process does not lead any more."""
        tasks = [task for task, key in self._running.items() if not self._leads(key.namespace)]
        if tasks:
            await asyncio.wait(tasks, timeout=timeout_seconds)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for key in self._schedule.known():
            if not self._leads(key.namespace):
                self._schedule.drop(key)

    async def forget(self, keys: Iterable[ObjectKey]) -> None:
        """Let reconcilers drop what they remember of objects that are not in the cache any more."""
        for key in keys:
            await self._reconcile(Turn(key, "given up", 0, 0.0))

    def _start_due(self) -> None:
        while not self._draining:
            turn = self._schedule.take(self._clock())
            if turn is None:
                return
            if not self._leads(turn.key.namespace):
                self._schedule.drop(turn.key)
                continue
            task = asyncio.create_task(self._pass(turn), name=f"reconcile {turn.key}")
            self._running[task] = turn.key
            task.add_done_callback(self._done)
            loop = asyncio.get_running_loop()
            loop.call_later(self._slow_seconds, self._let_go, turn.key, task)

    async def _pause(self) -> None:
        """Wait until something may be due."""
        wait_seconds = None if self._draining else self._schedule.wait_seconds(self._clock())
        await wait(self._changed, wait_seconds)

    def _let_go(self, key: ObjectKey, task: asyncio.Task[None]) -> None:
        """A pass that still runs gives its worker to the next."""
        if task in self._running and self._schedule.let_go(key):
            self._changed.set()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.pop(task, None)
        if not task.cancelled():
            # A mistake of this module would leave its object running for ever: end loudly.
            self._defect = self._defect or task.exception()
        self._changed.set()

    async def _pass(self, turn: Turn) -> None:
        key = turn.key
        started = self._clock()
        with bind(object=str(key), reconcile_id=secrets.token_hex(4), trigger=turn.trigger):
            result, label = await self._reconcile(turn)
            ended = self._clock()
            next_seconds = self._schedule.finish(key, result, ended, self._jitter())
            self._metrics.record_pass(
                key.kind,
                label,
                duration_seconds=ended - started,
                waited_seconds=turn.waited_seconds,
            )
            log.debug(
                "pass %s",
                label,
                extra={
                    "duration_ms": round((ended - started) * 1000, 1),
                    "failures": turn.failures,
                    "next_seconds": None if next_seconds is None else round(next_seconds, 1),
                },
            )
        if self._is_gone(key):
            self._schedule.forget(key)

    async def _reconcile(self, turn: Turn) -> tuple[ReconcileResult, str]:
        reconciler = self._reconcilers[turn.key.kind]
        limit = asyncio.timeout(self._pass_timeout_seconds)
        asked_before = cancellations()
        try:
            async with limit:
                result = await reconciler.reconcile(turn.key, turn.trigger)
        except OutboxError as error:
            log.warning("pass failed: %s", error, extra={"reason": error.reason})
            cap = self._retry_ceiling_seconds if error.retryable else None
            return ReconcileResult(cap, failed=True), "error"
        except TimeoutError:
            if limit.expired():
                log.error("pass cut after %s s", self._pass_timeout_seconds)
                return ReconcileResult(failed=True), "timeout"
            log.warning("pass failed: something in it timed out", exc_info=True)
            return ReconcileResult(self._retry_ceiling_seconds, failed=True), "error"
        except asyncio.CancelledError:
            if cancellations() > asked_before:
                raise
            log.exception("pass failed: something in it was cancelled by mistake")
            return ReconcileResult(failed=True), "defect"
        except Exception:
            log.exception("pass failed by a defect")
            return ReconcileResult(failed=True), "defect"
        return result, "failed" if result.failed else "ok"
