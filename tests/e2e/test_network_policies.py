"""The policies that the operator makes are enough where a namespace denies everything, and no more.

The local cluster enforces none: they are translated into rules in the pods' network namespaces.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from demo.shop import NAMESPACE

from outbox_operator.wire.config import HEALTH_PORT
from support import policies
from support.stage import Stage

STRANGERS = "strangers"
WORKLOADS = 4
"""The relay, two consumers and the archive."""
DENY_ALL = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "deny-all", "namespace": NAMESPACE},
    "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
}
OPEN = policies.as_rules([], "127.0.0.1", lambda _: [])


class Pods:
    """Pods of the cluster, and the policies that hold for those of ours."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def get(self, namespace: str, selector: str = "") -> list[dict[str, Any]]:
        """Those that run."""
        answer = self.stage.kubectl("get", "pods", "-n", namespace, "-l", selector, "-o", "json")
        found: list[dict[str, Any]] = json.loads(answer)["items"]
        return [one for one in found if "deletionTimestamp" not in one["metadata"]]

    def ours(self) -> list[dict[str, Any]]:
        """Relay and consumers."""
        return self.get(NAMESPACE, "app.kubernetes.io/managed-by=outbox-operator")

    def settled(self) -> bool:
        """Whether those of consumers that are gone went, with their policies, and the rest runs."""
        answer = self.stage.kubectl("get", "networkpolicies", "-n", NAMESPACE, "-o", "json")
        made = [one for one in json.loads(answer)["items"] if "ownerReferences" in one["metadata"]]
        return len(made) == WORKLOADS and all("podIP" in one["status"] for one in self.ours())

    def network(self, pod: dict[str, Any]) -> int:
        """A process in a pod's network."""
        found = policies.network_of(pod["metadata"]["uid"])
        if found is None:
            pytest.skip("the pods are not on this machine")
        return found

    def addresses(self, peer: Any) -> list[str]:
        """Of the pods that a peer picks, in namespaces picked by name."""
        (namespace,) = peer["namespaceSelector"]["matchLabels"].values()
        labels = (peer.get("podSelector") or {}).get("matchLabels") or {}
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        return [one["status"]["podIP"] for one in self.get(namespace, selector)]

    def enforce(self, *, generated: bool) -> None:
        """All policies of the namespace, with those that the operator made or without."""
        answer = self.stage.kubectl("get", "networkpolicies", "-n", NAMESPACE, "-o", "json")
        found = json.loads(answer)["items"]
        theirs = [one for one in found if "ownerReferences" not in one["metadata"]]
        assert len(found) - len(theirs) == WORKLOADS
        for pod in self.ours():
            process = self.network(pod)
            ruling = [
                one
                for one in (found if generated else theirs)
                if policies.selects(one, pod["metadata"]["labels"])
            ]
            assert len(ruling) == 1 + generated, pod["metadata"]["name"]
            rules = policies.as_rules(ruling, policies.gateway(process), self.addresses)
            policies.enforce(process, rules)


@pytest.fixture
def pods(stage: Stage) -> Iterator[Pods]:
    """With a policy that denies everything to the shop, and a stranger in another namespace."""
    stranger = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "stranger", "namespace": STRANGERS},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {
                    "name": "stranger",
                    "image": stage.images.operator,
                    "command": ["/opt/venv/bin/python3", "-c", "import time; time.sleep(3600)"],
                }
            ],
        },
    }
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": STRANGERS}}
    for document in (namespace, stranger, DENY_ALL):
        stage.kubectl("apply", "-f", "-", stdin=json.dumps(document))
    found = Pods(stage)
    stage.eventually("all pods run", found.settled)
    stage.eventually("the stranger runs", lambda: "podIP" in found.get(STRANGERS)[0]["status"])
    try:
        yield found
    finally:
        for pod in found.ours():
            policies.enforce(found.network(pod), OPEN)
        stage.kubectl("delete", "networkpolicy", "deny-all", "-n", NAMESPACE)
        stage.kubectl("delete", "namespace", STRANGERS, "--wait=false")


@pytest.mark.thorough
def test_generated_policies_are_enough_where_all_is_denied(stage: Stage, pods: Pods) -> None:
    stage.shop.take_orders(1)
    before = stage.shop.counts().committed
    stage.eventually("orders flow", lambda: stage.shop.counts().committed >= before + 5)
    pods.enforce(generated=False)
    denied = stage.shop.counts()
    stage.eventually(
        "orders come in", lambda: stage.shop.counts().committed >= denied.committed + 10
    )
    handled = stage.shop.counts().handled
    stage.eventually("more come in", lambda: stage.shop.counts().committed >= denied.committed + 30)
    assert stage.shop.counts().handled == handled

    pods.enforce(generated=True)
    stage.shop.take_orders(0)
    stage.shop.settle(timeout=240)
    assert stage.shop.ledger().problems() == []

    (stranger,), (friend,) = pods.get(STRANGERS), pods.get(NAMESPACE, "app=mailer")
    for pod in pods.ours():
        address = pod["status"]["podIP"]
        assert policies.reaches(pods.network(friend), address, HEALTH_PORT)
        assert not policies.reaches(pods.network(stranger), address, HEALTH_PORT)
        assert not policies.reaches(pods.network(friend), address, HEALTH_PORT + 1)
