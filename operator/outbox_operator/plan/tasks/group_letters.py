"""Dead letters of a consumer group in tasks: which there were, and how far a task is. Pure.

A letter goes in the same step in which its event is given to the group again: nobody has to find
out afterwards whether that was done.
"""

from __future__ import annotations

from outbox_operator.plan.tasks.letters import Counted, Remembered

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


class GroupWhere(Counted):
    """How far a task is in the letters of a consumer. Places are ids of entries."""

    after: str | None = None
    up_to: str | None = None
    batch: tuple[str, ...] = ()
    """Ids of those that are about to be done: what of them is gone was done."""
    stopped: tuple[str, ...] = ()
    """Hashes of keys with a letter that could not be handed over."""
