"""One message from delivery to final answer: inbox, handler, decision, dead letter.

Called by the loop for each delivery. Never lets a message go without an answer unless it was
cancelled or NATS is away; then the server delivers it again.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import random
import time
from collections.abc import Callable
from typing import Final

from outbox_operator.adapters.inbox_store import Borrowed, CommitRefusedError, InboxStore, Record
from outbox_operator.adapters.jetstream_consumer import Delivery
from outbox_operator.consumer import dead_letters, disposition, events
from outbox_operator.consumer.disposition import Acknowledge, Bury, Disposition, Redeliver
from outbox_operator.consumer.handler import (
    Ack,
    Context,
    DeadLetter,
    Handler,
    Outcome,
    ReceivedEvent,
    RetryAfter,
)
from outbox_operator.consumer.metrics import ConsumerMetrics
from outbox_operator.consumer.progress import Progress
from outbox_operator.errors import HandlerUnavailableError, NatsError, OutboxError
from outbox_operator.wire.config import ConsumerConfig

log = logging.getLogger(__name__)

LONGEST_HOLD_SECONDS: Final = 15.0
"""Between attempts to reach a handler or database that is away: recovery within this time."""
_GIVE_BACK_SECONDS: Final = 1.0
"""After a dead letter could not be stored; then the whole message comes again."""


class Processor:
    """Handles deliveries of one durable consumer.

    Args:
        config: The consumer.
        handler: Who handles.
        inbox: Where handled events are remembered; None: nowhere.
        metrics: What to count.
        progress: What readiness is told.
        stopping: Set when the process is to end; held messages are then given back.
        draw: Random numbers in [0, 1).
    """

    def __init__(
        self,
        config: ConsumerConfig,
        handler: Handler,
        inbox: InboxStore | None,
        metrics: ConsumerMetrics,
        progress: Progress,
        stopping: asyncio.Event,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._config = config
        self._handler = handler
        self._inbox = inbox
        self._metrics = metrics
        self._progress = progress
        self._stopping = stopping
        self._draw = draw
        self._policy = disposition.Policy(
            max_deliver=config.max_deliver, backoff=config.backoff_seconds
        )

    async def process(self, delivery: Delivery) -> None:
        """Handle one delivery and answer it."""
        event = events.received(
            subject=delivery.subject,
            headers=delivery.headers,
            data=delivery.data,
            stream=delivery.stream,
            sequence=delivery.sequence,
            stored=delivery.stored,
        )
        if delivery.deliveries > 1:
            self._metrics.redeliveries.inc()
        dead = disposition.before_handling(delivery.deliveries, self._policy)
        decided = dead or await self._decide(event, delivery)
        try:
            await self._settle(decided, event, delivery)
        except NatsError as error:
            # Nothing is lost: without an answer the server delivers it again.
            self._metrics.settle_failures.inc()
            log.warning(
                "answer for event %s not sent: %s", event.id, error, extra=_facts(event, delivery)
            )

    async def _decide(self, event: ReceivedEvent, delivery: Delivery) -> Disposition:
        """Ask the handler until it can be asked; None of the waiting counts as a delivery."""
        attempts = 0
        while True:
            try:
                outcome = await self._ask(event, delivery)
                break
            except CommitRefusedError as error:
                outcome = RetryAfter(reason=error.message)
                break
            except OutboxError as error:
                attempts += 1
                self._metrics.unavailable(error.reason).inc()
                now = time.monotonic()
                self._progress.failed(delivery.sequence, error.message, now, unavailable=True)
                if attempts == 1:
                    log.warning(
                        "event %s waits: %s", event.id, error, extra=_facts(event, delivery)
                    )
                pause = min(disposition.backoff(attempts, self._draw()), LONGEST_HOLD_SECONDS)
                if await self._stopped_within(pause):
                    return Redeliver(0.0, error.message)
        self._note(outcome, delivery)
        return disposition.decide(outcome, delivery.deliveries, self._policy, self._draw())

    async def _ask(self, event: ReceivedEvent, delivery: Delivery) -> Outcome:
        """The handler's answer; an event that the inbox knows is acknowledged without it.

        Raises:
            HandlerUnavailableError: See `Handler.handle`.
            OutboxError: See `InboxStore.process`.
        """
        if self._inbox is None:
            return await self._call(event, delivery, None)
        answer: Outcome = Ack()

        async def handle(connection: Borrowed) -> bool:
            nonlocal answer
            shared = connection if self._handler.wants_connection else None
            answer = await self._call(event, delivery, shared)
            return isinstance(answer, Ack)

        record = Record(
            event_id=events.inbox_id(event),
            source_topic=event.subject,
            event_type=event.type,
            payload=event.data,
        )
        started = time.perf_counter()
        result = await self._inbox.process(record, handle)
        if result == "duplicate":
            self._metrics.duplicates.inc()
            self._metrics.inbox_duplicates(event.type).inc()
        elif result == "committed":
            self._metrics.inbox_processed(event.type).inc()
            self._metrics.inbox_duration(event.type).observe(time.perf_counter() - started)
        return answer

    async def _call(
        self, event: ReceivedEvent, delivery: Delivery, connection: Borrowed | None
    ) -> Outcome:
        context = Context(
            consumer=self._config.consumer,
            deliveries=delivery.deliveries,
            stream=delivery.stream,
            sequence=delivery.sequence,
            connection=connection,
        )
        started = time.perf_counter()
        try:
            return await self._handler.handle(event, context)
        except HandlerUnavailableError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a handler raises is its answer
            return RetryAfter(reason=dead_letters.describe(error))
        finally:
            self._metrics.duration(event.type).observe(time.perf_counter() - started)

    def _note(self, outcome: Outcome, delivery: Delivery) -> None:
        """Tell readiness. A delay that the handler asked for is not a failure."""
        now = time.monotonic()
        match outcome:
            case Ack():
                self._progress.succeeded()
            case RetryAfter(None, reason) | DeadLetter(reason):
                self._progress.failed(delivery.sequence, dead_letters.bounded(reason), now)

    async def _settle(self, decided: Disposition, event: ReceivedEvent, delivery: Delivery) -> None:
        match decided:
            case Acknowledge():
                await delivery.ack()
                self._metrics.processed("ack", event.type).inc()
            case Redeliver(seconds, error):
                await delivery.nak(seconds)
                self._metrics.processed("retry", event.type).inc()
                log.warning(
                    "event %s not handled, next delivery in %.1f s: %s",
                    event.id,
                    seconds,
                    dead_letters.bounded(error),
                    extra=_facts(event, delivery),
                )
            case Bury():
                await self._bury(decided, event, delivery)

    async def _bury(self, decided: Bury, event: ReceivedEvent, delivery: Delivery) -> None:
        prefix = self._config.dead_letter_subject
        if prefix is not None:
            headers = dead_letters.headers(
                delivery.headers,
                reason=decided.reason,
                error=decided.error,
                deliveries=delivery.deliveries,
                stream=delivery.stream,
                sequence=delivery.sequence,
                stored=delivery.stored,
                subject=delivery.subject,
                consumer=self._config.durable,
                now=dt.datetime.now(dt.UTC),
            )
            subject = dead_letters.subject(prefix, self._config.durable)
            try:
                await delivery.store_copy(subject, headers)
            except OutboxError as error:
                now = time.monotonic()
                self._progress.failed(delivery.sequence, error.message, now, unavailable=True)
                log.error("dead letter not stored: %s", error, extra=_facts(event, delivery))
                pause = disposition.backoff(delivery.deliveries, self._draw())
                await delivery.nak(max(pause, _GIVE_BACK_SECONDS))
                self._metrics.processed("retry", event.type).inc()
                return
        await delivery.term(f"dead letter: {decided.reason}")
        self._metrics.processed("dead_letter", event.type).inc()
        self._metrics.dead_letters(decided.reason).inc()
        log.error(
            "event %s is a dead letter (%s): %s",
            event.id,
            decided.reason,
            dead_letters.bounded(decided.error),
            extra=_facts(event, delivery),
        )

    async def _stopped_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return False
        return True


def _facts(event: ReceivedEvent, delivery: Delivery) -> dict[str, object]:
    return {
        "event_id": event.id,
        "event_type": event.type,
        "stream_sequence": delivery.sequence,
        "deliveries": delivery.deliveries,
    }
