"""What the operator made in Kubernetes: a cache of labelled objects that wakes their owners.

Fed by one server-side filtered watch per kind and namespace, through the Kubernetes adapter. It
wakes the owner when a child is changed or deleted; what to do about it is the reconciler's.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from outbox_operator.adapters.kubernetes.client import Kube
from outbox_operator.adapters.kubernetes.objects import PLURALS
from outbox_operator.adapters.kubernetes.watch import Listed
from outbox_operator.api import meta
from outbox_operator.controller.runtime.objects import Body, trimmed
from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.controller.runtime.supervisor import cancel

KINDS: Final[Mapping[str, str]] = {
    "Deployment": "apps/v1",
    "ConfigMap": "v1",
    "ServiceAccount": "v1",
    "PodDisruptionBudget": "policy/v1",
    "Service": "v1",
}
NETWORK_KINDS: Final[Mapping[str, str]] = {"NetworkPolicy": "networking.k8s.io/v1"}
"""Made, and so watched, only where the installation wants them: rights are asked for no sooner."""
SELECTOR: Final = f"{meta.MANAGED_BY_LABEL}={meta.MANAGED_BY}"

Wake = Callable[[ObjectKey, str], None]


@dataclass(slots=True)
class _Place:
    """A namespace that is watched, or all of them."""

    waiting: set[str]
    """Kinds that have not been listed yet."""
    listed: asyncio.Event = field(default_factory=asyncio.Event)


def owner_of(body: Mapping[str, Any]) -> ObjectKey | None:
    """The one of our objects that controls a child, or None."""
    metadata = body["metadata"]
    for owner in metadata.get("ownerReferences") or ():
        ours = owner.get("kind") in meta.PLURALS
        if owner.get("controller") and ours and owner["apiVersion"].startswith(f"{meta.GROUP}/"):
            return ObjectKey(owner["kind"], metadata.get("namespace", ""), owner["name"])
    return None


def same(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether two bodies say the same, apart from their version."""
    return _meaning(old) == _meaning(new)


def _meaning(body: Mapping[str, Any]) -> dict[str, Any]:
    dull = ("resourceVersion", "managedFields")
    metadata = {key: value for key, value in body["metadata"].items() if key not in dull}
    return {**body, "metadata": metadata}


