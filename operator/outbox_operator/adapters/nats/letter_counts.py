"""How many dead letters there are for a durable consumer: counted anew when their stream changed.

Called by the controller and `outbox dev`. What the server gave up on is taken in before: its word
of that is in the same stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from outbox_operator.adapters.nats.admin import JetStreamAdmin
from outbox_operator.api.resource import Consumer
from outbox_operator.errors import OutboxError
from outbox_operator.plan.jetstream.streams import ObservedStream
from outbox_operator.plan.names import durable_name
from outbox_operator.plan.sources import Source


@dataclass(frozen=True, slots=True)
class LettersSeen:
    """The dead letters for a durable consumer.

    Attributes:
        count: How many; None: not known where they are; or why they could not be counted.
        stream: Their stream before they were counted; None: it was not there, or not seen.
        whole: Whether nothing is left to be taken in that may succeed another time.
    """

    count: int | OutboxError | None = None
    stream: ObservedStream | None = None
    whole: bool = True


NO_LETTERS: Final = LettersSeen()


_Where = tuple[str, str, str, str]
"""Source, dead-letter stream, prefix of its subjects, durable consumer."""


class LetterCounts:
    """Remembers, by UID of the EventConsumer, what was counted last."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[_Where, LettersSeen]] = {}

    async def look(self, resource: Consumer, source: Source, admin: JetStreamAdmin) -> LettersSeen:
        """Take in what the server gave up on, and count the letters.

        Args:
            resource: The EventConsumer.
            source: What it reads, with the stream of its letters.
            admin: Connection to its NATS.
        """
        name, prefix = source.dead_letter_stream, source.dead_letter_prefix
        if name is None or prefix is None:
            return NO_LETTERS
        uid, durable = resource.meta.uid, durable_name(resource)
        where = (source.stream, name, prefix, durable)
        known, before = self._seen.pop(uid, (None, NO_LETTERS))
        stream: ObservedStream | None = None
        try:
            stream = await admin.stream_info(name)
            # What the server takes no copy of today it may take tomorrow, and tells nobody.
            known = known if before.whole else None
            if stream is not None and not stream.messages:
                before = LettersSeen(0, stream)
            elif stream is None or (known, before.stream) != (where, stream):
                whole = True
                if not resource.meta.paused:
                    letters = admin.dead_letters(name)
                    await letters.collect(source.stream, durable, prefix)
                    whole = stream is None or not await letters.waiting(source.stream, durable)
                count = await admin.subject_message_count(name, f"{prefix}.{durable}")
                before = LettersSeen(count, stream, whole)
        except OutboxError as error:
            return LettersSeen(error, stream)
        if not resource.meta.paused:  # else nothing was taken in
            self._seen[uid] = where, before
        return before

    def forget(self, uid: str) -> None:
        """The object is gone."""
        self._seen.pop(uid, None)
