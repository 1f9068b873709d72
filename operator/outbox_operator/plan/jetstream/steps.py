"""From a decision about a stream or a durable consumer to the step that carries it out. Pure."""

from __future__ import annotations

from typing import TypeVar

from outbox_operator.plan.jetstream.decide import Create, Decision, InSync, Refused, Update
from outbox_operator.plan.steps import Change, Step

T = TypeVar("T")


def step(
    what: str, decision: Decision, found: T | None, *, paused: bool, lost: str | None
) -> Step[T]:
    """The step for a decision.

    Args:
        what: "stream ORDERS".
        decision: What to do.
        found: The resource as it was found.
        paused: Whether nothing may be changed.
        lost: What is lost with it if it is not there, a clause; None: it was never there.
    """
    match decision:
        case InSync():
            return Step(what=what, change=Change.NOOP, wanted={}, found=found)
        case Refused(error=error):
            return Step(what=what, change=Change.NOOP, wanted={}, found=found, refused=error)
        case Create() | Update() if paused:
            return Step(what=what, change=Change.FROZEN, wanted={}, found=found)
        case Create(config=config):
            drift = None
            if lost is not None:
                drift = f"{what} was missing and has been created again{lost and '; '}{lost}"
            return Step(what=what, change=Change.CREATED, wanted=config, drift=drift)
        case Update(config=config, changes=changes, drift=drifted, adopted=adopted):
            text = f"{what} was changed and has been put back: "
            text += "; ".join(str(change) for change in changes)
            return Step(
                what=what,
                change=Change.PATCHED,
                wanted=config,
                found=found,
                drift=text if drifted else None,
                adopted=adopted,
            )
