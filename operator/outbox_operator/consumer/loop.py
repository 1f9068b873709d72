"""Keep handlers busy with messages of one durable consumer.

Called by the app, once for each connection. Asks for as many messages as can be handled, keeps
the server informed while handlers are slow, and drains. Decides nothing about single messages:
that is the processor's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Final

from outbox_operator.adapters.jetstream_consumer import Delivery, PullConsumer
from outbox_operator.consumer.metrics import ConsumerMetrics
from outbox_operator.consumer.processor import Processor
from outbox_operator.errors import NatsError
from outbox_operator.wire.config import ConsumerConfig

log = logging.getLogger(__name__)

_LOOK_SECONDS: Final = 1.0
"""How often the loop looks for silence when nothing wakes it."""
_CANCEL_SECONDS: Final = 2.0
"""How long cancelled handlers may take to end."""
_BUG_SECONDS: Final = 30.0
"""Delay of a message whose processing ended in an error nobody foresaw."""


class Loop:
    """Messages in hand and where they come from.

    Args:
        config: The consumer.
        processor: Handles one delivery.
        metrics: What to count.
        stopping: Ends the loop; call `wake` after setting it.
    """

    def __init__(
        self,
        config: ConsumerConfig,
        processor: Processor,
        metrics: ConsumerMetrics,
        stopping: asyncio.Event,
    ) -> None:
        self._config = config
        self._processor = processor
        self._metrics = metrics
        self._stopping = stopping
        self._changed = asyncio.Event()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._deliveries: dict[int, Delivery] = {}
        self._returned: set[asyncio.Task[None]] = set()
        # Slots are refilled in batches, so that busy handlers do not cost a request each.
        self._refill = max(1, config.concurrency // 4)

    def wake(self) -> None:
        """Something changed: look again."""
        self._changed.set()

    async def run(self, source: PullConsumer) -> None:
        """Handle messages until `stopping`, then drain.

        Args:
            source: An open durable consumer that reports to `deliver` and `wake`.

        Raises:
            NatsError: Nothing can arrive any more. Messages in hand are still being handled.
        """
        beats = asyncio.create_task(self._beat())
        try:
            while not self._stopping.is_set():
                self._changed.clear()
                if source.failure is not None:
                    raise source.failure
                if source.silent and source.connected:
                    await source.verify()
                    source.forget_requests()
                free = self._config.concurrency - len(self._tasks) - source.asked
                if free >= self._refill or (free > 0 and source.asked == 0):
                    await source.ask(free)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), _LOOK_SECONDS)
            await source.close()
            await self._drain()
        finally:
            beats.cancel()

    def deliver(self, delivery: Delivery) -> None:
        """Take one message in hand."""
        if self._stopping.is_set():
            self._give_back(delivery)
            return
        if delivery.sequence in self._tasks:
            # Delivered again while the connection was down for longer than ackWait. The answer
            # of the one in hand counts for both.
            return
        self._deliveries[delivery.sequence] = delivery
        task = asyncio.create_task(self._handle(delivery))
        self._tasks[delivery.sequence] = task
        self._metrics.in_flight.inc()

    async def _handle(self, delivery: Delivery) -> None:
        try:
            await self._processor.process(delivery)
        except asyncio.CancelledError:
            with contextlib.suppress(NatsError):
                await delivery.nak()
            raise
        except Exception:
            # A bug of ours: say so, and keep the message away from a hot loop.
            log.exception("message %s:%d not processed", delivery.stream, delivery.sequence)
            with contextlib.suppress(NatsError):
                await delivery.nak(_BUG_SECONDS)
        finally:
            del self._tasks[delivery.sequence], self._deliveries[delivery.sequence]
            self._metrics.in_flight.dec()
            self._changed.set()

    def _give_back(self, delivery: Delivery) -> None:
        async def nak() -> None:
            with contextlib.suppress(NatsError):
                await delivery.nak()

        task = asyncio.create_task(nak())
        self._returned.add(task)
        task.add_done_callback(self._returned.discard)

    async def _beat(self) -> None:
        """Restart the clock of ackWait for every message in hand, three times within it."""
        while True:
            await asyncio.sleep(self._config.ack_wait_seconds / 3)
            for delivery in list(self._deliveries.values()):
                with contextlib.suppress(NatsError):  # away: the server's clock runs out, once
                    await delivery.in_progress()

    async def _drain(self) -> None:
        """Let handlers end within the time allowed; give the other messages back."""
        if self._tasks:
            log.info("draining %d messages in hand", len(self._tasks))
            await asyncio.wait(self._tasks.values(), timeout=self._config.drain_seconds)
        cut = list(self._tasks.values())
        for task in cut:
            task.cancel()
        if cut:
            log.warning("%d handlers did not end in time; their events are given back", len(cut))
            await asyncio.wait(cut, timeout=_CANCEL_SECONDS)
        if self._returned:
            await asyncio.wait(self._returned, timeout=_CANCEL_SECONDS)