class Children:
    """Children by kind, namespace and name. Bodies are shared: read-only.

    Args:
        wake: Called with the owner's key and a trigger.
        namespaces: Where to watch from the start; None stands for all.
        kinds: What there is to watch, each with its version of the API.
        leads: Whether this process looks after a namespace; what is in others is not kept.
    """

    def __init__(
        self,
        wake: Wake,
        namespaces: Iterable[str | None],
        kinds: Mapping[str, str] = KINDS,
        leads: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self._wake = wake
        self._leads = leads
        self._again = asyncio.Event()
        self._kinds = kinds
        self._places = {namespace: _Place(set(kinds)) for namespace in namespaces}
        self._bodies: dict[str, dict[tuple[str, str], Body]] = {kind: {} for kind in kinds}
        self._owned: dict[tuple[str, str], set[tuple[str, str, str]]] = defaultdict(set)
        """By namespace and UID of the owner: anybody may write a foreign UID into their objects."""

    async def wait_synced(self) -> None:
        """Wait until every kind has been listed at least once, in every namespace."""
        for place in list(self._places.values()):
            await place.listed.wait()

    def get(self, kind: str, namespace: str, name: str) -> Body | None:
        """A child, or None when there is none with our label."""
        return self._bodies[kind].get((namespace, name))

    def owned_by(self, namespace: str, uid: str) -> list[Body]:
        """All children that one object controls, in its own namespace."""
        places = sorted(self._owned.get((namespace, uid), ()))
        return [self._bodies[kind][ns, name] for kind, ns, name in places]

    async def run(self, kube: Kube) -> None:
        """Watch the namespaces of the start for ever."""
        while True:
            self._again.clear()
            follow = asyncio.create_task(self._follow_all(kube), name="watch children")
            again = asyncio.create_task(self._again.wait(), name="list children again")
            try:
                await asyncio.wait({follow, again}, return_when=asyncio.FIRST_COMPLETED)
                if follow.done():
                    await follow
            finally:
                await cancel(follow, again)

    async def _follow_all(self, kube: Kube) -> None:
        async with asyncio.TaskGroup() as tasks:
            for namespace in list(self._places):
                for kind in self._kinds:
                    tasks.create_task(self._follow(kube, kind, namespace), name=f"watch {kind}")

    async def list_again(self) -> None:
        """This process leads more namespaces: returns when what is there is known."""
        for place in self._places.values():
            place.waiting = set(self._kinds)
            place.listed.clear()
        self._again.set()
        await self.wait_synced()

    def leave_others(self) -> None:
        """Forget what is in namespaces that this process does not look after any more."""
        for kind, bodies in self._bodies.items():
            for where, body in list(bodies.items()):
                if not self._leads(where[0]):
                    self._index(kind, body, present=False)
                    del bodies[where]

    def enter(self, namespace: str) -> asyncio.Event:
        """Announce `follow` for a namespace; the event says that all was listed there since."""
        place = self._places[namespace] = _Place(set(self._kinds))
        return place.listed

    async def follow(self, kube: Kube, namespace: str) -> None:
        """Watch one namespace more, for ever.

        Raises:
            ExceptionGroup: With an AccessDeniedError: the rights there are missing, or went.
        """
        async with asyncio.TaskGroup() as tasks:
            for kind in self._kinds:
                watching = self._follow(kube, kind, namespace, ends_when_denied=True)
                tasks.create_task(watching, name=f"watch {kind} in {namespace}")

    def leave(self, namespace: str) -> None:
        """Forget a namespace that is no longer followed."""
        for kind in self._kinds:
            self.listed(kind, namespace, ())
        self._places.pop(namespace, None)

    async def _follow(
        self, kube: Kube, kind: str, namespace: str | None, *, ends_when_denied: bool = False
    ) -> None:
        changes = kube.watch(
            self._kinds[kind], PLURALS[kind], namespace, SELECTOR, ends_when_denied=ends_when_denied
        )
        async for change in changes:
            if isinstance(change, Listed):
                self.listed(kind, namespace, change.items)
            else:
                self.changed(kind, change.body, deleted=change.deleted)

    def listed(self, kind: str, namespace: str | None, items: Iterable[Body]) -> None:
        """A whole list: what is not in it is gone.

        The first one of a place is no news: its owners have their first pass before them, and who
        did something meanwhile goes first.
        """
        place = self._places.get(namespace)
        is_news = place is None or kind not in place.waiting
        found = set()
        for body in items:
            where = _where(body)
            found.add(where)
            known = where in self._bodies[kind]
            self.changed(kind, body, deleted=False, is_news=is_news or known)
        for where, body in list(self._bodies[kind].items()):
            if namespace in (None, where[0]) and where not in found:
                self.changed(kind, body, deleted=True)
        if place is not None:
            place.waiting.discard(kind)
            if not place.waiting:
                place.listed.set()

    def changed(self, kind: str, body: Body, *, deleted: bool, is_news: bool = True) -> None:
        """One child was created, changed or deleted; wakes its owner if that `is_news`."""
        where = _where(body)
        if not self._leads(where[0]):
            return
        old = self._bodies[kind].pop(where, None)
        if old is not None:
            self._index(kind, old, present=False)
        new = None if deleted else trimmed(body)
        if new is not None:
            self._bodies[kind][where] = new
            self._index(kind, new, present=True)
        if not is_news or (old is not None and new is not None and same(old, new)):
            return
        owners = {owner_of(version) for version in (old, new or body) if version is not None}
        for owner in owners - {None}:
            assert owner is not None  # noqa: S101  (mypy does not follow the set difference)
            self._wake(owner, f"child:{kind}/{where[1]}")

    def _index(self, kind: str, body: Body, *, present: bool) -> None:
        place = (kind, *_where(body))
        for owner in body["metadata"].get("ownerReferences") or ():
            if not owner.get("controller"):
                continue
            which = (place[1], owner["uid"])
            if present:
                self._owned[which].add(place)
            else:
                self._owned[which].discard(place)
                if not self._owned[which]:
                    del self._owned[which]


def _where(body: Mapping[str, Any]) -> tuple[str, str]:
    metadata = body["metadata"]
    return metadata.get("namespace", ""), metadata["name"]
