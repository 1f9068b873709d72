"""Dead letters that a task was about to send, noted where it outlives that task. Pure.

The status of a task says what it has announced, and goes with the task. Whoever comes next has to
look whether those letters were sent, so they are noted on the EventConsumer as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final

from pydantic import ValidationError

from outbox_operator.plan.tasks.letters import Remembered
from outbox_operator.plan.tasks.stream_letters import SourceSeen

MOST: Final = 10
"""Announcements that are kept, the oldest ones go: each is of a task that ended in the middle."""
_LONGEST: Final = 64 * 1024


class Announced(Remembered):
    """A batch of one task.

    Attributes:
        task: UID of the task.
        stream: The dead-letter stream.
        created: When that was made.
        batch: Sequences of the letters there.
        source: The stream that they came from, before the first of them was sent.
    """

    task: str
    stream: str
    created: str | None
    batch: tuple[int, ...]
    source: SourceSeen | None


def announced(note: str | None) -> list[Announced]:
    """What an annotation says, which anybody may have written; nothing if it is of no use."""
    if not note or len(note) > _LONGEST:
        return []
    try:
        found = json.loads(note)
        return [Announced.model_validate(one) for one in found][:MOST]
    except (TypeError, ValueError, RecursionError, ValidationError):
        return []


def noting(ones: Iterable[Announced]) -> str | None:
    """The annotation; None: there is nothing to say."""
    kept = [one.model_dump(mode="json") for one in ones if one.batch]
    return json.dumps(kept[-MOST:], sort_keys=True) if kept else None


def of_others(
    ones: Iterable[Announced], task: str, stream: str, created: str | None
) -> list[Announced]:
    """What other tasks have announced of the letters that are there now."""
    return [
        one for one in ones if one.task != task and (one.stream, one.created) == (stream, created)
    ]
