"""What every reconciler works with: what the runtime keeps, and the shared connections."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Container, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from outbox_operator.adapters.kubernetes.objects import Ref
from outbox_operator.api import meta
from outbox_operator.controller.reconcile.background import Background
from outbox_operator.controller.reconcile.cluster import ClusterIdentity
from outbox_operator.controller.reconcile.nats_connections import NatsConnections
from outbox_operator.controller.reconcile.postgres_connections import PostgresConnections
from outbox_operator.controller.reconcile.redis_connections import RedisConnections
from outbox_operator.controller.reconcile.resting import Resting
from outbox_operator.controller.reconcile.room import Room
from outbox_operator.controller.reconcile.secrets import Secrets
from outbox_operator.controller.runtime.granted import GrantedNamespaces
from outbox_operator.controller.runtime.reconciler import ObjectKey, Reconciler
from outbox_operator.controller.runtime.undeclared import Undeclared
from outbox_operator.plan.jetstream.names import cares_for

if TYPE_CHECKING:
    from outbox_operator.adapters.kubernetes.client import Kube
    from outbox_operator.controller.exported import Exported
    from outbox_operator.controller.runtime.child_cache import Children
    from outbox_operator.controller.runtime.objects import Objects
    from outbox_operator.controller.settings import Settings

log = logging.getLogger(__name__)

SWEEP_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Context:
    """Shared by the reconcilers of one operator process.

    Attributes:
        kube: Connection to the API server.
        objects: Latest bodies of our own objects.
        children: Latest bodies of what we made in Kubernetes.
        settings: Settings of the process.
        exported: Numbers of each object for Prometheus.
        wake: Asks for a pass over an object soon; call it from the event loop.
        secrets: Secrets, read by name.
        nats: Connections to NATS, by login.
        redis: Connections to Redis, by login.
        postgres: Connections to PostgreSQL, by login.
        background: Work on databases that passes do not wait for.
        comparisons: Places for those of an outbox with its stream.
        cluster: Which cluster this is.
        granted: Namespaces that let the operator in one by one; None: it may work wherever it
            looks.
        undeclared: Fields of statuses that the resource definitions do not know.
        resting: Objects over which passes come to the same again and again.
        doubted: UIDs of pipelines whose catalog was found otherwise than their last pass had it.
    """

    kube: Kube
    objects: Objects
    children: Children
    settings: Settings
    exported: Exported
    wake: Callable[[ObjectKey, str], None]
    secrets: Secrets
    nats: NatsConnections
    redis: RedisConnections
    postgres: PostgresConnections
    background: Background
    comparisons: Room
    cluster: ClusterIdentity
    granted: GrantedNamespaces | None = None
    undeclared: Undeclared = field(default_factory=Undeclared)
    resting: Resting = field(default_factory=Resting)
    doubted: set[str] = field(default_factory=set)

    @classmethod
    @contextlib.asynccontextmanager
    async def create(
        cls,
        *,
        kube: Kube,
        objects: Objects,
        children: Children,
        settings: Settings,
        exported: Exported,
        wake: Callable[[ObjectKey, str], None],
        resting: Resting | None = None,
    ) -> AsyncIterator[Context]:
        """The context of a process that leads; its connections close at the end."""
        context = cls(
            kube=kube,
            objects=objects,
            children=children,
            settings=settings,
            exported=exported,
            wake=wake,
            secrets=Secrets(kube, time.monotonic, settings.secret_age_seconds),
            nats=NatsConnections(wake, time.monotonic, lambda user: cares_for(objects.get(user))),
            redis=RedisConnections(wake, time.monotonic),
            postgres=PostgresConnections(
                wake, time.monotonic, per_server=settings.postgres_connections_here
            ),
            background=Background(wake),
            comparisons=Room(wake),
            cluster=ClusterIdentity(kube),
            granted=GrantedNamespaces(kube, children, time.monotonic)
            if settings.namespace_role
            else None,
            resting=Resting() if resting is None else resting,
        )
        upkeep = [
            asyncio.create_task(context._sweep_forever(), name="sweep connections"),
            asyncio.create_task(context._check_forever(), name="check servers"),
            asyncio.create_task(context.resting.run(context), name="look after what rests"),
        ]
        try:
            yield context
        finally:
            for task in upkeep:
                task.cancel()
            await asyncio.wait(upkeep)
            await context.background.close()
            if context.granted is not None:
                await context.granted.close()
            await context.nats.close()
            await context.redis.close()
            await context.postgres.close()

    async def enter(self, namespace: str) -> None:
        """Before a pass over an object: what was made in its namespace is known.

        Raises AccessDeniedError: the operator may not work there, and how that is changed.
        """
        if self.granted is not None:
            await self.granted.enter(namespace)

    def living(self, kind: str) -> Container[str]:
        """UIDs of all resources of a kind that are seen here, whichever process works on them."""
        return self.objects.uids(kind)

    def ref(self, key: ObjectKey) -> Ref:
        """Where one of our objects lives in the API."""
        return Ref(meta.API_VERSION, meta.PLURALS[key.kind], key.namespace, key.name)

    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                self.secrets.sweep()
                await self.nats.sweep()
                await self.redis.sweep()
                await self.postgres.sweep()
                if self.granted is not None:
                    await self.granted.keep(self.objects.namespaces())
            except Exception:
                log.exception("the sweep of connections failed, trying again")

    async def _check_forever(self) -> None:
        while True:
            await asyncio.sleep(self.settings.postgres_check_seconds)
            try:
                await self.postgres.check()
            except Exception:
                log.exception("asking the databases for a sign of life failed, trying again")


BuildReconcilers = Callable[[Context], Mapping[str, Reconciler]]
"""Makes the reconcilers, by kind."""
