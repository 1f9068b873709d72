"""The timed comparison of the watch with a list: finds what the watch missed.

Run by the leader, once before the first pass and then every minute. It is the safety net under
the kopf watch and feeds the liveness probe through `Objects.behind_seconds`.
"""

from __future__ import annotations

import asyncio
import logging

from outbox_operator.adapters.kubernetes.client import Kube
from outbox_operator.api import meta
from outbox_operator.controller.metrics import OperatorMetrics
from outbox_operator.controller.runtime.event_router import EventRouter
from outbox_operator.controller.runtime.objects import Objects
from outbox_operator.controller.settings import Settings
from outbox_operator.errors import OutboxError

log = logging.getLogger(__name__)


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
        metrics.watch_behind.set_function(objects.behind_seconds)

    async def once(self) -> dict[str, int]:
        """One comparison.

        Returns:
            By kind, how many objects deserved a pass.
        """
        missed = {}
        for kind, plural in meta.PLURALS.items():
            missed[kind] = 0
            for namespace in self._settings.scopes:
                items, version = await self._kube.list(meta.API_VERSION, plural, namespace)
                missed[kind] += self._router.listed(kind, items, int(version), namespace)
        return missed

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
