"""The documented pull protocol of JetStream: requests for messages, and what becomes of them.

Used by `pull_consumer` and `tail`. nats-py's `fetch` cannot ask for more while messages arrive and
costs several times more per message.
"""

from __future__ import annotations

import datetime as dt
import itertools
import json
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, Literal

import nats.errors
from nats.aio.subscription import Subscription

from outbox_operator.adapters.nats.api import JetStreamApi
from outbox_operator.adapters.nats.driver import Denial, OnDenied
from outbox_operator.adapters.nats.errors import connection_error, denied
from outbox_operator.adapters.nats.frame_reader import NO_RESPONDERS, parse_headers
from outbox_operator.errors import NatsError, OutboxError
from outbox_operator.reasons import Reason

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS: Final = 5.0
EXPIRES_SECONDS: Final = 30.0
_DRAIN_SECONDS: Final = 5.0
_REFUSED_PAUSE_SECONDS: Final = 1.0
"""After a refused pull request, so that a full or electing server is not asked in a hot loop."""
_PIN: Final = "Nats-Pin-Id"
_HEARTBEAT: Final = "100"
_NOTHING_NOW: Final = frozenset({"404", "408"})
_WRONG_PIN: Final = "423"
_COMPLETED: Final = "Batch Completed"
"""What a request with a bound on its bytes ends with that got all its messages."""
_BYTES_USED: Final = "Message Size Exceeds MaxBytes"
"""The next message is larger than what a request has left of its bytes."""
_epochs: Final = itertools.count(1)
"""No two readers of a process have an epoch in common."""


