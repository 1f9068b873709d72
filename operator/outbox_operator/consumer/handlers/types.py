"""What a handler sees and may answer. Imported by applications through `outbox_operator.consumer`.

Standard library only, so that an application can test its handlers without our extras. Knows
nothing of NATS or HTTP.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from outbox_operator.consumer.handlers.retry import Retry, seconds_of
from outbox_operator.wire.trace_context import parent_of

if TYPE_CHECKING:  # so that a handler's statements are checked where asyncpg has types
    from asyncpg import Record
    from asyncpg.pool import PoolConnectionProxy


@dataclass(frozen=True, slots=True)
class Ack:
    """The event is handled; it does not come again."""


class RetryAfter(Exception):  # noqa: N818 - an answer more than an error
    """The event is not handled; try it again. Return it or raise it.

    Without a delay it is a failure: after `maxDeliver` of them the event becomes a dead letter.
    With one it means "not now", which is no failure, however often it is said; `giveUpAfter` sets
    an end.

    Attributes:
        seconds: Delay before the next try, in seconds or as timedelta; None takes the consumer's
            back-off.
        reason: One sentence for logs and the dead letter; the text of anything else, say of an
            exception.
    """

    __match_args__ = ("seconds", "reason")
    # What a subclass that does not call `__init__` says.
    seconds: float | None = None
    reason: str = ""
    retry: Retry | None = None
    """The runtime's own: of the handler that failed."""

    def __init__(self, seconds: float | dt.timedelta | None = None, reason: object = "") -> None:
        super().__init__(seconds, reason)
        self.seconds = None if seconds is None else seconds_of(seconds)
        self.reason = str(reason)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self.args == other.args

    def __hash__(self) -> int:
        return hash(self.args)

    def __str__(self) -> str:
        return self.reason


class Busy(RetryAfter):
    """The handler as a whole is asked too much, or is not there for a while; always a delay."""


class Unanswered(RetryAfter):
    """Something between us and the handler answered in its place, or the connection broke: nobody
    knows whether the event is at fault. It is if others are answered meanwhile."""

    def __init__(self, reason: str) -> None:
        super().__init__(None, reason)


class LeftBehind(RetryAfter):
    """The runtime's own: the call did not end when its time was over, and goes on without us."""


class DeadLetter(Exception):  # noqa: N818
    """The event can never be handled; put it aside now. Return it or raise it.

    Attributes:
        reason: One sentence for logs and the dead letter; the text of anything else, say of an
            exception.
    """

    __match_args__ = ("reason",)
    reason: str = ""

    def __init__(self, reason: object = "the handler gave no reason") -> None:
        super().__init__(reason)
        self.reason = str(reason)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DeadLetter) and self.args == other.args

    def __hash__(self) -> int:
        return hash(self.args)


Outcome = Ack | RetryAfter | DeadLetter

ACK: Final = Ack()
IGNORED: Final = Ack()
"""The runtime's own: nobody handles such events, and nobody shall."""


class Unhandled(DeadLetter):
    """The runtime's own: the application has no handler for the event."""


A = TypeVar("A", bound=RetryAfter | DeadLetter)


def caused(answer: A, error: BaseException) -> A:
    """Return an answer that remembers the exception it stands for, for the log."""
    answer.__cause__ = error
    return answer


def cause_of(answer: Outcome) -> BaseException | None:
    """Return the exception that an answer stands for, or was raised from."""
    if isinstance(answer, Ack):
        return None
    return answer.__cause__ or (None if answer.__suppress_context__ else answer.__context__)


@dataclass(slots=True, kw_only=True)
class ReceivedEvent:
    """One event as it arrives. Stays the same over redeliveries; not to be changed.

    Attributes:
        id: Event id; the key for doing things once. For a message that no outbox wrote:
            `<stream>:<sequence>`.
        type: For example `order.created`; the subject if the message does not say.
        source: CloudEvents source; `/<stream>` if the message does not say.
        key: Ordering key, usually the aggregate's id; may be empty.
        time: When the event was written, or stored if the message does not say.
        subject: NATS subject it was stored under.
        content_type: Media type of `data`.
        headers: All headers of the message.
        data: The payload as stored.
    """

    id: str
    type: str
    source: str
    key: str
    time: dt.datetime
    subject: str
    content_type: str
    headers: Mapping[str, str]
    data: bytes

    @property
    def is_json(self) -> bool:
        """Whether the payload says that it is JSON."""
        media = self.content_type.partition(";")[0].strip().lower()
        return media == "application/json" or media.endswith("+json")

    def json(self) -> Any:
        """Decode the payload.

        Raises:
            ValueError: The payload is not JSON.
        """
        return json.loads(self.data)


