"""What a Deployment and its pods say about themselves, as one part of a status. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Resource
from outbox_operator.counted import counted
from outbox_operator.errors import OutboxError
from outbox_operator.plan.names import selector_text
from outbox_operator.plan.status.conditions import Part, failed, ok, unknown, waiting
from outbox_operator.plan.steps import Applied, Change, drifts
from outbox_operator.reasons import Reason

STUCK_REASONS = frozenset(
    {
        Reason.CRASH_LOOP_BACK_OFF,
        Reason.IMAGE_PULL_BACK_OFF,
        Reason.ERR_IMAGE_PULL,
        Reason.ERR_IMAGE_NEVER_PULL,
        Reason.INVALID_IMAGE_NAME,
        Reason.CREATE_CONTAINER_CONFIG_ERROR,
        Reason.CREATE_CONTAINER_ERROR,
        Reason.RUN_CONTAINER_ERROR,
    }
)


_OF_PODS: Final = STUCK_REASONS | {
    Reason.STOPPING,
    Reason.STOPPED,
    Reason.SCALED_TO_ZERO,
    Reason.MINIMUM_REPLICAS,
    Reason.ROLLING_OUT,
    Reason.PODS_NOT_READY,
    Reason.PODS_REFUSED,
    Reason.UNSCHEDULABLE,
    Reason.RELAY_NOT_PROGRESSING,
    Reason.STREAM_FULL,
    Reason.CURSOR_FROM_OTHER_SERVER,
}
"""What is said of a workload that is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicas:
    """Numbers of a workload's pods."""

    wanted: int
    existing: int
    ready: int
    updated: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadObserved:
    """A workload after its manifests were applied.

    Attributes:
        deployment: The live Deployment; None when it does not exist (yet).
        pods: Its pods; None: all is well, and nobody looked.
        said_by: What pods that are not ready say of themselves, by pod name.
        unreadable: Why the API server did not say how the pods do.
    """

    deployment: Mapping[str, Any] | None = None
    pods: tuple[Mapping[str, Any], ...] | None = None
    said_by: Mapping[str, str] = field(default_factory=dict)
    unreadable: OutboxError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadResult:
    """A workload as it runs.

    Attributes:
        part: Whether it is as wanted, and why not; None: there is none to speak of.
        numbers: Of its pods; None: nobody looked, so that they are what they were.
        restarts: Of their containers; None: all is well and nobody counted.
        selector: Picks its pods.
        drifts: What somebody had changed or deleted and was put back.
        restarted: Whether a restart that was asked for has been rendered and applied.
        beside: What stands beside it: its part, and numbers of its pods.
    """

    part: Part | None = None
    numbers: Replicas | None = None
    restarts: int | None = None
    selector: str = ""
    drifts: tuple[str, ...] = ()
    restarted: bool = False
    beside: tuple[Part, Replicas] | None = None


def not_started(kind: ConditionType, text: str) -> WorkloadResult:
    """Pods that could only crash help nobody; the part that failed says what is missing."""
    return WorkloadResult(part=unknown(kind, Reason.NOT_STARTED, text))


def kept(kind: ConditionType, text: str) -> WorkloadResult:
    """Pods that stay as they are, because what they would be made from may not be followed yet."""
    return WorkloadResult(part=unknown(kind, Reason.APPROVAL_PENDING, text))


def workload_result(
    kind: ConditionType,
    applied: Sequence[Applied[dict[str, Any]]],
    observed: WorkloadObserved,
    *,
    stopped: str | None,
    restarting: bool,
) -> WorkloadResult:
    """How a workload does after its steps.

    Args:
        kind: Condition to report under.
        applied: What became of its manifests.
        observed: The workload afterwards.
        stopped: Why no pods are wanted, None when they are.
        restarting: Whether the manifests carry out a restart.
    """
    error = next((one.error for one in applied if one.error is not None), None)
    if error is not None:
        return WorkloadResult(part=failed(kind, error), drifts=drifts(applied))
    if observed.unreadable is not None:
        return WorkloadResult(
            part=failed(kind, observed.unreadable), drifts=drifts(applied), restarted=restarting
        )
    frozen = [one.step.what for one in applied if one.change is Change.FROZEN]
    if frozen:
        text = f"differs and is left so while paused: {', '.join(frozen)}"
        part = waiting(kind, Reason.UPDATE_FROZEN, text)
    else:
        part = deployment_part(
            kind,
            observed.deployment,
            stopped=stopped,
            pods=observed.pods or (),
            said_by=observed.said_by,
        )
    return WorkloadResult(
        part=part,
        numbers=replicas(observed.deployment),
        restarts=None if observed.pods is None else restarts(observed.pods),
        selector=selector(observed.deployment),
        drifts=drifts(applied),
        restarted=restarting,
    )


