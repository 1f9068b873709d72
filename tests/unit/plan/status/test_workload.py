"""What a Deployment and its pods say becomes one condition with a reason."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from outbox_operator.api.conditions import Condition, ConditionType
from outbox_operator.api.v1alpha1.pipeline import OutboxPipelineStatus
from outbox_operator.plan.status.workload import deployment_part, pods_to_ask, restarts, was_there
from support.resources import pipeline


def deployment(wanted: int = 1, **status: Any) -> dict[str, Any]:
    status = {"observedGeneration": 1, **status}
    return {
        "metadata": {"name": "orders-relay", "generation": 1},
        "spec": {"replicas": wanted},
        "status": status,
    }


RUNNING = deployment(1, replicas=1, readyReplicas=1, updatedReplicas=1)
STARTING = deployment(1, replicas=1, updatedReplicas=1)


def pod(
    *, waiting: dict[str, str] | None = None, last: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    container: dict[str, Any] = {"ready": False, "restartCount": 3, **more}
    container["state"] = {"waiting": waiting} if waiting else {"running": {}}
    if last:
        container["lastState"] = {"terminated": last}
    return {
        "metadata": {
            "name": "p1",
            "ownerReferences": [
                {"kind": "ReplicaSet", "name": "r", "uid": "u", "controller": True}
            ],
        },
        "status": {"podIP": "10.0.0.7", "containerStatuses": [container]},
    }


PULL = pod(waiting={"reason": "ImagePullBackOff", "message": "no such image"})
CRASH = pod(waiting={"reason": "CrashLoopBackOff"}, last={"exitCode": 2, "message": "bad config"})
UNREADY = pod(started=True)
REFUSED = {
    "metadata": {"name": "p3"},
    "status": {"phase": "Failed", "reason": "SysctlForbidden", "message": "forbidden sysctl"},
}
UNSCHEDULED = {
    "metadata": {"name": "p2"},
    "status": {
        "conditions": [{"type": "PodScheduled", "status": "False", "message": "no node fits"}]
    },
}


@pytest.mark.parametrize(
    ("live", "stopped", "pods", "status", "reason", "text"),
    [
        (None, None, [], "False", "Creating", "does not exist"),
        (RUNNING, None, [], "True", "MinimumReplicas", "1 of 1"),
        (RUNNING, "spec.replicas is 0", [], "False", "Stopping", "1 pod still runs"),
        (deployment(0), "spec.replicas is 0", [], "True", "Stopped", "spec.replicas is 0"),
        (deployment(0), None, [], "True", "ScaledToZero", "scaled to zero"),
        # On its way, and what is missing.
        (STARTING, None, [], "False", "RollingOut", "0 of 1 pods ready, 1 up to date; waits for 1"),
        (deployment(2), None, [], "False", "RollingOut", "waits for 2 more to be made"),
        (STARTING, None, [pod(waiting={"reason": "ContainerCreating"})], "False", "RollingOut",
         "waits for pod p1 (ContainerCreating)"),
        (STARTING, None, [pod()], "False", "RollingOut", "waits for pod p1 (starting)"),
        (STARTING, None, [pod(), REFUSED], "False", "RollingOut",
         "waits for pod p1 (starting); pod p3 has failed: SysctlForbidden: forbidden sysctl"),
        (STARTING, None, [REFUSED], "False", "RollingOut", "waits for 1 more to be made; pod p3"),
        (deployment(1, conditions=[{"type": "Progressing", "status": "False", "message": "late"}]),
         None, [REFUSED], "False", "PodsNotReady", "late; pod p3 has failed: SysctlForbidden"),
        (deployment(1, replicas=2, readyReplicas=2, updatedReplicas=1), None, [], "False",
         "RollingOut", "waits for those of before to end"),
        (deployment(1, conditions=[{"type": "Progressing", "status": "False", "message": "late"}]),
         None, [], "False", "PodsNotReady", "0 of 1 pods ready; late"),
        (STARTING, None, [PULL], "False", "ImagePullBackOff", "no such image"),
        (STARTING, None, [CRASH], "False", "CrashLoopBackOff", "exit code 2: bad config"),
        (STARTING, None, [UNREADY], "False", "PodsNotReady", "nats: connection refused"),
        (STARTING, None, [UNREADY, PULL], "False", "ImagePullBackOff", "no such image"),
        (STARTING, None, [UNSCHEDULED], "False", "Unschedulable", "no node fits"),
        (
            deployment(2, replicas=3, readyReplicas=2, updatedReplicas=1),
            None, [], "False", "RollingOut", "2 of 2 pods ready, 1 up to date; waits for 1 more",
        ),
        (
            {**RUNNING, "metadata": {"name": "orders-relay", "generation": 2}},
            None, [], "False", "RollingOut", "waits for its controller",
        ),
        (
            deployment(
                1, conditions=[{"type": "ReplicaFailure", "status": "True", "message": "quota"}]
            ),
            None, [], "False", "PodsRefused", "quota",
        ),
    ],
)  # fmt: skip
def test_deployment_part(
    live: dict[str, Any] | None,
    stopped: str | None,
    pods: list[dict[str, Any]],
    status: str,
    reason: str,
    text: str,
) -> None:
    part = deployment_part(
        ConditionType.RELAY_AVAILABLE,
        live,
        stopped=stopped,
        pods=pods,
        said_by={"p1": "nats: connection refused"},
    )
    assert (part.status, part.reason) == (status, reason)
    assert text in part.message
    assert not part.stalled


def test_only_pods_that_run_and_are_not_ready_are_asked() -> None:
    theirs = {**UNREADY, "metadata": {"name": "p1"}}
    in_the_nodes_network = {**UNREADY, "spec": {"hostNetwork": True}}
    pods = [PULL, UNREADY, UNSCHEDULED, theirs, in_the_nodes_network]
    assert pods_to_ask(pods) == [("p1", "10.0.0.7")]


def test_restarts_are_summed() -> None:
    assert restarts([PULL, CRASH, UNSCHEDULED]) == 6


@pytest.mark.parametrize(
    ("reason", "generation", "version", "was"),
    [
        ("MinimumReplicas", 1, "1.0", True),
        ("PodsNotReady", 1, "1.0", True),
        ("Stopped", 1, "1.0", True),
        ("MinimumReplicas", 0, "1.0", False),
        ("MinimumReplicas", 1, "0.9", False),  # which may have made less
        ("Creating", 1, "1.0", False),
        ("NotStarted", 1, "1.0", False),
        ("ResourceConflict", 1, "1.0", False),
    ],
)
def test_whether_a_workload_was_there(
    reason: str, generation: int, version: str, was: bool
) -> None:
    kind = ConditionType.RELAY_AVAILABLE
    said = Condition(type=kind, status="True", reason=reason, observedGeneration=generation)
    status = OutboxPipelineStatus(conditions=[said], operatorVersion=version)
    assert was_there(dataclasses.replace(pipeline(), status=status), kind, "1.0") is was
