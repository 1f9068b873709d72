"""Answer for messages that were handled, and count what the server accepted.

Used by `consumer.workers`, which hands messages to the handler. What is to be answered, the
processor decides.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from outbox_operator.adapters.source import Delivery
from outbox_operator.consumer.acknowledgements import Acknowledgements
from outbox_operator.consumer.disposition import (
    Acknowledge,
    Again,
    PutOff,
    Redeliver,
    Settlement,
    Terminate,
)
from outbox_operator.consumer.key_queues import Item, KeyQueues
from outbox_operator.consumer.metrics import ConsumerMetrics
from outbox_operator.consumer.prefetch_window import PrefetchWindow
from outbox_operator.consumer.suspects import Suspects
from outbox_operator.errors import DependencyError
from outbox_operator.wire.dead_letters import OWN_TERMINATION
from outbox_operator.wire.headers import REPLAY

log = logging.getLogger(__name__)

_CONFIRM_SECONDS: Final = 0.05
"""Acknowledgements of this time are counted together; it takes a question to the server."""


class Answers:
    """Answers for messages in hand.

    Args:
        in_hand: Messages by sequence; those that are settled are taken out.
        queues: Those that no handler has; what is to be handled again goes back there.
        prefetch: Is told what is settled.
        suspects: Is told what goes back to the server.
        metrics: What to count.
        by_shard: Messages of a shard are handled one after the other.
        ordered: Those of a key are, or of a shard.
        retry: Called after a pause with a message that kept its place.

    Attributes:
        ack_all: Whether an acknowledgement counts for all earlier messages too.
        put_off: Messages that wait here for another try because the handler said "not now".
    """

    def __init__(
        self,
        in_hand: dict[int, Item],
        queues: KeyQueues,
        prefetch: PrefetchWindow,
        suspects: Suspects,
        metrics: ConsumerMetrics,
        *,
        by_shard: bool,
        ordered: bool,
        retry: Callable[[Item], None],
    ) -> None:
        self._in_hand = in_hand
        self._queues = queues
        self._prefetch = prefetch
        self._suspects = suspects
        self._metrics = metrics
        self._by_shard = by_shard
        self._ordered = ordered
        self._retry = retry
        self.ack_all = False
        self.put_off = 0
        self._acknowledge_up_to: Delivery | None = None
        self._acknowledgements = Acknowledgements()
        self._confirming: asyncio.Task[None] | None = None

    def settle(self, items: list[Item], settlements: Sequence[Settlement]) -> None:
        """Answer for messages that were handled together."""
        again: list[Item] = []
        unsent: DependencyError | None = None
        now = time.time()
        for item, settlement in zip(items, settlements, strict=True):
            try:
                match settlement:
                    case Acknowledge(handled):
                        item.handled = handled
                        if handled and REPLAY not in item.event.headers:
                            self._metrics.end_to_end.observe(now - item.event.time.timestamp())
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
                        self._suspects.answered(item)
                        item.delivery.nak(seconds)
                    case PutOff(seconds):
                        # The server need not know, and counts nothing.
                        item.retries += 1
                        item.uncounted += 1
                        item.alone = True
                        self.put_off += 1
                        item.due = time.monotonic() + seconds
                        asyncio.get_running_loop().call_later(seconds, self._again, item)
                    case Redeliver(seconds):
                        # It keeps its place: what follows in its queue waits for it.
                        item.retries += 1
                        item.alone = True
                        asyncio.get_running_loop().call_later(seconds, self._retry, item)
            except DependencyError as error:
                # Nothing is lost: without an answer the server delivers it again.
                self._metrics.settle_failures.inc()
                unsent = error
        if unsent is not None:
            log.warning("answers not sent, the events come again: %s", unsent)
        if self._confirming is None and self._acknowledgements.sent:
            self._confirming = asyncio.create_task(self._confirm(items[0].delivery))
        if again:
            self._queues.put_back(again)
        self._release(items)

    def _again(self, item: Item) -> None:
        self.put_off -= 1
        item.due = 0.0
        self._retry(item)

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

    def _done(self, item: Item) -> None:
        """Record that a message is settled, and not in hand any more."""
        item.done = True
        self._prefetch.settled()
        if not self.ack_all:
            self._in_hand.pop(item.delivery.sequence, None)
            return
        last: Item | None = None
        while self._in_hand:
            first = next(iter(self._in_hand.values()))
            if not first.done:
                break
            last = self._in_hand.pop(first.delivery.sequence)
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
            with contextlib.suppress(DependencyError):  # they come again
                last.ack()

    def forget_acknowledgement(self) -> None:
        """Do not answer for all messages that are done: the server refuses it."""
        self._acknowledge_up_to = None

    def refused(self, sequence: int) -> bool:
        """Forget an acknowledgement that the server refused; whether it was not counted yet."""
        return self._acknowledgements.refused(sequence, with_earlier=self.ack_all)

    async def _confirm(self, delivery: Delivery) -> None:
        """Ask what became of acknowledgements, and count those that were accepted."""
        try:
            while self._acknowledgements.sent:  # also what is sent while the server is asked
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
        with contextlib.suppress(DependencyError):
            await confirm()
            for event_type, events in self._acknowledgements.accepted().items():
                self._metrics.acknowledged(event_type, events)
