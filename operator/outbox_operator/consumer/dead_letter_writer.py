"""Put messages aside that nobody can handle, with the reason why.

Called by the processor, which decides that.
"""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Callable, Mapping
from typing import Final

from outbox_operator.consumer import disposition, error_text
from outbox_operator.consumer.disposition import (
    PUT_ASIDE,
    Redeliver,
    Settlement,
    Terminate,
    ToDeadLetters,
)
from outbox_operator.consumer.key_queues import Item
from outbox_operator.consumer.metrics import ConsumerMetrics
from outbox_operator.consumer.progress import Letters
from outbox_operator.consumer.sources import letters_to
from outbox_operator.consumer.traces import Traces
from outbox_operator.errors import OutboxError
from outbox_operator.wire import dead_letters
from outbox_operator.wire.config import ConsumerConfig

log = logging.getLogger(__name__)

_LONGEST_GIVE_BACK_SECONDS: Final = 300.0
_GIVE_BACK_SECONDS: Final = 1.0
"""After a dead letter could not be stored; then the whole message comes again."""


class DeadLetterWriter:
    """Stores dead letters of one consumer.

    Args:
        config: The consumer.
        metrics: What to count.
        letters: What readiness says of dead letters.
        jitter: Random numbers in [0, 1).
        traces: Makes spans; None: nobody wants any.
    """

    def __init__(
        self,
        config: ConsumerConfig,
        metrics: ConsumerMetrics,
        letters: Letters,
        jitter: Callable[[], float],
        traces: Traces | None,
    ) -> None:
        self._config = config
        self._metrics = metrics
        self._letters = letters
        self._jitter = jitter
        self._traces = traces

    async def put_aside(
        self, decided: ToDeadLetters, item: Item, cause: BaseException | None = None
    ) -> Settlement:
        """Store a message with its reason, if there is a stream for it; return what is left to do.

        Args:
            decided: Why.
            item: The message.
            cause: What its handler raised, for the log.
        """
        event, delivery = item.event, item.delivery
        subject = letters_to(self._config)
        if subject is not None:
            headers = dead_letters.headers(
                delivery.headers,
                reason=decided.reason,
                error=error_text.bounded(decided.error),
                deliveries=item.deliveries,
                stream=delivery.stream,
                sequence=delivery.number,
                stored=delivery.when_stored(),
                subject=delivery.subject,
                consumer=self._config.durable,
                now=dt.datetime.now(dt.UTC),
            )
            try:
                stored = await self._store(decided, item, subject, headers)
            except OutboxError as error:
                why = f"{error.reason}: {error.message}"
                self._metrics.errors(error.reason).inc()
                if self._letters.failed(why, time.monotonic()):
                    log.error("dead letter not stored: %s", why, extra=item.facts())
                pause = disposition.backoff(item.attempts, self._jitter())
                self._metrics.processed("retry", event.type).inc()
                return Redeliver(
                    min(max(pause, _GIVE_BACK_SECONDS), _LONGEST_GIVE_BACK_SECONDS), error.message
                )
            if self._letters.stored():
                log.info("dead letters are stored again on %s", subject)
            if not stored:
                log.info(
                    "event %s is no dead letter: another reader has answered for it meanwhile",
                    event.id, extra=item.facts(),
                )  # fmt: skip
                return PUT_ASIDE
        self._metrics.processed("dead_letter", event.type).inc()
        self._metrics.dead_letters(decided.reason).inc()
        log.error(
            "event %s is a dead letter (%s): %s",
            event.id, decided.reason, error_text.bounded(decided.error),
            exc_info=cause, extra=item.facts(),
        )  # fmt: skip
        return PUT_ASIDE if subject is not None else Terminate(decided.reason)

    async def _store(
        self, decided: ToDeadLetters, item: Item, subject: str, headers: Mapping[str, str]
    ) -> bool:
        """See `Delivery.store_copy`."""
        if self._traces is None:
            return await item.delivery.store_copy(subject, headers)
        with self._traces.dead_letter(item, subject, decided.reason, decided.error) as letter:
            letter.stored = await item.delivery.store_copy(subject, headers)
            return letter.stored