class PulledMessage:
    """A message as a consumer delivers it.

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
        source: Any,
        subject: bytes,
        reply: bytes,
        headers: Mapping[str, str],
        data: bytes,
    ) -> None:
        # $JS.ACK.<stream>.<consumer>.<deliveries>.<sequence>.<consumer's own>.<time>.<pending>
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
        """Subject the message is stored under; bytes that are no UTF-8 are U+FFFD."""
        return self._subject.decode(errors="replace")

    def when_stored(self) -> dt.datetime:
        """When the stream took it."""
        return dt.datetime.fromtimestamp(int(self._stored_ns) / 1e9, dt.UTC)


class PullRequests:
    """Requests to one pull consumer of a stream. `listen`, then `request` messages.

    Args:
        api: The connection; may be lost and come back at any time.
        stream: Name of the stream.
        consumer: Name of its consumer.
        expires_seconds: How long a request stays open.
        on_message: Called for each message, in order of arrival, with one of `message`.
        on_change: Called when requests ended, `failure` or `epoch` changed.

    Attributes:
        requested: Messages that were requested and did not arrive yet.
        failure: Why nothing can arrive any more until `listen` is called again; None while it can.
        refusal: Why the last request ended before its time, in the server's words; or nothing.
        out_of_bytes: Whether the last request ended because the next message is larger than what it
            had left of its bytes.
        epoch: Changes when messages may have gone elsewhere meanwhile: a new connection, or a
            pin of the priority group that is new or gone.
    """

    message: ClassVar[type[PulledMessage]] = PulledMessage
    """What is made of a message."""

    def __init__(
        self,
        api: JetStreamApi,
        stream: str,
        consumer: str,
        *,
        expires_seconds: float = EXPIRES_SECONDS,
        on_message: Callable[[Any], None],
        on_change: Callable[[], None],
    ) -> None:
        self._api = api
        self._client = api.client
        self._auth = api.auth
        self._where = f"consumer {consumer!r} of stream {stream!r}"
        self._on_message = on_message
        self._on_change = on_change
        self._group: str | None = None
        self._pin: str | None = None
        self._subscription: Subscription | None = None
        self._forget: list[Callable[[], None]] = []
        self._inbox = ""
        self._subject = api.subject(f"CONSUMER.MSG.NEXT.{stream}.{consumer}")
        self._largest_batch = 0
        self._largest_bytes = 0
        self._expires = expires_seconds
        self._last_sign = 0.0
        self._not_before = 0.0
        self.requested = 0
        self.failure: OutboxError | None = None
        self.refusal = ""
        self.out_of_bytes = False
        self.epoch = next(_epochs)

    @property
    def connected(self) -> bool:
        """Whether the connection is up now."""
        return bool(self._client.is_connected)

    async def listen(self) -> None:
        """Be ready for messages; there is no request yet.

        Raises:
            OutboxError: The connection is closed.
        """
        inbox = self._client.new_inbox()
        self.failure = None
        self._watch("publish", self._subject, self._denied)
        self._watch("subscribe", inbox, self._denied)
        try:
            self._subscription = await self._client.listen(inbox, self._received)
        except (nats.errors.Error, OSError) as error:
            raise connection_error(error, self._auth) from error
        self._inbox = inbox
        self.forget_requests()

    async def close(self, *, drain_seconds: float = _DRAIN_SECONDS) -> None:
        """Take no more messages. Those already on their way are still delivered, before the end.

        Args:
            drain_seconds: How long they may take; 0: they are not waited for.
        """
        while self._forget:
            self._forget.pop()()
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            await self._client.unlisten(subscription, drain_seconds=drain_seconds)

    async def request(self, count: int, *, most_bytes: int | None = None) -> None:
        """Request up to `count` more messages. Does nothing right after a refusal.

        Args:
            count: How many.
            most_bytes: How many bytes they may have together; None: any number. A message that is
                larger than that by itself does not come.

        Raises:
            NatsError: The connection is closed for good.
        """
        now = time.monotonic()
        if now < self._not_before or not self.connected:
            return
        if self._largest_batch:
            count = min(count, self._largest_batch)
        body: dict[str, int | str] = {
            "batch": count,
            "expires": int(self._expires * 1e9),
            "idle_heartbeat": int(min(HEARTBEAT_SECONDS, self._expires / 2.5) * 1e9),
        }
        if most_bytes is not None:
            body["max_bytes"] = min(most_bytes, self._largest_bytes or most_bytes)
        if self._group is not None:
            body["group"] = self._group
            if self._pin is not None:
                body["id"] = self._pin
        self.requested += count
        self.out_of_bytes = False
        self._last_sign = now
        try:
            await self._client.publish(self._subject, json.dumps(body).encode(), self._inbox)
        except (nats.errors.Error, OSError) as error:
            self.requested -= count
            raise connection_error(error, self._auth) from error

    def forget_requests(self) -> None:
        """After a reconnection: the server has forgotten what was requested."""
        self.requested = 0
        self._not_before = 0.0
        self._pin = None
        self.epoch = next(_epochs)
        self._on_change()

    @property
    def silent(self) -> bool:
        """Whether the server owes us heartbeats and sends none."""
        return self.requested > 0 and time.monotonic() - self._last_sign > 2.5 * HEARTBEAT_SECONDS

    def _watch(
        self, action: Literal["publish", "subscribe"], subjects: str, on_denied: OnDenied
    ) -> None:
        """Hear of it, until `close`, when the server does not let us do something."""
        self._forget.append(self._client.on_denied(action, subjects, on_denied))

    def _denied(self, denial: Denial) -> None:
        self.failure = denied(denial, self._auth, self._where)
        self._on_change()

    def _received(self, subject: bytes, reply: bytes, block: bytes, data: bytes) -> None:
        self._last_sign = time.monotonic()
        headers = parse_headers(block) if block else {}
        if "Status" in headers and not reply:
            self._status(headers)
            return
        if not reply.startswith(b"$JS.ACK."):
            return  # a flow-control request; pull consumers send none
        if self.requested:
            self.requested -= 1
        pin = headers.get(_PIN)
        if pin is not None and pin != self._pin:
            self._pin = pin
            self.epoch = next(_epochs)
            self._on_change()
        try:
            self._on_message(self.message(self, subject, reply, headers, data))
        except Exception:
            # A bug of ours, which would end the task that reads the connection, without a word.
            log.exception("%s: message not taken, it comes again: %r", self._where, reply)

    def _status(self, headers: Mapping[str, str]) -> None:
        """A request ended, or still lives."""
        status, text = headers["Status"], headers.get("Description", "")
        if status == _HEARTBEAT or text == _COMPLETED:
            return
        # What the ended request still wanted; a server that does not say ended all we know of.
        self.requested = max(
            0, self.requested - int(headers.get("Nats-Pending-Messages", self.requested))
        )
        lowered = text.lower()
        if status == NO_RESPONDERS or "consumer deleted" in lowered or "push based" in lowered:
            self.failure = NatsError(
                f"{self._where} at {self._auth.address} does not answer: {text or 'no responders'}",
                reason=Reason.CONSUMER_MISSING,
            )
        elif status == _WRONG_PIN:
            self._pin = None  # another reader has it; ask as one who waits for it
            self.epoch = next(_epochs)
        elif text == _BYTES_USED:
            self.out_of_bytes = True
        elif status not in _NOTHING_NOW:
            self.refusal = f"{status} {text}".rstrip()
            self._not_before = time.monotonic() + _REFUSED_PAUSE_SECONDS
        self._on_change()
