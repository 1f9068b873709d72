"""Spans of messages while they are handled, one each; of those whose producer is recorded.

Put around processor, handler and inbox by `consumer.app` while spans are wanted, so that none of
them knows, and nothing is asked when they are not. A span is linked to the producer's, or its child
where OUTBOX_PROCESS_SPANS says so. The code of handlers runs within it; HTTP endpoints are told.
"""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from outbox_operator.adapters.postgres.inbox import Borrowed, Handle, Record
from outbox_operator.consumer import error_text
from outbox_operator.consumer.disposition import (
    Acknowledge,
    Again,
    PutOff,
    Redeliver,
    Settlement,
    Terminate,
)
from outbox_operator.consumer.handler_calls import Inbox
from outbox_operator.consumer.handlers.types import Context, Handler, Outcome, ReceivedEvent
from outbox_operator.consumer.key_queues import Item
from outbox_operator.telemetry.logging import bind
from outbox_operator.telemetry.tracer import MOST_LINKS, Attributes, Span, Tracer
from outbox_operator.wire.config import ConsumerConfig
from outbox_operator.wire.headers import TRACEPARENT
from outbox_operator.wire.subjects import names_key
from outbox_operator.wire.trace_context import sampled_parent_of

T = TypeVar("T")


@dataclass(slots=True)
class _Open:
    """A message that is being handled.

    Attributes:
        span: Of its handling.
        dead: Why it is a dead letter, once it is.
    """

    span: Span
    dead: str = ""


@dataclass(slots=True)
class Letter:
    """The storing of a dead letter.

    Attributes:
        stored: Whether it was; not if somebody else has answered for the message meanwhile.
    """

    stored: bool = True


class Traces:
    """The spans of one process.

    Args:
        tracer: Makes them.
        config: The consumer.
        handler: Who handles.
        children: Whether spans are children of the producer's, or linked to it.
    """

    def __init__(
        self, tracer: Tracer, config: ConsumerConfig, handler: Handler, *, children: bool
    ) -> None:
        self._tracer = tracer
        self._handler = handler
        self._children = children
        self._calls_code = config.python is not None
        self._name = f"process {config.consumer}"
        self._inbox = f"inbox transaction {config.consumer}"
        self._dead_letter = f"dead letter {config.consumer}"
        self._common: Attributes = {
            "messaging.system": "nats" if config.redis is None else "redis",
            "messaging.consumer.group.name": config.durable,
            "outbox.consumer": f"{config.namespace}/{config.consumer}",
        }
        self._open: dict[int, _Open] = {}
        """By sequence in the stream."""
        self._by_event: dict[int, _Open] = {}
        """By the identity of what the handler is given."""

    def begin(self, items: Sequence[Item]) -> list[Item]:
        """Begin the spans of messages that are handled together; return those that have one."""
        found = []
        for item in items:  # not a comprehension: nearly all are one without a span
            parent = sampled_parent_of(item.event.headers)
            if parent is not None:
                found.append((item, parent))
        if not found:
            return []
        together = len(items) > 1 and self._handler.batch(items[0].event.type) > 1
        first: Span | None = None
        for item, parent in found:
            # What is called once is within the first, which names some of the others.
            more = [one for _, one in found[1:]] if together and first is None else []
            if together and first is not None:
                more = [first.place]
            span = self._tracer.begin(
                self._name,
                "consumer",
                parent if self._children else None,
                {
                    **self._facts(item),
                    **({"messaging.batch.message_count": len(items)} if together else {}),
                },
                links=(more if self._children else [parent, *more])[:MOST_LINKS],
            )
            first = first or span
            begun = _Open(span)
            self._open[item.delivery.sequence] = self._by_event[id(item.event)] = begun
        return [item for item, _ in found]

    def settled(self, items: Sequence[Item], settlements: Sequence[Settlement]) -> None:
        """End spans with what is to be done."""
        for item, settlement in zip(items, settlements, strict=True):
            found = self._take(item)
            if found is not None:
                outcome, error = _outcome(settlement)
                if found.dead:
                    outcome, error = "dead_letter", found.dead
                found.span.set({"outbox.outcome": outcome})
                found.span.end(error=error_text.kind(error_text.bounded(error)))

    def broken(self, items: Sequence[Item], error: BaseException) -> None:
        """End the spans of messages of which nothing is decided."""
        for item in items:
            found = self._take(item)
            if found is not None:
                found.span.end(error=type(error).__name__)

    def _take(self, item: Item) -> _Open | None:
        self._by_event.pop(id(item.event), None)
        return self._open.pop(item.delivery.sequence, None)

    def around(
        self, events: Sequence[ReceivedEvent], context: Context
    ) -> AbstractContextManager[object] | None:
        """Return what to call the handler in: the span of the message it is called for, or of the
        first of several that has one; None: nothing.

        What is not recorded stays so: within it the handler's code begins no trace of its own.
        """
        for event in events:
            found = self._by_event.get(id(event)) if self._by_event else None
            if found is not None:
                context._span = found.span.place.headers
                return self._calling(event, found.span)
        if self._calls_code and TRACEPARENT in events[0].headers:
            return self._tracer.within(events[0].headers)
        return None

    @contextmanager
    def _calling(self, event: ReceivedEvent, span: Span) -> Iterator[None]:
        with bind(event_id=event.id), self._tracer.active(span):
            yield

    @contextmanager
    def transaction(self, records: Sequence[Record]) -> Iterator[Span | None]:
        """Make the span of a transaction of the inbox, within that of its first message."""
        around = next(
            (found for one in records if (found := self._open.get(one.sequence)) is not None), None
        )
        if around is None:
            yield None
            return
        span = self._tracer.begin(
            self._inbox,
            "client",
            around.span.place,
            {"db.system.name": "postgresql", "outbox.inbox.events": len(records)},
        )
        try:
            yield span
        except BaseException as error:
            span.end(error=error_text.kind(error_text.describe(error)))
            raise

    @contextmanager
    def dead_letter(self, item: Item, subject: str, reason: str, error: str) -> Iterator[Letter]:
        """Make the span of the storing of a dead letter, within that of its message."""
        letter, found = Letter(), self._open.get(item.delivery.sequence)
        if found is None:
            yield letter
            return
        span = self._tracer.begin(
            self._dead_letter,
            "producer",
            found.span.place,
            {
                **self._common, "messaging.operation.name": "publish",
                "messaging.operation.type": "send", "messaging.destination.name": subject,
                "messaging.message.id": item.event.id, "outbox.dead_letter.reason": reason,
            },
        )  # fmt: skip
        try:
            yield letter
        except BaseException as failure:
            span.end(error=error_text.kind(error_text.describe(failure)))
            raise
        if letter.stored:
            found.dead = error or reason
        span.end()

    def _facts(self, item: Item) -> Attributes:
        event, delivery = item.event, item.delivery
        return {
            **self._common,
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            **(
                {}
                if names_key(event.subject, event.key)
                else {"messaging.destination.name": event.subject}
            ),
            "messaging.message.id": event.id,
            "messaging.message.body.size": len(event.data),
            "cloudevents.event_id": event.id,
            "cloudevents.event_type": event.type,
            "cloudevents.event_source": event.source,
            "outbox.stream": delivery.stream,
            "outbox.stream.sequence": delivery.number,
            "outbox.deliveries": item.deliveries,
        }


