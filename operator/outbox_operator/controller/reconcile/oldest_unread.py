"""How old the oldest message is that a durable consumer has not handled.

The server says how many wait and up to where all is done, but not since when. The first message
behind that, which the consumer is given, is asked for by a request of its own: only while
something waits, and once as long as it is the same message.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from outbox_operator.adapters.nats.admin import JetStreamAdmin, StoredMessage
from outbox_operator.errors import OutboxError
from outbox_operator.plan.jetstream.consumers import ObservedConsumer

log = logging.getLogger(__name__)

MOST_FILTERS: Final = 8
"""Each filter is a request, because the server looks for one at a time."""
PAUSE_SECONDS: Final = 60.0
"""After a failure: a login without the right to ask, or a message of many megabytes, stays so."""


@dataclass(slots=True)
class _Found:
    """What was found for one durable consumer, by filter."""

    created: str | None
    first: dict[str, StoredMessage] = field(default_factory=dict)
    ask_from: float = 0.0
    """When it may be asked for again after a failure, in monotonic seconds."""


class OldestUnread:
    """Remembers, by UID of the EventConsumer, what was found last."""

    def __init__(self) -> None:
        self._found: dict[str, _Found] = {}

    async def seconds(
        self, uid: str, admin: JetStreamAdmin, consumer: ObservedConsumer, first_sequence: int
    ) -> float | None:
        """The age; 0 when nothing waits, None when it cannot be told.

        Args:
            uid: Of the EventConsumer.
            admin: Connection to its NATS.
            consumer: The durable consumer as it is now.
            first_sequence: Of the oldest message in its stream.
        """
        if not consumer.pending and not consumer.ack_pending:
            self.forget(uid)
            return 0.0
        filters = consumer.filters or (">",)
        # Which messages come is not told by the filters alone then.
        if len(filters) > MOST_FILTERS or consumer.config.get("deliver_policy") == _PICKED:
            return None
        found = self._found.get(uid)
        if found is None or found.created != consumer.created:
            found = self._found[uid] = _Found(consumer.created)
        if time.monotonic() < found.ask_from:
            return None
        start = max(consumer.ack_floor + 1, first_sequence)
        try:
            oldest = await _oldest(admin, consumer.stream, filters, start, found.first)
        except OutboxError as error:
            log.info("the oldest message for %s is not known: %s", consumer.name, error)
            found.ask_from = time.monotonic() + PAUSE_SECONDS
            return None
        if oldest is None:
            return None  # it went meanwhile
        return max(0.0, (datetime.now(UTC) - oldest.stored_at).total_seconds())

    def forget(self, uid: str) -> None:
        """The object is gone, or nothing waits for it."""
        self._found.pop(uid, None)


_PICKED: Final = "last_per_subject"


async def _oldest(
    admin: JetStreamAdmin,
    stream: str,
    filters: Sequence[str],
    start: int,
    known: dict[str, StoredMessage],
) -> StoredMessage | None:
    """The first message from a sequence on that one of the filters lets through."""
    for gone in known.keys() - set(filters):
        del known[gone]
    for one in filters:
        before = known.get(one)
        if before is None or before.sequence < start:
            found = await admin.first_message(stream, one, start)
            if found is None:
                known.pop(one, None)
            else:
                known[one] = found
    some = [known[one] for one in filters if one in known]
    return min(some, key=lambda message: message.sequence, default=None)
