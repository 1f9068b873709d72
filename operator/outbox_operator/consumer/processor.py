"""Messages from delivery to what is to be answered: what the handler said, and what follows.

Called by the workers. Records how the handler does, for circuit, pace and readiness. Sends no
answers itself; what it returns says which.
"""

from __future__ import annotations

import datetime as dt
import logging
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from outbox_operator.adapters.postgres.inbox_errors import CommitRefusedError, UnrecordableError
from outbox_operator.consumer import delays, disposition, error_text
from outbox_operator.consumer.breaker import Breaker
from outbox_operator.consumer.dead_letter_writer import DeadLetterWriter
from outbox_operator.consumer.disposition import (
    ACKNOWLEDGE,
    AGAIN,
    AGAIN_ALONE,
    PUT_ASIDE,
    Acknowledge,
    PutOff,
    Settlement,
    ToDeadLetters,
)
from outbox_operator.consumer.handler_calls import HandlerCalls, Inbox
from outbox_operator.consumer.handlers.types import (
    IGNORED,
    Ack,
    Busy,
    DeadLetter,
    Handler,
    LeftBehind,
    Outcome,
    RetryAfter,
    Unanswered,
    Unhandled,
    cause_of,
)
from outbox_operator.consumer.key_queues import Item
from outbox_operator.consumer.metrics import ConsumerMetrics
from outbox_operator.consumer.pace import Pace
from outbox_operator.consumer.progress import Letters, Progress
from outbox_operator.consumer.suspects import Suspects
from outbox_operator.consumer.traces import Traces
from outbox_operator.errors import OutboxError
from outbox_operator.reasons import Reason
from outbox_operator.wire.config import ConsumerConfig
from outbox_operator.wire.headers import REPLAY_TO

log = logging.getLogger(__name__)


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
        traces: Makes the spans of dead letters; None: nobody wants any.
    """

    def __init__(
        self,
        config: ConsumerConfig,
        handler: Handler,
        inbox: Inbox | None,
        metrics: ConsumerMetrics,
        progress: Progress,
        letters: Letters,
        breaker: Breaker,
        policy: disposition.Policy,
        suspects: Suspects,
        pace: Pace,
        jitter: Callable[[], float] = random.random,
        traces: Traces | None = None,
    ) -> None:
        self._handler = handler
        self._calls = HandlerCalls(config.consumer, handler, inbox, metrics)
        self._dead_letters = DeadLetterWriter(config, metrics, letters, jitter, traces)
        self._me = config.durable
        self._metrics = metrics
        self._progress = progress
        self._breaker = breaker
        self._jitter = jitter
        self._policy = policy
        self._suspects = suspects
        self._pace = pace
        self._troubled = False
        """Whether there was a failure that the next success ends."""
        self._unanswered: set[int] = set()
        """Sequences of messages that nobody answered, while nobody answered others either."""

    def process(self, items: list[Item]) -> Coroutine[Any, Any, Sequence[Settlement]]:
        """Handle messages together; return what is to be done with each."""
        me = self._me
        for item in items:
            headers = item.event.headers
            if headers.get(REPLAY_TO, me) != me:
                return self._process_mine(items)
            if delays.asked(headers) is not None:
                return self._process_due(items)
        return self._handle(items)

    async def _handle(self, items: list[Item]) -> Sequence[Settlement]:
        if items[0].suspect and (dead := self._suspects.verdict(items[0])) is not None:
            return [await self._dead_letters.put_aside(dead, items[0])]
        try:
            outcomes = await self._calls.answers(items)
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

    async def _process_mine(self, items: list[Item]) -> Sequence[Settlement]:
        """Leave out what a replay has sent again for another consumer."""
        me = self._me
        others = [item.event.headers.get(REPLAY_TO, me) != me for item in items]
        mine = [item for item, other in zip(items, others, strict=True) if not other]
        if not mine:
            self._breaker.probe_ended()  # nobody was asked
        settled = iter(await self.process(mine) if mine else ())
        self._metrics.for_others.inc(sum(others))
        return [PUT_ASIDE if other else next(settled) for other in others]

    async def _process_due(self, items: list[Item]) -> Sequence[Settlement]:
        """Put off what is to be handled later; that is no "not now" of the handler."""
        now = dt.datetime.now(dt.UTC)
        waits = [delays.wait_of(one.event.headers, one.event.time, now) for one in items]
        if not any(waits):
            return await self._handle(items)
        self._breaker.probe_ended()  # nobody was asked
        if len(items) > 1:  # those behind it may have to wait for it
            return [AGAIN_ALONE] * len(items)
        [item], [wait] = items, waits
        if isinstance(wait, str):
            return [await self._dead_letters.put_aside(ToDeadLetters(Reason.REFUSED, wait), item)]
        self._metrics.processed("put_off", item.event.type).inc()
        return [PutOff(wait, "it is to be handled later")]

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
            self._say_closed("works")

    def _say_closed(self, how: str) -> None:
        self._metrics.circuit_open.set(0)
        log.info("circuit closed: handler %s %s again", self._handler.name, how)

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
        if isinstance(outcome, LeftBehind):
            self._metrics.left_behind.inc()
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
                if self._note_failure(item, why, now, answered=True):
                    return AGAIN
            case _:
                self._asked_to_wait(item, outcome, now)
        if isinstance(decided, ToDeadLetters):
            return await self._dead_letters.put_aside(decided, item, cause_of(outcome))
        if isinstance(decided, Acknowledge):
            return decided
        label, words = "retry", f"not handled by {self._handler.name}, next delivery"
        if isinstance(decided, PutOff):
            label, words = "put_off", "put off, next try"
        self._metrics.processed(label, item.event.type).inc()
        log.warning(
            "event %s %s in %.1f s: %s", item.event.id, words, decided.seconds, why,
            exc_info=cause_of(outcome) if item.attempts == 1 else None, extra=item.facts(),
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
        self,
        item: Item,
        reason: str,
        now: float,
        *,
        unreachable: bool = False,
        answered: bool = False,
    ) -> bool:
        """Record a failure; return whether the circuit is open: then the event is not to blame."""
        why, was_open = error_text.bounded(reason), self._breaker.is_open
        opened = self._breaker.failed(
            item.delivery.sequence,
            why,
            now,
            self._jitter(),
            first=item.attempts == 1 and item.unanswered == 0,
            unreachable=unreachable,
            answered=answered,
        )
        if was_open and not self._breaker.is_open:
            self._say_closed("answers")
        if opened:
            self._metrics.circuit_open.set(1)
            self._metrics.circuit_openings.inc()
            log.warning(
                "circuit opened, nothing more is fetched until handler %s works: %s",
                self._handler.name,
                why,
                extra=item.facts(),
            )
        return self._breaker.is_open

    def _unavailable(self, item: Item, error: OutboxError) -> None:
        """Record that handler or database were away, which says nothing about the event."""
        self._troubled = True
        self._metrics.unavailable(error.reason).inc()
        now = time.monotonic()
        self._progress.failed(item.delivery.sequence, error.message, now, unavailable=True)
        self._note_failure(item, error.message, now, unreachable=True)
