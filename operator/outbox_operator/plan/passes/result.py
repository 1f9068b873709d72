"""What a pass comes to: the parts as they stand, and the status to write. Pure values.

A pass over an object goes one way. The reconciler gathers what there is into a frozen value, the
module of the kind beside this one plans steps over it, the reconciler carries them out, and the
same module makes the result of object, observation, plan and what was applied.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.v1alpha1.common import StatusBase
from outbox_operator.errors import OutboxError
from outbox_operator.plan.status.conditions import Part, failed, ok, waiting
from outbox_operator.plan.status.sampled import NOTHING, Sampled
from outbox_operator.plan.steps import Applied, Change, Step, failure
from outbox_operator.reasons import Reason

T = TypeVar("T")
StatusT = TypeVar("StatusT", bound=StatusBase)


@dataclass(frozen=True, kw_only=True)
class PassPlan(Generic[T]):
    """What to do about one or several parts.

    Attributes:
        parts: Parts that stand whatever the steps do, in order of cause.
        steps: In order.
        problem: What keeps the plan from being whole. The steps are done all the same.
    """

    parts: tuple[Part, ...] = ()
    steps: tuple[Step[T], ...] = ()
    problem: OutboxError | None = None

    def failure(self, applied: Iterable[Applied[T]]) -> OutboxError | None:
        """Why not everything could be done or planned."""
        return failure(applied) or self.problem


@dataclass(frozen=True, kw_only=True)
class PassResult(Generic[StatusT]):
    """What a pass found and did.

    Attributes:
        parts: One per part, in order of cause.
        status: The status to write; conditions and what all kinds share are added later.
        ready_reason: Reason of Ready when all is well.
        busy: Whether numbers move, so that the next look should come sooner.
        drifts: Kubernetes objects that somebody had changed or deleted and that were put back;
            to be counted in the status.
        corrections: What else was put back; the part it belongs to has counted it.
        acted_on: One-shot annotations to remove once the status is written.
        scaled: How the number of pods changed, and why.
        moves: What is elsewhere than it was, because the specification or a Secret says so.
        notices: What others did that stays so, each with its reason.
        sampled: The numbers to export.
    """

    parts: tuple[Part, ...]
    status: StatusT
    ready_reason: Reason = Reason.IN_SYNC
    busy: bool = False
    drifts: tuple[str, ...] = ()
    corrections: tuple[str, ...] = ()
    acted_on: frozenset[str] = frozenset()
    moves: tuple[str, ...] = ()
    scaled: tuple[str, ...] = ()
    notices: tuple[tuple[Reason, str], ...] = ()
    sampled: Sampled = NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFailure:
    """What went wrong at a database.

    Attributes:
        error: What.
        entered: Whether the database had let us in by then.
        worker: Whether it is the login of the pods that does not work; ours did.
    """

    error: OutboxError
    entered: bool
    worker: bool = False


def part_after(kind: ConditionType, applied: Iterable[Applied[Any]]) -> Part:
    """How a part stands after its steps: as wanted unless one was refused, failed or is frozen."""
    for one in applied:
        if one.error is not None:
            return failed(kind, one.error)
        if one.change is Change.FROZEN:
            text = f"{one.step.what} differs from the specification and is left so while paused"
            return waiting(kind, Reason.UPDATE_FROZEN, text)
    return ok(kind, Reason.IN_SYNC)
