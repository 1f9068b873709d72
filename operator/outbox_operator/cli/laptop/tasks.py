"""Carries tasks out on a laptop: the operator's own reconciler, with no API server behind it.

There is one task at a time and one process, which ends with it: what it has written down is for
the command that made it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final, cast

from outbox_operator.adapters.kubernetes.client import Kube
from outbox_operator.adapters.kubernetes.objects import Ref
from outbox_operator.adapters.kubernetes.transport import NotFoundError
from outbox_operator.api import meta
from outbox_operator.cli.laptop import looking, objects
from outbox_operator.cli.laptop.looking import Servers
from outbox_operator.controller.exported import Exported
from outbox_operator.controller.reconcile.context import Context
from outbox_operator.controller.runtime.child_cache import Children
from outbox_operator.controller.runtime.objects import Objects, key_of
from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.controller.settings import Settings
from outbox_operator.controller.tasks.reconciler import TaskReconciler
from outbox_operator.dev.manifest import Resources
from outbox_operator.dev.processes import held, pid_of
from outbox_operator.errors import AccessDeniedError
from outbox_operator.plan.tasks.status import is_finished
from outbox_operator.wire.times import format_time

Body = dict[str, Any]
_LONGEST_PAUSE: Final = 0.5


class Tasks:
    """Those of one command.

    Args:
        resources: What they are about.
        servers: Where it is.
    """

    def __init__(self, resources: Resources, servers: Servers) -> None:
        # What a task says stands in its status; nobody asked for the operator's log.
        logging.getLogger("outbox_operator").addHandler(logging.NullHandler())
        self._resources = resources
        self._servers = servers
        self._objects = Objects()
        self._api = _Api(self._objects, resources, servers)
        self._work: dict[str, asyncio.Task[None]] = {}

    async def create(self, manifest: Mapping[str, Any]) -> Body:
        """Begin a task; as it is then.

        Raises:
            DependencyError: The servers are away.
        """
        self._servers.check()
        seen = await looking.look(self._resources, self._servers)
        for one in objects.bodies(self._resources):
            status = {"status": seen[objects.place(one)]}
            self._objects.observed(
                objects.with_logins(one, self._servers.nats_url, self._servers.redis_url) | status
            )
        metadata = {
            **manifest["metadata"],
            "uid": str(uuid.uuid4()),
            "generation": 1,
            "resourceVersion": "1",
            "creationTimestamp": format_time(datetime.now(UTC), "seconds"),
        }
        body = {**manifest, "metadata": metadata}
        self._objects.observed(body)
        key = key_of(body)
        self._work[key.name] = asyncio.create_task(self._carry_out(key, body["spec"]))
        return body

    async def get(self, name: str, namespace: str) -> Body | None:
        """A task as it is now; raises what ended it before its time."""
        work = self._work.get(name)
        if work is not None and work.done():
            work.result()
        return self._objects.get(ObjectKey(meta.TASK, namespace, name))

    async def close(self) -> None:
        """What is not at its end stops."""
        for work in self._work.values():
            work.cancel()
        await asyncio.gather(*self._work.values(), return_exceptions=True)

    async def _carry_out(self, key: ObjectKey, spec: Mapping[str, Any]) -> None:
        async with self._standing_still(spec), self._context() as context:
            reconciler = TaskReconciler(context)
            while not is_finished(self._conditions(key)):
                result = await reconciler.reconcile(key, "asked for")
                await asyncio.sleep(min(result.requeue_after or 0.0, _LONGEST_PAUSE))

    def _conditions(self, key: ObjectKey) -> Sequence[Mapping[str, Any]]:
        body = self._objects.get(key) or {}
        found: Sequence[Mapping[str, Any]] = (body.get("status") or {}).get("conditions") or ()
        return found

    @asynccontextmanager
    async def _context(self) -> AsyncIterator[Context]:
        settings = Settings(
            image="", lease_namespace="", identity="laptop", requesters_verified=True
        )
        async with Context.create(
            kube=cast(Kube, self._api),
            objects=self._objects,
            children=cast(Children, _NoChildren()),
            settings=settings,
            exported=Exported(self._objects.uid, age_seconds=0.0),
            wake=lambda key, why: None,
        ) as context:
            yield context

    @asynccontextmanager
    async def _standing_still(self, spec: Mapping[str, Any]) -> AsyncIterator[None]:
        """A consumer that is set back has no process meanwhile."""
        name = (spec.get("consumerRef") or {}).get("name")
        if "resetConsumer" not in spec or spec.get("dryRun") or name is None:
            yield
            return
        process = f"consumer-{name}"
        async with held(self._servers.run, process):
            pid = pid_of(self._servers.run, process)
            if pid is not None:
                try:
                    os.kill(pid, signal.SIGTERM)
                except ProcessLookupError:
                    pass
                except PermissionError as error:
                    raise AccessDeniedError(
                        f"{process} is process {pid} of another user, and has to end meanwhile"
                    ) from error
            yield


class _Api:
    """As much of `adapters.kubernetes.client.Kube` as tasks use."""

    def __init__(self, known: Objects, resources: Resources, servers: Servers) -> None:
        self._objects = known
        self._resources = resources
        self._servers = servers
        self._version = 1

    async def secret(self, namespace: str, name: str) -> dict[str, bytes] | None:
        """The one login that there is."""
        return {objects.LOGIN_KEY: self._servers.database_url.encode()}

    async def get(self, ref: Ref, *, first: bool = False) -> Body | None:
        """Nothing but ours is there."""
        kind = objects.KINDS.get(ref.plural, "")
        return self._objects.get(ObjectKey(kind, ref.namespace, ref.name))

    async def list(
        self, api_version: str, plural: str, namespace: str, labels: str | None = None, **_: Any
    ) -> tuple[Sequence[Body], str]:
        """Processes that live, as pods."""
        found = [
            pod
            for pod in objects.pods(self._resources, self._servers.run)
            if self._servers.runs(pod["metadata"]["name"])
        ]
        return objects.matching(found, labels, None), ""

    async def apply_status(self, manifest: Mapping[str, Any]) -> Body | None:
        """Write a status."""
        body = self._objects.get(key_of(manifest))
        if body is None:
            return None
        return self._written({**body, "status": manifest["status"]})

    async def merge_metadata(self, ref: Ref, **fields: Any) -> Body:
        """Write annotations."""
        body = await self.get(ref)
        if body is None:
            raise NotFoundError(f"{ref} is not there")
        annotations = {**(body["metadata"].get("annotations") or {}), **fields["annotations"]}
        return self._written({**body, "metadata": {**body["metadata"], "annotations": annotations}})

    async def record_event(self, *_: Any, **__: Any) -> None:
        """Nobody reads them; what a task says stands in its status."""

    def _written(self, body: Body) -> Body:
        self._version += 1
        metadata = {**body["metadata"], "resourceVersion": str(self._version)}
        self._objects.observed({**body, "metadata": metadata})
        return {**body, "metadata": metadata}


class _NoChildren:
    """Nothing was made in Kubernetes."""

    def owned_by(self, namespace: str, uid: str) -> list[Body]:
        """Of nobody."""
        return []
