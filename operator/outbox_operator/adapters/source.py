"""What the consumer runtime asks of the place it reads from: a source, and deliveries out of it.

`consumer` knows these protocols and nothing of a driver; `consumer.sources` alone chooses one.
`adapters.nats.pull_consumer` is what a durable consumer of JetStream is, `adapters.redis.group` a
consumer group of Redis. What every one has to keep is tried by tests/contract/sources.

A source decides nothing: whether a message is done, repeated or a dead letter is said to it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from outbox_operator.errors import OutboxError
from outbox_operator.wire.durable import Durable


class Delivery(Protocol):
    """One delivery of one message; exactly one final answer is due: `ack`, `nak` or `term`.

    An answer is sent with the next batch of them. It raises a DependencyError if the connection is
    gone and none is kept: the message comes again.
    """

    @property
    def stream(self) -> str:
        """Name of the stream."""

    @property
    def sequence(self) -> int:
        """Which message of the source it is; of two that need an order the later has the larger."""

    @property
    def number(self) -> int:
        """How the stream itself counts it."""

    @property
    def deliveries(self) -> int:
        """How often the message was delivered, this time included."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers of the message."""

    @property
    def data(self) -> bytes:
        """Its payload."""

    @property
    def epoch(self) -> int:
        """That of its source when it came."""

    @property
    def subject(self) -> str:
        """What the message is stored under; bytes that are no UTF-8 are U+FFFD."""

    @property
    def durable(self) -> Durable:
        """What it came through."""

    def when_stored(self) -> dt.datetime:
        """When the stream took it, as far as it knows; the same for each delivery."""

    def replaces(self, other: Any) -> bool:
        """Whether an answer must be given to this one, because the other's connection is gone."""

    def ack(self) -> None:
        """The message is done; with `Source.ack_all`, so is every earlier one."""

    def nak(self, seconds: float = 0.0) -> None:
        """Deliver it again, after `seconds`."""

    def term(self, reason: str) -> None:
        """Never deliver it again."""

    def in_progress(self) -> None:
        """Restart the clock after which others are given it."""

    async def confirm(self) -> None:
        """See `Source.confirm`."""

    async def store_copy(self, subject: str, headers: Mapping[str, str]) -> bool:
        """Store the payload elsewhere, with other headers, and wait until it is there.

        Returns:
            Whether it was stored; not if somebody else has answered for the message meanwhile.

        Raises:
            OutboxError: Nothing takes it, it is too large, or the server is away.
        """


@dataclass(frozen=True, slots=True)
class Unanswered:
    """Messages that are delivered, to any reader, and not answered for.

    Attributes:
        count: How many.
        after: All have sequences above this.
    """

    count: int
    after: int

    def elsewhere(self, in_hand: Iterable[int]) -> int:
        """How many of them nobody has here; never too few.

        Args:
            in_hand: Sequences that were in hand before the server was asked and still are. What
                came later it may not have counted yet, and what was answered since is among them.
        """
        return self.count - sum(sequence > self.after for sequence in in_hand)


@dataclass(frozen=True, slots=True)
class Others:
    """What of a kind there is, `durable consumers` for example; as the server names them."""

    kind: str
    names: tuple[str, ...]


class Source(Protocol):
    """Reads on behalf of one named reader of a stream, whose progress the server keeps.

    `open` it, then `request` as many messages as can be handled. It reports each message, in order
    of arrival; that something changed; and the sequence of a message to which an answer was
    refused.
    """

    @property
    def requested(self) -> int:
        """Messages that were requested and did not arrive yet."""

    @property
    def failure(self) -> OutboxError | None:
        """Why nothing can arrive any more until `open` is called again; None while it can."""

    @property
    def epoch(self) -> int:
        """Changes when messages may have gone to other readers meanwhile."""

    @property
    def connected(self) -> bool:
        """Whether the connection is up now."""

    @property
    def silent(self) -> bool:
        """Whether the server owes us a sign of life and gives none; ask it with `verify`."""

    @property
    def most_in_flight(self) -> int:
        """Messages that may be unanswered, as `in_the_way` counts them, until no other comes; below
        1: any number."""

    @property
    def ack_wait(self) -> float:
        """Seconds after which a message comes again that nobody speaks of; infinite before the
        server was asked."""

    @property
    def ack_all(self) -> bool:
        """Whether an acknowledgement counts for all earlier messages too."""

    @property
    def durable(self) -> Durable:
        """What is read."""

    @property
    def unanswered_before(self) -> int:
        """Messages that were delivered, to anybody, and not answered for, when it was opened."""

    async def open(self) -> None:
        """Check that what is to be read exists, that we may read and answer, and listen.

        Raises:
            OutboxError: It does not exist (ConsumerMissing, StreamNotFound), is not fit, we may
                not, or the server is away.
        """

    async def others(self) -> Others:
        """What is there in place of what does not exist, as far as we may ask.

        Raises:
            OutboxError: We may not, or the server is away.
        """

    async def close(self) -> None:
        """Take no more messages; what is on its way is still delivered. Answers still count."""

    async def request(self, count: int) -> None:
        """Request up to `count` more messages.

        Raises:
            OutboxError: The connection is closed for good.
        """

    def forget_requests(self) -> None:
        """The server does not know any more what was requested."""

    def flush(self) -> None:
        """Hand the answers given so far to the connection."""

    async def confirm(self) -> None:
        """Wait until the server has taken, or refused, each answer given so far.

        Raises:
            OutboxError: The connection is closed for good.
        """

    async def verify(self) -> None:
        """Ask the server for what is read and take over its limits.

        Raises:
            OutboxError: See `open`.
        """

    async def in_the_way(self) -> int:
        """How many messages count towards `most_in_flight` now.

        Raises:
            OutboxError: As `open`.
        """

    async def unanswered(self) -> Unanswered:
        """What is delivered, to anybody, and not answered for, as the server saw it lately.

        Raises:
            OutboxError: As `open`.
        """
