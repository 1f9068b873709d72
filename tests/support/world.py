"""A namespace with an operator, a database and a NATS: what a test of the operator works in."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from support.kube import Answer, Kubectl
from support.nats import NatsServer
from support.operator import OperatorProcess
from support.waiting import wait_until

DEADLINE = 40.0
PLURALS = {"OutboxPipeline": "obp", "EventStream": "evs", "EventConsumer": "evc"}


@dataclass(frozen=True, kw_only=True)
class World:
    """Where one test lives.

    Attributes:
        kubectl: Against the control plane.
        namespace: Of this test alone.
        database: Superuser URL of an empty database of this test alone.
        nats: The NATS server of the run.
        prefix: Starts every stream name and subject of this test.
        operator: The running operator.
    """

    kubectl: Kubectl
    namespace: str
    database: str
    nats: NatsServer
    prefix: str
    operator: OperatorProcess

    def secret(self, name: str, **data: str) -> dict[str, Any]:
        """A Secret."""
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": self.namespace},
            "stringData": data,
        }

    def resource(self, kind: str, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
        """One of our resources."""
        return {
            "apiVersion": "outbox.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": dict(spec),
        }

    def pipeline(self, name: str = "orders", **spec: Any) -> dict[str, Any]:
        """A pipeline that needs no pods; keywords replace parts of its specification."""
        base: dict[str, Any] = {
            "database": {"connectionSecretRef": {"name": "database"}},
            "nats": {"url": self.nats.url},
            "stream": {
                "name": f"{self.prefix}-{name}",
                "subject": f"{self.prefix}.{name}.{{event_type}}",
            },
            "relay": {"replicas": 0},
        }
        return self.resource("OutboxPipeline", name, {**base, **spec})

    def stream(self, name: str = "orders", **spec: Any) -> dict[str, Any]:
        """An EventStream."""
        base = {
            "nats": {"url": self.nats.url},
            "name": f"{self.prefix}-{name}",
            "subjects": [f"{self.prefix}.{name}.>"],
        }
        return self.resource("EventStream", name, {**base, **spec})

    def consumer(self, name: str = "billing", **spec: Any) -> dict[str, Any]:
        """An EventConsumer without a workload."""
        return self.resource("EventConsumer", name, {"streamRef": {"name": "orders"}, **spec})

    def apply(self, *documents: dict[str, Any]) -> None:
        """`kubectl apply`; must succeed."""
        answer = self.kubectl.apply(*documents)
        assert answer.code == 0, answer.err

    def refused(self, *documents: dict[str, Any]) -> str:
        """`kubectl apply`; must be refused. What it said."""
        answer: Answer = self.kubectl.apply(*documents)
        assert answer.code != 0, "the API server took it"
        return answer.err

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """An object, None when there is none."""
        answer = self.kubectl.run(
            "get", PLURALS.get(kind, kind), name, "-n", self.namespace, "-o", "json"
        )
        if answer.code:
            assert "NotFound" in answer.err, answer.err
            return None
        document: dict[str, Any] = json.loads(answer.out)
        return document

    def condition(self, kind: str, name: str, type_: str) -> dict[str, Any]:
        """A condition as it is now, of the generation that is there now; else empty."""
        body = self.get(kind, name) or {"metadata": {}}
        for condition in (body.get("status") or {}).get("conditions") or ():
            fresh = condition.get("observedGeneration") == body["metadata"].get("generation")
            if condition["type"] == type_ and fresh:
                return dict(condition)
        return {}

    def wait_condition(
        self,
        kind: str,
        name: str,
        type_: str,
        status: str,
        reason: str | None = None,
        deadline: float = DEADLINE,
    ) -> dict[str, Any]:
        """Returns the condition once it is as wanted."""
        seen: dict[str, Any] = {}

        def holds() -> bool:
            nonlocal seen
            seen = self.condition(kind, name, type_)
            return seen.get("status") == status and reason in (None, seen.get("reason"))

        what = f"{kind} {name}: {type_}={status} {reason or ''}"
        self.wait(holds, what, deadline, lambda: f"last seen: {seen}\n{self.log()}")
        return seen

    def wait_ready(self, kind: str, name: str, deadline: float = DEADLINE) -> None:
        """Returns once the object is Ready."""
        self.wait_condition(kind, name, "Ready", "True", deadline=deadline)

    def wait_gone(self, kind: str, name: str, deadline: float = DEADLINE) -> None:
        """Returns once the object is gone."""
        self.wait(lambda: self.get(kind, name) is None, f"{kind} {name} gone", deadline)

    def wait(
        self,
        holds: Callable[[], bool],
        what: str,
        deadline: float = DEADLINE,
        detail: Callable[[], str] = str,
    ) -> None:
        """Returns once `holds`; fails after the deadline saying what was waited for."""
        wait_until(holds, what, seconds=deadline, detail=detail, pause=0.1)

    def events(self, name: str) -> list[dict[str, Any]]:
        """Kubernetes events about an object."""
        items = self.kubectl.get("events.events.k8s.io", "-n", self.namespace)["items"]
        return [item for item in items if item.get("regarding", {}).get("name") == name]

    def log(self, lines: int = 15) -> str:
        """The end of what the operator said about the objects of this test."""
        mine = [
            line[:400]
            for line in self.operator.text().splitlines()
            if f"/{self.namespace}/" in line
        ]
        return "\n".join(mine[-lines:])

    def passes(self) -> int:
        """Passes the operator has made over the objects of this test."""
        return sum(
            '"message": "pass ' in line and f"/{self.namespace}/" in line
            for line in self.operator.text().splitlines()
        )
