"""What the relay asks of the place it publishes to: a sink, and runs of messages into it.

`relay` knows these protocols and nothing of a driver; `relay.sinks` alone chooses one.
`adapters.nats.publisher` is the sink that JetStream is. What every one has to keep is tried by
tests/contract/sinks, and docs/explanation/add-a-sink.md says how to write another.

A sink is one connection, and lives as long as that: after a loss it is closed and a new one
opened, so that nothing of the old one's send buffer can follow later messages. It decides nothing
about retries.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from outbox_operator.errors import OutboxError
from outbox_operator.reasons import Reason


class Message(NamedTuple):
    """A message to publish. Each character of subject and head is a byte (Latin-1), so that
    their lengths are those on the wire; text beyond ASCII comes as the bytes of its UTF-8.

    Attributes:
        subject: Without wildcards and whitespace.
        head: The whole header block, from `NATS/1.0` to the empty line, without the headers
            that a run adds; as the dearest sink puts it on the wire, others take it apart. Has to
            hold `Nats-Msg-Id` in an ordered run, unless that is fenced and the stream `exact`.
        payload: As it is.
    """

    subject: str
    head: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Fence:
    """Who else published since we last looked is not to be followed.

    Attributes:
        subject: Filter of the subjects that only we publish to.
        sequence: Of the last message there, 0 when there is none.
    """

    subject: str
    sequence: int


@dataclass(frozen=True, slots=True)
class Owner:
    """Who publishes for a shard: one relay after another.

    Attributes:
        name: Of the shard, the same for each of them, and no other's. Letters and digits.
        epoch: A later owner has a greater one.
    """

    name: str
    epoch: int


class RefusalKind(enum.Enum):
    """What a refusal of the sink itself means, as far as somebody acts on it."""

    OTHER = enum.auto()
    """Nothing that we know of; time may help."""
    TOO_LARGE = enum.auto()
    """The message is larger than the sink ever takes."""
    FENCE_BROKEN = enum.auto()
    """The last message on our subjects is not the one we named."""
    INTERLEAVED = enum.auto()
    """Somebody else published in between; there is no harm in sending it again."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a message was not stored.

    Attributes:
        reason: CamelCase word, for metrics.
        text: For a person.
        kind: What the sink's own error means; OTHER when the refusal is not the sink's.
    """

    reason: Reason
    text: str
    kind: RefusalKind = RefusalKind.OTHER


@dataclass(frozen=True, slots=True)
class Sent:
    """The end of a run.

    Attributes:
        count: So many leading messages are stored for certain.
        refusal: Why not all are; it is about the first that is not. None: all are.
        last_sequence: Of the last stored message in the stream. None: not known, because it was
            a duplicate or its acknowledgement is missing; look it up.
        acked_at: When the last of the stored was acknowledged, in seconds since 1970.
    """

    count: int
    refusal: Refusal | None
    last_sequence: int | None
    acked_at: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamFacts:
    """What a stream accepts and what its servers can do.

    Attributes:
        stream: Its name.
        subjects: Its subject filters.
        max_message_bytes: Headers and payload together; the smaller of stream and server.
        keeps_tail: Whether the last messages stay although they were consumed.
        duplicate_window_seconds: How long it knows a message id.
        fences: Whether it can check a `Fence`, keeps the messages that a fence speaks of, and
            nobody checks the fence once more.
        republishes: Whether it publishes what it stores once more, headers and all. A stream that
            takes these copies would check them against itself, and refuse them.
        unfit: The setting because of which no event can be stored as it is sent; empty: none.
        created: RFC 3339; differs after it was deleted and made anew.
        taken: Numbers of events up to this one are taken, whoever took them; 0: any will do.
        exact: Whether what runs behind a fence have stored is told by the end of the stream alone,
            so that their messages need no id.
    """

    stream: str
    subjects: tuple[str, ...]
    max_message_bytes: int
    keeps_tail: bool
    duplicate_window_seconds: float
    fences: bool
    republishes: bool
    unfit: str
    created: str
    taken: int = 0
    exact: bool = False


@dataclass(frozen=True, slots=True)
class TailMessage:
    """A message of the stream without its payload."""

    sequence: int
    subject: str
    headers: Mapping[str, str]


class SinkRun(Protocol):
    """Messages in their order, on their way. Not for use by several tasks at once."""

    @property
    def acked(self) -> int:
        """So many leading messages are stored for certain."""

    @property
    def acked_at(self) -> float:
        """When the last of them was acknowledged, in seconds since 1970."""

    @property
    def refused(self) -> bool:
        """Whether it is known that not everything will be stored; `finish` says why."""

    async def send(self, messages: Sequence[Message], *, last: bool = False) -> None:
        """Send messages, waiting while too much is in flight; returns early once refused.

        In an ordered run nothing behind a refused message is stored.

        Args:
            last: Nothing comes after these.
        """

    async def finish(self) -> Sent:
        """Wait for the fate of all that was sent. Trouble with the server is the refusal."""

    def abandon(self) -> None:
        """End the run at once; what becomes of the messages on their way is not known."""


class Sink(Protocol):
    """One connection to one stream. Each `subjects` is the filter of those of one shard."""

    @property
    def address(self) -> str:
        """Where the server is, safe to show."""

    @property
    def lost(self) -> bool:
        """Whether the connection is gone; this sink is of no use then."""

    def on_lost(self, callback: Callable[[], None]) -> None:
        """Call `callback` once when the connection is lost for whatever reason but `close`."""

    def lost_error(self) -> OutboxError:
        """The loss as an error."""

    def end_if_outdated(self) -> None:
        """End as if the connection were lost when its login is not the one of now.

        Raises:
            CredentialsError: The login cannot be read.
        """

    async def facts(self, subjects: str) -> StreamFacts:
        """Ask about the stream; runs opened from now on go by the answer.

        Raises:
            OutboxError: No such stream (reason StreamNotFound), or the request failed.
        """

    def open_run(
        self,
        *,
        owner: Owner,
        fence: Fence | None,
        ordered: bool,
        subjects: str,
        on_ack: Callable[[int, float], None] | None = None,
    ) -> SinkRun:
        """Begin a run; `facts` must have been asked before, and again after a refusal.

        Args:
            owner: Who publishes.
            fence: To be checked by the stream before it stores the first message.
            ordered: Whether the messages must be stored in the order they are sent in.
            subjects: Filter of what it will publish.
            on_ack: Told each time messages are acknowledged: how many, and the seconds since the
                last of them was sent.
        """

    async def shut_out(self, owner: Owner, subjects: str, last: TailMessage | None) -> bool:
        """See that nothing gets stored that this owner, or one before it, has on its way.

        Called by this owner before it publishes. Where there is no message yet, the fence alone
        may have to do.

        Args:
            last: The last message on these subjects; None: there is none.

        Returns:
            Whether there may be more now than the last.

        Raises:
            OutboxError: It is not known whether that is so.
        """

    async def last_of(self, subjects: str) -> TailMessage | None:
        """The last message on these subjects; None: there is none. Raises as `facts`."""

    async def last_sequence(self, subjects: str) -> int:
        """The sequence of the last message that the stream ever took, whatever became of it.

        Raises:
            OutboxError: As `facts`.
        """

    async def message_at(self, subjects: str, sequence: int) -> TailMessage | None:
        """The message at a sequence; None: there is none (any more). Raises as `facts`."""

    def tail(self, subjects: str, after_sequence: int) -> AsyncIterator[TailMessage]:
        """The messages on these subjects behind a sequence, in order, to the last there is now.

        Raises:
            OutboxError: As `facts`, and when the reading stops before the last.
        """

    async def listen(
        self, subject: str, callback: Callable[[], None], accepted: Callable[[], None]
    ) -> OutboxError:
        """Call `callback` for each nudge on `subject`, whatever it says.

        Args:
            accepted: Called once the server lets us.

        Returns:
            That it does not, or does not any more.

        Raises:
            OutboxError: The connection is lost.
        """

    async def close(self) -> None:
        """End the connection at once; messages on the way may or may not arrive."""
