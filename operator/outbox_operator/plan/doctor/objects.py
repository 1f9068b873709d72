"""What the resources say of themselves: conditions, samples, deletion, tasks. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from outbox_operator.api import meta
from outbox_operator.api.conditions import INFORMING, ConditionType
from outbox_operator.plan.advice import SHORT, next_step, step_or_look
from outbox_operator.plan.amounts import span
from outbox_operator.plan.doctor.findings import (
    Check,
    Finding,
    error,
    info,
    warning,
)
from outbox_operator.plan.kubernetes.contest import managers
from outbox_operator.plan.standing import held_text, standing_still_for
from outbox_operator.reasons import Reason

Body = Mapping[str, Any]

TASK: Final = "OutboxTask"
_TASKS: Final = "obt"
_SUMMARIES: Final = frozenset(
    {ConditionType.READY, ConditionType.RECONCILING, ConditionType.STALLED}
)
_OF_CHILDREN: Final = {
    meta.STREAM: ConditionType.STREAM_READY,
    meta.CONSUMER: ConditionType.CONSUMERS_READY,
}
"""A pipeline's condition that repeats what its child of this kind says."""
SEEN_SECONDS: Final = 60.0
"""A change that the operator has not seen by then, it does not see."""
SAMPLE_SECONDS: Final = 900.0
"""Quiet resources are confirmed every few minutes."""
DELETION_SECONDS: Final = 300.0
TASK_SECONDS: Final = 3600.0
"""A task that is at work for longer, or waits, is worth a look."""


def check_objects(bodies: Sequence[Body], now: datetime) -> Iterator[Finding]:
    """What is not well with pipelines, streams, consumers and tasks.

    Args:
        bodies: As the API server has them.
        now: The time.
    """
    by_owner: dict[str, set[str]] = {}
    findings: dict[str, list[Finding]] = {}
    tasks = [body for body in bodies if body["kind"] == TASK]
    for body in bodies:
        if body["kind"] != meta.PIPELINE:
            found = list(_check(body, now, frozenset()))
            if body["kind"] == meta.CONSUMER:
                found += _standing(body, tasks)
            findings[body["metadata"]["uid"]] = found
            owner = _owner(body)
            if owner and any(one.check is Check.NOT_WELL for one in found):
                by_owner.setdefault(owner, set()).add(body["kind"])
    for body in bodies:
        if body["kind"] == meta.PIPELINE:
            uid = body["metadata"]["uid"]
            said = frozenset(_OF_CHILDREN[kind] for kind in by_owner.get(uid, ()))
            findings[uid] = list(_check(body, now, said))
    for body in bodies:
        yield from findings[body["metadata"]["uid"]]


def name_of(body: Body) -> str:
    """`Kind/namespace/name`."""
    metadata = body["metadata"]
    return f"{body['kind']}/{metadata.get('namespace', '')}/{metadata['name']}"


def _owner(body: Body) -> str | None:
    owners = body["metadata"].get("ownerReferences") or ()
    return next((str(one["uid"]) for one in owners if one.get("controller")), None)


def _check(body: Body, now: datetime, said: frozenset[ConditionType]) -> Iterator[Finding]:
    metadata = body["metadata"]
    deleted = seconds_since(metadata.get("deletionTimestamp"), now)
    if deleted is not None:
        if deleted > DELETION_SECONDS:
            held = ", ".join(metadata.get("finalizers") or ()) or "its children"
            yield error(
                Check.DELETION_STUCK, name_of(body),
                f"was deleted {span(deleted)} ago and is still there, held by {held}",
                remedy=_command(body, "events --for {short}/{name}"),
            )  # fmt: skip
        return
    if body["kind"] == TASK:
        yield from _task(body, now)
        return
    yield from _seen(body, now)
    yield from _scaled_in_vain(body)
    yield from _conditions(body, said)


def _scaled_in_vain(body: Body) -> Iterator[Finding]:
    """A number of pods that somebody writes, and that does not count."""
    spec = body.get("spec") or {}
    pods = spec.get("relay") or {} if body["kind"] == meta.PIPELINE else spec
    if (pods.get("autoscaling") or {}).get("mode", "") != "Builtin":
        return
    entries = body["metadata"].get("managedFields") or ()
    writers = [one for one in entries if one.get("subresource") == "scale"]
    if writers:
        # It may be long ago: of a field that nobody writes any more the last writer stays.
        yield info(
            Check.PODS_LIMITED, name_of(body),
            f"{managers(writers)} has scaled it to {pods.get('replicas')}, which has no effect: "
            "the operator decides about the number of its pods",
            "autoscaling.mode External, or no other autoscaler",
            _command(body, "edit {short}/{name}"),
        )  # fmt: skip


