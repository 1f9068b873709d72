"""Dead letters of a consumer in tasks: which are meant, may be sent, were sent. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from outbox_operator.api.v1alpha1.task_actions import DeadLetterSelection, moment
from outbox_operator.plan.jetstream.streams import ObservedStream
from outbox_operator.plan.tasks.letters import Counted, Remembered

_TWO_MINUTES: Final = 120.0
_SLICE_SECONDS: Final = 10.0
"""What is sent after the look at the stream arrives within that time."""


class StreamSelection(Remembered):
    """The letters of a consumer that there were when the task began."""

    stream: str
    """The dead-letter stream."""
    created: str | None
    """When that was made."""
    subject: str
    up_to: int
    """The last sequence that there was: what dies again comes behind it."""


class SourceSeen(Remembered):
    """A stream that letters came from, when a batch was announced."""

    created: str | None
    """When it was made."""
    first: int
    last: int
    """Sequences of its first and last message."""
    deleted: int
    """Messages between them that were gone."""


class StreamWhere(Counted):
    """How far a task is in the letters of a consumer. Places are sequences."""

    after: int = 0
    up_to: int | None = None
    batch: tuple[int, ...] = ()
    """Sequences that were announced: may be sent already."""
    since: datetime | None = None
    """When the batch was announced, by the server's clock."""
    source: SourceSeen | None = None
    """The stream at that time: what was sent is behind its last message."""
    stopped: tuple[str, ...] = ()
    """Hashes of keys with a letter that could not be sent."""
    noted: bool = False
    """Whether it is known which letters other tasks have sent that ended in the middle."""
    looked: tuple[str, ...] = ()
    """Marks of the announcements of which it is."""
    uncertain: tuple[int, ...] = ()
    """Sequences of those of which nobody can tell; they are listed already."""

    def announcing(self, batch: Iterable[int], source: ObservedStream) -> StreamWhere:
        """With a batch of letters, none of which is in the stream yet."""
        seen = SourceSeen(
            created=source.created,
            first=source.first_sequence,
            last=source.last_sequence,
            deleted=_deleted(source),
        )
        return self.model_copy(
            update={"batch": tuple(batch), "since": source.clock, "source": seen}
        )


def is_meant(
    wanted: DeadLetterSelection,
    *,
    event_id: str,
    event_type: str,
    key: str,
    reason: str,
    died: str,
) -> bool:
    """Whether a letter is one of those that a task is about.

    Args:
        wanted: What the task says.
        event_id: Id of the event.
        event_type: Its type.
        key: Its key.
        reason: Why it is dead.
        died: When, as its header says; a time that cannot be read is in no range.
    """
    if wanted.ids:
        return event_id in wanted.ids
    chosen = wanted.filter
    if chosen is None:
        return True
    for values, value in (
        (chosen.eventTypes, event_type),
        (chosen.keys, key),
        (chosen.reasons, reason),
    ):
        if values and value not in values:
            return False
    return _in_range(chosen.since, chosen.until, died)


def _in_range(since: str | None, until: str | None, died: str) -> bool:
    if since is None and until is None:
        return True
    try:
        at = moment(died)
    except ValueError:
        return False
    return (since is None or at >= moment(since)) and (until is None or at < moment(until))


def drops_copies(where: StreamWhere, source: ObservedStream) -> bool:
    """Whether a stream still drops what was sent twice since a batch was announced.

    By the server's clock alone: those of two operators may be far apart.
    """
    if where.source is None or where.since is None or source.clock is None:
        return False
    if where.source.created != source.created or source.clock < where.since:
        return False
    window = source.config.get("duplicate_window")
    seconds = window / 1e9 if isinstance(window, int) and window > 0 else _TWO_MINUTES
    return source.clock - where.since < timedelta(seconds=seconds - _SLICE_SECONDS)


def keeps_all(then: SourceSeen | None, source: ObservedStream) -> bool:
    """Whether a stream still has everything that was stored since it was seen.

    Messages that are gone are known by number only, and those at the start of the stream are not
    counted: with any, nothing is certain once the start has moved.
    """
    config, deleted = source.config, _deleted(source)
    per_subject = config.get("max_msgs_per_subject")
    return (
        then is not None
        and source.created == then.created
        and config.get("retention", "limits") == "limits"
        and not (isinstance(per_subject, int) and per_subject > 0)
        and source.first_sequence <= then.last + 1
        and deleted <= then.deleted
        and (deleted == 0 or source.first_sequence == then.first)
    )


def _deleted(source: ObservedStream) -> int:
    return source.last_sequence - max(source.first_sequence, 1) + 1 - source.messages
