"""The pull side of JetStream: ask for messages, answer for each, store dead letters.

Called by the consumer runtime. Speaks the documented pull protocol through the driver's plain
publish and subscribe, because the driver's `fetch` cannot ask for more while messages arrive.
Decides nothing: whether a message is acknowledged, repeated or buried is the caller's choice.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js.errors import NoStreamResponseError

from outbox_operator.adapters.nats import (
    NOT_ENABLED_CODES,
    NatsAuth,
    connection_error,
    jetstream_error,
    no_jetstream,
)
from outbox_operator.errors import NatsError, OutboxError

HEARTBEAT_SECONDS: Final = 5.0
_EXPIRES_SECONDS: Final = 30.0
_API_SECONDS: Final = 5.0
_REFUSED_PAUSE_SECONDS: Final = 1.0
"""After a refused pull request, so that a full or electing server is not asked in a hot loop."""
_DURABLE_MISSING: Final = 10014
_STREAM_MISSING: Final = 10059


@dataclass(frozen=True, slots=True)
class Delivery:
    """One delivery of one message; exactly one final answer is due.

    Attributes:
        deliveries: How often the message was delivered, this time included.
        stored: When the stream took it.
    """

    subject: str
    headers: Mapping[str, str]
    data: bytes
    stream: str
    sequence: int
    deliveries: int
    stored: dt.datetime
    _client: Client
    _auth: NatsAuth
    _reply: str

    async def ack(self) -> None:
        """The message is done.

        Raises:
            NatsError: The connection is gone; the message will come again.
        """
        await self._answer(b"+ACK")

    async def nak(self, seconds: float = 0.0) -> None:
        """Deliver it again, after `seconds`.

        Raises:
            NatsError: The connection is gone; the message will come again after ackWait.
        """
        delay = json.dumps({"delay": int(seconds * 1e9)}) if seconds > 0 else ""
        await self._answer(f"-NAK {delay}".strip().encode())

    async def term(self, reason: str) -> None:
        """Never deliver it again.

        Raises:
            NatsError: The connection is gone; the message will come again.
        """
        await self._answer(f"+TERM {' '.join(reason.split())}".encode())

    async def in_progress(self) -> None:
        """Restart the clock of ackWait.

        Raises:
            NatsError: The connection is gone.
        """
        await self._answer(b"+WPI")

    async def store_copy(self, subject: str, headers: Mapping[str, str]) -> None:
        """Publish the payload elsewhere and wait until a stream has it.

        Raises:
            NatsError: No stream takes the subject, the message is too large, or NATS is away.
        """
        doing = f"copy of {self.stream}:{self.sequence} on {subject!r}"
        try:
            js = self._client.jetstream(domain=self._auth.domain, timeout=_API_SECONDS)
            await js.publish(subject, self.data, headers=dict(headers))
        except NoStreamResponseError as error:
            raise NatsError(
                f"{doing}: no stream takes this subject at {self._auth.address}",
                reason="DeadLetterStreamMissing",
            ) from error
        except (TimeoutError, nats.errors.Error, OSError) as error:
            raise jetstream_error(error, self._auth, self._client, doing) from error

    async def _answer(self, verb: bytes) -> None:
        try:
            await self._client.publish(self._reply, verb)
        except (nats.errors.Error, OSError) as error:
            raise connection_error(error, self._auth) from error


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
    """

    def __init__(
        self,
        client: Client,
        auth: NatsAuth,
        stream: str,
        durable: str,
        *,
        on_delivery: Callable[[Delivery], None],
        on_change: Callable[[], None],
    ) -> None:
        self._client = client
        self._auth = auth
        self._stream = stream
        self._durable = durable
        self._on_delivery = on_delivery
        self._on_change = on_change
        self._subscription: Subscription | None = None
        self._subject = f"{_api(auth)}.CONSUMER.MSG.NEXT.{stream}.{durable}"
        self._largest_batch = 0
        self._expires = _EXPIRES_SECONDS
        self._heard = 0.0
        self._not_before = 0.0
        self.asked = 0
        self.failure: OutboxError | None = None

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
            NatsError: It does not exist (reason ConsumerMissing or StreamMissing), is not a pull
                consumer with explicit acknowledgements, or NATS does not answer.
        """
        await self.close()
        await self.verify()
        try:
            inbox = self._client.new_inbox()
            self._subscription = await self._client.subscribe(
                inbox, cb=self._received, pending_msgs_limit=-1, pending_bytes_limit=-1
            )
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
        subject = f"{_api(self._auth)}.CONSUMER.INFO.{self._stream}.{self._durable}"
        try:
            # By hand, because the driver's answer leaves out the limits of pull requests.
            answer = json.loads((await self._client.request(subject, timeout=_API_SECONDS)).data)
        except (TimeoutError, nats.errors.Error, OSError, ValueError) as error:
            raise jetstream_error(error, self._auth, self._client, where) from error
        self._check(answer.get("error"), where)
        config = answer["config"]
        if config.get("deliver_subject"):
            raise NatsError(f"{where}: wanted a pull consumer, found push", reason="WrongConsumer")
        if config.get("ack_policy") != "explicit":
            raise NatsError(
                f"{where}: ackPolicy: wanted explicit, found {config.get('ack_policy')}",
                reason="WrongConsumer",
            )
        self._largest_batch = int(config.get("max_batch", 0))
        self._expires = min(_EXPIRES_SECONDS, config.get("max_expires", 0) / 1e9 or math.inf)

    def _check(self, error: Mapping[str, Any] | None, where: str) -> None:
        if error is None:
            return
        code = error.get("err_code")
        if code == _STREAM_MISSING:
            raise NatsError(
                f"stream {self._stream!r} does not exist at {self._auth.address}",
                reason="StreamMissing",
            )
        if code == _DURABLE_MISSING:
            raise NatsError(
                f"{where} does not exist at {self._auth.address}", reason="ConsumerMissing"
            )
        if code in NOT_ENABLED_CODES:
            raise no_jetstream(self._auth)
        raise NatsError(
            f"{where}: refused by NATS at {self._auth.address}: {error.get('description')} "
            f"(error {code})",
            reason="JetStreamError",
        )

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
        request = {
            "batch": count,
            "expires": int(self._expires * 1e9),
            "idle_heartbeat": int(min(HEARTBEAT_SECONDS, self._expires / 2.5) * 1e9),
        }
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
        self._on_change()

    @property
    def silent(self) -> bool:
        """Whether the server owes us heartbeats and sends none."""
        return self.asked > 0 and time.monotonic() - self._heard > 2.5 * HEARTBEAT_SECONDS

    async def close(self) -> None:
        """Take no more messages. Those already on their way are still delivered, before the end."""
        subscription, self._subscription = self._subscription, None
        if subscription is None or not self.connected:
            return
        try:
            await asyncio.wait_for(subscription.drain(), _API_SECONDS)  # type: ignore[no-untyped-call]
        except (TimeoutError, nats.errors.Error, OSError):
            return  # the connection went at the same time, and the subscription with it

    async def _received(self, message: Msg) -> None:
        self._heard = time.monotonic()
        headers = message.headers or {}
        if "Status" in headers and not message.reply:
            self._status(headers)
            return
        if not message.reply.startswith("$JS.ACK."):
            return  # a flow-control request; pull consumers send none
        self.asked = max(0, self.asked - 1)
        facts = message.metadata
        self._on_delivery(
            Delivery(
                subject=message.subject,
                headers=headers,
                data=message.data,
                stream=facts.stream,
                sequence=facts.sequence.stream,
                deliveries=facts.num_delivered,
                stored=facts.timestamp,
                _client=self._client,
                _auth=self._auth,
                _reply=message.reply,
            )
        )

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
                reason="ConsumerMissing",
            )
        elif status not in ("404", "408"):
            self._not_before = time.monotonic() + _REFUSED_PAUSE_SECONDS
        self._on_change()


def _api(auth: NatsAuth) -> str:
    return f"$JS.{auth.domain}.API" if auth.domain else "$JS.API"