def _seen(body: Body, now: datetime) -> Iterator[Finding]:
    """Whether the operator looks at it."""
    metadata, status = body["metadata"], body.get("status") or {}
    seen, generation = status.get("observedGeneration"), metadata.get("generation", 1)
    if (seen or 0) < generation:
        changed = [
            moment
            for entry in metadata.get("managedFields") or ()
            if entry.get("subresource") != "status"
            and (moment := seconds_since(entry.get("time"), now)) is not None
        ]
        age = min(changed, default=seconds_since(metadata.get("creationTimestamp"), now) or 0.0)
        if age > SEEN_SECONDS:
            what = (
                "has been seen by no operator"
                if seen is None
                else (f"the operator has seen generation {seen}, not {generation}")
            )
            yield error(
                Check.NOT_SEEN, name_of(body), f"{what}, {span(age)} after its last change",
                "an operator that looks after this namespace",
                "kubectl get pods --all-namespaces -l app.kubernetes.io/name=outbox-operator",
            )  # fmt: skip
        return
    sampled = status.get("sampledAt") or (status.get("outbox") or {}).get("sampledAt")
    age_of_sample = seconds_since(sampled, now)
    if age_of_sample is not None and age_of_sample > SAMPLE_SECONDS:
        yield warning(
            Check.SAMPLE_OLD, name_of(body),
            f"its numbers are {span(age_of_sample)} old: backlog, lag and dead letters may be "
            "others by now", "a sample of the last minutes",
            _command(body, "annotate --overwrite {short}/{name} outbox.dev/reconcile-at=now"),
        )  # fmt: skip


def _conditions(body: Body, said: frozenset[ConditionType]) -> Iterator[Finding]:
    conditions = (body.get("status") or {}).get("conditions") or ()
    told = False
    for condition in conditions:
        kind, status = condition.get("type"), condition.get("status")
        if kind in _SUMMARIES or status == "Unknown" or kind not in set(ConditionType):
            continue
        if condition.get("reason") == Reason.SCALING_LIMITED:
            # Nothing is wrong; but whoever wonders where the pods are has to look for it.
            yield info(
                Check.PODS_LIMITED, name_of(body), str(condition.get("message")),
                remedy=_remedy(body, condition),
            )  # fmt: skip
            continue
        bad = (status == "True") is (kind in INFORMING)
        if not bad:
            continue
        if kind == ConditionType.PAUSED:
            yield info(
                Check.PAUSED, name_of(body), condition.get("message") or "is paused",
                remedy=_remedy(body, condition),
            )  # fmt: skip
            continue
        told = told or kind not in INFORMING
        if kind not in said:
            yield _not_well(body, condition, kind)
    ready = next((one for one in conditions if one.get("type") == ConditionType.READY), None)
    if ready is not None and ready.get("status") != "True" and not told:
        yield _not_well(body, ready, ConditionType.READY)


def _not_well(body: Body, condition: Body, kind: str) -> Finding:
    informs = kind in INFORMING
    make = warning if informs or condition.get("status") == "Unknown" else error
    text = condition.get("message") or f"{kind} is {condition.get('status')}"
    return make(
        Check.NOT_WELL, name_of(body), f"{condition.get('reason')}: {text}",
        remedy=_remedy(body, condition),
    )  # fmt: skip


def _standing(body: Body, tasks: Sequence[Body]) -> Iterator[Finding]:
    """The task for which the pods of a consumer have ended."""
    metadata = body["metadata"]
    task = standing_still_for(metadata["uid"], tasks)
    if task is not None:
        namespace = str(metadata.get("namespace", ""))
        yield warning(
            Check.NOT_WELL, name_of(body),
            f"{Reason.WAITS_FOR_TASK}: {held_text(task, namespace, tasks)}",
            remedy=next_step(Reason.COMPLETED, TASK, namespace, task),
        )  # fmt: skip


def _task(body: Body, now: datetime) -> Iterator[Finding]:
    status, spec = body.get("status") or {}, body.get("spec") or {}
    conditions = {one.get("type"): one for one in status.get("conditions") or ()}
    failed = conditions.get("Failed") or {}
    if failed.get("status") == "True":
        yield warning(
            Check.TASK_FAILED, name_of(body),
            f"{failed.get('reason')}: {failed.get('message') or 'failed'}",
            remedy=_command(body, "describe {short}/{name}"),
        )  # fmt: skip
        return
    if (conditions.get("Complete") or {}).get("status") == "True":
        return
    if spec.get("suspend"):
        yield info(
            Check.TASK_STUCK, name_of(body), "is suspended",
            remedy=_command(body, _GO_ON),
        )  # fmt: skip
        return
    begun = status.get("startTime") or body["metadata"].get("creationTimestamp")
    age = seconds_since(begun, now)
    if age is not None and age > TASK_SECONDS:
        doing = "has been at work for" if status.get("startTime") else "has waited for"
        said = (conditions.get("Complete") or {}).get("message")
        why = f": {said}" if said else ""
        yield warning(
            Check.TASK_STUCK, name_of(body), f"{doing} {span(age)}{why}",
            remedy=_command(body, "describe {short}/{name}"),
        )  # fmt: skip


_GO_ON: Final = 'patch {short}/{name} --type=merge -p \'{{"spec":{{"suspend":false}}}}\''


def _command(body: Body, rest: str) -> str:
    metadata = body["metadata"]
    filled = rest.format(short=SHORT.get(body["kind"], _TASKS), name=metadata["name"])
    return f"kubectl -n {metadata.get('namespace', '')} {filled}"


def _remedy(body: Body, condition: Body) -> str:
    metadata = body["metadata"]
    return step_or_look(
        str(condition.get("reason") or ""),
        body["kind"],
        str(metadata.get("namespace", "")),
        str(metadata["name"]),
    )


def seconds_since(text: object, now: datetime) -> float | None:
    """Seconds since a moment of the API; None: there is none."""
    try:
        moment = datetime.fromisoformat(str(text)) if text else None
    except ValueError:
        return None
    return None if moment is None or moment.tzinfo is None else (now - moment).total_seconds()
