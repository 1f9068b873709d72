"""Observes and writes the Kubernetes resources of an owner; what to do is `plan`'s to say."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Container, Iterable, Sequence
from typing import Any, Final

from outbox_operator.adapters.execute import execute
from outbox_operator.adapters.kubernetes.client import Kube
from outbox_operator.adapters.kubernetes.objects import ref_of
from outbox_operator.adapters.kubernetes.transport import WriteConflictError
from outbox_operator.api import meta
from outbox_operator.api.resource import Meta
from outbox_operator.plan.kubernetes.contest import is_contested, recent, rests
from outbox_operator.plan.kubernetes.resources import (
    Body,
    ObservedResources,
    ResourceId,
    id_of,
)
from outbox_operator.plan.kubernetes.surplus import surplus
from outbox_operator.plan.steps import Applied, Change, Step

_LOOKS: Final = 5
"""How often a resource is looked at anew that others write while it is put back."""


class OwnedResources:
    """The resources of all owners of a kind, in one cache of live objects.

    Args:
        kube: Connection to the API server.
        cached: A live object by kind, namespace and name.
        owned_by: All live objects of an owner, by its namespace and UID.
        belongs: Whether a live object of a wanted name is the owner's.
        complete: Whether the cache holds what others made as well.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        kube: Kube,
        *,
        cached: Callable[[str, str, str], Body | None],
        owned_by: Callable[[str, str], Sequence[Body]],
        belongs: Callable[[Meta, Body], bool],
        complete: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kube = kube
        self._cached = cached
        self._owned_by = owned_by
        self._belongs = belongs
        self._complete = complete
        self._seen: dict[str, set[ResourceId]] = {}
        """By UID of the owner."""
        self._repairs: dict[str, dict[ResourceId, list[float]]] = {}
        """By UID of the owner, when each was put back lately."""
        self._applied: dict[str, dict[ResourceId, str]] = {}
        """By UID of the owner, the hash of what each was applied as."""
        self._clock = clock

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
        unknown: list[Body] = []
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
                unknown.append(manifest)
        asked = await asyncio.gather(*(self._kube.get(ref_of(one)) for one in unknown))
        for manifest, found in zip(unknown, asked, strict=True):
            if found is not None and self._belongs(owner, found):
                live[id_of(manifest)] = found
            elif found is not None:
                foreign.add(id_of(manifest))
        now, applied = self._clock(), self._applied.get(owner.uid, {})
        # What we want otherwise than before is no contest, and goes at once.
        wanted = {id_of(one) for one in manifests if applied.get(id_of(one)) == _hash(one)}
        lately = self._repairs.get(owner.uid, {})
        repairs = {which: at for which, at in lately.items() if which in wanted}
        return ObservedResources(
            live=live,
            foreign=frozenset(foreign),
            owned=tuple(self._owned_by(owner.namespace, owner.uid)),
            seen_before=frozenset(seen),
            contested=frozenset(one for one, at in repairs.items() if is_contested(at, now)),
            resting=frozenset(one for one, at in repairs.items() if rests(at, now)),
        )

    async def execute(self, owner: Meta, steps: Iterable[Step[Body]]) -> list[Applied[Body]]:
        """Carry out steps of `plan.kubernetes.resources`."""
        planned = list(steps)
        added = {id_of(one.wanted): one for one in planned if one.surplus}

        async def patch(manifest: Body) -> Body:
            step = added.get(id_of(manifest))
            if step is not None and step.found is not None:
                await self._remove(manifest, step.found, step.surplus)
            return await self._kube.apply(manifest)

        applied = await execute(planned, create=self._kube.apply, patch=patch, delete=self._delete)
        seen = self._seen.setdefault(owner.uid, set())
        for one in applied:
            if one.change in (Change.CREATED, Change.PATCHED):
                seen.add(id_of(one.step.wanted))
                self._note(owner, one.step.wanted, drift=one.drift is not None)
            elif one.change is Change.DELETED and one.step.found is not None:
                seen.discard(id_of(one.step.found))
        return applied

    async def _remove(self, manifest: Body, found: Body, added: Sequence[str]) -> None:
        """Remove what others added to a resource.

        Its places count for the version that they were read from, and the status of a Deployment is
        written again and again while its pods change: then it is looked at anew.
        """
        uid, looks = found["metadata"]["uid"], _LOOKS
        while added:
            try:
                version = found["metadata"]["resourceVersion"]
                await self._kube.remove_fields(ref_of(manifest), added, version)
            except WriteConflictError:
                newer = await self._kube.get(ref_of(manifest))
                looks -= 1
                if not looks or newer is None or newer["metadata"]["uid"] != uid:
                    raise  # the watch brings what there is
                found, added = newer, [one.pointer for one in surplus(manifest, newer)]
            else:
                return

    def _note(self, owner: Meta, manifest: Body, *, drift: bool) -> None:
        """One was written: as before, which is a repair whatever it looked like, or otherwise."""
        which, now = id_of(manifest), self._clock()
        applied = self._applied.setdefault(owner.uid, {})
        if drift or applied.get(which) == _hash(manifest):
            repairs = self._repairs.setdefault(owner.uid, {})
            repairs[which] = recent([*repairs.get(which, ()), now], now)
        applied[which] = _hash(manifest)

    def is_calm(self, uid: str) -> bool:
        """Whether nothing of an owner was put back lately: what is contested may wait for that."""
        now = self._clock()
        return not any(recent(at, now) for at in self._repairs.get(uid, {}).values())

    def forget(self, uid: str) -> None:
        """An owner is gone."""
        self._seen.pop(uid, None)
        self._repairs.pop(uid, None)
        self._applied.pop(uid, None)

    async def _delete(self, body: Body) -> Any:
        await self._kube.delete(ref_of(body), uid=body["metadata"]["uid"])


def _hash(manifest: Body) -> str:
    return str(manifest["metadata"]["annotations"][meta.APPLIED_ANNOTATION])
