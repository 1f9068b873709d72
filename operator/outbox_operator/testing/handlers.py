"""Handlers called with events, without servers, for unit tests of applications.

Functions are bound, called and answered for by the runtime's own code, and what follows is decided
as there. A suite in `tests/integration/consumer` runs on this and on the runtime.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Literal, Self

from outbox_operator import aio
from outbox_operator.client import encoding
from outbox_operator.consumer import disposition
from outbox_operator.consumer.handlers.python import PythonHandler, failure
from outbox_operator.consumer.handlers.registry import Handlers
from outbox_operator.consumer.handlers.types import (
    IGNORED,
    Context,
    Outcome,
    ReceivedEvent,
    Unhandled,
    cause_of,
)
from outbox_operator.errors import HandlerUnavailableError

_NAME: Final = "handlers"


@dataclass(frozen=True, slots=True)
class Handled:
    """What became of an event.

    Attributes:
        end: `ack`: it is handled. `retry`: it failed, and comes again. `put_off`: "not now".
            `dead_letter`: it is put aside. `unhandled`: nobody takes it; what then happens is the
            consumer's setting.
        reason: What the handler said, as in the dead letter; empty for `ack`.
        seconds: Pause before it comes again, for `retry` and `put_off`.
        attempts: How often the handler was asked.
        error: What it raised, if it was an exception and no answer.
    """

    end: Literal["ack", "retry", "put_off", "dead_letter", "unhandled"]
    reason: str = ""
    seconds: float | None = None
    attempts: int = 1
    error: BaseException | None = field(default=None, compare=False)


class RunningHandlers:
    """Handlers with their hooks, ready for events.

        async with RunningHandlers(app) as handlers:
            handled = await handlers.settle("order.created", {"id": 1})
        assert handled.end == "ack"

    Entering the block begins lifespans, calls `on_startup`, and `on_connect` with the connection;
    its end calls `on_shutdown` and ends lifespans. Payloads are encoded as the outbox does, and
    decoded as the runtime does.

    Args:
        handlers: A `Handlers`.
        connection: What handlers find as `context.connection`, as with an inbox. Committing and
            rolling back are the test's business.
        max_deliver: Failed attempts before an event is a dead letter.
        backoff: Seconds before each further attempt, the last one repeats; empty: exponential.
        timeout: Seconds a call may take.
        replaced: Functions that stand in for dependencies and lifespans, by the function that
            handlers name: `{database: lambda: FakePool()}`.
    """

    def __init__(
        self,
        handlers: Handlers,
        *,
        connection: Any = None,
        max_deliver: int = 16,
        backoff: tuple[float, ...] = (),
        timeout: float = 30.0,
        replaced: Mapping[Callable[..., Any], Callable[..., Any]] | None = None,
    ) -> None:
        self._handler = PythonHandler(
            _NAME, handlers, timeout=timeout, threads=16, replaced=replaced
        )
        self._connection = connection
        self._policy = disposition.Policy(max_deliver=max_deliver, backoff=backoff)
        self._sequence = 0

    async def __aenter__(self) -> Self:
        """Call `on_startup`, and `on_connect` if there is a connection."""
        await self._handler.start()
        if self._connection is not None:
            await self._handler.prepare(self._connection)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Call `on_shutdown`."""
        await self._handler.close()

    async def deliver(
        self,
        event_type: str,
        payload: object = None,
        *,
        key: str = "",
        headers: Mapping[str, str] | None = None,
        event_id: uuid.UUID | None = None,
        attempt: int = 1,
    ) -> Handled:
        """Have one event handled, once.

        Args:
            event_type: For example `order.created`.
            payload: What `Event` takes, or bytes, which arrive as they are.
            key: Ordering key.
            headers: Of the application.
            event_id: Default: a new one.
            attempt: How many times it was tried, this one included; `context.deliveries`.

        Raises:
            EventError: The payload has no JSON form.
        """
        event = self._event(event_type, payload, key, headers, event_id)
        [handled] = await self._ask([event], attempt)
        return handled

    async def settle(
        self,
        event_type: str,
        payload: object = None,
        *,
        key: str = "",
        headers: Mapping[str, str] | None = None,
        event_id: uuid.UUID | None = None,
    ) -> Handled:
        """Have one event handled until it needs no further attempt, without the pauses between.

        Ends with anything but `retry`. Arguments and errors are those of `deliver`.
        """
        event = self._event(event_type, payload, key, headers, event_id)
        attempt = 1
        while True:
            [handled] = await self._ask([event], attempt)
            if handled.end != "retry":
                return handled
            attempt += 1

    async def deliver_batch(self, event_type: str, payloads: Sequence[object]) -> list[Handled]:
        """Have events of one type handled together, once, by a handler of batches.

        Raises:
            EventError: A payload has no JSON form.
        """
        events = [self._event(event_type, one, "", None, None) for one in payloads]
        return await self._ask(events, 1)

    def _event(
        self,
        event_type: str,
        payload: object,
        key: str,
        headers: Mapping[str, str] | None,
        event_id: uuid.UUID | None,
    ) -> ReceivedEvent:
        raw = isinstance(payload, bytes)
        self._sequence += 1
        return ReceivedEvent(
            id=str(event_id or uuid.uuid4()),
            type=event_type,
            source="/test/handlers",
            key=key,
            time=dt.datetime.now(dt.UTC),
            subject=f"test.{event_type}",
            content_type="application/octet-stream" if raw else "application/json",
            headers=dict(headers or {}),
            data=payload
            if isinstance(payload, bytes)
            else encoding.to_json(f"event of type {event_type!r}", "payload", payload).encode(),
        )

    async def _ask(self, events: list[ReceivedEvent], attempt: int) -> list[Handled]:
        context = Context(
            consumer=_NAME,
            deliveries=attempt,
            stream="TEST",
            sequence=self._sequence,
            connection=self._connection if self._handler.wants_connection else None,  # type: ignore[arg-type]
            _headers=events[0].headers,
        )
        outcomes: Sequence[Outcome]
        asked_before = aio.cancellations()
        try:
            if len(events) == 1:
                outcomes = [await self._handler.handle(events[0], context)]
            else:
                outcomes = await self._handler.handle_batch(events, context)
        except HandlerUnavailableError:
            raise
        except BaseException as error:
            is_asked = aio.cancellations() > asked_before
            if isinstance(error, asyncio.CancelledError) and is_asked:
                raise  # it is the test that ends
            outcomes = [failure(error)] * len(events)
        return [self._handled(outcome, attempt) for outcome in outcomes]

    def _handled(self, outcome: Outcome, attempt: int) -> Handled:
        if isinstance(outcome, Unhandled) or outcome is IGNORED:
            return Handled("unhandled", getattr(outcome, "reason", ""), attempts=attempt)
        decided = disposition.decide(outcome, attempt, self._policy, jitter=0.5)
        error = cause_of(outcome)
        match decided:
            case disposition.Redeliver(seconds, reason):
                return Handled("retry", reason, seconds, attempt, error)
            case disposition.PutOff(seconds, reason):
                return Handled("put_off", reason, seconds, attempt, error)
            case disposition.ToDeadLetters(_, reason):
                return Handled("dead_letter", reason, None, attempt, error)
            case _:
                return Handled("ack", attempts=attempt)
