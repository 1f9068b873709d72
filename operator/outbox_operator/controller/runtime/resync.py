"""The timed comparison of the watch with a list: finds what the watch missed.

Run by the leader, once before the first pass and then every minute. It is the safety net under
the kopf watch and feeds the liveness probe through `Objects.behind_seconds`.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from outbox_operator.adapters.kubernetes.client import Kube
from outbox_operator.adapters.kubernetes.transport import NotFoundError
from outbox_operator.api import meta
from outbox_operator.controller.metrics import OperatorMetrics
from outbox_operator.controller.runtime.event_router import EventRouter
from outbox_operator.controller.runtime.objects import Objects
from outbox_operator.controller.settings import Settings
from outbox_operator.errors import OutboxError

log = logging.getLogger(__name__)

LISTS_AT_ONCE: Final = 10
"""There may be hundreds of namespaces, each with lists of its own."""


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
                items, version = await self._kube.list(
                    meta.API_VERSION, meta.PLURALS[kind], namespace
                )
            except NotFoundError:
                if kind not in meta.LATER_KINDS:
                    raise
                return 0
        return self._router.listed(kind, items, int(version), namespace)

    async def run(self) -> None:
        """Compare for ever, beginning after one interval."""
        while True:
            await asyncio.sleep(self._settings.resync_seconds)
            try:
                missed = await self.once()
            except OutboxError as error:
                log.warning("resync failed, trying again: %s", error)
                continue
            for kind, count in missed.items():
                if count:
                    self._metrics.missed(kind).inc(count)
                    log.warning("the watch had missed %d changes of %s", count, kind)
