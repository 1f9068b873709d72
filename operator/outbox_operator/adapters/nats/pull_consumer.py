"""The pull side of JetStream: ask for messages, answer for each, store dead letters.

Called by the consumer runtime. Speaks the documented pull protocol by itself, because the driver's
`fetch` cannot ask for more while messages arrive and costs several times more per message.
Decides nothing: whether a message is acknowledged, repeated or put aside is the caller's choice.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import json
import math
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import nats.errors
from nats.aio.subscription import Subscription

from outbox_operator.adapters.nats.api import JetStreamApi
from outbox_operator.adapters.nats.auth import NatsAuth
from outbox_operator.adapters.nats.driver import WireClient
from outbox_operator.adapters.nats.errors import connection_error
from outbox_operator.adapters.nats.frame_reader import parse_headers
from outbox_operator.errors import NatsError, OutboxError
from outbox_operator.reasons import Reason

HEARTBEAT_SECONDS: Final = 5.0
_EXPIRES_SECONDS: Final = 30.0
_DRAIN_SECONDS: Final = 5.0
_REFUSED_PAUSE_SECONDS: Final = 1.0
"""After a refused pull request, so that a full or electing server is not asked in a hot loop."""
_PIN: Final = "Nats-Pin-Id"
_WRONG_PIN: Final = "423"
_epochs: Final = itertools.count(1)
"""No two readers of a process have an epoch in common."""
_LARGEST_BACKLOG_BYTES: Final = 4 * 1024 * 1024
"""Answers kept while the connection is down; what does not fit comes again."""


class Delivery:
    """One delivery of one message; exactly one final answer is due.

    Attributes:
        stream: Name of the stream.
        sequence: Sequence of the message there.
        deliveries: How often the message was delivered, this time included.
        headers: Headers of the message.
        data: Its payload.
        epoch: That of its source when it came.
    """

    __slots__ = (
        "_reply", "_source", "_stored_ns", "_subject", "data", "deliveries", "epoch", "headers",
        "sequence", "stream",
    )  # fmt: skip

    def __init__(
        self,
        source: PullConsumer,
        subject: bytes,
        reply: bytes,
        headers: Mapping[str, str],
        data: bytes,
    ) -> None:
        facts = reply.decode().split(".")
        # Since 2.15 servers may put domain and account in front.
        at = 2 if len(facts) == 9 else 4
        self.stream = facts[at]
        self.deliveries = int(facts[at + 2])
        self.sequence = int(facts[at + 3])
        self._stored_ns = facts[at + 5]
        self.headers = headers
        self.data = data
        self._subject = subject
        self._reply = reply
        self._source = source
        self.epoch = source.epoch

    @property
    def subject(self) -> str:
        """Subject the message is stored under."""
        return self._subject.decode()

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


class PullConsumer:
    """Reads one durable consumer. `open` it, then `ask` for as many messages as can be handled.

    Args:
        client: A connection; may be lost and come back at any time.
        auth: Its login, for messages.
        stream: Name of the stream.
        durable: Name of the durable consumer.
        on_delivery: Called for each message, in order of arrival.
        on_change: Called when `asked` or `failure` changed.

    Attributes:
        asked: Messages that were asked for and did not arrive yet.
        failure: Why nothing can arrive any more until `open` is called again; None while it can.
        most_in_flight: Messages the server lets be unanswered over all readers.
        ack_all: Whether an acknowledgement counts for all earlier messages too.
        epoch: Changes when messages may have gone elsewhere meanwhile: a new connection, or a
            new pin of the priority group.
    """

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
        self._client = client
        self._auth = auth
        self._api = JetStreamApi(client, auth)
        self._stream = stream
        self._durable = durable
        self._on_delivery = on_delivery
        self._on_change = on_change
        self._answers: list[bytes] = []
        self._flushing = False
        self._group: str | None = None
        self._pin: str | None = None
        self._subscription: Subscription | None = None
        self._subject = self._api.subject(f"CONSUMER.MSG.NEXT.{stream}.{durable}")
        self._largest_batch = 0
        self._expires = _EXPIRES_SECONDS
        self._heard = 0.0
        self._not_before = 0.0
        self.asked = 0
        self.failure: OutboxError | None = None
        self.most_in_flight = 0
        self.ack_all = False
        self.epoch = next(_epochs)

    @property
    def connected(self) -> bool:
        """Whether the connection is up now."""
        return bool(self._client.is_connected)

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
        try:
            inbox = self._client.new_inbox()
            self._subscription = await self._client.listen(inbox, self._received)
        except (nats.errors.Error, OSError) as error:
            raise connection_error(error, self._auth) from error
        self._inbox = inbox
        self.forget_requests()
        self.failure = None

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
        self._expires = min(_EXPIRES_SECONDS, config.get("max_expires", 0) / 1e9 or math.inf)
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

    async def ask(self, count: int) -> None:
        """Ask for up to `count` more messages. Does nothing right after a refusal.

        Raises:
            NatsError: The connection is closed for good.
        """
        now = time.monotonic()
        if now < self._not_before or not self.connected:
            return
        if self._largest_batch:
            count = min(count, self._largest_batch)
        request: dict[str, int | str] = {
            "batch": count,
            "expires": int(self._expires * 1e9),
            "idle_heartbeat": int(min(HEARTBEAT_SECONDS, self._expires / 2.5) * 1e9),
        }
        if self._group is not None:
            request["group"] = self._group
            if self._pin is not None:
                request["id"] = self._pin
        self.asked += count
        self._heard = now
        try:
            await self._client.publish(self._subject, json.dumps(request).encode(), self._inbox)
        except (nats.errors.Error, OSError) as error:
            self.asked -= count
            raise connection_error(error, self._auth) from error

    def forget_requests(self) -> None:
        """After a reconnection: the server has forgotten what was asked."""
        self.asked = 0
        self._not_before = 0.0
        self._pin = None
        self.epoch = next(_epochs)
        self._on_change()

    @property
    def silent(self) -> bool:
        """Whether the server owes us heartbeats and sends none."""
        return self.asked > 0 and time.monotonic() - self._heard > 2.5 * HEARTBEAT_SECONDS

    async def close(self) -> None:
        """Take no more messages. Those already on their way are still delivered, before the end."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            await self._client.unlisten(subscription, drain_seconds=_DRAIN_SECONDS)

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

    def _received(self, subject: bytes, reply: bytes, block: bytes, data: bytes) -> None:
        self._heard = time.monotonic()
        headers = parse_headers(block) if block else {}
        if "Status" in headers and not reply:
            self._status(headers)
            return
        if not reply.startswith(b"$JS.ACK."):
            return  # a flow-control request; pull consumers send none
        self.asked = max(0, self.asked - 1)
        pin = headers.get(_PIN)
        if pin is not None and pin != self._pin:
            self._pin = pin
            self.epoch = next(_epochs)
            self._on_change()
        self._on_delivery(Delivery(self, subject, reply, headers, data))

    def _status(self, headers: Mapping[str, str]) -> None:
        """A request ended, or still lives (100)."""
        status, text = headers["Status"], headers.get("Description", "")
        if status == "100":
            return
        # What the ended request still wanted; a server that does not say ended all we know of.
        self.asked = max(0, self.asked - int(headers.get("Nats-Pending-Messages", self.asked)))
        lowered = text.lower()
        if status == "503" or "consumer deleted" in lowered or "push based" in lowered:
            self.failure = NatsError(
                f"durable consumer {self._durable!r} of stream {self._stream!r} at "
                f"{self._auth.address} does not answer: {text or 'no responders'}",
                reason=Reason.CONSUMER_MISSING,
            )
        elif status == _WRONG_PIN:
            self._pin = None  # another reader has it; ask as one who waits for it
        elif status not in ("404", "408"):
            self._not_before = time.monotonic() + _REFUSED_PAUSE_SECONDS
        self._on_change()
