"""Dead letters in tasks: what is remembered between slices, and which keys stand still. Pure.

What a task writes down ends up in a status: numbers of letters, and of keys no more than a hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from outbox_operator.api.v1alpha1.task import OutboxTaskSpec
from outbox_operator.api.v1alpha1.task_actions import DeadLetterSelection
from outbox_operator.errors import TaskFailedError
from outbox_operator.plan.tasks.status import Progress
from outbox_operator.reasons import Reason

ModelT = TypeVar("ModelT", bound=BaseModel)

MOST_STOPPED_KEYS: Final = 1000
PATIENCE_SECONDS: Final = 30.0
"""So long a key may have events on their way before its letters are left where they are."""
KEY_STOPPED_TEXT: Final = "an earlier event of its key could not be sent again"


class Remembered(BaseModel):
    """Base of what is kept in a status."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Counted(Remembered):
    """How far a task is in letters that are counted before anything is done."""

    counted: bool = False
    after: int | str | None = None
    """All up to this place are counted; then: done, or have failed, or are in the batch."""
    up_to: int | str | None = None
    """The last one within `limit`."""
    missing: tuple[int, ...] | None = None
    """Which of the ids that were asked for have not been seen yet; None: at the start."""


class Unit(NamedTuple):
    """What is done in one go: a letter without a key, or all of a key."""

    position: int
    """Of the first letter of the key that was chosen."""
    letters: int


class OutboxSelection(Remembered):
    """The letters of an outbox that there were when the task began."""

    up_to: int
    """Position of the last one."""
    dead_until: datetime
    """By the clock of the database: a letter that dies again is not one of them."""
    database: str | None = None
    """Which one that is."""


class OutboxWhere(Remembered):
    """How far a task is in the letters of an outbox."""

    after: int = 0
    """All up to this position are done, or have failed, or are in the batch."""
    batch: tuple[Unit, ...] = ()
    """What was announced: may be done already."""
    since: datetime | None = None
    """When the batch was announced."""
    stopped: tuple[str, ...] = ()
    """Hashes of keys that could not be released, with letters that are counted already."""
    slow: int | None = None
    """Of the batch, the unit whose letters are so many that they are moved beside the passes."""


def wanted_letters(spec: OutboxTaskSpec) -> DeadLetterSelection:
    """Which letters a task is about that is about letters."""
    return spec.replayDeadLetters or spec.purgeDeadLetters or DeadLetterSelection()


def remembered(model: type[ModelT], kept: Mapping[str, Any]) -> ModelT:
    """What a status kept.

    Raises:
        TaskFailedError: It is not what this version writes.
    """
    try:
        return model.model_validate(kept)
    except ValidationError as error:
        raise TaskFailedError(
            f"what the status remembers of the work cannot be read: {error.error_count()} fields "
            "are not as this version writes them; delete this task and make a new one",
            reason=Reason.STATUS_UNREADABLE,
        ) from error


def kept(model: BaseModel) -> dict[str, Any]:
    """The same, to be kept."""
    return model.model_dump(mode="json", exclude_defaults=True)


def hashed(key: str) -> str:
    """A key that may be written down: not what it says, only whether it is another's."""
    return hashlib.blake2b(key.encode(errors="surrogatepass"), digest_size=8).hexdigest()


def with_missing(progress: Progress, wanted: DeadLetterSelection, ids: Iterable[str]) -> Progress:
    """Ids that are no dead letters are events that could not be done."""
    there = set(ids)
    return not_found(progress, [one for one in dict.fromkeys(wanted.ids) if one not in there])


def not_found(progress: Progress, missing: Sequence[str]) -> Progress:
    """The same, of ids of which it is known that there is no letter."""
    for one in missing:
        progress = progress.failing(one, Reason.NOT_FOUND, "is no dead letter of the target")
    return replace(progress, selected=(progress.selected or 0) + len(missing))


def units_of(
    letters: Iterable[tuple[int, str]], of_keys: Mapping[str, int], stopped: Iterable[str]
) -> tuple[Unit, ...]:
    """What to do about a page of letters of an outbox, in order.

    Args:
        letters: Position and key of each; without a key the text is empty.
        of_keys: How many letters each key has that were there when the task began.
        stopped: Hashes of keys that are left alone.
    """
    seen, left_alone = set[str](), set(stopped)
    found = []
    for position, key in letters:
        if not key:
            found.append(Unit(position, 1))
        elif key not in seen and hashed(key) not in left_alone:
            seen.add(key)
            found.append(Unit(position, of_keys.get(key, 1)))
    return tuple(found)


def stop(stopped: tuple[str, ...], key: str) -> tuple[str, ...]:
    """Hashes of keys that stand still, with one more; no key stands for no others."""
    if not key or hashed(key) in stopped:
        return stopped
    return (*stopped, hashed(key))


def is_enough(stopped: tuple[str, ...]) -> bool:
    """Whether a task gives up: the cause is none of single keys, and the status has an end."""
    return len(stopped) >= MOST_STOPPED_KEYS