def was_there(resource: Resource[Any, Any], kind: ConditionType, version: str) -> bool:
    """Whether a workload was there as this very specification has it, by the last status.

    What is missing then was deleted, also while no operator looked.

    Args:
        resource: The resource with its last status.
        kind: Condition of the workload.
        version: Of this operator: another one may have made less.
    """
    return resource.status.operatorVersion == version and any(
        one.type == kind
        and one.reason in _OF_PODS
        and one.observedGeneration == resource.meta.generation
        for one in resource.status.conditions
    )


def stopped_by(path: str, state: str, wanted: int | None) -> str | None:
    """Why a relay or a consumer shall have no pods; None when it shall.

    Args:
        path: Where that is written: "spec" or "spec.relay".
        state: Running or Stopped.
        wanted: Number of pods; None: an autoscaler's.
    """
    if state == "Stopped":
        return f"{path}.state is Stopped"
    return f"{path}.replicas is 0" if wanted == 0 else None


def selector(deployment: Mapping[str, Any] | None) -> str:
    """The label selector that picks the pods of a Deployment; empty without one."""
    if deployment is None:
        return ""
    return selector_text(deployment["spec"]["selector"]["matchLabels"])


def replicas(deployment: Mapping[str, Any] | None) -> Replicas:
    """The numbers of a Deployment; zeros when it does not exist."""
    if deployment is None:
        return Replicas(wanted=0, existing=0, ready=0, updated=0)
    status = deployment.get("status") or {}
    return Replicas(
        wanted=int((deployment.get("spec") or {}).get("replicas", 1)),
        existing=int(status.get("replicas") or 0),
        ready=int(status.get("readyReplicas") or 0),
        updated=int(status.get("updatedReplicas") or 0),
    )


def lacks_pods(deployment: Mapping[str, Any] | None) -> bool:
    """Whether a Deployment that exists has fewer ready pods than it shall have."""
    numbers = replicas(deployment)
    return numbers.ready < numbers.wanted


def is_settled(deployment: Mapping[str, Any] | None) -> bool:
    """Whether the roll-out is complete and every pod is ready."""
    if deployment is None:
        return False
    status = deployment.get("status") or {}
    seen = int(status.get("observedGeneration") or 0)
    numbers = replicas(deployment)
    return (
        seen >= int(deployment["metadata"].get("generation") or 0)
        and numbers.ready >= numbers.wanted
        and numbers.updated >= numbers.wanted
        and numbers.existing <= numbers.wanted
    )


def deployment_part(
    kind: ConditionType,
    deployment: Mapping[str, Any] | None,
    *,
    stopped: str | None,
    pods: Sequence[Mapping[str, Any]] = (),
    said_by: Mapping[str, str] | None = None,
) -> Part:
    """Whether a workload is as wanted.

    Args:
        kind: Condition to report under.
        deployment: The live Deployment, None when it does not exist (yet).
        stopped: Why no pods are wanted, None when they are.
        pods: The workload's pods, looked at for a reason when it is not settled.
        said_by: What pods that are not ready say of themselves, by pod name.
    """
    if deployment is None:
        return waiting(kind, Reason.CREATING, "the Deployment does not exist yet")
    name = deployment["metadata"]["name"]
    numbers = replicas(deployment)
    if stopped is not None:
        if numbers.existing:
            return waiting(
                kind,
                Reason.STOPPING,
                f"Deployment {name}: "
                f"{counted(numbers.existing, 'pod still runs', 'pods still run')}",
            )
        return ok(kind, Reason.STOPPED, stopped)
    if is_settled(deployment):
        if numbers.wanted == 0:
            return ok(kind, Reason.SCALED_TO_ZERO, f"Deployment {name} is scaled to zero")
        return ok(kind, Reason.MINIMUM_REPLICAS, f"{numbers.ready} of {numbers.wanted} pods ready")
    conditions = {c["type"]: c for c in (deployment.get("status") or {}).get("conditions") or ()}
    failure = conditions.get("ReplicaFailure")
    if failure is not None and failure.get("status") == "True":
        return waiting(
            kind, Reason.PODS_REFUSED, f"Deployment {name}: {failure.get('message', '')}"
        )
    progress = f"Deployment {name}: {numbers.ready} of {numbers.wanted} pods ready"
    trouble = next(iter(pod_troubles(pods, said_by or {})), None)
    if trouble is not None:
        return waiting(kind, trouble[0], f"{progress}; {trouble[1]}")
    overdue, failures = conditions.get("Progressing"), _failures(pods)
    if overdue is not None and overdue.get("status") == "False":
        text = f"{progress}; {overdue.get('message') or 'it makes no progress any more'}"
        return waiting(kind, Reason.PODS_NOT_READY, text + failures)
    missing = _missing(deployment, numbers, pods)
    text = f"{progress}, {numbers.updated} up to date; waits for {missing}"
    return waiting(kind, Reason.ROLLING_OUT, text + failures)


