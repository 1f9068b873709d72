"""Reads one durable consumer: its limits, its messages, an answer for each, dead letters.

Called by the consumer runtime. Decides nothing: whether a message is acknowledged, repeated or
made a dead letter is the caller's choice.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import nats.errors

from outbox_operator.adapters.nats.api import JetStreamApi
from outbox_operator.adapters.nats.auth import NatsAuth
from outbox_operator.adapters.nats.driver import Denial, WireClient
from outbox_operator.adapters.nats.errors import connection_error, denied
from outbox_operator.adapters.nats.fault_kinds import FaultKind
from outbox_operator.adapters.nats.frame_reader import NO_RESPONDERS
from outbox_operator.adapters.nats.pull_requests import (
    EXPIRES_SECONDS,
    PulledMessage,
    PullRequests,
)
from outbox_operator.adapters.source import Others, Unanswered
from outbox_operator.errors import AccessDeniedError, NatsError, OutboxError
from outbox_operator.reasons import Reason
from outbox_operator.wire.durable import Durable

_ANSWERS: Final = "$JS.ACK.>"
_NOTHING_HANDLED: Final = "nothing is handled, for no acknowledgement would count"
_CONFIRM_SECONDS: Final = 5.0
_MOST_LISTED: Final = 10_000
_CONFIRM_AGAIN_SECONDS: Final = 1.0
_LARGEST_BACKLOG_BYTES: Final = 4 * 1024 * 1024
"""Answers kept while the connection is down; what does not fit comes again."""


class Delivery(PulledMessage):
    """One delivery of one message; exactly one final answer is due."""

    __slots__ = ()

    _source: PullConsumer

    @property
    def stored_ns(self) -> int:
        """The same in nanoseconds since 1970."""
        return int(self._stored_ns)

    @property
    def durable(self) -> Durable:
        """What it came through."""
        return self._source.durable

    @property
    def number(self) -> int:
        """How the stream counts it."""
        return self.sequence

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
        # Without a delay only the memory of the server, or of the leader, knows of it: a restart
        # forgets it, and the message comes after ackWait. A delay is stored with the consumer.
        delay = max(1, int(seconds * 1e9))
        self._source.answer(self._reply, f'-NAK {{"delay": {delay}}}'.encode())

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

    async def confirm(self) -> None:
        """See `PullConsumer.confirm`."""
        await self._source.confirm()

    async def store_copy(self, subject: str, headers: Mapping[str, str]) -> bool:
        """Publish the payload elsewhere and wait until a stream has it.

        Raises:
            NatsError: No stream takes the subject, the message is too large, or NATS is away.
        """
        # Whose copy, the caller knows; so all that one missing right concerns say the same.
        await self._source.store(subject, self.data, headers, doing="copy")
        return True


class PullConsumer(PullRequests):
    """Reads one durable consumer. `open` it, then `request` as many messages as can be handled.

    Args:
        client: A connection; may be lost and come back at any time. It is the reader's for good:
            answers are watched as long as it lasts, since a handler may end at any time.
        auth: Its login, for messages.
        stream: Name of the stream.
        durable: Name of the durable consumer.
        on_delivery: Called for each message, in order of arrival.
        on_change: Called when `requested` or `failure` changed.
        on_refused: Called with the sequence of a message when the server refused an answer to
            it. `failure` says so too.

    Attributes:
        auth: As given.
        most_in_flight: Messages the server lets be unanswered over all readers.
        ack_wait: Seconds after which a message comes again that nobody speaks of; infinite before
            the server was asked.
        ack_all: Whether an acknowledgement counts for all earlier messages too.
        durable: What is read.
        unanswered_before: Messages that were delivered, to anybody, and not answered for, when the
            server was last asked for the durable consumer.
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
        on_refused: Callable[[int], None],
    ) -> None:
        super().__init__(
            JetStreamApi(client, auth), stream, durable,
            on_message=on_delivery, on_change=on_change,
        )  # fmt: skip
        self.auth = auth
        self._stream = stream
        self._durable = durable
        self._where = f"durable consumer {durable!r} of stream {stream!r}"
        self._on_refused = on_refused
        self._every_answer = f"$JS.ACK.{stream}.{durable}.>"
        self._trial = f"$JS.ACK.{stream}.{durable}.1.0.0.0.0"
        """Subject of an answer that shows whether answers are accepted."""
        self._trying = False
        self._nobody = False
        """Whether nobody took the trial."""
        self._answers: list[bytes] = []
        self._flushing = False
        self.most_in_flight = 0
        self.ack_wait = math.inf
        self.ack_all = False
        self.durable = Durable(stream, "", "", one_reader=False)
        self.unanswered_before = 0
        client.on_denied("publish", _ANSWERS, self._answer_denied)

    @property
    def largest_message(self) -> int:
        """Bytes of payload and headers that the server takes of one message."""
        return int(self._client.max_payload)

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
        await self.listen()
        await self._try_rights()

    async def others(self) -> Others:
        """See `Source`: durable consumers of the stream, or streams where that is not there."""
        verb, kind = f"CONSUMER.NAMES.{self._stream}", f"durable consumers of {self._stream}"
        found = await self._listed(verb, "consumers", FaultKind.STREAM_MISSING)
        if found is not None:
            return Others(kind, found)
        return Others("streams", await self._listed("STREAM.NAMES", "streams") or ())

    async def _listed(self, verb: str, names: str, *absent: FaultKind) -> tuple[str, ...] | None:
        """Names of all pages that a server answers with; None: as `Api.find`."""
        listed: tuple[str, ...] = ()
        while len(listed) < _MOST_LISTED:
            found = await self._api.find(verb, {"offset": len(listed)}, self._where, *absent)
            if found is None:
                return None
            page, total = _names(found.get(names)), found.get("total")
            listed += page
            if not page or not isinstance(total, int) or len(listed) >= total:
                break
        return listed

    async def _try_rights(self) -> None:
        """Find out whether we may ask and answer, before there is a message to answer for.

        Raises:
            AccessDeniedError: We may not.
            NatsError: See `open`.
        """
        self._trying, self._nobody = True, False
        try:
            # An answer for a message that nobody has, and a request that says not where to: a
            # server that accepts them does nothing. It takes what we send in order, so its
            # complaints are here before its answer to what `verify` asks behind them, and so is
            # the word that nobody takes answers.
            self._client.enqueue(
                f"PUB {self._trial} {self._inbox} 4\r\n+WPI\r\n"
                f"PUB {self._subject} 0\r\n\r\n".encode(),
                2,
            )
            await self.verify()
        finally:
            self._trying = False
        if self.failure is not None:
            raise self.failure
        if self._nobody:
            raise AccessDeniedError(
                f"{self._where}: {_NOTHING_HANDLED}: nobody at {self._auth.address} takes "
                f"{self._every_answer}; an account that imports a stream's API from another "
                "needs an import of this subject too, and the other one an export"
            )

    def _status(self, headers: Mapping[str, str]) -> None:
        if self._trying and headers["Status"] == NO_RESPONDERS:
            self._nobody = True  # there is no other request yet
            return
        super()._status(headers)

    def _answer_denied(self, denial: Denial) -> None:
        if not self._trying or denial.subject != self._trial:
            # Try what it looks like from now on, in case that some answers are allowed.
            self._trial = denial.subject
            refused = PulledMessage(self, b"", denial.subject.encode(), {}, b"")
            self._on_refused(refused.sequence)
        # Told as one: the subjects differ from message to message.
        every = replace(denial, subject=self._every_answer)
        self.fail(denied(every, self._auth, f"{self._where}: {_NOTHING_HANDLED}"))

    async def confirm(self) -> None:
        """Wait until the server has taken, or refused, each answer given so far.

        Raises:
            NatsError: The connection is closed for good.
        """
        while True:
            self.flush()
            try:
                await self._client.confirm(_CONFIRM_SECONDS)
            except (TimeoutError, nats.errors.Error, OSError) as error:
                if self.closed:
                    raise connection_error(error, self._auth) from error
                await asyncio.sleep(_CONFIRM_AGAIN_SECONDS)
            else:
                return

    def fail(self, error: OutboxError) -> None:
        """Say why nothing can arrive any more."""
        self.failure = error
        self._on_change()

    async def verify(self) -> None:
        """Ask the server for the durable consumer and take over its limits.

        Raises:
            NatsError: See `open`.
        """
        answer = await self._info()
        config = answer["config"]
        if config.get("deliver_subject"):
            raise NatsError(
                f"{self._where}: wanted a pull consumer, found push", reason=Reason.WRONG_CONSUMER
            )
        if config.get("ack_policy") not in ("explicit", "all"):
            raise NatsError(
                f"{self._where}: ackPolicy: wanted explicit or all, "
                f"found {config.get('ack_policy')}",
                reason=Reason.WRONG_CONSUMER,
            )
        if int(config.get("max_deliver") or -1) > 0:
            raise NatsError(
                f"{self._where}: maxDeliver: wanted -1, found {config['max_deliver']}: attempts "
                "are counted here, and what the server gives up is no dead letter; say "
                "`maxDeliver: -1` where the durable consumer is declared",
                reason=Reason.WRONG_CONSUMER,
            )
        self.ack_wait = config["ack_wait"] / 1e9
        self.ack_all = config["ack_policy"] == "all"
        self.unanswered_before = int(answer["num_ack_pending"])
        self.most_in_flight = int(config.get("max_ack_pending") or -1)
        self._largest_batch = int(config.get("max_batch", 0))
        self._largest_bytes = int(config.get("max_bytes", 0))
        self._expires = min(EXPIRES_SECONDS, config.get("max_expires", 0) / 1e9 or math.inf)
        self._group = None
        if config.get("priority_policy") == "pinned_client":
            self._group = config["priority_groups"][0]
            # Asking anew keeps the pin; a reader that waits too long loses it.
            self._expires = min(self._expires, config["priority_timeout"] / 1e9 / 2)
        filters = config.get("filter_subjects") or [config.get("filter_subject") or ""]
        self.durable = Durable(
            self._stream,
            created=str(answer["created"]),
            filter=" ".join(sorted(filters)),
            one_reader=self._group is not None or self.most_in_flight == 1,
        )

    async def in_the_way(self) -> int:
        """See `Source`: the server counts what all readers have."""
        return (await self.unanswered()).count

    async def unanswered(self) -> Unanswered:
        """What is delivered, to anybody, and not answered for, as the server saw it lately.

        Raises:
            NatsError: As `open`.
        """
        answer = await self._info()
        return Unanswered(
            count=int(answer["num_ack_pending"]), after=int(answer["ack_floor"]["stream_seq"])
        )

    async def _info(self) -> Mapping[str, Any]:
        verb = f"CONSUMER.INFO.{self._stream}.{self._durable}"
        return await self._api.request(verb, None, self._where)

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
        """Publish a dead letter and wait until a stream has it.

        Raises:
            NatsError: No stream takes the subject, the message is too large even without most of
                what we add, or NATS is away.
        """
        await self._api.publish_letter(
            subject, data, headers, doing, nobody=Reason.DEAD_LETTER_STREAM_MISSING
        )


def _names(listed: object) -> tuple[str, ...]:
    """Names in an answer of a server that may say anything."""
    return tuple(map(str, listed)) if isinstance(listed, list) else ()
