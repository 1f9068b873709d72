"""Conditions that are not well, without what only follows from them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from outbox_operator.api import meta
from outbox_operator.api.conditions import INFORMING, Condition, ConditionType
from outbox_operator.api.resource import Meta
from outbox_operator.cli.cluster.facts import Trouble
from outbox_operator.cli.cluster.report import moment
from outbox_operator.cli.cluster.seen import Seen, SeenConsumer, SeenPipeline, SeenStream
from outbox_operator.plan.advice import beyond_status, next_step
from outbox_operator.plan.standing import held_text, standing_still_for
from outbox_operator.reasons import Reason

_SUMMARIES: Final = frozenset(
    {ConditionType.READY, ConditionType.RECONCILING, ConditionType.STALLED}
)
_NOT_LOOKED_AT: Final = "not looked at"


def of_pipeline(
    pipeline: SeenPipeline,
    stream: SeenStream | None,
    consumers: Sequence[SeenConsumer],
    tasks: Sequence[Mapping[str, Any]],
) -> tuple[Trouble, ...]:
    """Those of a pipeline, its stream and its consumers, and the tasks these stand still for."""
    children = [] if stream is None else troubles_of(stream)
    for consumer in consumers:
        children += of_consumer(consumer, tasks)
    said = {one.reason for one in children}
    inherited = (ConditionType.STREAM_READY, ConditionType.CONSUMERS_READY)
    # A part that only repeats what a child says of itself is said once, there.
    kept = [
        one for one in troubles_of(pipeline) if not (one.type in inherited and one.reason in said)
    ]
    if pipeline.meta.paused:  # and so are they
        children = [one for one in children if one.type != ConditionType.PAUSED]
    return (*kept, *children)


def of_consumer(consumer: SeenConsumer, tasks: Sequence[Mapping[str, Any]]) -> list[Trouble]:
    """Those of a consumer, the task that holds its pods first."""
    owner, found = consumer.meta, troubles_of(consumer)
    task = standing_still_for(owner.uid, tasks)
    if task is None:
        return found
    pods = condition(consumer.status.conditions, ConditionType.WORKLOAD_AVAILABLE)
    held = Trouble(
        kind=owner.kind,
        name=owner.name,
        type=ConditionType.WORKLOAD_AVAILABLE,
        status="False",
        reason=Reason.WAITS_FOR_TASK,
        message=held_text(task, owner.namespace, tasks),
        since=moment(pods.lastTransitionTime) if pods else None,
        next=next_step(Reason.COMPLETED, meta.TASK, owner.namespace, task),
    )
    return [held, *(one for one in found if one.type != held.type)]


def troubles_of(seen: Seen[Any]) -> list[Trouble]:
    """The conditions of one object that are not well, without what only follows from them."""
    found = []
    for one in seen.status.conditions:
        if one.type in _SUMMARIES or one.message.startswith(_NOT_LOOKED_AT):
            continue
        if (one.status == "True") if one.type in INFORMING else (one.status != "True"):
            found.append(_trouble(seen.meta, one))
    # A part is Unknown because of another one, which says more.
    found = [one for one in found if one.status != "Unknown"] or found
    ready = condition(seen.status.conditions, ConditionType.READY)
    if ready is not None and ready.status != "True" and not found:
        found.append(_trouble(seen.meta, ready))
    return found


def _trouble(owner: Meta, one: Condition) -> Trouble:
    return Trouble(
        kind=owner.kind,
        name=owner.name,
        type=one.type,
        status=one.status,
        reason=one.reason,
        message=one.message,
        since=moment(one.lastTransitionTime),
        next=beyond_status(one.reason, owner.kind, owner.namespace, owner.name),
    )


def condition(conditions: Iterable[Condition], type_: ConditionType) -> Condition | None:
    """The condition of a type."""
    return next((one for one in conditions if one.type == type_), None)
