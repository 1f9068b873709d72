"""The tail of a shard whose events had other subjects until now: its template was changed.

Called by `relay.stream`. What the relay before published there and did not save is not found on the
subjects of today; it lies behind the last event that the cursor knows of, among everybody's.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final, cast

from outbox_operator.adapters.sink import Sink, TailMessage
from outbox_operator.relay.recovery import Tail
from outbox_operator.wire.subjects import covers

MOST_READ: Final = 250_000
"""Sequences behind that event: more than others publish between two saves of a relay."""


async def last_one(
    sink: Sink, subjects: str, tail: Tail, known: int, last: int
) -> TailMessage | None:
    """Return the last event that the cursor knows of if it has a subject that is not ours.

    Args:
        sink: Asks the stream.
        subjects: Ours.
        tail: Knows our messages.
        known: Sequence of that event; 0: there is none.
        last: Sequence of the last message on our subjects.

    Raises:
        OutboxError: The stream does not answer.
    """
    if known in (0, last):
        return None
    there = await sink.message_at(subjects, known)
    if there is None or covers(subjects, there.subject) or not tail.is_ours(there.headers):
        return None
    return there


async def read(sink: Sink, subjects: str, tail: Tail, known: int, last: int) -> int:
    """Add what lies behind that event to the tail; takes arguments of `last_one`.

    Returns:
        Sequence of the last message on our subjects.

    Raises:
        OutboxError: The stream does not answer.
    """
    everybodys = cast("AsyncGenerator[TailMessage, None]", sink.tail(">", known))
    async with aclosing(everybodys) as messages:
        async for message in messages:
            ours = covers(subjects, message.subject)
            if ours:
                last = max(last, message.sequence)
            if ours or tail.is_ours(message.headers):
                tail.add(message.sequence, message.subject, message.headers)
            if message.sequence - known > MOST_READ:
                break
    return last