@dataclass(slots=True, kw_only=True)
class Context:
    """The circumstances of one delivery.

    Attributes:
        consumer: Name of the EventConsumer.
        deliveries: How often the event was delivered, this time included; at least 1.
        stream: Stream the event is stored in.
        sequence: Its sequence there.
        connection: With `inbox`, for async handlers: the open asyncpg connection whose
            transaction also holds the inbox record. Write through it, never commit it. What you
            set on it is undone after the call; codecs belong into `Handlers.on_connect`. Else None.
        deadline: When the call is cancelled, as `time.monotonic()` counts; None: never.
    """

    consumer: str
    deliveries: int
    stream: str
    sequence: int
    # Without None in the type, since whether there is an inbox is the manifest's business.
    connection: PoolConnectionProxy[Record] = None  # type: ignore[assignment]
    deadline: float | None = None
    _headers: Mapping[str, str] | None = None
    _span: Mapping[str, str] | None = None
    _moved: Callable[[float], None] | None = None
    _payloads: Sequence[object] = field(default=(), repr=False, compare=False)
    """What the handler was given as payloads, for `notes`."""

    @property
    def trace(self) -> Mapping[str, str]:
        """The headers `traceparent` and `tracestate` to hand on in requests: of the span of this
        call, or of the event's producer where the call has none; empty without a trace."""
        if self._span is not None:
            return self._span
        parent = parent_of(self._headers or {})
        return {} if parent is None else parent.headers

    @property
    def remaining(self) -> float:
        """Seconds until the call is cancelled; infinite without a deadline."""
        return math.inf if self.deadline is None else self.deadline - time.monotonic()

    def extend(self, seconds: float) -> None:
        """Move the deadline of this call to `seconds` from now, later or earlier.

        NATS needs no telling: the runtime keeps the event in hand while the handler works.
        """
        if self.deadline is not None:
            self.deadline = time.monotonic() + seconds
            if self._moved is not None:
                self._moved(self.deadline)


class Handler(Protocol):
    """What the runtime calls for each event: an HTTP endpoint or Python functions."""

    @property
    def name(self) -> str:
        """For logs and readiness: `http://billing.shop/events`, `shop.billing:handle`."""

    @property
    def wants_connection(self) -> bool:
        """Whether it can write through the connection of the inbox transaction."""

    @property
    def needs_inbox(self) -> tuple[str, ...]:
        """Patterns of the event types that it cannot handle without an inbox."""

    @property
    def largest_batch(self) -> int:
        """The largest number that `batch` returns."""

    def batch(self, event_type: str) -> int:
        """Return how many events of a type, and of those that share a call, go into one."""

    def retry(self, event_type: str) -> Retry | None:
        """Return how it has failures of a type repeated; None: as the consumer's settings say."""

    def shares_call(self, event_type: str, other: str) -> bool:
        """Return whether events of another type may be in the same call of a batch handler."""

    async def start(self) -> None:
        """Prepare; called once before the first event.

        Raises:
            Exception: It cannot work; called again later.
        """

    async def prepare(self, connection: Any) -> None:
        """Prepare a new connection of the inbox, before its first use.

        Raises:
            HandlerUnavailableError: It cannot; called again later.
        """

    async def handle(self, event: ReceivedEvent, context: Context) -> Outcome:
        """Handle one event.

        Raises:
            HandlerUnavailableError: It could not be reached at all; says nothing about the event.
            Exception: Anything else counts as a failed delivery.
        """

    async def handle_batch(
        self, events: Sequence[ReceivedEvent], context: Context
    ) -> Sequence[Outcome]:
        """Handle events that `batch` allows together, with an outcome each. Raises as `handle`.

        `context` is that of the first event.
        """

    async def close(self) -> None:
        """Let go of connections and threads."""
