"""Namespaces whose owners let the operator in, one by one (`rbac.mode: PerNamespace`).

What the operator made is watched in a namespace from the first pass over one of its objects on. A
namespace without rights costs its objects their pass, and nobody else anything. Whether they are
there is not asked for: the first list, which is needed anyway, tells.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from outbox_operator.adapters.kubernetes.client import Kube
from outbox_operator.controller.runtime.child_cache import Children
from outbox_operator.controller.runtime.supervisor import cancel, cause_of
from outbox_operator.errors import KubernetesError

LISTED_SECONDS: Final = 10.0
"""A pass waits this long for the first lists of its namespace, then leaves its place to others."""
REFUSAL_SECONDS: Final = 2.0
"""A namespace that refused is not asked again within this time, however many objects it has."""


@dataclass(frozen=True, slots=True)
class _Entry:
    watches: asyncio.Task[None]
    listed: asyncio.Event
    since: float


class GrantedNamespaces:
    """Follows what was made in each namespace that has objects of ours.

    Args:
        kube: Connection to the API server.
        children: What is fed.
        clock: Monotonic seconds.
    """

    def __init__(self, kube: Kube, children: Children, clock: Callable[[], float]) -> None:
        self._kube = kube
        self._children = children
        self._clock = clock
        self._entries: dict[str, _Entry] = {}

    async def enter(self, namespace: str) -> None:
        """Make sure that the children of a namespace are known.

        Raises:
            AccessDeniedError: Its owner has not let the operator in; the message says how.
            KubernetesError: The lists did not come in time.
        """
        entry = self._entries.get(namespace)
        if entry is None or (
            entry.watches.done() and self._clock() - entry.since >= REFUSAL_SECONDS
        ):
            listed = self._children.enter(namespace)
            watches = asyncio.create_task(
                self._children.follow(self._kube, namespace), name=f"watches in {namespace}"
            )
            entry = self._entries[namespace] = _Entry(watches, listed, self._clock())
        if not entry.watches.done() and not entry.listed.is_set():
            await self._wait(entry)
        if entry.watches.done():
            raise cause_of(entry.watches)
        if not entry.listed.is_set():
            raise KubernetesError(
                f"namespace {namespace}: the first lists of what the operator made there took "
                f"over {LISTED_SECONDS:.0f} s"
            )

    async def _wait(self, entry: _Entry) -> None:
        listed = asyncio.create_task(entry.listed.wait(), name="listed")
        try:
            await asyncio.wait(
                {listed, entry.watches},
                timeout=LISTED_SECONDS,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            await cancel(listed)

    async def keep(self, used: Collection[str]) -> None:
        """Leave the namespaces that have no object of ours any more."""
        for namespace in [name for name in self._entries if name not in used]:
            entry = self._entries.pop(namespace)
            await cancel(entry.watches)
            if namespace not in self._entries:  # nobody came back meanwhile
                self._children.leave(namespace)

    async def close(self) -> None:
        """Leave all."""
        await self.keep(())
