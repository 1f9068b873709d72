"""From messages to what their handler answers: alone or in the inbox's transaction.

Called by the processor, which decides what follows.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Sequence
from typing import Protocol

from outbox_operator import aio
from outbox_operator.adapters.postgres.inbox import Borrowed, Handle, Record, in_transaction
from outbox_operator.adapters.postgres.inbox_errors import HandledInVainError
from outbox_operator.consumer import events
from outbox_operator.consumer.handlers.python import failure
from outbox_operator.consumer.handlers.types import (
    ACK,
    Ack,
    Context,
    Handler,
    Outcome,
    RetryAfter,
)
from outbox_operator.consumer.key_queues import Item
from outbox_operator.consumer.metrics import ConsumerMetrics
from outbox_operator.errors import HandlerUnavailableError


class Inbox(Protocol):
    """Remembers events in the transaction in which they are handled."""

    async def process(self, records: Sequence[Record], handle: Handle) -> bool:
        """Handle events in a transaction. See `InboxStore.process`."""


class HandlerCalls:
    """Calls the handler of one consumer.

    Args:
        consumer: Its name.
        handler: Who handles.
        inbox: Where handled events are remembered; None: nowhere.
        metrics: What to count.
    """

    def __init__(
        self, consumer: str, handler: Handler, inbox: Inbox | None, metrics: ConsumerMetrics
    ) -> None:
        self._consumer = consumer
        self._handler = handler
        self._inbox = inbox
        self._metrics = metrics

    def answers(self, items: list[Item]) -> Awaitable[Sequence[Outcome] | None]:
        """Have messages handled together; return the handler's answers.

        Returns:
            One outcome each, or None: nothing is committed, because one of several failed.

        Raises:
            HandlerUnavailableError: See `Handler.handle`.
            OutboxError: See `InboxStore.process`.
        """
        if self._inbox is None:
            return self._call(items, None)
        return self._in_transaction(self._inbox, items)

    async def _call(self, items: list[Item], connection: Borrowed | None) -> Sequence[Outcome]:
        """Return the answers to messages that are given to the handler now."""
        first = items[0]
        context = Context(
            consumer=self._consumer,
            deliveries=first.deliveries,
            stream=first.delivery.stream,
            sequence=first.delivery.number,
            connection=connection if self._handler.wants_connection else None,  # type: ignore[arg-type]
            _headers=first.event.headers,
        )
        started, asked_before = time.perf_counter(), aio.cancellations()
        try:
            if len(items) == 1:
                return (await self._handler.handle(first.event, context),)
            return await self._handler.handle_batch([item.event for item in items], context)
        except HandlerUnavailableError:
            raise
        except BaseException as error:
            is_asked = aio.cancellations() > asked_before
            if isinstance(error, asyncio.CancelledError) and is_asked:
                raise  # ours: the process stops
            return [failure(error)] * len(items)
        finally:
            self._metrics.handled(first.event.type, time.perf_counter() - started)

    async def _in_transaction(self, inbox: Inbox, items: list[Item]) -> Sequence[Outcome] | None:
        """Return the handler's answers; events that the inbox knows are acknowledged without it."""
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
