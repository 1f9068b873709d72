"""Keep handlers busy with messages of one durable consumer.

Called by the app, once for each connection. Asks for as many messages as can be handled, keeps
order where it matters, sends the answers, keeps the server informed while handlers are slow, and
drains. What an answer is, the processor decides.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Hashable, Sequence
from typing import Final

from outbox_operator.adapters.nats.pull_consumer import Delivery, PullConsumer
from outbox_operator.aio import wait
from outbox_operator.consumer import events
from outbox_operator.consumer.breaker import Breaker
from outbox_operator.consumer.disposition import (
    Acknowledge,
    Again,
    Redeliver,
    Settlement,
    Terminate,
)
from outbox_operator.consumer.handlers.types import Handler, ReceivedEvent
from outbox_operator.consumer.key_queues import Item, KeyQueues
from outbox_operator.consumer.metrics import ConsumerMetrics
from outbox_operator.consumer.prefetch_window import PrefetchWindow
from outbox_operator.consumer.processor import Processor
from outbox_operator.errors import NatsError
from outbox_operator.reasons import Reason
from outbox_operator.wire.config import ConsumerConfig
from outbox_operator.wire.dead_letters import OWN_TERMINATION

log = logging.getLogger(__name__)

_SILENCE_CHECK_SECONDS: Final = 1.0
"""How often the loop looks for silence when nothing wakes it."""
_GATHER_SECONDS: Final = 0.1
"""How often it looks whether all messages under way have come in, in ordered mode."""
_CANCEL_SECONDS: Final = 2.0
"""How long cancelled handlers may take to end."""
_BUG_SECONDS: Final = 30.0
"""Delay of a message whose processing ended in an error nobody foresaw."""
_IN_A_ROW: Final = 64
"""Messages that a worker handles before others get their turn, if its handler never waits."""
_GROUP: Final = 256
"""Most events of a shard in one transaction."""
_ORDERED_AHEAD: Final = 8
"""Messages in hand for each that may be handled, so that different keys are among them."""


class Loop:
    """Messages in hand and where they come from.

    Args:
        config: The consumer.
        handler: Who handles; asked for the size of its batches.
        processor: Handles messages.
        breaker: Says whether to go on.
        metrics: What to count.
        stopping: Ends the loop; call `wake` after setting it.
    """

    def __init__(
        self,
        config: ConsumerConfig,
        handler: Handler,
        processor: Processor,
        breaker: Breaker,
        metrics: ConsumerMetrics,
        stopping: asyncio.Event,
    ) -> None:
        self._config = config
        self._handler = handler
        self._processor = processor
        self._breaker = breaker
        self._metrics = metrics
        self._stopping = stopping
        self._changed = asyncio.Event()
        self._by_shard = config.inbox is not None and config.inbox.mode == "PerShard"
        self._ordered = config.ordering == "PerKey" or self._by_shard
        self._ack_all = False
        self._queues = KeyQueues()
        self._in_hand: dict[int, Item] = {}
        """By sequence; in ordered mode in the order of the stream, but for what is gathered."""
        self._gathered: list[Item] = []
        self._epoch = -1
        self._acknowledge_up_to: Delivery | None = None
        self._workers: set[asyncio.Task[None]] = set()
        self._starting = False
        least = config.concurrency * (_ORDERED_AHEAD if self._ordered else 1)
        least = max(least, handler.largest_batch)
        self._prefetch = PrefetchWindow(least)
        self._window = least
        metrics.in_flight.set_function(lambda: len(self._in_hand))

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
        self._ack_all = source.ack_all
        if self._ack_all and not self._ordered:
            raise NatsError(
                f"durable consumer {self._config.durable!r}: ackPolicy All needs ordering PerKey "
                "or an inbox of mode PerShard: an answer would count for events still in hand",
                reason=Reason.WRONG_CONSUMER,
            )
        beats = asyncio.create_task(self._beat())
        try:
            while not self._stopping.is_set():
                self._changed.clear()
                if source.failure is not None:
                    raise source.failure
                if source.silent and source.connected:
                    await source.verify()
                    source.forget_requests()
                if self._ordered and self._epoch != source.epoch and source.connected:
                    await self._gather(source)
                await self._request(source)
                self._start()
                await wait(self._changed, self._patience())
            await source.close()
            await self._drain(source)
        finally:
            beats.cancel()

    def deliver(self, delivery: Delivery) -> None:
        """Take one message in hand."""
        if self._stopping.is_set():
            with contextlib.suppress(NatsError):
                delivery.nak()
            return
        in_hand = self._in_hand.get(delivery.sequence)
        if in_hand is not None:
            # Delivered again while the connection was down for longer than ackWait. The answer
            # of the one in hand counts for both.
            if delivery.replaces(in_hand.delivery):
                in_hand.delivery = delivery
            return
        event = events.received(
            subject=delivery.subject,
            headers=delivery.headers,
            data=delivery.data,
            stream=delivery.stream,
            sequence=delivery.sequence,
            stored=delivery.when_stored,
        )
        item = Item(delivery, event, self._order_key(event) if self._ordered else None)
        if delivery.deliveries > 1:
            self._metrics.redeliveries.inc()
        self._in_hand[delivery.sequence] = item
        self._prefetch.arrived(len(delivery.data))
        if self._gathered or (self._ordered and self._epoch != delivery.epoch):
            self._gathered.append(item)
            self._changed.set()
            return
        self._queues.add(item)
        if not self._starting:
            self._start()

    def _order_key(self, event: ReceivedEvent) -> Hashable:
        if self._by_shard:
            return event.source, events.shard(event)
        return event.key or None

    async def _gather(self, source: PullConsumer) -> None:
        """After messages may have gone elsewhere: handle none before all under way are here.

        Raises:
            NatsError: NATS does not answer.
        """
        epoch = source.epoch
        source.flush()
        missing = await source.unanswered() - len(self._in_hand)
        if epoch != source.epoch:
            return
        if missing > 0:
            # They come again after ackWait, from a reader that is gone, or it answers them.
            if source.asked == 0:
                await source.ask(missing)
            return
        self._epoch = epoch
        gathered, self._gathered = self._gathered, []
        for item in sorted(gathered, key=lambda item: item.delivery.sequence):
            # To the end, so that the messages in hand are in the order of the stream.
            self._in_hand[item.delivery.sequence] = self._in_hand.pop(item.delivery.sequence)
            self._queues.add(item)

    async def _request(self, source: PullConsumer) -> None:
        """Request as many messages as there is room for."""
        if self._gathered or (self._ordered and self._epoch != source.epoch):
            room = 1 if self._ordered and not self._in_hand else 0
        elif self._breaker.is_open:
            # One more for each try, so that a few bad events cannot keep the circuit open.
            due = self._breaker.probe_due(time.monotonic())
            room = min(len(self._in_hand) + 1, self._window) if due else 0
            room -= len(self._in_hand)
        else:
            self._window = self._prefetch.size(time.monotonic(), source.most_in_flight)
            room = self._window - len(self._in_hand)
        free = room - source.asked
        if free >= max(1, self._window // 4) or (free > 0 and source.asked == 0):
            await source.ask(free)

    def _patience(self) -> float:
        """Seconds until there is something to do even if nothing happens."""
        if self._gathered:
            return _GATHER_SECONDS
        return min(_SILENCE_CHECK_SECONDS, max(0.01, self._breaker.wait(time.monotonic())))

    def _start(self) -> None:
        """Have a worker look at what is ready."""
        if (
            self._starting
            or not self._queues.ready
            or len(self._workers) >= self._config.concurrency
            or (self._breaker.is_open and not self._breaker.probe_due(time.monotonic()))
        ):
            return
        self._starting = True
        worker = asyncio.create_task(self._work())
        self._workers.add(worker)
        worker.add_done_callback(self._workers.discard)

    async def _work(self) -> None:
        """Handle what is ready until there is nothing more."""
        self._starting = False
        in_a_row = 0
        while items := self._take():
            # A worker that waits keeps nobody else from working.
            self._start()
            try:
                settlements = await self._processor.process(items)
            except asyncio.CancelledError:
                self._give_back(items)
                raise
            except Exception:
                # A bug of ours: say so, and keep the message away from a hot loop.
                log.exception("messages from %d on not processed", items[0].delivery.sequence)
                settlements = [Redeliver(_BUG_SECONDS, "not processed")] * len(items)
            self._settle(items, settlements)
            in_a_row += len(items)
            if in_a_row >= _IN_A_ROW:
                in_a_row = 0
                await asyncio.sleep(0)

    def _take(self) -> list[Item]:
        """The messages to handle next: one, or some that go together."""
        if self._stopping.is_set():
            return []
        if self._breaker.is_open:
            if not self._queues.ready or not self._breaker.probe_due(time.monotonic()):
                return []
            self._breaker.probe()
            return [self._queues.ready.pop()]  # the one that came last
        first = self._queues.take()
        if first is None:
            return []
        if first.alone or first.attempts > 1:
            return [first]
        kind = first.event.type
        size = self._handler.batch(kind)
        if self._by_shard:
            # Single-event handlers are called one by one within the transaction.
            most = min(size, _GROUP) if size > 1 else _GROUP
            return [
                first,
                *self._queues.take_behind(
                    first,
                    most - 1,
                    lambda item: self._fits(item) and (size == 1 or item.event.type == kind),
                ),
            ]
        if size == 1:
            return [first]
        return [
            first,
            *self._queues.take_ready(
                size - 1, lambda item: self._fits(item) and item.event.type == kind
            ),
        ]

    def _fits(self, item: Item) -> bool:
        return not item.alone and item.attempts == 1

    def _settle(self, items: list[Item], settlements: Sequence[Settlement]) -> None:
        """Do what is left to do with messages that were handled together."""
        again: list[Item] = []
        try:
            for item, settlement in zip(items, settlements, strict=True):
                match settlement:
                    case Acknowledge():
                        self._done(item)
                        if not self._ack_all:
                            item.delivery.ack()
                    case Terminate(reason):
                        self._done(item)
                        if not self._ack_all:
                            item.delivery.term(f"{OWN_TERMINATION}{reason}")
                    case Again(alone):
                        item.alone = item.alone or alone
                        again.append(item)
                    case Redeliver(seconds) if item.order_key is None and not self._ack_all:
                        self._done(item)
                        item.delivery.nak(seconds)
                    case Redeliver(seconds):
                        # It keeps its place: what follows in its queue waits for it.
                        item.retries += 1
                        asyncio.get_running_loop().call_later(seconds, self._retry, item)
        except NatsError as error:
            # Nothing is lost: without an answer the server delivers it again.
            self._metrics.settle_failures.inc()
            log.warning("answers not sent, the events come again: %s", error)
        if again:
            self._queues.put_back(again)
        else:
            self._release(items)
        if len(self._in_hand) <= self._window - self._window // 4 or self._breaker.is_open:
            self._changed.set()

    def _release(self, items: list[Item]) -> None:
        """Let what follows in their queues come next."""
        if not self._ordered:
            return
        last = items[-1]
        if self._by_shard:
            if last.done:
                self._queues.release(last)
            return
        for item in items:
            if item.done:
                self._queues.release(item)

    def _retry(self, item: Item) -> None:
        if not self._stopping.is_set():
            self._queues.ready.append(item)
            self._start()

    def _done(self, item: Item) -> None:
        """It is not in hand any more."""
        item.done = True
        self._prefetch.settled()
        if not self._ack_all:
            self._in_hand.pop(item.delivery.sequence, None)
            return
        last: Item | None = None
        while self._in_hand:
            first = next(iter(self._in_hand.values()))
            if not first.done:
                break
            last = self._in_hand.pop(first.delivery.sequence)
        if last is not None:
            if self._acknowledge_up_to is None:
                asyncio.get_running_loop().call_soon(self._acknowledge_all)
            self._acknowledge_up_to = last.delivery

    def _acknowledge_all(self) -> None:
        """One answer for all that are done."""
        last, self._acknowledge_up_to = self._acknowledge_up_to, None
        if last is not None:
            with contextlib.suppress(NatsError):  # they come again
                last.ack()

    def _give_back(self, items: Sequence[Item]) -> None:
        for item in items:
            self._in_hand.pop(item.delivery.sequence, None)
            with contextlib.suppress(NatsError):
                item.delivery.nak()

    async def _beat(self) -> None:
        """Restart the clock of ackWait for every message in hand, three times within it."""
        while True:
            await asyncio.sleep(self._config.ack_wait_seconds / 3)
            for item in list(self._in_hand.values()):
                with contextlib.suppress(NatsError):  # away: the server's clock runs out, once
                    item.delivery.in_progress()

    async def _drain(self, source: PullConsumer) -> None:
        """Let handlers end within the time allowed; give the other messages back."""
        if self._workers:
            log.info("draining %d handlers", len(self._workers))
            await asyncio.wait(set(self._workers), timeout=self._config.drain_seconds)
        cut = set(self._workers)
        for worker in cut:
            worker.cancel()
        if cut:
            log.warning("%d handlers did not end in time; their events are given back", len(cut))
            await asyncio.wait(cut, timeout=_CANCEL_SECONDS)
        self._acknowledge_all()
        self._give_back([item for item in self._in_hand.values() if not item.done])
        source.flush()
