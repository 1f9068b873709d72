"""Messages from delivery to what is to be answered: inbox, handler, decision, dead letter.

Called by the workers. Sends no answers itself; what it returns says which.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import random
import time
from collections.abc import Callable, Sequence
from typing import Final

from outbox_operator.adapters.postgres.inbox import (
    Borrowed,
    CommitRefusedError,
    HandledInVainError,
    InboxStore,
    UnrecordableError,
    in_transaction,
)
from outbox_operator.consumer import disposition, error_text, events
from outbox_operator.consumer.breaker import Breaker
from outbox_operator.consumer.disposition import (
    ACKNOWLEDGE,
    AGAIN,
    AGAIN_ALONE,
    PUT_ASIDE,
    Acknowledge,
    PutOff,
    Redeliver,
    Settlement,
    Terminate,
    ToDeadLetters,
)
from outbox_operator.consumer.handlers.types import (
    ACK,
    IGNORED,
    Ack,
    Busy,
    Context,
    DeadLetter,
    Handler,
    Outcome,
    RetryAfter,
    Unanswered,
    Unhandled,
)
from outbox_operator.consumer.key_queues import Item
from outbox_operator.consumer.metrics import ConsumerMetrics
from outbox_operator.consumer.pace import Pace
from outbox_operator.consumer.progress import Letters, Progress
from outbox_operator.consumer.suspects import Suspects
from outbox_operator.errors import HandlerUnavailableError, OutboxError
from outbox_operator.wire import dead_letters
from outbox_operator.wire.config import ConsumerConfig

log = logging.getLogger(__name__)

_LONGEST_GIVE_BACK_SECONDS: Final = 300.0
_GIVE_BACK_SECONDS: Final = 1.0
"""After a dead letter could not be stored; then the whole message comes again."""


class Processor:
    """Handles deliveries of one durable consumer.

    Args:
        config: The consumer.
        handler: Who handles.
        inbox: Where handled events are remembered; None: nowhere.
        metrics: What to count.
        progress: What readiness says of the handler.
        letters: What it says of dead letters.
        breaker: The circuit of the handler.
        policy: How failed deliveries are repeated.
        suspects: Knows which messages may have ended a process.
        pace: Is told when the handler says "not now".
        jitter: Random numbers in [0, 1).
    """

    def __init__(
        self,
        config: ConsumerConfig,
        handler: Handler,
        inbox: InboxStore | None,
        metrics: ConsumerMetrics,
        progress: Progress,
        letters: Letters,
        breaker: Breaker,
        policy: disposition.Policy,
        suspects: Suspects,
        pace: Pace,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._config = config
        self._handler = handler
        self._inbox = inbox
        self._metrics = metrics
        self._progress = progress
        self._letters = letters
        self._breaker = breaker
        self._jitter = jitter
        self._policy = policy
        self._suspects = suspects
        self._pace = pace
        self._troubled = False
        """Whether there was a failure that the next success ends."""
        self._unanswered: set[int] = set()
        """Sequences of messages that nobody answered, while nobody answered others either."""

    async def process(self, items: list[Item]) -> Sequence[Settlement]:
        """Handle messages together; return what is to be done with each."""
        if items[0].suspect and (dead := self._suspects.verdict(items[0])) is not None:
            return [await self._dead_letter(dead, items[0])]
        try:
            if self._inbox is not None:
                outcomes = await self._in_transaction(self._inbox, items)
            else:
                outcomes = await self._call(items, None)
        except CommitRefusedError as error:
            if len(items) > 1:
                return [AGAIN_ALONE] * len(items)
            outcomes = [RetryAfter(reason=error.message)]
        except UnrecordableError as error:
            if len(items) > 1:
                return [AGAIN_ALONE] * len(items)
            kind = DeadLetter if error.for_ever else RetryAfter
            outcomes = [kind(reason=error.message)]
        except OutboxError as error:
            self._unavailable(items[0], error)
            return [AGAIN] * len(items)
        if outcomes is None:
            return [AGAIN_ALONE] * len(items)
        settlements: list[Settlement] = []
        for item, outcome in zip(items, outcomes, strict=True):
            if isinstance(outcome, Ack) and outcome is not IGNORED:
                if self._troubled:
                    self._recover()
                settlements.append(ACKNOWLEDGE)
            else:
                settlements.append(await self._failed(item, outcome))
        return settlements

    def _recover(self) -> None:
        """Record that the handler works, after failures."""
        self._progress.succeeded()
        self._answered()
        if self._pace.succeeded():
            log.info("handler %s takes as many events as before", self._handler.name)
        self._troubled = self._pace.slowed

    def _answered(self) -> None:
        """Record that the handler decided about an event, whichever way."""
        self._unanswered.clear()
        if self._breaker.succeeded():
            self._metrics.circuit_open.set(0)
            log.info("circuit closed: handler %s works again", self._handler.name)

    async def _failed(self, item: Item, outcome: Outcome) -> Settlement:
        if isinstance(outcome, Ack):
            self._metrics.processed("unhandled", item.event.type).inc()
            self._breaker.probe_ended()  # nobody was asked
            return PUT_ASIDE
        self._troubled = True
        now = time.monotonic()
        waited = now - item.put_off if item.put_off else 0.0
        decided = disposition.decide(outcome, item.attempts, self._policy, self._jitter(), waited)
        sequence, why = item.delivery.sequence, error_text.bounded(outcome.reason)
        match outcome:
            case Unanswered():
                self._progress.failed(sequence, why, now, unavailable=True)
                if self._note_failure(item, why, now):
                    return AGAIN
                if self._nobody_answers(item):
                    decided = PutOff(disposition.unanswered_pause(item.unanswered), why)
            case Unhandled():
                self._progress.failed(sequence, why, now)
                self._breaker.probe_ended()  # nobody was asked
            case DeadLetter():
                self._progress.failed(sequence, why, now)
                self._answered()
            case RetryAfter(None):
                self._progress.failed(sequence, why, now)
                self._unanswered.clear()
                if self._note_failure(item, why, now):
                    return AGAIN
            case _:
                self._asked_to_wait(item, outcome, now)
        if isinstance(decided, ToDeadLetters):
            return await self._dead_letter(decided, item)
        if isinstance(decided, Acknowledge):
            return decided
        label, words = "retry", "not handled, next delivery"
        if isinstance(decided, PutOff):
            label, words = "put_off", "put off, next try"
        self._metrics.processed(label, item.event.type).inc()
        log.warning(
            "event %s %s in %.1f s: %s", item.event.id, words, decided.seconds, why,
            extra=_facts(item),
        )  # fmt: skip
        return decided

    def _nobody_answers(self, item: Item) -> bool:
        """Record that something answered in the handler's place, or nobody at all; return whether
        that may well be so for every event.

        It is not if others were answered since the last time: then it is this event's doing.
        """
        sequence = item.delivery.sequence
        first = item.unanswered == 0 and item.attempts == 1
        alike = first or sequence in self._unanswered
        item.unanswered += 1
        self._unanswered.add(sequence)
        return alike

    def _asked_to_wait(self, item: Item, outcome: RetryAfter, now: float) -> None:
        """Record "not now", which is no failure."""
        item.put_off = item.put_off or now
        if not isinstance(outcome, Busy):
            self._breaker.probe_ended()
            return
        asked = outcome.seconds or 0.0
        self._breaker.put_off(asked, now)
        self._progress.failed(item.delivery.sequence, error_text.bounded(outcome.reason), now)
        if self._pace.refused(asked, now):
            log.warning(
                "handler %s is asked too much, and given fewer events at once: %s",
                self._handler.name,
                error_text.bounded(outcome.reason),
            )

    def _note_failure(
        self, item: Item, reason: str, now: float, *, unreachable: bool = False
    ) -> bool:
        """Record a failure; return whether the circuit is open: then the event is not to blame."""
        why = error_text.bounded(reason)
        opened = self._breaker.failed(
            item.delivery.sequence,
            why,
            now,
            self._jitter(),
            first=item.attempts == 1 and item.unanswered == 0,
            unreachable=unreachable,
        )
        if opened:
            self._metrics.circuit_open.set(1)
            self._metrics.circuit_openings.inc()
            log.warning(
                "circuit opened, nothing more is fetched until handler %s works: %s",
                self._handler.name,
                why,
                extra=_facts(item),
            )
        return self._breaker.is_open

    def _unavailable(self, item: Item, error: OutboxError) -> None:
        """Record that handler or database were away, which says nothing about the event."""
        self._troubled = True
        self._metrics.unavailable(error.reason).inc()
        now = time.monotonic()
        self._progress.failed(item.delivery.sequence, error.message, now, unavailable=True)
        self._note_failure(item, error.message, now, unreachable=True)

    async def _call(self, items: list[Item], connection: Borrowed | None) -> Sequence[Outcome]:
        """Return the handler's answers.

        Raises:
            HandlerUnavailableError: See `Handler.handle`.
        """
        first = items[0]
        context = Context(
            consumer=self._config.consumer,
            deliveries=first.deliveries,
            stream=first.delivery.stream,
            sequence=first.delivery.sequence,
            connection=connection if self._handler.wants_connection else None,
        )
        started = time.perf_counter()
        try:
            if len(items) == 1:
                return (await self._handler.handle(first.event, context),)
            return await self._handler.handle_batch([item.event for item in items], context)
        except HandlerUnavailableError:
            raise
        except BaseException as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                raise  # ours: the process stops
            return [RetryAfter(reason=error_text.describe(error))] * len(items)
        finally:
            self._metrics.handled(first.event.type, time.perf_counter() - started)

    async def _in_transaction(
        self, inbox: InboxStore, items: list[Item]
    ) -> Sequence[Outcome] | None:
        """Return the handler's answers; events that the inbox knows are acknowledged without it.

        Returns:
            One outcome each, or None: nothing is committed, because one of several failed.

        Raises:
            HandlerUnavailableError: See `Handler.handle`.
            OutboxError: See `InboxStore.process`.
        """
        answered: dict[int, Outcome] = {}

        async def handle(connection: Borrowed, new: Sequence[int]) -> bool:
            answered.update(await self._answers(items, new, connection))
            return len(answered) == len(new) and all(
                isinstance(outcome, Ack) for outcome in answered.values()
            )

        started = time.perf_counter()
        try:
            committed = await inbox.process([events.record(item) for item in items], handle)
        except HandledInVainError as error:
            if len(items) == 1 and isinstance(answered[0], Ack):
                return [RetryAfter(reason=error.message)]
            committed = False
        if not committed:
            return [answered[0]] if len(items) == 1 else None
        seconds = time.perf_counter() - started
        for place, item in enumerate(items):
            if place in answered:
                self._metrics.recorded(item.event.type, seconds)
            else:
                self._metrics.duplicate(item.event.type)
        return [answered.get(place, ACK) for place in range(len(items))]

    async def _answers(
        self, items: list[Item], new: Sequence[int], connection: Borrowed
    ) -> dict[int, Outcome]:
        """Return the handler's answers to new events by their places among `items`.

        Those of a handler of single events end with the first failure, since nothing is
        committed then, and when it has ended the transaction: others would write outside of it.
        """
        if self._handler.batch(items[0].event.type) > 1:
            outcomes = await self._call([items[place] for place in new], connection)
            return dict(zip(new, outcomes, strict=True))
        answers: dict[int, Outcome] = {}
        for place in new:
            [answers[place]] = await self._call([items[place]], connection)
            if not isinstance(answers[place], Ack):
                break
            if len(new) > 1 and not in_transaction(connection):
                break
        return answers

    async def _dead_letter(self, decided: ToDeadLetters, item: Item) -> Settlement:
        event, delivery = item.event, item.delivery
        prefix = self._config.dead_letter_subject
        if prefix is not None:
            headers = dead_letters.headers(
                delivery.headers,
                reason=decided.reason,
                error=error_text.bounded(decided.error),
                deliveries=item.deliveries,
                stream=delivery.stream,
                sequence=delivery.sequence,
                stored=delivery.when_stored(),
                subject=delivery.subject,
                consumer=self._config.durable,
                now=dt.datetime.now(dt.UTC),
            )
            subject = dead_letters.subject(prefix, self._config.durable)
            try:
                await delivery.store_copy(subject, headers)
            except OutboxError as error:
                why = f"{error.reason}: {error.message}"
                self._metrics.errors(error.reason).inc()
                if self._letters.failed(why, time.monotonic()):
                    log.error("dead letter not stored: %s", why, extra=_facts(item))
                pause = disposition.backoff(item.attempts, self._jitter())
                self._metrics.processed("retry", event.type).inc()
                return Redeliver(
                    min(max(pause, _GIVE_BACK_SECONDS), _LONGEST_GIVE_BACK_SECONDS), error.message
                )
            if self._letters.stored():
                log.info("dead letters are stored again on %s", subject)
        self._metrics.processed("dead_letter", event.type).inc()
        self._metrics.dead_letters(decided.reason).inc()
        log.error(
            "event %s is a dead letter (%s): %s",
            event.id, decided.reason, error_text.bounded(decided.error), extra=_facts(item),
        )  # fmt: skip
        return PUT_ASIDE if prefix is not None else Terminate(decided.reason)


def _facts(item: Item) -> dict[str, object]:
    return {
        "event_id": item.event.id,
        "event_type": item.event.type,
        "stream_sequence": item.delivery.sequence,
        "deliveries": item.deliveries,
    }
