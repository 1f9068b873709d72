"""Observes and writes the Kubernetes resources of an owner; what to do is `plan`'s to say."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from typing import Any

from outbox_operator.adapters.execute import execute
from outbox_operator.adapters.kubernetes.client import Kube
from outbox_operator.adapters.kubernetes.objects import ref_of
from outbox_operator.api.resource import Meta
from outbox_operator.plan.kubernetes.resources import (
    Body,
    ObservedResources,
    ResourceId,
    id_of,
)
from outbox_operator.plan.steps import Applied, Change, Step


class OwnedResources:
    """The resources of all owners of a kind, in one cache of live objects.

    Args:
        kube: Connection to the API server.
        cached: A live object by kind, namespace and name.
        owned_by: All live objects of an owner, by its UID.
        belongs: Whether a live object of a wanted name is the owner's.
        complete: Whether the cache holds what others made as well.
    """

    def __init__(
        self,
        kube: Kube,
        *,
        cached: Callable[[str, str, str], Body | None],
        owned_by: Callable[[str], Sequence[Body]],
        belongs: Callable[[Meta, Body], bool],
        complete: bool,
    ) -> None:
        self._kube = kube
        self._cached = cached
        self._owned_by = owned_by
        self._belongs = belongs
        self._complete = complete
        self._seen: dict[str, set[ResourceId]] = {}
        """By UID of the owner."""

    async def observe(
        self,
        owner: Meta,
        manifests: Iterable[Body] = (),
        *,
        had: Container[ResourceId] = frozenset(),
    ) -> ObservedResources:
        """What there is of the wanted ones, and what else the owner has.

        Args:
            owner: Whose they are.
            manifests: The wanted ones.
            had: Those that the owner's last status speaks of, perhaps of another process.
        """
        live: dict[ResourceId, Body] = {}
        foreign: set[ResourceId] = set()
        seen = self._seen.setdefault(owner.uid, set())
        for manifest in manifests:
            which = id_of(manifest)
            if which in had:
                seen.add(which)
            body = self._cached(which[0], owner.namespace, which[1])
            if body is not None and self._belongs(owner, body):
                live[which] = body
                seen.add(which)
            elif body is not None:
                foreign.add(which)
            elif which in seen or (not self._complete and not owner.paused):
                # A cache that lost its watch for a moment lacks what was made meanwhile: nothing
                # is said to be deleted before the API server was asked.
                found = await self._kube.get(ref_of(manifest))
                if found is not None and self._belongs(owner, found):
                    live[which] = found
                elif found is not None:
                    foreign.add(which)
        return ObservedResources(
            live=live,
            foreign=frozenset(foreign),
            owned=tuple(self._owned_by(owner.uid)),
            seen_before=frozenset(seen),
        )

    async def execute(self, owner: Meta, steps: Iterable[Step[Body]]) -> list[Applied[Body]]:
        """Carry out steps of `plan.kubernetes.resources`."""
        planned = list(steps)
        added = {id_of(one.wanted): one for one in planned if one.surplus}

        async def patch(manifest: Body) -> Body:
            step = added.get(id_of(manifest))
            if step is not None and step.found is not None:
                version = step.found["metadata"]["resourceVersion"]
                await self._kube.remove_fields(ref_of(manifest), step.surplus, version)
            return await self._kube.apply(manifest)

        applied = await execute(planned, create=self._kube.apply, patch=patch, delete=self._delete)
        seen = self._seen.setdefault(owner.uid, set())
        for one in applied:
            if one.change in (Change.CREATED, Change.PATCHED):
                seen.add(id_of(one.step.wanted))
            elif one.change is Change.DELETED and one.step.found is not None:
                seen.discard(id_of(one.step.found))
        return applied

    def forget(self, uid: str) -> None:
        """An owner is gone."""
        self._seen.pop(uid, None)

    async def _delete(self, body: Body) -> Any:
        await self._kube.delete(ref_of(body), uid=body["metadata"]["uid"])
