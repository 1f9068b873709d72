"""What goes into a run of messages, what comes out of it, and what is known of the stream."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from outbox_operator.adapters.nats.fault_kinds import FaultKind
from outbox_operator.reasons import Reason


class Message(NamedTuple):
    """A message to publish. Each character of subject and head is a byte (Latin-1), so that
    their lengths are those on the wire; text beyond ASCII comes as the bytes of its UTF-8.

    Attributes:
        subject: Without wildcards and whitespace.
        head: The whole header block, from `NATS/1.0` to the empty line, without the headers
            that a run adds. Has to hold `Nats-Msg-Id` in an ordered run.
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

    def lines(self) -> str:
        """The headers that make the server check it, as a `Message` holds its head."""
        subject = self.subject.encode().decode("latin-1")
        return (
            f"Nats-Expected-Last-Subject-Sequence: {self.sequence}\r\n"
            f"Nats-Expected-Last-Subject-Sequence-Subject: {subject}\r\n"
        )


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a message was not stored.

    Attributes:
        reason: CamelCase word, for metrics.
        text: For a person.
        kind: What the stream's own error means; OTHER when the refusal is not the stream's.
    """

    reason: Reason
    text: str
    kind: FaultKind = FaultKind.OTHER


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


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """What a stream accepts and what its servers can do.

    Attributes:
        subjects: Its subject filters.
        max_message_bytes: Headers and payload together; the smaller of stream and server.
        retention: In NATS's words: limits, interest or workqueue.
        duplicate_window_seconds: How long it knows a message id.
        fast: Whether it takes fast-ingest batches.
        fences: Whether it can check a `Fence`, keeps the messages that a fence speaks of, and
            nobody checks the fence once more.
        republishes: Whether it publishes what it stores once more, headers and all. A stream that
            takes these copies would check them against itself, and refuse them.
        unfit: The setting because of which no event can be stored as it is sent; empty: none.
        created: RFC 3339; differs after it was deleted and made anew.
    """

    stream: str
    subjects: tuple[str, ...]
    max_message_bytes: int
    retention: str
    duplicate_window_seconds: float
    fast: bool
    fences: bool
    republishes: bool
    unfit: str
    created: str
