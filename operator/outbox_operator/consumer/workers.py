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
from collections.abc import Callable, Hashable, Sequence
from typing import Final

from outbox_operator.adapters.source import Delivery
from outbox_operator.consumer import events
from outbox_operator.consumer.answers import Answers
from outbox_operator.consumer.breaker import Breaker
from outbox_operator.consumer.disposition import AGAIN_ALONE, Again, Redeliver
from outbox_operator.consumer.handlers.types import Handler, ReceivedEvent
from outbox_operator.consumer.key_queues import Item, KeyQueues
from outbox_operator.consumer.metrics import ConsumerMetrics
from outbox_operator.consumer.pace import Pace
from outbox_operator.consumer.prefetch_window import PrefetchWindow
from outbox_operator.consumer.suspects import Suspects
from outbox_operator.consumer.traces import Processing
from outbox_operator.errors import DependencyError
from outbox_operator.wire.config import ConsumerConfig

log = logging.getLogger(__name__)

_BUG_SECONDS: Final = 30.0
"""Delay of a message whose processing ended in an error nobody foresaw."""
_IN_A_ROW: Final = 64
"""Messages that a worker handles before others get their turn, if its handler never waits."""
_GROUP: Final = 256
"""Most events of a shard in one transaction."""
_ORDERED_AHEAD: Final = 8
"""Messages in hand for each that may be handled, so that different keys are among them."""


def is_ordered(config: ConsumerConfig) -> bool:
    """Whether messages of one key, or shard, are handled one after the other."""
    return config.ordering == "PerKey" or _is_by_shard(config)


def _is_by_shard(config: ConsumerConfig) -> bool:
    return config.inbox is not None and config.inbox.mode == "PerShard"


