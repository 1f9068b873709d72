"""What a handler sees and may answer. Imported by applications through `outbox_operator.consumer`.

Standard library only, so that an application can test its handlers without our extras. Knows
nothing of NATS or HTTP.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Ack:
    """The event is handled; it does not come again."""


@dataclass(frozen=True, slots=True)
class RetryAfter:
    """The event is not handled; deliver it again.

    After `maxDeliver` deliveries it becomes a dead letter instead.

    Attributes:
        seconds: Delay before the next delivery; None takes the consumer's back-off.
        reason: One sentence for logs and the dead letter.
    """

    seconds: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """The event can never be handled; put it aside now.

    Attributes:
        reason: One sentence for logs and the dead letter.
    """

    reason: str


Outcome = Ack | RetryAfter | DeadLetter


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedEvent:
    """One event as it arrives. Stays the same over redeliveries.

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
        """The payload, decoded.

        Raises:
            ValueError: The payload is not JSON.
        """
        return json.loads(self.data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The circumstances of one delivery.

    Attributes:
        consumer: Name of the EventConsumer.
        deliveries: How often the event was delivered, this time included; at least 1.
        stream: Stream the event is stored in.
        sequence: Its sequence there.
        connection: With `inbox`, for async handlers: the open asyncpg connection whose
            transaction also holds the inbox record. Write through it, never commit it. Else None.
    """

    consumer: str
    deliveries: int
    stream: str
    sequence: int
    connection: Any = None


class Handler(Protocol):
    """What the loop calls for each event: an HTTP endpoint or a Python function."""

    @property
    def name(self) -> str:
        """For logs and readiness: `http://billing.shop/events`, `shop.billing:handle`."""

    @property
    def wants_connection(self) -> bool:
        """Whether it can write through the connection of the inbox transaction."""

    async def handle(self, event: ReceivedEvent, context: Context) -> Outcome:
        """Handle one event.

        Raises:
            HandlerUnavailableError: It could not be asked at all; says nothing about the event.
            Exception: Anything else counts as a failed delivery.
        """

    async def close(self) -> None:
        """Let go of connections and threads."""
