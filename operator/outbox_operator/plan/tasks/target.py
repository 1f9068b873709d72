"""Whether a task may work on what it names: there, the same, in peace, its owner's. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from outbox_operator.api import meta
from outbox_operator.api.resource import Meta, Task, parse_meta
from outbox_operator.api.v1alpha1.task import TaskTarget
from outbox_operator.errors import DependencyError, TaskFailedError
from outbox_operator.plan.ownership import CONFLICTS
from outbox_operator.plan.tasks.traits import traits_of
from outbox_operator.reasons import Reason

Body = Mapping[str, Any]
DATABASE: Final = "database"
"""In what a task remembers of its start: which database had the outbox."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """It may.

    Attributes:
        family: UID of the pipeline that it belongs to, or its own.
    """

    target: TaskTarget
    family: str


@dataclass(frozen=True, slots=True)
class Waits:
    """Not now; the message says what to do."""

    reason: Reason
    message: str
    target: TaskTarget | None = None


@dataclass(frozen=True, slots=True)
class Never:
    """It never will."""

    reason: Reason
    message: str


def look_at(task: Task, body: Body | None, above: Body | None) -> Ready | Waits | Never:
    """Decide.

    Args:
        task: Its status says which target it had, if it had one.
        body: The object that has the name of its target, if there is one.
        above: The pipeline that made that, if one did.
    """
    kind, name = task.spec.target
    what, had = f"{kind} {name}", task.status.target
    if body is None:
        if had is not None:
            return Never(Reason.TARGET_GONE, _gone(what, "was deleted"))
        text = f"{what} does not exist in this namespace (yet): make it, or delete this task"
        return Waits(Reason.TARGET_NOT_FOUND, text)
    found = parse_meta(body)
    if had is not None and found.uid != had.uid:
        return Never(Reason.TARGET_GONE, _gone(what, "was deleted and made anew"))
    if found.deleted_at is not None:
        return Never(Reason.TARGET_GONE, _gone(what, "is being deleted"))
    target = TaskTarget(kind=kind, name=name, uid=found.uid)
    traits = traits_of(task.spec)
    waits = _disturbed(what, body, above) if traits.changes else None
    if traits.changes or task.spec.verify is not None:
        waits = waits or _moving(what, body)
    waits = waits or _behind(body, traits.schema)
    if waits is not None:
        return Waits(waits.reason, waits.message, target)
    return Ready(target=target, family=family_of(body))


def family_of(body: Body) -> str:
    """UID of the pipeline that an object is, or belongs to; without one, its own."""
    owners = body["metadata"].get("ownerReferences") or ()
    pipelines = (
        one["uid"] for one in owners if one.get("controller") and one["kind"] == meta.PIPELINE
    )
    return str(next(pipelines, body["metadata"]["uid"]))


def _moving(what: str, body: Body) -> Waits | None:
    """Whether a person has still to decide about a move to other servers."""
    status = body.get("status") or {}
    said = (status.get("pendingMove") or {}).get("text")
    if body["kind"] in (meta.CONSUMER, meta.STREAM):  # held back with its stream, or by its inbox
        held = (
            one.get("message")
            for one in status.get("conditions") or ()
            if one.get("reason") in (Reason.APPROVAL_PENDING, Reason.PLAN_REJECTED)
        )
        said = said or next(held, None)
    if not said:
        return None
    name, namespace = body["metadata"]["name"], body["metadata"].get("namespace")
    short = {meta.CONSUMER: "evc/", meta.STREAM: "evs/"}.get(body["kind"], "")
    return Waits(
        Reason.APPROVAL_PENDING,
        f"{what} is to move, and this waits until that is decided: {said.rstrip('.')}. "
        f"kubectl outbox plan show {short}{name} -n {namespace}",
    )


def check_database(pipeline: Meta, found: str, *, known: str | None, began: str | None) -> None:
    """See that a task works where its outbox is, and where it began.

    Args:
        pipeline: Its target.
        found: Which database its Secret leads to.
        known: Which one has the outbox, by the status of the pipeline; None: it does not say.
        began: Which one had it when the task began; None: it has not begun.

    Raises:
        DependencyError: The Secret leads elsewhere, and nothing is decided yet.
        TaskFailedError: The outbox has moved since.
    """
    if known is not None and found != known:
        raise DependencyError(
            f"the Secret of OutboxPipeline {pipeline.name} leads to another database (identity "
            f"{found}) than the one that has the outbox (identity {known}): see its condition "
            f"SchemaApplied. kubectl outbox plan show {pipeline.name} -n {pipeline.namespace}",
            reason=Reason.APPROVAL_PENDING,
        )
    if began is not None and found != began:
        raise TaskFailedError(
            f"the outbox is in another database now (identity {found}); what is done was done in "
            f"the one of before (identity {began}). Make a new task if one is needed",
            reason=Reason.TARGET_GONE,
        )


def _behind(body: Body, needed: int) -> Waits | None:
    """Whether the tables of a pipeline are of a version before, as far as its status says."""
    schema = (body.get("status") or {}).get("schema") or {}
    found = schema.get("currentVersion")
    if body["kind"] != meta.PIPELINE or found is None or found >= needed:
        return None
    name, namespace = body["metadata"]["name"], body["metadata"]["namespace"]
    of = f"{name} -n {namespace}"
    plan = (schema.get("pendingPlan") or {}).get("hash")
    if plan is None:
        how = f"its migrations have not run yet: kubectl outbox status {of}"
    else:
        how = (
            f"plan {plan} has to run first. kubectl outbox plan show {of} says what it does, "
            f"kubectl outbox plan approve {name} {plan} -n {namespace} lets it"
        )
    return Waits(
        Reason.MIGRATIONS_MISSING,
        f"the tables of OutboxPipeline {name} are of schema version {found}, and this needs "
        f"{needed}; {how}",
    )


def _gone(what: str, how: str) -> str:
    return f"{what} {how}; what this task did until then stays. Make a new task if one is needed"


def _disturbed(what: str, body: Body, above: Body | None) -> Waits | None:
    for one in (body, above):
        if one is not None and parse_meta(one).paused:
            whose = f"{one['kind']} {one['metadata']['name']}"
            return Waits(
                Reason.PAUSED,
                f"{whose} is paused, and nothing is changed there; end that with kubectl annotate "
                f"{one['kind'].lower()} {one['metadata']['name']} {meta.PAUSE_ANNOTATION}-",
            )
    for condition in (body.get("status") or {}).get("conditions") or ():
        if condition.get("reason") in CONFLICTS:
            return Waits(
                Reason(condition["reason"]),
                f"{what} does not have what it declares for itself, see its conditions: "
                f"{condition.get('message') or condition['reason']}",
            )
    return None