class Workers:
    """The messages in hand, and the tasks that handle them.

    Args:
        config: The consumer.
        handler: Who handles; says how many events of a type go into one call.
        processor: Handles messages.
        breaker: Says whether to go on.
        suspects: Says what is handled alone.
        pace: Says how many may be handled at once.
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
        answers: Answers for what was handled.
        window: How many messages to have in hand.
        refused: Whether the server refuses answers. Nothing is begun then, and what arrives is
            let go: it would be handled again and again. What a handler has, it keeps.
    """

    def __init__(
        self,
        config: ConsumerConfig,
        handler: Handler,
        processor: Processing,
        breaker: Breaker,
        suspects: Suspects,
        pace: Pace,
        metrics: ConsumerMetrics,
        *,
        stopping: asyncio.Event,
        changed: asyncio.Event,
    ) -> None:
        self._config = config
        self._handler = handler
        self._processor = processor
        self._breaker = breaker
        self._suspects = suspects
        self._pace = pace
        self._metrics = metrics
        self._stopping = stopping
        self._changed = changed
        self._by_shard = _is_by_shard(config)
        self.ordered = is_ordered(config)
        self.in_hand: dict[int, Item] = {}
        self.held_back: list[Item] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self._queues = KeyQueues()
        self.epoch = -1
        self.refused = False
        self._starting = False
        self._probe: list[Item] | None = None
        """What is being tried while the circuit is open."""
        self._alone: list[Item] | None = None
        """What is handled while nothing else may be."""
        least = config.concurrency * (_ORDERED_AHEAD if self.ordered else 1)
        least = max(least, handler.largest_batch)
        self._prefetch = PrefetchWindow(least)
        self.window = least
        self._refill = least - least // 4
        """With so many in hand there is room for a request that is worth it."""
        self.answers = Answers(
            self.in_hand, self._queues, self._prefetch, suspects, metrics,
            by_shard=self._by_shard, ordered=self.ordered, retry=self._retry,
        )  # fmt: skip
        metrics.in_flight.set_function(lambda: len(self.in_hand))

    def deliver(self, delivery: Delivery) -> None:
        """Take a message in hand that has arrived."""
        if self.refused:
            return
        if self._stopping.is_set():
            with contextlib.suppress(DependencyError):
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
            self._suspects.judge(item, time.monotonic())
        self.in_hand[delivery.sequence] = item
        self._prefetch.arrived(len(delivery.data))
        if self.held_back or (self.ordered and self.epoch != delivery.epoch):
            self.held_back.append(item)
            self._changed.set()
            return
        if item.suspect and item.order_key is None:
            self._queues.make_ready(item)
        else:
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
        if any(item.suspect for item in held):
            self._suspects.beware(time.monotonic())
        for item in sorted(held, key=lambda item: item.delivery.sequence):
            # To the end, so that the messages in hand are in the order of the stream.
            self.in_hand[item.delivery.sequence] = self.in_hand.pop(item.delivery.sequence)
            self._queues.add(item)

    def give_back_held_before(self, epoch: int) -> None:
        """Have what was held back before an epoch delivered again, to whoever reads now.

        Two readers that each held something back would wait for each other.
        """
        over = [item for item in self.held_back if item.delivery.epoch != epoch]
        if over:
            self.held_back = [item for item in self.held_back if item.delivery.epoch == epoch]
            self.give_back(over)

    @property
    def occupied(self) -> int:
        """Messages in hand that take up room; those that wait for a later try do not, unless they
        are many."""
        return len(self.in_hand) - self._prefetch.set_aside(self.answers.put_off)

    def measure(self, most: int) -> None:
        """Set the window anew.

        Args:
            most: What the server allows; -1: anything.
        """
        self.window = self._prefetch.size(time.monotonic(), most)
        self._refill = self.window - self.window // 4
        if self.answers.put_off:
            self._refill += self._prefetch.set_aside(self.answers.put_off)

    def start(self) -> None:
        """Start a worker if something is ready and none is starting."""
        if (
            self._starting
            or self._alone is not None
            or not (self._queues.ready or (self._queues.suspects and not self.tasks))
            or len(self.tasks) >= self._pace.limit
            or (self._breaker.is_open and not self._breaker.probe_due(time.monotonic()))
        ):
            return
        self._starting = True
        worker = asyncio.create_task(self._work())
        self.tasks.add(worker)
        worker.add_done_callback(self._ended)

    def _ended(self, worker: asyncio.Task[None]) -> None:
        self.tasks.discard(worker)
        if self._queues.suspects:
            self.start()

    @property
    def suspicious(self) -> bool:
        """Whether something is handled alone, or is going to be."""
        return self._alone is not None or bool(self._queues.suspects)

    def end_care(self) -> None:
        """Handle what comes again like everything else, unless it is beyond what is allowed."""
        self._queues.clear_suspects(keep=self._suspects.exhausted)

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
                if items is self._alone:
                    self._end_trial(items[0], survived=False)
                self.give_back(items)
                raise
            except Exception:
                # A bug of ours: say so, and keep the message away from a hot loop.
                log.exception("messages from %d on not processed", items[0].delivery.number)
                settlements = (
                    [Redeliver(_BUG_SECONDS, "not processed")]
                    if len(items) == 1
                    else [AGAIN_ALONE] * len(items)  # in their order
                )
            if items is self._alone:
                self._end_trial(items[0], survived=not isinstance(settlements[0], Again))
            self.answers.settle(items, settlements)
            if len(self.in_hand) <= self._refill or self._breaker.is_open:
                self._changed.set()
            if items is self._probe:
                # However it ended: what the handler did not answer says nothing about it, and
                # the next message is to be tried.
                self._probe = None
                self._breaker.probe_ended()
            in_a_row += len(items)
            if in_a_row >= _IN_A_ROW:
                in_a_row = 0
                await asyncio.sleep(0)

    def _end_trial(self, item: Item, *, survived: bool) -> None:
        self._alone = None
        self._suspects.ended(item, time.monotonic(), survived=survived)

    def _take(self) -> list[Item]:
        """Take the messages to handle next out of the queues: one, or some that go together."""
        if self.refused or self._alone is not None or self._stopping.is_set():
            return []
        if self._breaker.is_open:
            return self._take_probe()
        if self._pace.slowed and not self._pace.allows(len(self.tasks) - 1, time.monotonic()):
            return []
        first = self._queues.take()
        if first is None:
            return self._take_suspect() if self._queues.suspects else []
        if first.alone:
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
                    self._fits if size == 1 else self._fits_with(kind),
                ),
            ]
        if size == 1:
            return [first]
        return [first, *self._queues.take_ready(size - 1, self._fits_with(kind))]

    def _take_probe(self) -> list[Item]:
        """Take what is tried while the circuit is open."""
        if not self._breaker.probe_due(time.monotonic()):
            return []
        # The one that came last.
        found = [self._queues.ready.pop()] if self._queues.ready else self._take_suspect()
        if found:
            self._breaker.probe()
            self._probe = found
        return found

    def _take_suspect(self) -> list[Item]:
        """Take the next message that is handled while nothing else is."""
        if not self._queues.suspects or len(self.tasks) > 1:  # one is the worker who asks
            return []
        item = self._queues.suspects.popleft()
        self._alone = [item]
        self._suspects.begin(item, time.monotonic())
        return self._alone

    def _fits(self, item: Item) -> bool:
        return not item.alone

    def _fits_with(self, kind: str) -> Callable[[Item], bool]:
        """Make a test for what may be in a batch that begins with an event of a type."""

        def fits(item: Item) -> bool:
            found = item.event.type
            return not item.alone and (found == kind or self._handler.shares_call(kind, found))

        return fits

    def _retry(self, item: Item) -> None:
        if not self._stopping.is_set() and self.in_hand.get(item.delivery.sequence) is item:
            self._queues.make_ready(item)
            self.start()

    def answer_refused(self, sequence: int) -> None:
        """Begin nothing more: the server refused an answer to the message of this sequence."""
        self.refused = True
        withdrawn = self.answers.refused(sequence)
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
        self.in_hand.clear()
        self.in_hand.update({item.delivery.sequence: item for item in kept})
        self.held_back.clear()
        self._queues.clear()
        self.answers.forget_acknowledgement()
        self.epoch = -1
        self.refused = False

    def give_back(self, items: Sequence[Item]) -> None:
        """Have messages delivered again, to whichever pod."""
        for item in items:
            self.in_hand.pop(item.delivery.sequence, None)
            with contextlib.suppress(DependencyError):
                item.delivery.nak(max(0.0, item.due - time.monotonic()) if item.due else 0.0)
