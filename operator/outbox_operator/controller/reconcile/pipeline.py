"""OutboxPipeline: database, stream, relay and consumers as one. Sums up its children's statuses.

The parts are independent on purpose: a dead database does not keep the stream from being made,
a dead NATS does not keep the schema from being migrated. Only the relay waits for the schema,
because without it its pods could only crash.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from outbox_operator.api import meta as names
from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Meta, Pipeline, parse_pipeline
from outbox_operator.api.unsupported import check_pipeline_supported
from outbox_operator.api.v1alpha1.pipeline import OutboxPipelineStatus, RelayStatus
from outbox_operator.controller.reconcile.base import BaseReconciler, Pass
from outbox_operator.controller.reconcile.cache import LastResult
from outbox_operator.controller.reconcile.context import Context
from outbox_operator.controller.reconcile.pipeline_children import ChildrenLook, PipelineChildren
from outbox_operator.controller.reconcile.pipeline_database import DatabaseLook, PipelineDatabase
from outbox_operator.controller.reconcile.workloads import Workloads
from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.errors import OutboxError
from outbox_operator.plan.checks import check_pipeline
from outbox_operator.plan.kubernetes.workloads import (
    relay_objects,
    relay_replicas,
    relay_secret_refs,
)
from outbox_operator.plan.names import relay_name
from outbox_operator.plan.passes.result import PassResult
from outbox_operator.plan.status.conditions import failed, unknown
from outbox_operator.plan.status.pipeline import (
    OutboxNumbers,
    foreign_cursor_part,
    foreign_publisher_part,
    lagging_part,
    outbox_status,
    progress_part,
    relay_status,
)
from outbox_operator.reasons import Reason

RATE_SECONDS = 10.0
"""Rates are over at least this time, unless there was no earlier sample."""
RESTARTS: Final = {
    "all": frozenset({"relay", "consumers"}),
    "relay": frozenset({"relay"}),
    "consumers": frozenset({"consumers"}),
}
"""What each value of the restart annotation names."""


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
        self._samples: dict[str, OutboxNumbers] = {}
        self._rendered: LastResult[list[dict[str, Any]]] = LastResult()

    def parse(self, body: Mapping[str, Any]) -> Pipeline:
        """The typed resource."""
        return parse_pipeline(body)

    def condition_types(self, resource: Pipeline) -> Sequence[ConditionType]:
        """The parts of a pipeline."""
        return (
            ConditionType.DATABASE_REACHABLE,
            ConditionType.SCHEMA_APPLIED,
            ConditionType.STREAM_READY,
            ConditionType.CONSUMERS_READY,
            ConditionType.RELAY_AVAILABLE,
            ConditionType.LAGGING,
            ConditionType.FOREIGN_PUBLISHER,
        )

    def interval_s(self, resource: Pipeline) -> float:
        """Half a minute by default."""
        return self.context.settings.pipeline_interval_s

    async def work(self, resource: Pipeline) -> PassResult[OutboxPipelineStatus]:
        """Children and database side by side, then the relay, then the sum."""
        return (await self._work(resource)).result(resource.status)

    async def _work(self, resource: Pipeline) -> Pass:
        """Children and database side by side, then the relay, then the sum."""
        check_pipeline_supported(resource.spec)
        check_pipeline(resource.spec)
        # Neither raises for what is wrong with its part.
        async with asyncio.TaskGroup() as group:
            children_task = group.create_task(self._children.ensure(resource))
            database_task = group.create_task(self._database.ensure(resource))
        children, database = children_task.result(), database_task.result()
        result = Pass(
            ready_reason=Reason.PIPELINE_RUNNING,
            parts=[*database.parts, *children.parts],
            drifts=children.drifts,
            corrections=database.drifts,
        )
        if database.approved:
            result.acted_on.add(names.APPROVE_PLAN_ANNOTATION)
        result.fields = {
            "schema": database.schema,
            "stream": children.stream,
            "consumers": children.consumers,
            "maxPending": max((c["pending"] for c in children.consumers), default=0),
        }
        try:
            await self._relay(resource, database, children, result)
        except OutboxError as error:
            result.parts.append(failed(ConditionType.RELAY_AVAILABLE, error))
        await self._restart(resource, result)
        if self._is_busy(resource, result):
            result.busy = True
        return result

    async def _relay(
        self, resource: Pipeline, database: DatabaseLook, children: ChildrenLook, result: Pass
    ) -> None:
        meta, spec = resource.meta, resource.spec
        if database.lost or children.lost:
            # A relay would publish the winner's rows, or into the winner's stream.
            await self._workloads.ensure(meta, [])
            whose = "schema" if database.lost else "stream"
            text = f"no relay runs: the {whose} belongs to another resource"
            result.parts.append(
                unknown(ConditionType.RELAY_AVAILABLE, Reason.RESOURCE_CONFLICT, text)
            )
            result.fields["relay"] = None
            return
        exists = bool(self.context.children.owned_by(meta.uid))
        # A stream that was never seen may turn out to be somebody else's.
        founded = exists or (database.migrated and children.stream is not None)
        if children.stream_name is None or not founded:
            text = "waits for the schema and the stream"
            result.parts.append(unknown(ConditionType.RELAY_AVAILABLE, Reason.NOT_STARTED, text))
            return
        restarting = "relay" in self._restarting(meta)
        stream_name = children.stream_name
        checksum = await self.context.secrets.checksum(meta.namespace, relay_secret_refs(spec))
        restarted_at = self._workloads.restarted_at(meta, relay_name(meta.name), now=restarting)
        manifests = self._rendered.get(
            meta.uid,
            (meta.generation, stream_name, checksum, restarted_at),
            lambda: relay_objects(
                resource,
                stream_name=stream_name,
                image=self.context.settings.image,
                secret_checksum=checksum,
                restarted_at=restarted_at,
                replicas=relay_replicas(spec),
            ),
        )
        applied = await self._workloads.ensure(meta, manifests)
        result.drifts = [*result.drifts, *applied.drifts]
        if restarting:
            result.acted_on.add(names.RESTART_ANNOTATION)
        stopped = None
        if spec.relay.state == "Stopped":
            stopped = "spec.relay.state is Stopped"
        elif spec.relay.replicas == 0:
            stopped = "spec.relay.replicas is 0"
        look = await self._workloads.look(
            ConditionType.RELAY_AVAILABLE, meta.namespace, applied, stopped=stopped
        )
        sample = database.sample
        relay = relay_status(
            resource.status.relay, self._samples.get(meta.uid), sample, look.numbers, look.restarts
        )
        result.fields["relay"] = relay.model_dump()
        part = look.part
        if sample is not None:
            if self._sample_is_old(meta.uid, sample):
                self._samples[meta.uid] = sample
            result.fields["outbox"] = outbox_status(sample).model_dump()
            if stopped is None and part.status == "True":
                part = progress_part(part, sample)
        if database.foreign is not None:
            part = foreign_cursor_part(database.foreign, meta)
        result.parts.append(part)
        if sample is not None:
            result.parts += [lagging_part(sample), foreign_publisher_part(sample)]

    def _sample_is_old(self, uid: str, sample: OutboxNumbers) -> bool:
        """Whether the next rate shall count from `sample`: over moments it would only jump."""
        earlier = self._samples.get(uid)
        return (
            earlier is None or (sample.taken_at - earlier.taken_at).total_seconds() >= RATE_SECONDS
        )

    def _restarting(self, meta: Meta) -> frozenset[str]:
        """What the restart annotation names."""
        if meta.paused:
            return frozenset()
        return RESTARTS.get(meta.annotations.get(names.RESTART_ANNOTATION, ""), frozenset())

    async def _restart(self, resource: Pipeline, result: Pass) -> None:
        """Pass a restart on to the consumers, or say that it names nothing."""
        meta = resource.meta
        value = meta.annotations.get(names.RESTART_ANNOTATION)
        if value is None or meta.paused:
            return
        targets = self._restarting(meta)
        if not targets:
            body = self.context.objects.get(ObjectKey(meta.kind, meta.namespace, meta.name))
            note = (
                f"annotation {names.RESTART_ANNOTATION}: wanted one of {', '.join(RESTARTS)}, "
                f"found {value[:100]!r}; nothing was restarted"
            )
            if body is not None:
                await self.events.event(body, reason=Reason.INVALID_ANNOTATION, note=note)
            result.acted_on.add(names.RESTART_ANNOTATION)
            return
        relay_waits = "relay" in targets and names.RESTART_ANNOTATION not in result.acted_on
        if "consumers" in targets and not relay_waits:
            await self._children.restart_consumers(resource)
            result.acted_on.add(names.RESTART_ANNOTATION)

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
        await self._database.drop(resource)

    def forget(self, key: ObjectKey, uid: str) -> None:
        """The object is gone."""
        self._workloads.forget(uid)
        self._samples.pop(uid, None)
        self._rendered.forget(uid)
        self.wake_all(self._database.forget(uid), "a rival is gone")
        self._children.forget(uid)
        super().forget(key, uid)
