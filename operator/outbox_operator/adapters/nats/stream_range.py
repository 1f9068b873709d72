"""Reads the messages of a range of a stream, without their payloads, for a comparison with rows.

Called by the controller for a `verify` task. Needs the right to STREAM.MSG.GET, CONSUMER.CREATE and
CONSUMER.MSG.NEXT of the stream.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime

from outbox_operator.adapters.nats.admin import JetStreamAdmin
from outbox_operator.adapters.sink import TailMessage


class StreamRange:
    """Messages of one stream on some subjects. Every method raises NatsError.

    Args:
        admin: The connection.
        stream: Name of the stream.
        subject_filter: Only these subjects.
    """

    def __init__(self, admin: JetStreamAdmin, stream: str, subject_filter: str) -> None:
        self._admin = admin
        self._stream = stream
        self._filter = subject_filter

    async def sequence_of(self, moment: datetime, first: int, last: int) -> int:
        """The first sequence that was stored at a moment or later, one behind the last if none was.

        Args:
            moment: Aware.
            first: First sequence of the stream.
            last: Last one.
        """
        low, high = first, last + 1
        while low < high:
            middle = (low + high) // 2
            found = await self._admin.first_message(self._stream, self._filter, middle)
            if found is None or found.sequence >= high or found.stored_at >= moment:
                high = middle
            else:
                low = found.sequence + 1
        return low

    def messages(self, after: int) -> AsyncIterator[TailMessage]:
        """All messages behind a sequence, up to the last there is now."""
        return self._admin.tail(self._stream).read(self._filter, after)