def _failures(pods: Iterable[Mapping[str, Any]]) -> str:
    """What became of a pod that has failed, as one that was evicted, or that its node refused."""
    for pod in pods:
        status = pod.get("status") or {}
        if _has_failed(pod) and status.get("reason"):
            said = " ".join(str(status.get("message") or "").split())
            return f"; pod {pod['metadata']['name']} has failed: {status['reason']}: {said}"
    return ""


def _has_failed(pod: Mapping[str, Any]) -> bool:
    return bool((pod.get("status") or {}).get("phase") == "Failed")


def _missing(
    deployment: Mapping[str, Any], numbers: Replicas, pods: Iterable[Mapping[str, Any]]
) -> str:
    """What a roll-out waits for in which nothing is wrong."""
    seen = int((deployment.get("status") or {}).get("observedGeneration") or 0)
    if seen < int(deployment["metadata"].get("generation") or 0):
        return "its controller, which has not taken the change up yet"
    alive = [
        one for one in pods if not one["metadata"].get("deletionTimestamp") and not _has_failed(one)
    ]
    starting = [text for one in alive if (text := _starting(one)) is not None]
    if starting:
        return ", ".join(starting)
    to_come = numbers.wanted - min(numbers.ready, numbers.updated)
    return f"{to_come} more to be made" if to_come > 0 else "those of before to end"


def _starting(pod: Mapping[str, Any]) -> str | None:
    """A pod that is on its way to be ready, and how far it is; None: it is ready."""
    containers = (pod.get("status") or {}).get("containerStatuses") or ()
    if containers and all(one.get("ready") for one in containers):
        return None
    states = [(one.get("state") or {}).get("waiting") or {} for one in containers]
    reasons = [str(one["reason"]) for one in states if one.get("reason")]
    return f"pod {pod['metadata']['name']} ({reasons[0] if reasons else 'starting'})"


def pods_to_ask(pods: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """(name, address) of pods of ours that run, are not ready, and can say why.

    Not of one that somebody else made with our labels, nor of one in the node's network, where
    other programs answer.
    """
    asked = []
    for pod in pods:
        status = pod.get("status") or {}
        owners = pod["metadata"].get("ownerReferences") or ()
        made_by_us = any(one.get("controller") and one["kind"] == "ReplicaSet" for one in owners)
        if not made_by_us or (pod.get("spec") or {}).get("hostNetwork"):
            continue
        containers = status.get("containerStatuses") or ()
        if status.get("podIP") and any(c.get("started") and not c.get("ready") for c in containers):
            asked.append((str(pod["metadata"]["name"]), str(status["podIP"])))
    return asked


def pod_troubles(
    pods: Iterable[Mapping[str, Any]], said_by: Mapping[str, str]
) -> list[tuple[Reason, str]]:
    """(reason, text) per stuck pod, worst first: what `kubectl describe` would show."""
    found: list[tuple[int, Reason, str]] = []
    for pod in pods:
        name = pod["metadata"]["name"]
        status = pod.get("status") or {}
        for condition in status.get("conditions") or ():
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                text = f"pod {name} cannot be scheduled: {condition.get('message', '')}"
                found.append((1, Reason.UNSCHEDULABLE, text))
        for container in status.get("containerStatuses") or ():
            wait = (container.get("state") or {}).get("waiting") or {}
            last = (container.get("lastState") or {}).get("terminated") or {}
            if wait.get("reason") in STUCK_REASONS:
                detail = wait.get("message") or ""
                if last:
                    said = (last.get("message") or "").strip()
                    detail = f"last exit code {last.get('exitCode')}{': ' + said if said else ''}"
                text = f"pod {name}: {wait['reason']}: {detail}".rstrip(": ")
                found.append((0, Reason(wait["reason"]), text))
            elif container.get("started") and not container.get("ready"):
                said = said_by.get(name)
                text = f"pod {name} is not ready" + (f": {said}" if said else "")
                found.append((1 if said else 2, Reason.PODS_NOT_READY, text))
    return [(reason, text) for _, reason, text in sorted(found)]


def restarts(pods: Iterable[Mapping[str, Any]]) -> int:
    """Container restarts over the pods."""
    return sum(
        int(container.get("restartCount") or 0)
        for pod in pods
        for container in (pod.get("status") or {}).get("containerStatuses") or ()
    )
