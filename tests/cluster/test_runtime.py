"""The operator process on a real API server: what wakes it, what it survives."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from outbox_operator.api import meta
from support.api_proxy import ApiProxy
from support.kube import Cluster, Kubectl
from support.recording_operator import SHORT_LEASE, RecordingOperator, Start, stream
from support.waiting import eventually


async def test_what_people_do_wakes_and_a_status_does_not(
    start: Start, kubectl: Kubectl, namespace: str
) -> None:
    patch = ("-n", namespace, "patch", "eventstream", "a", "--type=merge")
    async with start() as operator:
        await operator.leads()
        kubectl.apply(stream(namespace))
        await operator.worked_on("a", trigger="created", generation=1)

        status = {"status": {"observedGeneration": 1}}
        kubectl(*patch, "--subresource=status", f"-p={json.dumps(status)}")
        kubectl(*patch, '-p={"spec":{"maxAge":"1h"}}')
        await operator.worked_on("a", trigger="generation", generation=2)
        kubectl("-n", namespace, "annotate", "eventstream", "a", f"{meta.PAUSE_ANNOTATION}=true")
        await operator.worked_on("a", trigger="annotation")
        kubectl("-n", namespace, "label", "eventstream", "a", "team=x")
        await operator.worked_on("a", trigger="labels")
        kubectl("-n", namespace, "delete", "eventstream", "a")
        await operator.worked_on("a", trigger="gone", exists=False)

        assert operator.passes == []


async def test_what_was_there_before_is_worked_on_at_the_start(
    start: Start, kubectl: Kubectl, namespace: str
) -> None:
    kubectl.apply(stream(namespace))
    async with start() as operator:
        await operator.worked_on("a", exists=True)
        await operator.leads()
        kubectl.apply(stream(namespace, "b"))
        await operator.worked_on("b")
        assert operator.passes == []


async def test_many_namespaces_watched_one_by_one(
    start: Start, kubectl: Kubectl, namespace: str
) -> None:
    """Each has nine watches, and each of these a connection: more than a pool of a hundred."""
    others = [f"{namespace}-{number}" for number in range(39)]
    async with start(OUTBOX_NAMESPACES=",".join([*others, namespace])) as operator:
        await operator.leads()
        kubectl.apply(stream(namespace))
        await operator.worked_on("a", trigger="created")


async def test_a_deletion_is_seen_while_a_finalizer_holds(
    start: Start, kubectl: Kubectl, namespace: str
) -> None:
    kubectl.apply(stream(namespace, finalizers=[meta.FINALIZER]))
    async with start() as operator:
        await operator.leads()
        kubectl("-n", namespace, "delete", "eventstream", "a", "--wait=false")
        await operator.worked_on("a", trigger="deleted", exists=True)
        kubectl(
            "-n", namespace, "patch", "eventstream", "a", "--type=merge",
            '-p={"metadata":{"finalizers":null}}',
        )  # fmt: skip
        await operator.worked_on("a", trigger="gone")


async def test_children_wake_their_owner(start: Start, kubectl: Kubectl, namespace: str) -> None:
    kubectl.apply(stream(namespace))
    owner = kubectl.get("-n", namespace, "eventstream", "a")
    child = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "a-config",
            "namespace": namespace,
            "labels": {meta.MANAGED_BY_LABEL: meta.MANAGED_BY},
            "ownerReferences": [
                {
                    "apiVersion": meta.API_VERSION,
                    "kind": meta.STREAM,
                    "name": "a",
                    "uid": owner["metadata"]["uid"],
                    "controller": True,
                }
            ],
        },
        "data": {"a": "1"},
    }
    async with start() as operator:
        await operator.leads()
        await operator.worked_on("a", trigger="resync:created")
        for act in (
            lambda: kubectl.apply(child),
            lambda: kubectl.apply({**child, "data": {"a": "2"}}),
            lambda: kubectl("-n", namespace, "delete", "configmap", "a-config"),
        ):
            act()
            await operator.worked_on("a", trigger="child:ConfigMap/a-config")


async def test_a_stream_wakes_who_refers_to_it(
    start: Start, kubectl: Kubectl, namespace: str
) -> None:
    consumer = {
        "apiVersion": meta.API_VERSION,
        "kind": meta.CONSUMER,
        "metadata": {"name": "c", "namespace": namespace},
        "spec": {"streamRef": {"name": "a"}, "handler": {"http": {"url": "http://billing"}}},
    }
    assert kubectl.apply(consumer).code == 0
    async with start() as operator:
        await operator.leads()
        await operator.worked_on("c")
        kubectl.apply(stream(namespace))
        await operator.worked_on("c", trigger="child:EventStream/a")


async def test_other_namespaces_are_left_alone(
    start: Start, kubectl: Kubectl, namespace: str
) -> None:
    other = f"{namespace}-other"
    kubectl("create", "namespace", other)
    try:
        async with start() as operator:
            await operator.leads()
            kubectl.apply(stream(other, "far"))
            kubectl.apply(stream(namespace, "near"))
            await operator.worked_on("near")
            assert operator.passes == []
        async with start(OUTBOX_NAMESPACES="") as operator:
            await operator.worked_on("far")
            await operator.leads()
            kubectl("-n", other, "label", "eventstream", "far", "team=x")
            await operator.worked_on("far", trigger="labels")
    finally:
        kubectl("delete", "namespace", other, "--wait=false")


async def test_a_reconciler_that_fails_is_tried_again_but_not_in_a_hot_loop(
    start: Start, kubectl: Kubectl, namespace: str
) -> None:
    async with start() as operator:
        await operator.leads()
        kubectl.apply(stream(namespace, labels={"test": "fails"}))
        await operator.worked_on("a", trigger="created")
        await operator.worked_on("a", trigger="retry")
        kubectl("-n", namespace, "label", "eventstream", "a", "test-")
        await operator.worked_on("a", trigger="labels")

        # One line a pass; how many there were nobody knows, but not how soon one comes again.
        failures = 2 + sum(one["trigger"] == "retry" for one in operator.passes)

        def failed() -> list[Mapping[str, Any]]:
            return [line for line in operator.logs if "defect" in line["message"]]

        await eventually(lambda: len(failed()) == failures, "each is logged once")
        assert all(line["object"] == f"EventStream/{namespace}/a" for line in failed())
        assert len({line["reconcile_id"] for line in failed()}) == failures
        times = [datetime.fromisoformat(line["time"]) for line in failed()]
        assert min(after - before for before, after in pairwise(times)) > timedelta(seconds=0.7)


async def test_kopf_writes_nothing_to_our_objects(
    start: Start, kubectl: Kubectl, namespace: str
) -> None:
    kubectl("-n", namespace, "create", "-f", "-", stdin=json.dumps(stream(namespace)))
    before = kubectl.get("-n", namespace, "eventstream", "a")
    async with start() as operator:
        await operator.leads()
        kubectl("-n", namespace, "label", "eventstream", "a", "team=x")
        await operator.worked_on("a", trigger="labels")
    after = kubectl.get("-n", namespace, "eventstream", "a")
    assert "annotations" not in after["metadata"]
    assert "finalizers" not in after["metadata"]
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
    assert "status" not in after


async def test_a_stop_gives_the_lease_back(start: Start, kubectl: Kubectl, namespace: str) -> None:
    async with start() as operator:
        await operator.leads()
        operator.send(signal.SIGTERM)
        # It would be another code if anything had to be cut short.
        assert await operator.exit_code() == 0
    lease = kubectl.get("-n", namespace, "lease", "outbox-operator")
    assert not lease["spec"].get("holderIdentity")


async def test_probes_and_metrics(start: Start, kubectl: Kubectl, namespace: str) -> None:
    async with start() as operator:
        await operator.leads()
        kubectl.apply(stream(namespace))
        await operator.worked_on("a")
        assert operator.probe("/healthz")[0] == 200
        assert operator.probe("/readyz")[0] == 200
        metrics = operator.probe("/metrics")[1]
        assert re.search(
            r'^outbox_operator_leader\{lease="[^/]+/[^/]+",slice="0"\} 1.0$', metrics, re.MULTILINE
        )
        assert "outbox_operator_leader_since_timestamp_seconds{" in metrics


async def test_a_standby_is_ready_and_takes_over_when_the_leader_stops(
    start: Start, kubectl: Kubectl, namespace: str
) -> None:
    async with start(OUTBOX_IDENTITY="one") as one:
        await one.leads()
        async with start(OUTBOX_IDENTITY="two") as two:
            await two.logged("standing by")
            assert two.probe("/readyz")[0] == 200
            metrics = two.probe("/metrics")[1]
            assert re.search(r"^outbox_operator_leader\{.+\} 0.0$", metrics, re.MULTILINE)
            assert "outbox_operator_leader_since_timestamp_seconds{" not in metrics

            one.send(signal.SIGTERM)
            assert await one.exit_code() == 0
            await two.leads()
            kubectl.apply(stream(namespace))
            await two.worked_on("a")
            assert one.passes == []


async def test_a_standby_takes_over_from_a_leader_that_was_killed(
    start: Start, kubectl: Kubectl, namespace: str
) -> None:
    async with start(OUTBOX_IDENTITY="one", **SHORT_LEASE) as one:
        await one.leads()
        async with start(OUTBOX_IDENTITY="two", **SHORT_LEASE) as two:
            await two.logged("standing by")
            one.send(signal.SIGKILL)
            await one.exit_code()
            await two.leads()
    lease = kubectl.get("-n", namespace, "lease", "outbox-operator")
    assert lease["spec"]["leaseTransitions"] == 1


async def test_a_stolen_lease_ends_the_process(
    start: Start, kubectl: Kubectl, namespace: str
) -> None:
    async with start() as operator:
        await operator.leads()
        theft = {"spec": {"holderIdentity": "thief", "leaseDurationSeconds": 15}}
        kubectl(
            "-n", namespace, "patch", "lease", "outbox-operator", "--type=merge",
            f"-p={json.dumps(theft)}",
        )  # fmt: skip
        assert await operator.exit_code() == 1
        assert (await operator.logged("held by thief"))["level"] == "error"
    lease = kubectl.get("-n", namespace, "lease", "outbox-operator")
    assert lease["spec"]["holderIdentity"] == "thief"


async def test_a_child_that_may_not_be_watched_ends_the_process_with_a_reason(
    start: Start, kubectl: Kubectl, namespace: str, kube_cluster: Cluster, tmp_path: Path
) -> None:
    rules = [
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["*"]},
        {"apiGroups": [meta.GROUP], "resources": ["*"], "verbs": ["*"]},
    ]
    rbac = {"apiVersion": "rbac.authorization.k8s.io/v1"}
    subject = {"kind": "ServiceAccount", "name": "poor", "namespace": namespace}
    place = {"name": "poor", "namespace": namespace}
    kubectl.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": place},
        {**rbac, "kind": "Role", "metadata": place, "rules": rules},
        {
            **rbac,
            "kind": "RoleBinding",
            "metadata": place,
            "subjects": [subject],
            "roleRef": {
                "kind": "Role",
                "name": "poor",
                "apiGroup": "rbac.authorization.k8s.io",
            },
        },
    )
    token = kubectl("-n", namespace, "create", "token", "poor").strip()
    poor = tmp_path / "kubeconfig"
    poor.write_text(kube_cluster.kubeconfig.read_text())
    program = Kubectl(kubectl.program, poor)
    context = program("config", "current-context").strip()
    program("config", "set-credentials", "poor", f"--token={token}")
    program("config", "set-context", context, "--user=poor")

    async with start(poor) as operator:
        assert await operator.exit_code() == 1
        line = await operator.logged("ended")
    assert line["reason"] == "PermissionDenied"
    assert "forbidden" in line["message"]
    assert token not in json.dumps(operator.logs)


async def test_the_resync_finds_what_the_watch_lost(
    start: Start, kubectl: Kubectl, namespace: str, kube_cluster: Cluster, tmp_path: Path
) -> None:
    async with (
        ApiProxy(kube_cluster.kubeconfig, tmp_path) as proxy,
        start(proxy.kubeconfig, OUTBOX_RESYNC="0.5", OUTBOX_SILENCE="3") as operator,
    ):
        await operator.leads()
        await eventually(lambda: _alive(operator), "it counts as alive")
        proxy.deafen("eventstreams")
        await asyncio.to_thread(kubectl.apply, stream(namespace))

        await operator.worked_on("a", trigger="resync:created")
        # What is known is listed without what it says; what is new is read by itself.
        await asyncio.to_thread(kubectl.apply, stream(namespace, "b"))
        await operator.worked_on("b", trigger="resync:created")
        patch = '-p={"spec":{"maxAge":"1h"}}'
        change = ("-n", namespace, "patch", "eventstream", "a", "--type=merge", patch)
        await asyncio.to_thread(kubectl, *change)
        await operator.worked_on("a", trigger="resync:generation", generation=2)
        await asyncio.to_thread(kubectl, "-n", namespace, "delete", "eventstream", "b")
        await operator.worked_on("b", trigger="resync:gone", exists=False)

        await eventually(lambda: _dead(operator, "objects"), "a deaf watch fails liveness")


async def test_a_deaf_heartbeat_fails_the_liveness_probe(
    start: Start, kube_cluster: Cluster, tmp_path: Path
) -> None:
    async with (
        ApiProxy(kube_cluster.kubeconfig, tmp_path) as proxy,
        start(proxy.kubeconfig, OUTBOX_SILENCE="3") as operator,
    ):
        await operator.leads()
        proxy.deafen("leases")
        await eventually(lambda: _dead(operator, "Lease"), "a deaf heartbeat fails liveness")


async def _alive(operator: RecordingOperator) -> bool:
    return (await asyncio.to_thread(operator.probe, "/healthz"))[0] == 200


async def _dead(operator: RecordingOperator, because_of: str) -> bool:
    code, text = await asyncio.to_thread(operator.probe, "/healthz")
    return code == 503 and f"the watch of our {because_of} has been deaf" in text
