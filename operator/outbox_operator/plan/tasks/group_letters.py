"""Dead letters of a consumer group in tasks: which there were, and how far a task is. Pure.

A letter goes in the same step in which its event is given to the group again: nobody has to find
out afterwards whether that was done.
"""

from __future__ import annotations

from outbox_operator.plan.tasks.letters import Remembered

NO_LONGER_KEPT_TEXT = (
    "the entry is not in its stream any more (trimmed, deleted, or the key was made anew), and "
    "Redis gives a group nothing else. kubectl outbox replay sends events again from the rows that "
    "are kept; then purge the letter"
)


class GroupSelection(Remembered):
    """The letters of a consumer that there were when the task began."""

    key: str
    """Where they are."""
    up_to: str
    """Id of the last one: what dies again comes behind it."""


class GroupWhere(Remembered):
    """How far a task is in the letters of a consumer. They are counted first."""

    counted: bool = False
    after: str | None = None
    """All up to this id are counted; then: done, or have failed, or are in the batch."""
    up_to: str | None = None
    """The last one within `limit`."""
    missing: tuple[int, ...] | None = None
    """Which of the ids that were asked for have not been seen yet; None: at the start."""
    batch: tuple[str, ...] = ()
    """Ids of those that are about to be done: what of them is gone was done."""
    stopped: tuple[str, ...] = ()
    """Hashes of keys with a letter that could not be handed over."""
