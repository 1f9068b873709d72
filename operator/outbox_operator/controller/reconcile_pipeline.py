"""OutboxPipeline: database, stream, relay and consumers as one. Sums up its children's statuses.

The parts are independent on purpose: a dead database does not keep the stream from being made,
a dead NATS does not keep the schema from being migrated. Only the relay waits for the schema,
because without it its pods could only crash.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, ClassVar

from outbox_operator.api import meta as names
from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Pipeline, parse_pipeline
from outbox_operator.api.unsupported import check_pipeline_supported
from outbox_operator.api.v1alpha1.pipeline import OutboxPipelineStatus, RelayStatus
from outbox_operator.controller.context import Context
from outbox_operator.controller.outcome import ObjectKey
from outbox_operator.controller.pipeline_children import PipelineChildren
from outbox_operator.controller.pipeline_database import DatabaseLook, PipelineDatabase
from outbox_operator.controller.reconciler import BaseReconciler, Pass
from outbox_operator.controller.workloads import Workloads
from outbox_operator.plan.checks import check_pipeline
from outbox_operator.plan.names import relay_name
from outbox_operator.plan.pipeline_status import (
    lagging_part,
    outbox_status,
    progress_part,
    relay_status,
)
from outbox_operator.plan.status import unknown
from outbox_operator.plan.workloads import relay_objects, relay_replicas, relay_secret_refs

RESYNC_SECONDS = 30.0
BUSY_SECONDS = 15.0


class PipelineReconciler(BaseReconciler[Pipeline, OutboxPipelineStatus]):
    """One pass over one OutboxPipeline."""

    kind = names.PIPELINE
    status_type = OutboxPipelineStatus
    live_fields: ClassVar[frozenset[str]] = frozenset(
        {"outbox", "stream", "relay", "consumers", "maxPending"}
    )

    def __init__(self, context: Context, workloads: Workloads) -> None:
        super().__init__(context)
        self._workloads = workloads
        self._children = PipelineChildren(context)
        self._database = PipelineDatabase(context)

    def parse(self, body: Mapping[str, Any]) -> Pipeline:
        """The typed resource."""
        return parse_pipeline(body)

    async def work(self, resource: Pipeline) -> Pass:
        """Children and database side by side, then the relay, then the sum."""
        check_pipeline_supported(resource.spec)
        check_pipeline(resource.spec)
        key = ObjectKey(resource.meta.kind, resource.meta.namespace, resource.meta.name)
        async with asyncio.TaskGroup() as group:
            children_task = group.create_task(self._children.ensure(resource))
            database_task = group.create_task(self._database.ensure(resource, key))
        children, database = children_task.result(), database_task.result()
        if database.approved:
            await self.clear_annotation(key, names.APPROVE_PLAN_ANNOTATION)
        await self.announce_drift(resource.meta, [*children.drifts, *database.drifts])
        result = Pass(ready_reason="PipelineRunning", requeue_after=RESYNC_SECONDS)
        result.parts = [*database.parts, *children.parts]
        result.fields = {
            "schema": database.schema,
            "stream": children.stream,
            "consumers": children.consumers,
            "maxPending": max((c["pending"] for c in children.consumers), default=0),
        }
        await self._relay(resource, key, database, children.stream_name, result)
        if self._is_busy(resource, result):
            result.requeue_after = BUSY_SECONDS
        return result

    async def _relay(
        self,
        resource: Pipeline,
        key: ObjectKey,
        database: DatabaseLook,
        stream_name: str | None,
        result: Pass,
    ) -> None:
        meta, spec = resource.meta, resource.spec
        exists = bool(self.context.children.owned_by(meta.uid))
        if stream_name is None or (not database.migrated and not exists):
            text = "waits for the schema and the stream"
            result.parts.append(unknown(ConditionType.RELAY_AVAILABLE, "NotStarted", text))
            return
        restart = meta.annotations.get(names.RESTART_ANNOTATION)
        restarting = restart is not None and not meta.paused
        manifests = relay_objects(
            resource,
            stream_name=stream_name,
            image=self.context.settings.image,
            secret_checksum=await self.context.secrets.checksum(
                meta.namespace, relay_secret_refs(spec)
            ),
            restarted_at=self.restarted_at(
                meta, relay_name(meta.name), now=restarting and restart in ("all", "relay")
            ),
            replicas=relay_replicas(spec),
        )
        applied = await self._workloads.ensure(meta, manifests)
        await self.announce_drift(meta, applied.drifts)
        if restarting:
            if restart in ("all", "consumers"):
                await self._children.restart_consumers(resource)
            await self.clear_annotation(key, names.RESTART_ANNOTATION)
        stopped = None
        if spec.relay.state == "Stopped":
            stopped = "spec.relay.state is Stopped"
        elif spec.relay.replicas == 0:
            stopped = "spec.relay.replicas is 0"
        look = await self._workloads.look(
            ConditionType.RELAY_AVAILABLE, meta.namespace, applied, stopped=stopped
        )
        before, sample = resource.status, database.sample
        sampled_at = before.outbox.sampledAt if before.outbox else None
        relay = relay_status(before.relay, sampled_at, sample, look.numbers, look.restarts)
        result.fields["relay"] = relay.model_dump()
        part = look.part
        if sample is not None:
            result.fields["outbox"] = outbox_status(sample).model_dump()
            if stopped is None and part.status == "True":
                part = progress_part(part, sample)
        result.parts.append(part)
        if sample is not None:
            result.parts.append(lagging_part(sample))

    def _is_busy(self, resource: Pipeline, result: Pass) -> bool:
        """Whether the numbers move, so that the next look should come sooner."""
        before: RelayStatus | None = resource.status.relay
        after = result.fields.get("relay")
        outbox = result.fields.get("outbox")
        moved = bool(after and before and after["publishedTotal"] != before.publishedTotal)
        return moved or bool(outbox and outbox["backlogRows"])

    async def clean_up(self, resource: Pipeline) -> None:
        """With deletionPolicy Delete: stop the relay, then drop the tables."""
        if resource.spec.deletionPolicy == "Retain":
            return
        await self._workloads.remove(resource.meta)
        key = ObjectKey(resource.meta.kind, resource.meta.namespace, resource.meta.name)
        await self._database.drop(resource, key)

    def forget(self, key: ObjectKey, uid: str) -> None:
        """The object is gone."""
        self._database.forget(uid)
        self._children.forget(uid)
        super().forget(key, uid)
