"""What every reconciler works with: the runtime's tools and the shared connections."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from outbox_operator.adapters.kubernetes.objects import Ref
from outbox_operator.api import meta as names
from outbox_operator.controller.reconcile.connections import NatsConnections, PostgresConnections
from outbox_operator.controller.reconcile.secrets import Secrets
from outbox_operator.controller.runtime.reconciler import ObjectKey

if TYPE_CHECKING:
    from outbox_operator.adapters.kubernetes.client import Kube
    from outbox_operator.controller.reconcile.tools import Tools
    from outbox_operator.controller.runtime.child_cache import Children
    from outbox_operator.controller.runtime.objects import Objects
    from outbox_operator.controller.settings import Settings

log = logging.getLogger(__name__)

SWEEP_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Context:
    """Shared by the three reconcilers of one operator process."""

    kube: Kube
    objects: Objects
    children: Children
    settings: Settings
    secrets: Secrets
    nats: NatsConnections
    postgres: PostgresConnections
    wake: Callable[[ObjectKey, str], None]

    @classmethod
    @contextlib.asynccontextmanager
    async def create(cls, tools: Tools) -> AsyncIterator[Context]:
        """The shared parts around what the runtime gives; connections close at the end."""
        context = cls(
            kube=tools.kube,
            objects=tools.objects,
            children=tools.children,
            settings=tools.settings,
            secrets=Secrets(tools.kube, time.monotonic),
            nats=NatsConnections(tools.wake, time.monotonic),
            postgres=PostgresConnections(tools.wake, time.monotonic),
            wake=tools.wake,
        )
        sweeper = asyncio.create_task(context._sweep_forever(), name="sweep connections")
        try:
            yield context
        finally:
            sweeper.cancel()
            await context.nats.close()
            await context.postgres.close()

    def ref(self, key: ObjectKey) -> Ref:
        """Where one of our objects lives in the API."""
        return Ref(names.API_VERSION, names.PLURALS[key.kind], key.namespace, key.name)

    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                self.secrets.sweep()
                await self.nats.sweep()
                await self.postgres.sweep()
            except Exception:
                log.exception("the sweep of connections failed, trying again")
