"""Hand messages to the handler: which is next, how many at once, and what is answered.

Used by `consumer.loop`, which fetches them. A worker is a task that handles what is ready until
nothing is; there are as many as may handle at the same time, and no more than are needed. What
is to be answered, the processor decides.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Final

from outbox_operator.adapters.nats.pull_consumer import Delivery
from outbox_operator.consumer import events
from outbox_operator.consumer.acknowledgements import Acknowledgements
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
from outbox_operator.wire.config import ConsumerConfig
from outbox_operator.wire.dead_letters import OWN_TERMINATION

log = logging.getLogger(__name__)

_CONFIRM_SECONDS: Final = 0.05
"""Acknowledgements of this time are counted together; it takes a question to the server."""
_BUG_SECONDS: Final = 30.0
"""Delay of a message whose processing ended in an error nobody foresaw."""
_IN_A_ROW: Final = 64
"""Messages that a worker handles before others get their turn, if its handler never waits."""
_GROUP: Final = 256
"""Most events of a shard in one transaction."""
_ORDERED_AHEAD: Final = 8
"""Messages in hand for each that may be handled, so that different keys are among them."""


class Workers:
    """The messages in hand, and the tasks that handle them.

    Args:
        config: The consumer.
        handler: Who handles; says how many events of a type go into one call.
        processor: Handles messages.
        breaker: Says whether to go on.
        metrics: What to count.
        stopping: Nothing more is begun once it is set.
        changed: Set when there may be room for more messages.

    Attributes:
        in_hand: Messages by sequence; in ordered mode in the order of the stream, but for what is
            held back.
        held_back: Messages that are not handled before all that are under way have come in.
        epoch: Of the messages that are handled as they come, in ordered mode.
        tasks: What runs now.
        ordered: Whether messages of one key, or shard, are handled one after the other.
        ack_all: Whether an acknowledgement counts for all earlier messages too.
        window: How many messages to have in hand.
        refused: Whether the server refuses answers. Nothing is begun then, and what arrives is
            let go: it would be handled again and again. What a handler has, it keeps.
    """

    def __init__(
        self,
        config: ConsumerConfig,
        handler: Handler,
        processor: Processor,
        breaker: Breaker,
        metrics: ConsumerMetrics,
        *,
        stopping: asyncio.Event,
        changed: asyncio.Event,
    ) -> None:
        self._config = config
        self._handler = handler
        self._processor = processor
        self._breaker = breaker
        self._metrics = metrics
        self._stopping = stopping
        self._changed = changed
        self._by_shard = config.inbox is not None and config.inbox.mode == "PerShard"
        self.ordered = config.ordering == "PerKey" or self._by_shard
        self.ack_all = False
        self.in_hand: dict[int, Item] = {}
        self.held_back: list[Item] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self._queues = KeyQueues()
        self.epoch = -1
        self._acknowledge_up_to: Delivery | None = None
        self._acknowledgements = Acknowledgements()
        self._confirming: asyncio.Task[None] | None = None
        self.refused = False
        self._starting = False
        self._probe: list[Item] | None = None
        """What is being tried while the circuit is open."""
        least = config.concurrency * (_ORDERED_AHEAD if self.ordered else 1)
        least = max(least, handler.largest_batch)
        self._prefetch = PrefetchWindow(least)
        self.window = least
        metrics.in_flight.set_function(lambda: len(self.in_hand))

    def deliver(self, delivery: Delivery) -> None:
        """Take a message in hand that has arrived."""
        if self.refused:
            return
        if self._stopping.is_set():
            with contextlib.suppress(NatsError):
                delivery.nak()
            return
        in_hand = self.in_hand.get(delivery.sequence)
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
        item = Item(delivery, event, self._order_key(event) if self.ordered else None)
        if delivery.deliveries > 1:
            self._metrics.redeliveries.inc()
        self.in_hand[delivery.sequence] = item
        self._prefetch.arrived(len(delivery.data))
        if self.held_back or (self.ordered and self.epoch != delivery.epoch):
            self.held_back.append(item)
            self._changed.set()
            return
        self._queues.add(item)
        if not self._starting:
            self.start()

    def _order_key(self, event: ReceivedEvent) -> Hashable:
        if self._by_shard:
            return event.source, events.shard(event)
        return event.key or None

    def handle_held_back(self, epoch: int) -> None:
        """Begin to handle messages of an epoch, since all that were under way have come in."""
        self.epoch = epoch
        held, self.held_back = self.held_back, []
        for item in sorted(held, key=lambda item: item.delivery.sequence):
            # To the end, so that the messages in hand are in the order of the stream.
            self.in_hand[item.delivery.sequence] = self.in_hand.pop(item.delivery.sequence)
            self._queues.add(item)

    def measure(self, most: int) -> None:
        """Set the window anew.

        Args:
            most: What the server allows; -1: anything.
        """
        self.window = self._prefetch.size(time.monotonic(), most)

    def start(self) -> None:
        """Start a worker if something is ready and none is starting."""
        if (
            self._starting
            or not self._queues.ready
            or len(self.tasks) >= self._config.concurrency
            or (self._breaker.is_open and not self._breaker.probe_due(time.monotonic()))
        ):
            return
        self._starting = True
        worker = asyncio.create_task(self._work())
        self.tasks.add(worker)
        worker.add_done_callback(self.tasks.discard)

    async def _work(self) -> None:
        """Handle what is ready until there is nothing more."""
        self._starting = False
        in_a_row = 0
        while items := self._take():
            # A worker that waits keeps nobody else from working.
            self.start()
            try:
                settlements = await self._processor.process(items)
            except asyncio.CancelledError:
                self.give_back(items)
                raise
            except Exception:
                # A bug of ours: say so, and keep the message away from a hot loop.
                log.exception("messages from %d on not processed", items[0].delivery.sequence)
                settlements = [Redeliver(_BUG_SECONDS, "not processed")] * len(items)
            self._settle(items, settlements)
            if items is self._probe:
                # However it ended: what the handler did not answer says nothing about it, and
                # the next message is to be tried.
                self._probe = None
                self._breaker.probe_ended()
            in_a_row += len(items)
            if in_a_row >= _IN_A_ROW:
                in_a_row = 0
                await asyncio.sleep(0)

    def _take(self) -> list[Item]:
        """Take the messages to handle next out of the queues: one, or some that go together."""
        if self.refused or self._stopping.is_set():
            return []
        if self._breaker.is_open:
            if not self._queues.ready or not self._breaker.probe_due(time.monotonic()):
                return []
            self._breaker.probe()
            self._probe = [self._queues.ready.pop()]  # the one that came last
            return self._probe
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
        """Answer for messages that were handled together."""
        again: list[Item] = []
        try:
            for item, settlement in zip(items, settlements, strict=True):
                match settlement:
                    case Acknowledge(handled):
                        item.handled = handled
                        self._done(item)
                        if not self.ack_all:
                            item.delivery.ack()
                            if handled:
                                self._acknowledgements.sent[item.delivery.sequence] = (
                                    item.event.type
                                )
                    case Terminate(reason):
                        self._done(item)
                        if not self.ack_all:
                            item.delivery.term(f"{OWN_TERMINATION}{reason}")
                    case Again(alone):
                        item.alone = item.alone or alone
                        again.append(item)
                    case Redeliver(seconds) if item.order_key is None and not self.ack_all:
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
        if self._confirming is None and self._acknowledgements.sent:
            self._confirming = asyncio.create_task(self._confirm(items[0].delivery))
        if again:
            self._queues.put_back(again)
        else:
            self._release(items)
        if len(self.in_hand) <= self.window - self.window // 4 or self._breaker.is_open:
            self._changed.set()

    def _release(self, items: list[Item]) -> None:
        """Let what follows in their queues come next."""
        if not self.ordered:
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
        if not self._stopping.is_set() and self.in_hand.get(item.delivery.sequence) is item:
            self._queues.ready.append(item)
            self.start()

    def _done(self, item: Item) -> None:
        """Record that a message is settled, and not in hand any more."""
        item.done = True
        self._prefetch.settled()
        if not self.ack_all:
            self.in_hand.pop(item.delivery.sequence, None)
            return
        last: Item | None = None
        while self.in_hand:
            first = next(iter(self.in_hand.values()))
            if not first.done:
                break
            last = self.in_hand.pop(first.delivery.sequence)
            if first.handled:
                self._acknowledgements.sent[first.delivery.sequence] = first.event.type
        if last is not None:
            if self._acknowledge_up_to is None:
                asyncio.get_running_loop().call_soon(self.acknowledge_all)
            self._acknowledge_up_to = last.delivery

    def acknowledge_all(self) -> None:
        """Answer once for all messages that are done, if one answer counts for all."""
        last, self._acknowledge_up_to = self._acknowledge_up_to, None
        if last is not None:
            with contextlib.suppress(NatsError):  # they come again
                last.ack()

    def answer_refused(self, sequence: int) -> None:
        """Begin nothing more: the server refused an answer to the message of this sequence."""
        self.refused = True
        withdrawn = self._acknowledgements.refused(sequence, with_earlier=self.ack_all)
        if withdrawn or sequence not in self.in_hand:  # else it was told that we are at work
            self._metrics.settle_failures.inc()

    def kept(self) -> list[Item]:
        """Messages that nobody else is to be given: those in hand, or, once the server refuses
        answers, those of them that a handler has."""
        if not self.refused:
            return list(self.in_hand.values())
        if not self.tasks:
            return []
        idle = {*self._queues.waiting(), *self.held_back}
        return [item for item in self.in_hand.values() if item not in idle]

    def let_go(self) -> None:
        """Forget what is in hand and not with a handler: it comes again after ackWait.

        In ordered mode no handler may have any.
        """
        kept = self.kept()
        self.in_hand = {item.delivery.sequence: item for item in kept}
        self.held_back.clear()
        self._queues = KeyQueues()
        self._acknowledge_up_to = None
        self.epoch = -1
        self.refused = False

    async def _confirm(self, delivery: Delivery) -> None:
        """Ask what became of acknowledgements, and count those that were accepted."""
        try:
            await asyncio.sleep(_CONFIRM_SECONDS)
            await self.count_acknowledgements(delivery.confirm)
        finally:
            self._confirming = None

    async def count_acknowledgements(self, confirm: Callable[[], Awaitable[None]]) -> None:
        """Count those sent until now that the server took; if it does not say, the next time.

        Args:
            confirm: Waits until it has taken, or refused, what it was sent.
        """
        if self._confirming is not None and self._confirming is not asyncio.current_task():
            self._confirming.cancel()
        if not self._acknowledgements.ask():
            return
        with contextlib.suppress(NatsError):
            await confirm()
            for event_type, events in self._acknowledgements.accepted().items():
                self._metrics.acknowledged(event_type, events)

    def give_back(self, items: Sequence[Item]) -> None:
        """Have messages delivered again, to whichever pod."""
        for item in items:
            self.in_hand.pop(item.delivery.sequence, None)
            with contextlib.suppress(NatsError):
                item.delivery.nak()
