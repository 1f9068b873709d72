"""What becomes of a task that approves or rejects a plan, by what its target's status says. Pure.

The task is only the word of a person: the pass over its target takes note of it, in
`status.approvals`, and acts on it. So a crash in between loses nothing, whichever of the two it is
that has not been written yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from outbox_operator.api import meta
from outbox_operator.api.resource import Task
from outbox_operator.api.v1alpha1.approval import Decision
from outbox_operator.api.v1alpha1.pipeline import OutboxPipelineStatus
from outbox_operator.api.v1alpha1.task import REFS
from outbox_operator.counted import counted
from outbox_operator.plan.passes.approval import Decided, Vote, outdone
from outbox_operator.plan.tasks.status import is_working

_SOONEST_SECONDS: Final = 1.0
_LATEST_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Noted:
    """The pass over the target has taken note; what it says then."""

    text: str


@dataclass(frozen=True, slots=True)
class Outdated:
    """There is no such plan (any more); which one there is."""

    text: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """The pass over the target has yet to take note; what waits, for people."""

    text: str


def vote_of(task: Task) -> Vote | None:
    """What a task says of a plan; None: it is about something else, or a dry run."""
    spec = task.spec
    asked = spec.approveMigration or spec.rejectMigration
    if asked is None or spec.dryRun:
        return None
    return Vote(
        task=task.meta.uid,
        name=task.meta.name,
        plan=asked.planHash,
        approves=spec.approveMigration is not None,
        by=spec.requestedBy,
        verified=bool(task.status.requestedByVerified),
        time=task.meta.created,
        reason=spec.rejectMigration.reason or None if spec.rejectMigration else None,
    )


def counts(body: Mapping[str, Any], kind: str, name: str) -> bool:
    """Whether a task, as the API server has it, is at work on an object's plans."""
    spec = body.get("spec") or {}
    if not (spec.get("approveMigration") or spec.get("rejectMigration")):
        return False
    if spec.get("suspend"):
        return False
    ref = next((spec.get(field) for field, of in REFS.items() if of == kind), None)
    conditions = (body.get("status") or {}).get("conditions") or ()
    return (ref or {}).get("name") == name and is_working(conditions)


def what_waits(target: Decided) -> Mapping[str, str]:
    """The plans of an object that wait for approval: what each is, by its hash."""
    status, found = target.status, {}
    if isinstance(status, OutboxPipelineStatus) and status.schema_ is not None:
        pending = status.schema_.pendingPlan
        if pending is not None:
            found[pending.hash] = counted(len(pending.statements), "statement")
    if status.pendingMove is not None:
        found[status.pendingMove.hash] = status.pendingMove.text
    return found


def look(target: Decided, task: Task) -> Noted | Outdated | Waiting:
    """How a task stands."""
    asked = task.spec.approveMigration or task.spec.rejectMigration
    assert asked is not None  # noqa: S101  (the framework chooses by the action)
    known = target.status.approvals
    noted = _of_task(known.history if known else (), task.meta.uid)
    if noted is not None:
        return Noted(_said(noted, target))
    vote = vote_of(task)
    if vote is not None and outdone(vote, known):
        return Noted(_replaced(asked.planHash, "Approved" if vote.approves else "Rejected"))
    what, above = f"{target.meta.kind} {target.meta.name}", target.meta.pipeline
    if target.meta.kind == meta.STREAM and above:
        return Outdated(f"{what} is made by OutboxPipeline {above}, on which its moves are decided")
    waiting = what_waits(target)
    if asked.planHash in waiting:
        return Waiting(waiting[asked.planHash])
    if not waiting:
        return Outdated(f"no plan of {what} waits for approval")
    return Outdated(
        f"plan {asked.planHash} of {what} does not wait for approval; what waits is plan "
        f"{' and plan '.join(sorted(waiting))}"
    )


def look_again_seconds(task: Task, now: datetime) -> float:
    """When to see again whether a pass has taken note: soon, and less often when it does not."""
    if task.status.startTime is None:
        return _SOONEST_SECONDS
    age = (now - datetime.fromisoformat(task.status.startTime)).total_seconds()
    return min(max(age / 4, _SOONEST_SECONDS), _LATEST_SECONDS)


def _of_task(history: Iterable[Decision], uid: str) -> Decision | None:
    return next((one for one in history if one.task == uid), None)


def _said(noted: Decision, target: Decided) -> str:
    if noted.state == "Replaced":
        return _replaced(noted.plan, noted.decision)
    if noted.decision == "Rejected":
        return f"plan {noted.plan} is rejected"
    if noted.state == "Done":
        return f"plan {noted.plan} is approved and carried out"
    return f"plan {noted.plan} is approved; the conditions of {target.meta.name} say how it goes"


def _replaced(plan: str, decision: str) -> str:
    return f"plan {plan} was {decision.lower()}, and somebody decided again after it"
