"""Keeps the Kubernetes objects behind a relay or a consumer as rendered: apply, prune, look at."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from outbox_operator.adapters.kubernetes.objects import ref_of
from outbox_operator.adapters.kubernetes.pod_health import unready_reason
from outbox_operator.api import meta as names
from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Meta
from outbox_operator.controller.reconcile.context import Context
from outbox_operator.controller.runtime.child_cache import owner_of
from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.errors import ConflictError
from outbox_operator.plan.kubernetes.diff import differences, was_changed_by_others
from outbox_operator.plan.kubernetes.workloads import restarted_at
from outbox_operator.plan.names import selector_text
from outbox_operator.plan.status.conditions import Part, stamp, waiting
from outbox_operator.plan.status.workload import (
    Replicas,
    deployment_part,
    is_settled,
    pods_to_ask,
    replicas,
    restarts,
)
from outbox_operator.reasons import Reason
from outbox_operator.wire.config import HEALTH_PORT

log = logging.getLogger(__name__)

ASKED_PODS = 3
"""Pods that are asked why they are not ready; one answer is usually everybody's."""


@dataclass(kw_only=True)
class Applied:
    """What became of a set of objects.

    Attributes:
        deployment: The Deployment among them as the API server has it.
        drifts: One text per object that somebody had changed or deleted.
        frozen: Objects that differ and were left so because the owner is paused.
    """

    deployment: dict[str, Any] | None = None
    drifts: list[str] = field(default_factory=list)
    frozen: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Look:
    """A workload as it runs.

    Attributes:
        part: Whether it is as wanted, and why not.
        numbers: Of its pods.
        restarts: Of their containers; None: all is well and nobody counted.
        selector: Picks its pods.
    """

    part: Part
    numbers: Replicas
    restarts: int | None
    selector: str


class Workloads:
    """Applies rendered objects and reads how they do. Shared by two reconcilers."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._known: dict[tuple[str, str, str], str] = {}
        """UID of the owner of each child that was there once: it was not we who removed it."""

    async def ensure(self, owner: Meta, manifests: Sequence[dict[str, Any]]) -> Applied:
        """Apply what differs; delete children of the owner that are not wanted any more."""
        applied = Applied()
        for manifest in manifests:
            live = await self._ensure_one(owner, manifest, applied)
            if manifest["kind"] == "Deployment":
                applied.deployment = live
        await self._prune(owner, manifests, applied)
        return applied

    async def _ensure_one(
        self, owner: Meta, manifest: dict[str, Any], applied: Applied
    ) -> dict[str, Any] | None:
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        where = (kind, owner.namespace, name)
        live = self._context.children.get(*where)
        if live is not None and live["metadata"].get("deletionTimestamp"):
            live = None
        changes = () if live is None else differences(manifest, live)
        if live is not None:
            self._known[where] = owner.uid
            if not changes:
                return live
        if owner.paused:
            applied.frozen.append(f"{kind} {name}")
            return live
        if live is None:
            await self._refuse_foreign(owner, manifest)
        written = await self._context.kube.apply(manifest)
        log.info("applied %s %s", kind, name)
        if live is None and self._known.get(where) == owner.uid:
            applied.drifts.append(f"{kind} {name} was deleted and has been created again")
        elif was_changed_by_others(changes):
            text = "; ".join(str(change) for change in changes[:5])
            applied.drifts.append(f"{kind} {name} was changed and has been put back: {text}")
        self._known[where] = owner.uid
        return written

    async def _refuse_foreign(self, owner: Meta, manifest: dict[str, Any]) -> None:
        """An object without our label that has the name we need is left alone."""
        found = await self._context.kube.get(ref_of(manifest))
        if found is None:
            return
        if not any(o.get("controller") for o in found["metadata"].get("ownerReferences") or ()):
            ours = found["metadata"].get("labels") or {}
            if ours.get(names.MANAGED_BY_LABEL) == names.MANAGED_BY:
                return
        elif owner_of(found) == ObjectKey(owner.kind, owner.namespace, owner.name):
            return
        raise ConflictError(
            f"{manifest['kind']} {owner.namespace}/{manifest['metadata']['name']} exists and does "
            f"not belong to {owner.key}; rename or delete one of the two"
        )

    async def _prune(
        self, owner: Meta, manifests: Sequence[dict[str, Any]], applied: Applied
    ) -> None:
        wanted = {(m["kind"], m["metadata"]["name"]) for m in manifests}
        for live in self._context.children.owned_by(owner.uid):
            kind, name = live["kind"], live["metadata"]["name"]
            if (kind, name) in wanted or live["metadata"].get("deletionTimestamp"):
                continue
            if owner.paused:
                applied.frozen.append(f"{kind} {name}")
                continue
            self._known.pop((kind, owner.namespace, name), None)
            await self._context.kube.delete(ref_of(live), uid=live["metadata"]["uid"])
            log.info("deleted %s %s, no longer wanted", kind, name)

    async def _ask(self, pods: Sequence[dict[str, Any]]) -> dict[str, str]:
        """What a few pods that are not ready say of themselves, by name."""
        asked = pods_to_ask(pods)[:ASKED_PODS]
        answers = await asyncio.gather(
            *(unready_reason(address, HEALTH_PORT) for _, address in asked)
        )
        return {
            name: said for (name, _), said in zip(asked, answers, strict=True) if said is not None
        }

    def restarted_at(self, meta: Meta, deployment: str, *, now: bool) -> str | None:
        """The restart stamp for pod templates: now on request, else what the pods carry."""
        if now:
            return stamp(datetime.now(UTC))
        return restarted_at(self._context.children.get("Deployment", meta.namespace, deployment))

    def forget(self, uid: str) -> None:
        """An owner is gone."""
        self._known = {where: owner for where, owner in self._known.items() if owner != uid}

    async def remove(self, owner: Meta) -> None:
        """Delete every object of an owner that goes, so that nothing uses what is dropped next."""
        await self._prune(owner, [], Applied())

    async def look(
        self,
        kind: ConditionType,
        namespace: str,
        applied: Applied,
        *,
        stopped: str | None,
    ) -> Look:
        """How the Deployment does, with a reason from its pods when it does not do well."""
        deployment = applied.deployment
        pods: list[dict[str, Any]] | None = None
        said_by: dict[str, str] = {}
        selector = ""
        if deployment is not None:
            # Status changes reach the cache after our own write returned.
            cached = self._context.children.get(
                "Deployment", namespace, deployment["metadata"]["name"]
            )
            if cached is not None and cached["metadata"]["uid"] == deployment["metadata"]["uid"]:
                seen = int(cached["metadata"].get("generation") or 0)
                if seen >= int(deployment["metadata"].get("generation") or 0):
                    deployment = cached
            selector = selector_text(deployment["spec"]["selector"]["matchLabels"])
            if stopped is None and not is_settled(deployment):
                pods, _ = await self._context.kube.list(
                    "v1", "pods", namespace, label_selector=selector
                )
                said_by = await self._ask(pods)
        if applied.frozen:
            text = f"differs and is left so while paused: {', '.join(applied.frozen)}"
            part = waiting(kind, Reason.UPDATE_FROZEN, text)
        else:
            part = deployment_part(
                kind, deployment, stopped=stopped, pods=pods or (), said_by=said_by
            )
        return Look(
            part=part,
            numbers=replicas(deployment),
            restarts=None if pods is None else restarts(pods),
            selector=selector,
        )
