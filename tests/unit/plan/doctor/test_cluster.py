"""What the API server shows to whoever asks, and what of it is worth telling."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from outbox_operator.api import meta
from outbox_operator.api.conditions import ConditionType
from outbox_operator.plan.advice import step_or_look
from outbox_operator.plan.doctor.cluster import Seen, check_cluster
from outbox_operator.plan.doctor.findings import Check, Finding, Severity
from outbox_operator.reasons import Reason

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
ALWAYS_FALSE = {"Stalled", "Reconciling", "Lagging", "ForeignPublisher", "Unfenced",
                "StreamLostEvents", "PositionsMoved", "GroupMoved", "LeftBehind",
                "Paused"}  # fmt: skip


def ago(**span: float) -> str:
    """A moment as the API writes it."""
    return (NOW - timedelta(**span)).isoformat().replace("+00:00", "Z")


def condition(kind: str, status: str, reason: str = "Applied", message: str = "") -> dict[str, str]:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def resource(
    kind: str = "OutboxPipeline", name: str = "orders", *conditions: dict[str, str], **more: Any
) -> dict[str, Any]:
    """A resource of ours that was seen a moment ago."""
    metadata = {"namespace": "shop", "name": name, "uid": f"{kind}-{name}", "generation": 2,
                "creationTimestamp": ago(days=1)} | more.pop("metadata", {})  # fmt: skip
    status = {"observedGeneration": 2, "conditions": list(conditions), "sampledAt": ago(minutes=1),
              "operatorVersion": "0.1.0"} | more.pop("status", {})  # fmt: skip
    return {"kind": kind, "metadata": metadata, "status": status, "spec": {}, **more}


def pod(name: str = "orders-relay-x", **status: Any) -> dict[str, Any]:
    labels = {"app.kubernetes.io/component": "relay", "app.kubernetes.io/instance": "orders"}
    return {
        "kind": "Pod",
        "metadata": {"namespace": "shop", "name": name, "labels": labels},
        "spec": {"containers": [{"name": "relay", "resources": {"limits": {"memory": "64Mi"}}}]},
        "status": status,
    }


def container(**more: Any) -> dict[str, Any]:
    return {"containerStatuses": [{"name": "relay", "restartCount": 0, **more}]}


def look(**seen: Any) -> list[Finding]:
    """What is found."""
    return check_cluster(Seen(now=NOW, version="0.1.0", **seen))


READY = [condition(kind, "False" if kind in ALWAYS_FALSE else "True") for kind in ConditionType]
BROKEN = condition("NatsReachable", "False", "NatsUnreachable", "NATS at nats:4222: refused")
NOT_READY = condition("Ready", "False", "NatsUnreachable", "NATS at nats:4222: refused")
DEPLOYMENT = {"kind": "Deployment", "spec": {"replicas": 2}, "status": {"readyReplicas": 2},
              "metadata": {"namespace": "ops", "name": "outbox-operator"}}  # fmt: skip
OWNED = {"ownerReferences": [{"uid": "OutboxPipeline-orders", "controller": True}]}

CASES: dict[str, tuple[dict[str, Any], list[tuple[Check, Severity]], str]] = {
    "all is well": ({
        "objects": [resource("OutboxPipeline", "orders", *READY)], "operators": [DEPLOYMENT],
        "served": frozenset({"a"}), "kinds": ["a"], "pods": [pod(**container(ready=True))],
    }, [], ""),
    "kinds are missing": (
        {"served": frozenset({"a"}), "kinds": ["a", "outboxtasks"]},
        [(Check.KINDS_MISSING, Severity.ERROR)], "outboxtasks.outbox.dev",
    ),
    "no operator": (
        {"operators": []}, [(Check.OPERATOR_MISSING, Severity.ERROR)], "no Deployment",
    ),
    "an operator without pods": (
        {"operators": [DEPLOYMENT | {"status": {}}]},
        [(Check.OPERATOR_NOT_READY, Severity.ERROR)], "0 of 2",
    ),
    "one pod of an operator": (
        {"operators": [DEPLOYMENT | {"status": {"readyReplicas": 1}}]},
        [(Check.OPERATOR_NOT_READY, Severity.WARNING)], "1 of 2",
    ),
    "an operator of another age": (
        {"objects": [resource(status={"operatorVersion": "0.9.3"})]},
        [(Check.VERSIONS_DIFFER, Severity.WARNING)], "0.9.3",
    ),
    "an operator one version on": (
        {"objects": [resource(status={"operatorVersion": "0.2.0"})]}, [], "",
    ),
    "seen by nobody": (
        {"objects": [resource(status={"observedGeneration": None})]},
        [(Check.NOT_SEEN, Severity.ERROR)], "by no operator",
    ),
    "a change that nobody sees": (
        {"objects": [resource(metadata={"generation": 3})]},
        [(Check.NOT_SEEN, Severity.ERROR)], "generation 2, not 3",
    ),
    "a change of a moment ago": (
        {"objects": [resource(metadata={"generation": 3, "managedFields": [
            {"time": ago(seconds=5)}, {"time": ago(days=1)}]})]}, [], "",
    ),
    "old numbers": (
        {"objects": [resource(status={"sampledAt": ago(hours=3)})]},
        [(Check.SAMPLE_OLD, Severity.WARNING)], "3 h old",
    ),
    "a part that is not well": (
        {"objects": [resource("OutboxPipeline", "orders", NOT_READY, BROKEN)]},
        [(Check.NOT_WELL, Severity.ERROR)], "NatsUnreachable: NATS at nats:4222: refused",
    ),
    "nothing but Ready says so": (
        {"objects": [resource("OutboxPipeline", "orders", NOT_READY)]},
        [(Check.NOT_WELL, Severity.ERROR)], "NatsUnreachable",
    ),
    "Ready is not known": (
        {"objects": [resource(
            "EventStream", "orders", condition("Ready", "Unknown", "Reconciling"))]},
        [(Check.NOT_WELL, Severity.WARNING)], "Ready is Unknown",
    ),
    "lagging is a warning": (
        {"objects": [resource("OutboxPipeline", "orders", condition(
            "Lagging", "True", "BacklogAboveThreshold", "6000 rows"))]},
        [(Check.NOT_WELL, Severity.WARNING)], "6000 rows",
    ),
    "a condition of another version": (
        {"objects": [resource("OutboxPipeline", "orders", condition("Shiny", "False"))]}, [], "",
    ),
    "a child says it": (
        {"objects": [
            resource("OutboxPipeline", "orders", NOT_READY, condition("StreamReady", "False", "X")),
            resource("EventStream", "orders", BROKEN, metadata=OWNED)]},
        [(Check.NOT_WELL, Severity.ERROR)], "NATS at nats:4222",
    ),
    "paused": (
        {"objects": [resource("OutboxPipeline", "orders", condition("Paused", "True", "Paused"))]},
        [(Check.PAUSED, Severity.INFO)], "is paused",
    ),
    "pods that could only stand by": (
        {"objects": [resource("OutboxPipeline", "orders", condition(
            "Autoscaling", "True", "ScalingLimited", "1 of 10: outbox.shards is 1"))]},
        [(Check.PODS_LIMITED, Severity.INFO)], "1 of 10: outbox.shards is 1",
    ),
    "a number that does not count": (
        {"objects": [resource("EventConsumer", "billing",
            spec={"autoscaling": {"mode": "Builtin"}, "replicas": 5},
            metadata={"managedFields": [
                {"manager": "kube-controller-manager", "subresource": "scale"}]})]},
        [(Check.PODS_LIMITED, Severity.INFO)], "kube-controller-manager has scaled it to 5, which",
    ),
    "a number that counts": (
        {"objects": [resource("OutboxPipeline", "orders",
            spec={"relay": {"autoscaling": {"mode": "External"}, "replicas": 5}},
            metadata={"managedFields": [{"manager": "keda", "subresource": "scale"}]})]}, [], "",
    ),
    "pods that follow the load": (
        {"objects": [resource("OutboxPipeline", "orders", condition(
            "Autoscaling", "True", "ScalingActive", "3 pods, of 1 to 10"))]}, [], "",
    ),
    "deleted and still there": (
        {"objects": [resource(
            metadata={"deletionTimestamp": ago(hours=1), "finalizers": ["x/y"]})]},
        [(Check.DELETION_STUCK, Severity.ERROR)], "held by x/y",
    ),
    "deleted just now": (
        {"objects": [resource(metadata={"deletionTimestamp": ago(seconds=9)})]}, [], "",
    ),
    "a task that failed": (
        {"objects": [resource(
            "OutboxTask", "t", condition("Failed", "True", "NatsUnreachable", "no"))]},
        [(Check.TASK_FAILED, Severity.WARNING)], "NatsUnreachable: no",
    ),
    "a task that is done": (
        {"objects": [resource("OutboxTask", "t", condition("Complete", "True"))]}, [], "",
    ),
    "a task that takes long": (
        {"objects": [resource("OutboxTask", "t", status={"startTime": ago(hours=5)})]},
        [(Check.TASK_STUCK, Severity.WARNING)], "at work for 5 h",
    ),
    "a task that waits long": (
        {"objects": [resource("OutboxTask", "t")]},
        [(Check.TASK_STUCK, Severity.WARNING)], "has waited for 24 h",
    ),
    "a task that takes long says why": (
        {"objects": [resource(
            "OutboxTask", "t", status={"startTime": ago(hours=5), "conditions": [
                condition("Complete", "False", "Running", "waits for 2 pods")]})]},
        [(Check.TASK_STUCK, Severity.WARNING)], "at work for 5 h: waits for 2 pods",
    ),
    "a reset holds the pods of a consumer": (
        {"objects": [
            resource("EventConsumer", "billing", *READY),
            resource("OutboxTask", "back", spec={"resetConsumer": {"to": "Start"}}, status={
                "startTime": ago(minutes=1), "progress": {"phase": "Moving"},
                "target": {"uid": "EventConsumer-billing"},
                "conditions": [condition("Complete", "False", "NatsUnreachable", "no answer")]})]},
        [(Check.NOT_WELL, Severity.WARNING)],
        "WaitsForTask: task back holds its pods until it has reset the durable consumer (no "
        "answer); kubectl delete obt/back -n shop gives it up",
    ),
    "a task that is suspended": (
        {"objects": [resource("OutboxTask", "t", spec={"suspend": True})]},
        [(Check.TASK_STUCK, Severity.INFO)], "is suspended",
    ),
    "no image": (
        {"pods": [pod(**container(
            state={"waiting": {"reason": "ImagePullBackOff", "message": "x"}}))]},
        [(Check.POD_STUCK, Severity.ERROR)], "ImagePullBackOff: x",
    ),
    "not ready": (
        {"pods": [pod(**container(started=True, ready=False))]},
        [(Check.POD_NOT_READY, Severity.WARNING)], "not ready",
    ),
    "out of memory": (
        {"pods": [pod(**container(ready=True, restartCount=3, lastState={"terminated": {
            "reason": "OOMKilled", "exitCode": 137, "finishedAt": ago(minutes=9)}}))]},
        [(Check.OUT_OF_MEMORY, Severity.ERROR)], "out of memory 9 min ago, limit 64Mi; 3 restarts",
    ),
    "out of memory long ago": (
        {"pods": [pod(**container(ready=True, restartCount=3, lastState={"terminated": {
            "reason": "OOMKilled", "finishedAt": ago(days=9)}}))]}, [], "",
    ),
    "many restarts": (
        {"pods": [pod(**container(ready=True, restartCount=8, lastState={"terminated": {
            "exitCode": 2, "finishedAt": ago(minutes=9)}}))]},
        [(Check.POD_RESTARTS, Severity.WARNING)], "8 times, last with exit code 2",
    ),
    "evicted": (
        {"pods": [pod(phase="Failed", reason="Evicted", message="low on memory")]},
        [(Check.POD_EVICTED, Severity.WARNING)], "low on memory",
    ),
    "cannot be looked at": (
        {"refused": {"pods in shop": "forbidden"}},
        [(Check.NOT_LOOKED_AT, Severity.UNKNOWN)], "forbidden",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_is_seen(case: str) -> None:
    seen, wanted, text = CASES[case]

    found = look(**seen)

    assert [(one.check, one.severity) for one in found] == wanted
    assert not found or text in found[0].message


@pytest.mark.parametrize(
    ("labels", "remedy"),
    [
        ({"outbox.dev/pipeline": "orders"}, "kubectl -n shop edit obp/orders"),
        ({}, "kubectl -n shop edit evc/orders"),
        ({"app.kubernetes.io/managed-by": "Helm"}, "kubectl -n shop describe pod orders-relay-x"),
    ],
)
def test_what_heals_a_pod_can_be_typed(labels: dict[str, str], remedy: str) -> None:
    killed = {"terminated": {"reason": "OOMKilled", "finishedAt": ago(minutes=9)}}
    body = pod(**container(ready=False, started=True, restartCount=3, lastState=killed))
    own = body["metadata"]["labels"]
    body["metadata"]["labels"] = {**own, meta.MANAGED_BY_LABEL: meta.MANAGED_BY, **labels}
    by_check = {one.check: one.remedy for one in look(pods=[body])}
    assert by_check == {
        Check.OUT_OF_MEMORY: remedy,
        Check.POD_NOT_READY: "kubectl -n shop logs orders-relay-x --tail=30",
    }


def event(name: str, reason: str, kind: str = "Pod", **when: float) -> dict[str, Any]:
    about = {"kind": kind, "namespace": "shop", "name": name}
    last = ago(**(when or {"minutes": 5}))
    return {"type": "Warning", "reason": reason, "involvedObject": about,
            "message": f"{reason} {when}", "lastTimestamp": last}  # fmt: skip


def test_events_of_our_pods_and_of_those_that_are_gone() -> None:
    workload = {"metadata": {"namespace": "shop", "name": "orders-relay"}}
    events = [
        event("orders-relay-x", "FailedMount", minutes=30),
        event("orders-relay-x", "FailedMount", minutes=3),
        event("orders-relay-gone", "Evicted"),
        event("orders-relay", "FailedCreate", "ReplicaSet"),
        event("orders-relay-x", "Unhealthy"),
        event("orders-relay-x", "FailedScheduling", hours=5),
        event("somebody-else", "FailedMount"),
    ]

    found = look(events=events, pods=[pod()], workloads=[workload])

    assert [(one.object, one.message.split(" {")[0]) for one in found] == [
        ("Pod/shop/orders-relay-gone", "Evicted 5 min ago: Evicted"),
        ("Pod/shop/orders-relay-x", "FailedMount 3 min ago: FailedMount"),
        ("ReplicaSet/shop/orders-relay", "FailedCreate 5 min ago: FailedCreate"),
    ]


PIPELINE = resource(
    "OutboxPipeline", "orders",
    spec={"nats": {"url": "nats://a:4333,nats://b"}, "database": {"port": 5433}},
)  # fmt: skip


def test_what_kept_a_pod_from_starting_is_over_once_it_is_ready() -> None:
    events = [
        event("orders-relay-x", "FailedMount", minutes=3),
        event("orders-relay-x", "Evicted", minutes=3),
    ]

    def told(**ready: float) -> list[str]:
        since = {"type": "Ready", "status": "True", "lastTransitionTime": ago(**ready)}
        found = look(events=events, pods=[pod(conditions=[since])])
        return sorted(one.message.partition(" ")[0] for one in found)

    assert told(minutes=2) == ["Evicted"]
    assert told(minutes=4) == ["Evicted", "FailedMount"]


def policy(*rules: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": "shop", "name": "deny"},
            "spec": {"policyTypes": ["Egress"], "egress": list(rules), **spec}}  # fmt: skip


def ports(*numbers: int | str) -> dict[str, Any]:
    return {"ports": [{"port": number} for number in numbers]}


@pytest.mark.parametrize(
    ("policies", "blocked"),
    [
        ([], []),
        ([policy({})], []),
        ([policy(ports(53, 4333, 4222, 5433))], []),
        ([policy(ports(53, "nats"))], []),
        ([policy({"ports": [{"port": 53, "endPort": 6000}]})], []),
        ([policy(ports(53)), policy(ports(4222, 4333, 5433))], []),
        ([policy(podSelector={"matchLabels": {"app": "other"}})], []),
        ([policy(podSelector={"matchExpressions": [{"key": "app", "operator": "Exists"}]})], []),
        ([policy(ports(53, 4222, 5433))], [4333]),
        ([policy()], [4222, 4333, 53, 5433]),
        ([{**policy(), "spec": {"policyTypes": ["Ingress"]}}], []),
    ],
)
def test_network_policies(policies: list[dict[str, Any]], blocked: list[int]) -> None:
    found = look(policies=policies, pods=[pod(), pod("orders-relay-y")], objects=[PIPELINE])

    assert [one.check for one in found] == [Check.NETWORK_POLICY] * len(blocked)
    assert [int(one.wanted.split()[-1]) for one in found] == blocked


@pytest.mark.parametrize("reason", [*Reason, "OfAnotherVersion", ""])
def test_each_reason_has_a_command(reason: str) -> None:
    command = step_or_look(reason, "OutboxPipeline", "shop", "orders")

    assert command
    assert "{" not in command
