"""What the operator may do in a namespace, and what pods there say of themselves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from outbox_operator.adapters.kubernetes.pod_health import PodAnswer, ask
from outbox_operator.api import meta
from outbox_operator.api.resource import Meta
from outbox_operator.controller.reconcile.pods import pods_of
from outbox_operator.controller.tasks.action import Work
from outbox_operator.plan.doctor.findings import Check, Finding, warning
from outbox_operator.plan.doctor.logins import Clock, check_clock
from outbox_operator.plan.doctor.pods import check_pods, pod_name
from outbox_operator.plan.doctor.rights import check_rights
from outbox_operator.plan.names import Component, selector_labels, selector_text
from outbox_operator.wire.config import HEALTH_PORT

MOST_PODS: Final = 30
"""Pods that are asked."""
_SECOND: Final = 1.0
"""What a pod says of its clock is cut to that."""


async def rights(work: Work) -> AsyncIterator[Finding]:
    """What the operator lacks in the namespace."""
    namespace = work.task.meta.namespace
    for one in check_rights(await work.context.kube.rights(namespace), namespace):
        yield one


async def pods(work: Work, owners: Sequence[Meta]) -> AsyncIterator[Finding]:
    """What Kubernetes says of the pods of these owners, and what those say that run."""
    namespace, found = work.task.meta.namespace, list[dict[str, Any]]()
    for owner in owners:
        component: Component = "relay" if owner.kind == meta.PIPELINE else "consumer"
        labels = selector_text(selector_labels(component, owner.name))
        found += await pods_of(work.context.kube, namespace, labels)
    for one in check_pods(found, datetime.now(UTC)):
        yield one
    asked = [(pod, address) for pod in found if (address := _address(pod))][:MOST_PODS]
    begun = datetime.now(UTC)
    answers = await asyncio.gather(*(ask(address, HEALTH_PORT) for _, address in asked))
    took = (datetime.now(UTC) - begun).total_seconds()
    for (pod, _), answer in zip(asked, answers, strict=True):
        for one in _said(pod, answer, begun, took):
            yield one


def _said(pod: Mapping[str, Any], answer: PodAnswer, begun: datetime, took: float) -> list[Finding]:
    found = []
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    if answer.unready is not None:
        found.append(
            warning(
                Check.POD_SAYS,
                pod_name(pod),
                answer.unready,
                remedy=f"kubectl -n {namespace} logs {name} --tail=50",
            )
        )
    if answer.at is not None:
        ahead = (answer.at - begun).total_seconds()
        found += check_clock(pod_name(pod), Clock(ahead=ahead, doubt=took + _SECOND))
    return found


def _address(pod: Mapping[str, Any]) -> str | None:
    """Of a pod of ours that runs; not of one that somebody else made with our labels, nor of one in
    the node's network, where other programs answer."""
    status, spec = pod.get("status") or {}, pod.get("spec") or {}
    owners = pod["metadata"].get("ownerReferences") or ()
    ours = any(one.get("controller") and one["kind"] == "ReplicaSet" for one in owners)
    if not ours or spec.get("hostNetwork") or status.get("phase") != "Running":
        return None
    return str(status["podIP"]) if status.get("podIP") else None
