"""What a stream lost of what it had acknowledged, and how that is found out and said."""

from __future__ import annotations

import logging

from outbox_operator.adapters.sink import Sink, StreamFacts
from outbox_operator.counted import counted
from outbox_operator.errors import NatsError
from outbox_operator.reasons import Reason
from outbox_operator.relay.recovery import Tail
from outbox_operator.wire.cursors import stream_made_anew_text
from outbox_operator.wire.subjects import covers

log = logging.getLogger(__name__)


class StreamRolledBackError(NatsError):
    """The stream ends before messages that it had acknowledged: its server lost them.

    Attributes:
        last_sequence: Up to here all messages are those that we know.
        messages: How many it lost, at most.
        created: When the stream was created.
    """

    reason = Reason.STREAM_ROLLED_BACK

    def __init__(self, stream: str, created: str, last_sequence: int, known: int) -> None:
        self.last_sequence = last_sequence
        self.messages = known - last_sequence
        self.created = created
        super().__init__(
            f"stream {stream} has lost up to {counted(self.messages, 'message')} that "
            "it had acknowledged: it "
            f"ended at sequence {known} and went on from {last_sequence}"
        )


def made_anew(facts: StreamFacts) -> str:
    """Say that the stream is another one of the same name."""
    return f"{Reason.STREAM_RECREATED}: {stream_made_anew_text(facts.stream, facts.created)}"


async def check_end(
    sink: Sink, subjects: str, facts: StreamFacts, tail: Tail, known: int, last: int
) -> None:
    """Find out why our messages end before one that the stream had acknowledged.

    Args:
        sink: Asks the stream.
        subjects: Ours.
        facts: Of the stream.
        tail: Knows our messages.
        known: Sequence of the message that was acknowledged.
        last: Sequence of the last message on our subjects, before `known`.

    Raises:
        StreamRolledBackError: The server lost it.
        OutboxError: The stream does not answer.
    """
    end = await sink.last_sequence(subjects)
    if end >= known:
        there = await sink.message_at(subjects, known)
        if there is None or covers(subjects, there.subject) or tail.is_ours(there.headers):
            return  # messages were deleted or expired, or we publish on other subjects now
        end = last  # others have published there since
    raise StreamRolledBackError(facts.stream, facts.created, end, known)


def dropped(sent: int, before: int, last: int) -> int:
    """Return how many acknowledged messages of a fenced run the stream does not hold.

    It knew their ids from others: behind a fence nobody else has sent them. What others sent to
    other subjects meanwhile may hide some.

    Args:
        sent: Messages of the run.
        before: Sequence of the last message on our subjects before the run.
        last: Of the last one after it.
    """
    return max(0, sent - max(0, last - before))


def say_dropped(subjects: str, events: int) -> None:
    """Say that a stream dropped events that it had acknowledged."""
    log.error(
        "the stream of %s acknowledged at least %s that it dropped, since it knew their "
        "message ids: other rows have the same event_id", subjects, counted(events, "event"),
    )  # fmt: skip
