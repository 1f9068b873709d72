"""Dead letters that a task was about to send, noted where it outlives that task. Pure.

The status of a task says what it has announced, and goes with the task. Whoever comes next has to
look whether those letters were sent, so they are noted on the EventConsumer as well. Anybody may
write there, and another version of ours: what is not understood is kept, and hides nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final

from pydantic import ConfigDict, Field, ValidationError

from outbox_operator.plan.tasks.letters import Remembered, hashed
from outbox_operator.plan.tasks.stream_letters import SourceSeen

MOST: Final = 10
"""Announcements that are kept, the oldest ones go: each is of a task that ended in the middle."""
_MOST_PARTS: Final = 300
"""Lists and objects in a note, which has three for each entry."""
_LONGEST: Final = 64 * 1024
_MOST_LETTERS: Final = 500
"""Of a batch: several times what one is announced with, and not too many to look for at once."""

_Sequence = Annotated[int, Field(gt=0, lt=2**63)]


class SourceNoted(SourceSeen):
    """A stream that letters came from; what a later version says of it is kept."""

    model_config = ConfigDict(extra="allow")

    first: int = Field(ge=0, lt=2**63)
    last: int = Field(ge=0, lt=2**63)


class Announced(Remembered):
    """A batch of one task. What a later version says of it is kept.

    Attributes:
        task: UID of the task.
        consumer: UID of the EventConsumer: annotations are copied with their objects.
        stream: The dead-letter stream.
        created: When that was made.
        batch: Sequences of the letters there.
        source: The stream that they came from, before the first of them was sent.
    """

    model_config = ConfigDict(extra="allow")

    task: str = Field(max_length=64)
    consumer: str
    stream: str
    created: str | None
    batch: tuple[_Sequence, ...] = Field(max_length=_MOST_LETTERS)
    source: SourceNoted | None

    @property
    def mark(self) -> str:
        """By what it is known again: the same task may announce others, and go by once more."""
        return hashed(f"{self.task} {self.batch}")


Entry = Announced | Mapping[str, Any]
"""One of the note; a mapping is one that this version does not understand."""


def announced(note: str | None) -> list[Entry] | None:
    """What an annotation says, which anybody may have written; None: it is no such note.

    Entries that are no objects are of no version of ours, and left out.
    """
    if not note:
        return []
    if len(note) > _LONGEST or note.count("[") + note.count("{") > _MOST_PARTS:
        return None
    try:
        found = json.loads(note)
    except ValueError:
        return None
    if not isinstance(found, list):
        return None
    return [_entry(one) for one in found if isinstance(one, dict)]


def _entry(found: Mapping[str, Any]) -> Entry:
    try:
        return Announced.model_validate(found)
    except ValidationError:
        return found


def noting(entries: Iterable[Entry]) -> str | None:
    """The annotation, no longer than it is read; None: there is nothing to say.

    What is not understood goes first when there is too much.
    """
    kept = [one for one in entries if not (isinstance(one, Announced) and not one.batch)]
    while kept:
        text = json.dumps([_written(one) for one in kept], sort_keys=True)
        if len(kept) <= MOST and len(text) <= _LONGEST:
            return text
        strange = (at for at, one in enumerate(kept) if not isinstance(one, Announced))
        del kept[next(strange, 0)]
    return None


def _written(one: Entry) -> Mapping[str, Any]:
    return one.model_dump(mode="json") if isinstance(one, Announced) else one


def with_announced(entries: Iterable[Entry], mine: Announced) -> list[Entry]:
    """A note with what a task announces in the place of what it said before.

    Args:
        entries: The note until then.
        mine: Without letters: the task has nothing more to say.
    """
    return [*(one for one in entries if not _is_of(one, mine)), mine]


def _is_of(one: Entry, mine: Announced) -> bool:
    """Whether it is the same task's, or of another consumer, from which it was copied."""
    if not isinstance(one, Announced):
        return False
    return one.task == mine.task or one.consumer != mine.consumer


def of_others(
    entries: Iterable[Entry], *, task: str, consumer: str, stream: str, created: str | None
) -> list[Announced]:
    """What other tasks have announced of the letters of a consumer that are there now."""
    return [
        one
        for one in entries
        if isinstance(one, Announced)
        and one.task != task
        and (one.consumer, one.stream, one.created) == (consumer, stream, created)
    ]
