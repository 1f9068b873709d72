"""Reads one durable consumer: its limits, its messages, an answer for each, dead letters.

Called by the consumer runtime. Decides nothing: whether a message is acknowledged, repeated or
made a dead letter is the caller's choice.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import nats.errors

from outbox_operator.adapters.nats.api import JetStreamApi
from outbox_operator.adapters.nats.auth import NatsAuth
from outbox_operator.adapters.nats.driver import WireClient
from outbox_operator.adapters.nats.errors import connection_error
from outbox_operator.adapters.nats.pull_requests import (
    EXPIRES_SECONDS,
    PulledMessage,
    PullRequests,
)
from outbox_operator.errors import NatsError, OutboxError
from outbox_operator.reasons import Reason

_LARGEST_BACKLOG_BYTES: Final = 4 * 1024 * 1024
"""Answers kept while the connection is down; what does not fit comes again."""


class Delivery(PulledMessage):
    """One delivery of one message; exactly one final answer is due."""

    __slots__ = ()

    _source: PullConsumer

    def when_stored(self) -> dt.datetime:
        """When the stream took it."""
        return dt.datetime.fromtimestamp(int(self._stored_ns) / 1e9, dt.UTC)

    def replaces(self, other: Delivery) -> bool:
        """Whether an answer must be given to this one, because the other's connection is gone."""
        return self._source is not other._source

    def ack(self) -> None:
        """The message is done; with ackPolicy All, so is every earlier one.

        Raises:
            NatsError: The connection is gone; the message will come again.
        """
        self._source.answer(self._reply, b"+ACK")

    def nak(self, seconds: float = 0.0) -> None:
        """Deliver it again, after `seconds`.

        Raises:
            NatsError: The connection is gone; the message will come again after ackWait.
        """
        delay = json.dumps({"delay": int(seconds * 1e9)}) if seconds > 0 else ""
        self._source.answer(self._reply, f"-NAK {delay}".strip().encode())

    def term(self, reason: str) -> None:
        """Never deliver it again.

        Raises:
            NatsError: The connection is gone; the message will come again.
        """
        self._source.answer(self._reply, f"+TERM {' '.join(reason.split())}".encode())

    def in_progress(self) -> None:
        """Restart the clock of ackWait.

        Raises:
            NatsError: The connection is gone.
        """
        self._source.answer(self._reply, b"+WPI")

    async def store_copy(self, subject: str, headers: Mapping[str, str]) -> None:
        """Publish the payload elsewhere and wait until a stream has it.

        Raises:
            NatsError: No stream takes the subject, the message is too large, or NATS is away.
        """
        await self._source.store(
            subject, self.data, headers, doing=f"copy of {self.stream}:{self.sequence}"
        )


class PullConsumer(PullRequests):
    """Reads one durable consumer. `open` it, then `ask` for as many messages as can be handled.

    Args:
        client: A connection; may be lost and come back at any time.
        auth: Its login, for messages.
        stream: Name of the stream.
        durable: Name of the durable consumer.
        on_delivery: Called for each message, in order of arrival.
        on_change: Called when `asked` or `failure` changed.

    Attributes:
        most_in_flight: Messages the server lets be unanswered over all readers.
        ack_all: Whether an acknowledgement counts for all earlier messages too.
    """

    message = Delivery

    def __init__(
        self,
        client: WireClient,
        auth: NatsAuth,
        stream: str,
        durable: str,
        *,
        on_delivery: Callable[[Delivery], None],
        on_change: Callable[[], None],
    ) -> None:
        super().__init__(
            JetStreamApi(client, auth), stream, durable,
            on_message=on_delivery, on_change=on_change,
        )  # fmt: skip
        self._stream = stream
        self._durable = durable
        self._answers: list[bytes] = []
        self._flushing = False
        self.most_in_flight = 0
        self.ack_all = False

    @property
    def closed(self) -> bool:
        """Whether the connection is gone for good."""
        return bool(self._client.is_closed)

    async def open(self) -> None:
        """Check that the durable consumer exists and listen for its messages.

        Raises:
            NatsError: It does not exist (reason ConsumerMissing or StreamNotFound), is not a pull
                consumer with acknowledgements, or NATS does not answer.
        """
        await self.close()
        await self.verify()
        await self.listen()

    def fail(self, error: OutboxError) -> None:
        """The connection is closed for good: nothing can arrive any more."""
        self.failure = error
        self._on_change()

    async def verify(self) -> None:
        """Ask the server for the durable consumer and take over its limits.

        Raises:
            NatsError: See `open`.
        """
        where = f"durable consumer {self._durable!r} of stream {self._stream!r}"
        answer = await self._info(where)
        config = answer["config"]
        if config.get("deliver_subject"):
            raise NatsError(
                f"{where}: wanted a pull consumer, found push", reason=Reason.WRONG_CONSUMER
            )
        if config.get("ack_policy") not in ("explicit", "all"):
            raise NatsError(
                f"{where}: ackPolicy: wanted explicit or all, found {config.get('ack_policy')}",
                reason=Reason.WRONG_CONSUMER,
            )
        self.ack_all = config["ack_policy"] == "all"
        self.most_in_flight = int(config.get("max_ack_pending") or -1)
        self._largest_batch = int(config.get("max_batch", 0))
        self._expires = min(EXPIRES_SECONDS, config.get("max_expires", 0) / 1e9 or math.inf)
        self._group = None
        if config.get("priority_policy") == "pinned_client":
            self._group = config["priority_groups"][0]
            # Asking anew keeps the pin; a reader that waits too long loses it.
            self._expires = min(self._expires, config["priority_timeout"] / 1e9 / 2)

    async def unanswered(self) -> int:
        """How many messages are delivered, to anybody, and not answered for.

        Raises:
            NatsError: As `open`.
        """
        where = f"durable consumer {self._durable!r} of stream {self._stream!r}"
        return int((await self._info(where))["num_ack_pending"])

    async def _info(self, where: str) -> Mapping[str, Any]:
        return await self._api.request(f"CONSUMER.INFO.{self._stream}.{self._durable}", None, where)

    def answer(self, reply: bytes, verb: bytes) -> None:
        """Send an answer with the next batch of them.

        Raises:
            NatsError: The connection is closed for good, or has been down for so many answers
                that no more are kept.
        """
        client = self._client
        if client.is_closed or client.pending_data_size > _LARGEST_BACKLOG_BYTES:
            raise connection_error(nats.errors.ConnectionClosedError(), self._auth)
        self._answers.append(b"PUB %b %d\r\n%b\r\n" % (reply, len(verb), verb))
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Hand the answers given so far to the connection; one that is down sends them later."""
        self._flushing = False
        if not self._answers:
            return
        self._client.enqueue(b"".join(self._answers), len(self._answers))
        self._answers.clear()

    async def store(
        self, subject: str, data: bytes, headers: Mapping[str, str], *, doing: str
    ) -> None:
        """Publish a message and wait until a stream has it.

        Raises:
            NatsError: No stream takes the subject, the message is too large, or NATS is away.
        """
        await self._api.publish(
            subject, data, headers, doing, nobody=Reason.DEAD_LETTER_STREAM_MISSING
        )
