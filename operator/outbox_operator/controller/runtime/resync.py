"""The timed comparison of the watch with a list: finds what the watch missed.

Run by the leader, once before the first pass and then every minute, or less often if it takes
long. It is the safety net under the kopf watch and feeds the liveness probe through
`Objects.behind_seconds`.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from outbox_operator.adapters.kubernetes.client import Kube
from outbox_operator.adapters.kubernetes.objects import Ref
from outbox_operator.adapters.kubernetes.transport import NotFoundError
from outbox_operator.api import meta
from outbox_operator.controller.metrics import OperatorMetrics
from outbox_operator.controller.runtime.event_router import EventRouter
from outbox_operator.controller.runtime.objects import Body, Objects, key_of
from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.controller.settings import Settings
from outbox_operator.errors import OutboxError

log = logging.getLogger(__name__)

LISTS_AT_ONCE: Final = 10
"""There may be hundreds of namespaces, each with lists of its own."""
SHARE: Final = 0.05
"""Of the time, that comparisons may take."""
FEW: Final = 50
"""So many objects are read one by one; for more the list is read once more, in full."""


class Resync:
    """Lists our kinds and hands the lists to the router."""

    def __init__(
        self,
        kube: Kube,
        router: EventRouter,
        objects: Objects,
        metrics: OperatorMetrics,
        settings: Settings,
    ) -> None:
        self._kube = kube
        self._router = router
        self._objects = objects
        self._metrics = metrics
        self._settings = settings
        self._room = asyncio.Semaphore(LISTS_AT_ONCE)
        metrics.watch_behind.set_function(objects.behind_seconds)

    async def once(self) -> dict[str, int]:
        """One comparison.

        Returns:
            By kind, how many objects deserved a pass.
        """
        missed = {}
        for kind in meta.PLURALS:
            lists = (self._list(kind, namespace) for namespace in self._settings.scopes)
            missed[kind] = sum(await asyncio.gather(*lists))
        return missed

    async def _list(self, kind: str, namespace: str | None) -> int:
        async with self._room:
            try:
                items, version = await self._read(kind, namespace)
            except NotFoundError:
                if kind not in meta.LATER_KINDS:
                    raise
                return 0
        return self._router.listed(kind, items, int(version), namespace)

    async def _read(self, kind: str, namespace: str | None) -> tuple[list[Body], str]:
        """A list. What is known already is there without what it says: that is most of it.

        Of thousands of objects, most of them in slices of others, nothing has changed mostly.
        """
        place = meta.API_VERSION, meta.PLURALS[kind], namespace
        if not self._objects.everywhere(kind):
            return await self._kube.list(*place)
        listed, version = await self._kube.list(*place, metadata_only=True)
        named = {"apiVersion": meta.API_VERSION, "kind": kind}
        items = {key_of(body): body for body in ({**one, **named} for one in listed)}
        full: set[ObjectKey] = set()
        # Until nothing is missing: while one is read, a slice with thousands may be gained.
        while newer := [key for key in self._objects.newer(items.values()) if key not in full]:
            if len(newer) > FEW:
                return await self._kube.list(*place)
            for key in newer:
                body = await self._kube.get(
                    Ref(meta.API_VERSION, meta.PLURALS[kind], key.namespace, key.name)
                )
                full.add(key)
                if body is None:
                    del items[key]
                else:
                    items[key] = {**body, **named}
        return list(items.values()), version

    async def run(self) -> None:
        """Compare for ever, beginning after one interval."""
        clock = asyncio.get_running_loop().time
        took = 0.0
        while True:
            # Of very many objects less often: it is a net, and no more than a part of the work.
            await asyncio.sleep(max(self._settings.resync_seconds, took / SHARE))
            started = clock()
            try:
                missed = await self.once()
            except OutboxError as error:
                log.warning("resync failed, trying again: %s", error)
                continue
            finally:
                took = clock() - started
            for kind, count in missed.items():
                if count:
                    self._metrics.missed(kind).inc(count)
                    log.warning("the watch had missed %d changes of %s", count, kind)
