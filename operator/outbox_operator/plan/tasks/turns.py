"""Whose turn it is: tasks that exclude each other run one after the other. Pure.

The one that is at work comes first, then the oldest. One that is suspended lets the others go by.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from outbox_operator.plan.tasks.traits import LOOKS, Excludes


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A task that is not at its end and not suspended.

    Attributes:
        created: When it was made, RFC 3339.
        family: UID of the pipeline that it is about or that its target belongs to; without one, of
            its target.
        target: UID of its target.
        working: Whether it is at work.
    """

    uid: str
    name: str
    created: str
    family: str
    target: str
    excludes: Excludes
    working: bool = False


def ahead_of(mine: Turn, others: Iterable[Turn]) -> list[Turn]:
    """The tasks that have to end before this one may begin, the first of them first.

    Whoever asks leaves out those that wait for something else themselves.
    """
    if mine.working or mine.excludes == "nothing":
        return []
    rivals = (one for one in others if one.uid != mine.uid and exclude(mine, one))
    before = _precedence(mine)
    return sorted((one for one in rivals if _precedence(one) < before), key=_precedence)


def exclude(one: Turn, other: Turn) -> bool:
    """Whether two tasks must not run beside each other."""
    both = {one.excludes, other.excludes}
    if "nothing" in both or one.family != other.family:
        return False
    if both & LOOKS:
        return len(both) == 1
    return "pipeline" in both or one.target == other.target


def _precedence(turn: Turn) -> tuple[bool, str, str]:
    return not turn.working, turn.created, turn.uid
