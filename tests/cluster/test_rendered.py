"""A real API server takes what we render, and sees nothing to change in it afterwards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from outbox_operator.plan.kubernetes.diff import differences, was_changed_by_others
from support.chart import Helm, find_helm
from support.kube import Kubectl

GOLDEN = Path(__file__).resolve().parents[1] / "unit/plan/kubernetes/golden"
FILES = sorted(path.name for path in GOLDEN.glob("*.yaml"))


def apply(kubectl: Kubectl, manifest: dict[str, Any]) -> dict[str, Any]:
    """Server-side apply as the operator does it; unknown fields are errors."""
    text = kubectl(
        *("apply", "--server-side", "--force-conflicts", "--validate=strict"),
        *("--field-manager=outbox-operator", "-o", "json", "-f", "-"),
        stdin=yaml.safe_dump(manifest),
    )
    live: dict[str, Any] = json.loads(text)
    return live


def rendered(name: str, namespace: str) -> list[dict[str, Any]]:
    """Objects of a golden file, moved to a namespace. Their owners exist on paper only."""
    objects = list(yaml.safe_load_all((GOLDEN / name).read_text()))
    for one in objects:
        one["metadata"]["namespace"] = namespace
        del one["metadata"]["ownerReferences"]
    return objects


@pytest.mark.parametrize("name", FILES)
def test_what_was_applied_needs_no_second_apply(
    name: str, kubectl: Kubectl, namespace: str
) -> None:
    for manifest in rendered(name, namespace):
        assert differences(manifest, apply(kubectl, manifest)) == ()


@pytest.mark.parametrize("name", [name for name in FILES if name != "children.yaml"])
def test_pods_are_let_into_a_restricted_namespace(
    name: str, kubectl: Kubectl, namespace: str
) -> None:
    kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    deployment = rendered(name, namespace)[-1]
    template = deployment["spec"]["template"]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**template["metadata"], "name": "one", "namespace": namespace},
        "spec": template["spec"],
    }
    account = rendered(name, namespace)[0]
    kubectl("apply", "-f", "-", stdin=yaml.safe_dump(account))
    answer = kubectl.apply(pod, dry_run=True)
    assert answer.code == 0, answer.err


def test_a_change_made_by_hand_is_seen_and_put_back(kubectl: Kubectl, namespace: str) -> None:
    deployment = rendered("relay.yaml", namespace)[-1]
    apply(kubectl, deployment)
    where = ("deployment", deployment["metadata"]["name"], "-n", namespace)
    kubectl("scale", *where, "--replicas=0")
    kubectl("set", "env", *where, "INJECTED=x")
    changes = differences(deployment, kubectl.get(*where))
    assert [change.field for change in changes] == ["spec.replicas"]
    assert was_changed_by_others(changes)
    assert differences(deployment, apply(kubectl, deployment)) == ()


def test_a_field_that_is_no_longer_set_goes(kubectl: Kubectl, namespace: str) -> None:
    before, after = rendered("relay.yaml", namespace)[-1], rendered("relay.yaml", namespace)[-1]
    before["spec"]["template"]["spec"]["nodeSelector"] = {"disk": "fast"}
    before["metadata"]["annotations"]["outbox.dev/applied"] = "before"
    live = apply(kubectl, before)
    assert [change.field for change in differences(after, live)] == [
        "metadata.annotations.outbox.dev/applied"
    ]
    assert "nodeSelector" not in apply(kubectl, after)["spec"]["template"]["spec"]


@pytest.mark.parametrize("watched", [[], ["default"]])
def test_the_chart_is_accepted_and_gives_just_the_rights_needed(
    watched: list[str], kubectl: Kubectl, namespace: str
) -> None:
    release = f"operator-{namespace}"
    objects = Helm(find_helm()).render(
        {"watchNamespaces": watched, "crds": {"enabled": False}}, name=release
    )
    for one in objects:
        if one["metadata"].get("namespace") == "outbox-system":
            one["metadata"]["namespace"] = namespace
        for subject in one.get("subjects", ()):
            subject["namespace"] = namespace
    try:
        for one in objects:
            apply(kubectl, one)
        account = f"system:serviceaccount:{namespace}:{release}-outbox-operator"

        def may(verb: str, resource: str, where: str = "default") -> bool:
            arguments = ("auth", "can-i", verb, resource, "-n", where, "--as", account)
            return kubectl.run(*arguments).out.strip() == "yes"

        lease = f"leases.coordination.k8s.io/{release}-outbox-operator"
        kubectl.wait_may(account, "create", "deployments.apps", "default")
        kubectl.wait_may(account, "update", lease, namespace)
        assert may("patch", "outboxpipelines.outbox.dev/status")
        assert may("get", "secrets")
        assert not may("list", "secrets")
        assert not may("delete", "outboxpipelines.outbox.dev")
        assert not may("create", "pods")
        assert not may("update", "leases.coordination.k8s.io/another", namespace)
        assert may("create", "deployments.apps", "kube-public") is (not watched)
    finally:
        kubectl("delete", "--ignore-not-found", "-f", "-", stdin=yaml.safe_dump_all(objects))
