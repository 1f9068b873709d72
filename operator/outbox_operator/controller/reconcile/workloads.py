"""The Deployment behind a relay or a consumer, and what belongs to it: applied, and looked at."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from outbox_operator.adapters.kubernetes.pod_health import unready_reason
from outbox_operator.api import meta
from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Meta
from outbox_operator.controller.reconcile.context import Context
from outbox_operator.controller.reconcile.pods import pods_of
from outbox_operator.controller.reconcile.resources import OwnedResources
from outbox_operator.controller.runtime.child_cache import owner_of
from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.errors import OutboxError
from outbox_operator.plan.kubernetes.archive_api import COMPONENT
from outbox_operator.plan.kubernetes.logins import logins_changed
from outbox_operator.plan.kubernetes.resources import Body, id_of, pruning_steps, wanted_steps
from outbox_operator.plan.kubernetes.workloads import restarted_at
from outbox_operator.plan.status.conditions import stamp
from outbox_operator.plan.status.workload import (
    Replicas,
    WorkloadObserved,
    WorkloadResult,
    is_settled,
    pods_to_ask,
    replicas,
    selector,
    workload_result,
)
from outbox_operator.plan.steps import Applied
from outbox_operator.wire.config import HEALTH_PORT

ASKED_PODS = 3
"""Pods that are asked why they are not ready; one answer is usually everybody's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """A second Deployment of an owner.

    Attributes:
        kind: Condition to report it under.
        deployment: Its name.
        stopped: Why no pods of it are wanted, None when they are.
    """

    kind: ConditionType
    deployment: str
    stopped: str | None


class Workloads:
    """Applies rendered objects and reads how they do. Shared by two reconcilers."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._resources = OwnedResources(
            context.kube,
            cached=context.children.get,
            owned_by=context.children.owned_by,
            belongs=_belongs,
            # The cache holds what carries our label; the name may be somebody else's all the same.
            complete=False,
        )

    async def ensure(
        self,
        kind: ConditionType,
        owner: Meta,
        manifests: Sequence[Body],
        *,
        stopped: str | None,
        restarting: bool,
        had: bool,
        beside: Beside | None = None,
    ) -> WorkloadResult:
        """Make the workload of an owner as rendered, and look how it does.

        Args:
            kind: Condition to report under.
            owner: Whose it is.
            manifests: All its objects.
            stopped: Why no pods are wanted, None when they are.
            restarting: Whether the manifests carry out a restart.
            had: Whether the owner had all of it before, by its last status.
            beside: A second Deployment among them.
        """
        applied = await self._apply(owner, manifests, had=had)
        observed, other = WorkloadObserved(), WorkloadObserved()
        if all(one.error is None for one in applied):
            try:
                observed = await self._observe(owner.namespace, applied, stopped)
                if beside is not None:
                    other = await self._observe(
                        owner.namespace, applied, beside.stopped, name=beside.deployment
                    )
            except OutboxError as error:
                observed = WorkloadObserved(unreadable=error)
        result = workload_result(kind, applied, observed, stopped=stopped, restarting=restarting)
        if beside is None:
            return result
        of_other = workload_result(
            beside.kind, applied, other, stopped=beside.stopped, restarting=restarting
        )
        if of_other.part is None or of_other.numbers is None:
            return result
        return replace(result, beside=(of_other.part, of_other.numbers))

    async def remove(self, owner: Meta) -> None:
        """Delete every object of an owner, unless it is paused. Raises what the API server says."""
        for one in await self._apply(owner, ()):
            if one.error is not None:
                raise one.error

    def exists(self, owner: Meta) -> bool:
        """Whether an owner has any object of a workload."""
        return bool(self._context.children.owned_by(owner.namespace, owner.uid))

    def logins_changed(self, owner: Meta, deployment: str, logins: str) -> bool:
        """Whether the pods of an owner that run were made with other logins."""
        live = self._context.children.get("Deployment", owner.namespace, deployment)
        return logins_changed(live, logins)

    def deployment(self, owner: Meta) -> Body | None:
        """An owner's Deployment, as it was last seen; not that of an archive's API."""
        owned = self._context.children.owned_by(owner.namespace, owner.uid)
        return next((one for one in owned if _does_the_work(one)), None)

    def pods(self, owner: Meta) -> Replicas:
        """Numbers of an owner's pods, as its Deployment was last seen."""
        return replicas(self.deployment(owner))

    def restarted_at(self, owner: Meta, deployment: str, *, now: bool) -> str | None:
        """The restart stamp for pod templates: now on request, else what the pods carry."""
        if now:
            return stamp(datetime.now(UTC))
        return restarted_at(self._context.children.get("Deployment", owner.namespace, deployment))

    def is_calm(self, uid: str) -> bool:
        """Whether nothing of an owner was put back lately."""
        return self._resources.is_calm(uid)

    def forget(self, uid: str) -> None:
        """An owner is gone."""
        self._resources.forget(uid)

    async def _apply(
        self, owner: Meta, manifests: Sequence[Body], *, had: bool = False
    ) -> list[Applied[Body]]:
        before = frozenset(id_of(one) for one in manifests) if had else frozenset()
        observed = await self._resources.observe(owner, manifests, had=before)
        steps = [
            *wanted_steps(owner, manifests, observed),
            # Last: what runs may still need it.
            *pruning_steps(owner, manifests, observed),
        ]
        return await self._resources.execute(owner, steps)

    async def _observe(
        self,
        namespace: str,
        applied: Sequence[Applied[Body]],
        stopped: str | None,
        *,
        name: str | None = None,
    ) -> WorkloadObserved:
        """A Deployment, the first unless named, and its pods when it does not do well."""
        deployment = next(
            (
                one.now
                for one in applied
                if one.step.wanted.get("kind") == "Deployment"
                and name in (None, one.step.wanted["metadata"]["name"])
            ),
            None,
        )
        if deployment is None:
            return WorkloadObserved()
        deployment = self._newer(namespace, deployment)
        if stopped is not None or is_settled(deployment):
            return WorkloadObserved(deployment=deployment)
        pods = await pods_of(self._context.kube, namespace, selector(deployment))
        return WorkloadObserved(deployment=deployment, pods=tuple(pods), said_by=await _ask(pods))

    def _newer(self, namespace: str, deployment: Body) -> Body:
        """The cached one, unless our own write is newer: its status reaches the cache later."""
        name, uid = deployment["metadata"]["name"], deployment["metadata"]["uid"]
        cached = self._context.children.get("Deployment", namespace, name)
        if cached is None or cached["metadata"]["uid"] != uid:
            return deployment
        seen = int(cached["metadata"].get("generation") or 0)
        written = int(deployment["metadata"].get("generation") or 0)
        return cached if seen >= written else deployment


def _does_the_work(body: Body) -> bool:
    labels = body["metadata"].get("labels") or {}
    return body["kind"] == "Deployment" and labels.get(meta.COMPONENT_LABEL) != COMPONENT


def _belongs(owner: Meta, body: Body) -> bool:
    """An object without our label that has the name we need is left alone."""
    if any(one.get("controller") for one in body["metadata"].get("ownerReferences") or ()):
        return owner_of(body) == ObjectKey.of(owner)
    labels = body["metadata"].get("labels") or {}
    return bool(labels.get(meta.MANAGED_BY_LABEL) == meta.MANAGED_BY)


async def _ask(pods: Sequence[dict[str, Any]]) -> dict[str, str]:
    """What a few pods that are not ready say of themselves, by name."""
    asked = pods_to_ask(pods)[:ASKED_PODS]
    answers = await asyncio.gather(*(unready_reason(address, HEALTH_PORT) for _, address in asked))
    return {name: said for (name, _), said in zip(asked, answers, strict=True) if said is not None}