def _outcome(settlement: Settlement) -> tuple[str, str]:
    """Return what became of a message, and what went wrong."""
    match settlement:
        case Acknowledge(handled):
            return ("ack" if handled else "unhandled"), ""
        case Redeliver(_, error):
            return "retry", error
        case PutOff(_, error):
            return "put_off", error
        case Terminate(reason):
            return "dead_letter", reason.value
        case Again():
            return "again", "not handled this time, through no fault of the event"


class Processing(Protocol):
    """Handles messages and says what is to be done with them."""

    async def process(self, items: list[Item]) -> Sequence[Settlement]:
        """Handle messages together. See `Processor.process`."""


@dataclass(frozen=True, slots=True)
class TracedProcessor:
    """A processor whose messages have spans."""

    processor: Processing
    traces: Traces

    def process(self, items: list[Item]) -> Coroutine[Any, Any, Sequence[Settlement]]:
        """Handle messages together. See `Processor.process`."""
        # Most have no span, and shall not pay for a coroutine more.
        traced = self.traces.begin(items)
        return self._process(items, traced) if traced else self.processor.process(items)

    async def _process(self, items: list[Item], traced: list[Item]) -> Sequence[Settlement]:
        try:
            settlements = await self.processor.process(items)
        except BaseException as error:
            self.traces.broken(traced, error)
            raise
        self.traces.settled(items, settlements)
        return settlements


class TracedInbox:
    """An inbox whose transactions have spans."""

    def __init__(self, inbox: Inbox, traces: Traces) -> None:
        self._inbox = inbox
        self._traces = traces

    async def process(self, records: Sequence[Record], handle: Handle) -> bool:
        """Handle events in a transaction. See `InboxStore.process`."""
        fresh = 0

        async def counting(connection: Borrowed, new: Sequence[int]) -> bool:
            nonlocal fresh
            fresh = len(new)
            return await handle(connection, new)

        with self._traces.transaction(records) as span:
            committed = await self._inbox.process(records, counting)
        if span is not None:
            span.set({"outbox.inbox.duplicates": len(records) - fresh})
            span.end(error="" if committed else "rolled back")
        return committed


class TracedHandler:
    """A handler that is called within the span of its message; otherwise as the other."""

    def __init__(self, handler: Handler, traces: Traces) -> None:
        self._traces = traces
        self.name = handler.name
        self.wants_connection = handler.wants_connection
        self.needs_inbox = handler.needs_inbox
        self.largest_batch = handler.largest_batch
        self.batch = handler.batch
        self.retry = handler.retry
        self.shares_call = handler.shares_call
        self.start = handler.start
        self.prepare = handler.prepare
        self.close = handler.close
        self._handler = handler

    def handle(self, event: ReceivedEvent, context: Context) -> Coroutine[Any, Any, Outcome]:
        """Handle one event. See `Handler.handle`."""
        called = self._handler.handle(event, context)
        around = self._traces.around((event,), context)
        return called if around is None else _within(around, called)

    def handle_batch(
        self, events: Sequence[ReceivedEvent], context: Context
    ) -> Coroutine[Any, Any, Sequence[Outcome]]:
        """Handle events together. See `Handler.handle_batch`."""
        called = self._handler.handle_batch(events, context)
        around = self._traces.around(events, context)
        return called if around is None else _within(around, called)


async def _within(around: AbstractContextManager[object], called: Awaitable[T]) -> T:
    with around:
        return await called
