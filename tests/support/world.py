"""A namespace with an operator, a database and a NATS: what a test of the operator works in."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from support.kube import Answer, Kubectl, api
from support.nats import NatsServer
from support.operator import OperatorProcess
from support.waiting import SECONDS, wait_until

_CORE, _OURS = "/api/v1", "/apis/outbox.dev/v1alpha1"
_PATHS = {
    "OutboxTask": (_OURS, "outboxtasks"),
    "OutboxPipeline": (_OURS, "outboxpipelines"),
    "EventStream": (_OURS, "eventstreams"),
    "EventConsumer": (_OURS, "eventconsumers"),
    "Deployment": ("/apis/apps/v1", "deployments"),
    "ConfigMap": (_CORE, "configmaps"),
    "Event": ("/apis/events.k8s.io/v1", "events"),
}
"""Where the API server has the kinds that tests look at."""
_WRITTEN = {
    *(plural for _, plural in _PATHS.values()),
    "serviceaccounts",
    "services",
    "poddisruptionbudgets",
}
_LOOKED_AFTER = ("OutboxPipeline", "EventStream", "EventConsumer")
_THEIRS = ("events", "")
HANDLER = {"http": {"url": "http://handler.test/events"}}


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

    def whole(self) -> tuple[dict[str, Any], ...]:
        """A pipeline with all that can be without pods: a relay and a handler, scaled to 0."""
        return (
            self.secret("database", url=self.database),
            self.pipeline(
                consumers=[
                    {"name": "billing", "handler": HANDLER, "replicas": 0},
                    {"name": "audit"},
                ]
            ),
        )

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
        return self._read(kind, name)

    def _read(self, kind: str, name: str = "") -> dict[str, Any] | None:
        group, plural = _PATHS[kind]
        path = f"{group}/namespaces/{self.namespace}/{plural}/{name}".rstrip("/")
        return api(self.kubectl.kubeconfig).get(path)

    def deployment(self, name: str) -> dict[str, Any]:
        """A Deployment that must be there."""
        found = self.get("Deployment", name)
        assert found is not None, f"no Deployment {name}"
        return found

    def annotate(self, kind: str, name: str, text: str) -> None:
        """Set an annotation, or with a dash at the end remove it."""
        self.kubectl("annotate", kind, name, "-n", self.namespace, text, "--overwrite")

    def look_again(self, kind: str, name: str) -> None:
        """Ask for a pass over an object."""
        self.annotate(kind, name, "outbox.dev/reconcile-at=now")

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
        deadline: float = SECONDS,
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

    def wait_ready(self, kind: str, name: str, deadline: float = SECONDS) -> None:
        """Returns once the object is Ready."""
        self.wait_condition(kind, name, "Ready", "True", deadline=deadline)

    def wait_gone(self, kind: str, name: str, deadline: float = SECONDS) -> None:
        """Returns once the object is gone."""
        self.wait(lambda: self.get(kind, name) is None, f"{kind} {name} gone", deadline)

    def wait(
        self,
        holds: Callable[[], bool],
        what: str,
        deadline: float = SECONDS,
        detail: Callable[[], str] = str,
    ) -> None:
        """Returns once `holds`; fails after the deadline saying what was waited for."""
        wait_until(holds, what, seconds=deadline, detail=detail)

    def pods_ready(self, deployment: str, ready: int) -> None:
        """Say of the pods of a Deployment, as no kubelet does here, that so many are ready."""
        pods = list[str]()

        def there() -> bool:
            listed = self.kubectl.get("pods", "-n", self.namespace)["items"]
            names = [one["metadata"]["name"] for one in listed]
            pods[:] = sorted(name for name in names if name.startswith(f"{deployment}-"))
            return len(pods) >= ready

        self.wait(there, f"{ready} pods of {deployment}", detail=lambda: str(pods))
        for number, pod in enumerate(pods):
            status = {
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": str(number < ready)}],
            }
            self.kubectl(
                "patch", "pod", pod, "-n", self.namespace, "--subresource=status",
                f"-p={json.dumps({'status': status})}",
            )  # fmt: skip

    def events(self, name: str) -> list[dict[str, Any]]:
        """Kubernetes events about an object."""
        items = (self._read("Event") or {})["items"]
        return [item for item in items if item.get("regarding", {}).get("name") == name]

    def wait_event(self, name: str, reason: str, *words: str) -> None:
        """Returns once an Event about an object says so: the operator writes the status first."""

        def said() -> bool:
            return any(
                one["reason"] == reason and all(word in one["note"] for word in words)
                for one in self.events(name)
            )

        def notes() -> str:
            return "\n".join(f"{one['reason']}: {one['note']}" for one in self.events(name))

        self.wait(said, f"event {reason} about {name}: {', '.join(words)}", detail=notes)

    def log(self, lines: int = 15) -> str:
        """The end of what the operator said about the objects of this test."""
        mine = [
            line[:400]
            for line in self.operator.text().splitlines()
            if f"/{self.namespace}/" in line
        ]
        return "\n".join(mine[-lines:])

    def exported(self, name: str, /, **labels: str) -> float | None:
        """A number that the operator exports of an object of this test; None: there is none."""
        found = self.operator.samples(f"outbox_{name}", namespace=self.namespace, **labels)
        assert len(found) < 2, f"{name} {labels}: {found}"
        return found[0] if found else None

    def wait_exported(self, wanted: float | None, name: str, /, **labels: str) -> None:
        """Returns once the operator exports this number, or none any more."""
        seen: float | None = None

        def holds() -> bool:
            nonlocal seen
            seen = self.exported(name, **labels)
            return seen == wanted

        what = f"{name} {labels}: {wanted}"
        self.wait(holds, what, detail=lambda: f"{seen}\n{self.log()}")

    def wait_passes(
        self, kind: str, more: int, *, operator: OperatorProcess | None = None, **labels: str
    ) -> float:
        """Returns once the operator has made so many more passes over a kind; seconds it took."""
        watched = operator or self.operator
        # Passes of the time that the answer is under way count; it counts as well.
        start, before = time.monotonic(), _passes(watched, kind, **labels)
        what = f"{more} passes over {kind} {labels or ''}"
        self.wait(
            lambda: _passes(watched, kind, **labels) >= before + more, what, detail=watched.tail
        )
        return time.monotonic() - start

    def assert_no_hot_loop(self, kind: str) -> None:
        """What is wrong stays wrong: the operator must not spin on it."""
        # The first may be due at once; the pauses after it are a second, less a fifth.
        assert self.wait_passes(kind, 3, result="failed") > 1.5

    def writes(self) -> Counter[str]:
        """Applies and patches of our objects and their children that the API server counted."""
        found: Counter[str] = Counter()
        text = api(self.kubectl.kubeconfig).text("/metrics") or ""
        for labels, value in re.findall(r"apiserver_request_total\{(.*)\} (\d+)", text):
            said = dict(re.findall(r'(\w+)="([^"]*)"', labels))
            # Kubernetes' own controllers count their Events in the older group.
            ours = said["resource"] in _WRITTEN and (said["resource"], said["group"]) != _THEIRS
            if said["verb"] in ("APPLY", "PATCH") and ours:
                found[f"{said['verb']} {said['resource']}/{said['subresource']}"] += int(value)
        return found

    def settle(self) -> Counter[str]:
        """Returns once nothing was written for three rounds of passes; what was written so far.

        The first round may have begun before the last write.
        """
        start = before = self.writes()
        wanted = self._after_rounds(3)

        def settled() -> bool:
            nonlocal before, wanted
            made = all(_passes(self.operator, kind) >= most for kind, most in wanted.items())
            now = self.writes()
            if now != before:
                before, wanted = now, self._after_rounds(3)
                return False
            return made

        wait_until(
            settled, "no more writes",
            seconds=120,
            detail=lambda: f"{self.writes() - start}\n{self.log(30)}",
            pause=0.5,  # all that the API server counts is two megabytes
        )  # fmt: skip
        return before

    def _after_rounds(self, rounds: int) -> dict[str, float]:
        """How many passes over each kind there will have been after so many over each object."""
        objects = {kind: len((self._read(kind) or {})["items"]) for kind in _LOOKED_AFTER}
        return {
            kind: _passes(self.operator, kind) + rounds * number for kind, number in objects.items()
        }

    def clear(self) -> None:
        """Delete our resources; returns once they are gone."""
        server, place = api(self.kubectl.kubeconfig), f"{_OURS}/namespaces/{self.namespace}"
        ours = [plural for group, plural in _PATHS.values() if group == _OURS]
        for plural in ours:
            server.delete(f"{place}/{plural}")

        def left() -> list[str]:
            found = [(server.get(f"{place}/{plural}") or {})["items"] for plural in ours]
            return [one["metadata"]["name"] for kind in found for one in kind]

        self.wait(lambda: not left(), "all is gone", 120, lambda: f"{left()}\n{self.log()}")


def _passes(operator: OperatorProcess, kind: str, **labels: str) -> float:
    """With the looks that spared an object that rests a pass."""
    made = operator.metric("outbox_operator_reconciles_total", kind=kind, **labels)
    if labels:
        return made
    return made + operator.metric("outbox_operator_looks_total", kind=kind, result="same")
