"""OutboxPipeline: database, stream, relay and consumers as one. Sums up its children's statuses.

The parts are independent on purpose: a dead database does not keep the stream from being made,
a dead NATS does not keep the schema from being migrated. Only the relay waits for the schema,
because without it its pods could only crash.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from outbox_operator import version
from outbox_operator.api import meta
from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Pipeline, parse_pipeline
from outbox_operator.api.v1alpha1.pipeline import OutboxPipelineStatus
from outbox_operator.controller.reconcile.base import BaseReconciler
from outbox_operator.controller.reconcile.cache import LastResult
from outbox_operator.controller.reconcile.context import Context
from outbox_operator.controller.reconcile.pipeline_children import PipelineChildren
from outbox_operator.controller.reconcile.pipeline_database import PipelineDatabase
from outbox_operator.controller.reconcile.resting import Outside
from outbox_operator.controller.reconcile.scaling import Scaling
from outbox_operator.controller.reconcile.secrets import database_secret_names
from outbox_operator.controller.reconcile.votes import votes_on
from outbox_operator.controller.reconcile.workloads import Workloads
from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.errors import OutboxError
from outbox_operator.plan.checks import check_pipeline
from outbox_operator.plan.kubernetes.logins import relay_logins
from outbox_operator.plan.kubernetes.resources import Body
from outbox_operator.plan.kubernetes.workloads import (
    relay_objects,
    relay_replicas,
    relay_secret_refs,
)
from outbox_operator.plan.names import relay_name
from outbox_operator.plan.passes.children import ChildrenResult
from outbox_operator.plan.passes.database import DatabaseResult
from outbox_operator.plan.passes.pipeline import (
    RESTARTS,
    RelayResult,
    changed_logins,
    lost_to,
    no_relay,
    pipeline_result,
    prerequisites_met,
    relay_failed,
    relay_kept,
    relay_result,
    relay_unchanged,
    relay_waits,
    restart_targets,
)
from outbox_operator.plan.passes.result import PassResult
from outbox_operator.plan.postgres.state import OutboxNumbers
from outbox_operator.plan.scaling.load import outbox_load
from outbox_operator.plan.status.workload import stopped_by, was_there
from outbox_operator.reasons import Reason

RATE_SECONDS = 10.0
"""Rates are over at least this time, unless there was no earlier sample."""


class PipelineReconciler(BaseReconciler[Pipeline, OutboxPipelineStatus]):
    """One pass over one OutboxPipeline."""

    kind = meta.PIPELINE
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
        self._rendered: LastResult[list[Body]] = LastResult()
        self._logins: LastResult[str] = LastResult()
        self._scaling = Scaling()

    def parse(self, body: Mapping[str, Any]) -> Pipeline:
        """The typed resource."""
        return parse_pipeline(body, stored=True)

    def condition_types(self, resource: Pipeline) -> Sequence[ConditionType]:
        """The parts of a pipeline, which depend on what it declares."""
        autoscaling = resource.spec.relay.autoscaling
        return (
            *(() if autoscaling is None else (ConditionType.AUTOSCALING,)),
            ConditionType.DATABASE_REACHABLE,
            ConditionType.SCHEMA_APPLIED,
            ConditionType.STREAM_READY,
            ConditionType.CONSUMERS_READY,
            ConditionType.RELAY_AVAILABLE,
            ConditionType.LAGGING,
            ConditionType.FOREIGN_PUBLISHER,
            ConditionType.UNFENCED,
            ConditionType.STREAM_LOST_EVENTS,
            ConditionType.POSITIONS_MOVED,
        )

    def interval_seconds(self, resource: Pipeline) -> float:
        """Half a minute by default; shorter where the relay's pods follow the backlog."""
        settings = self.context.settings
        autoscaling = resource.spec.relay.autoscaling
        if autoscaling is not None and autoscaling.builtin:
            return min(settings.pipeline_interval_seconds, settings.busy_interval_seconds)
        return settings.pipeline_interval_seconds

    async def work(self, resource: Pipeline) -> PassResult[OutboxPipelineStatus]:
        """Children and database side by side, then the relay, then the sum."""
        check_pipeline(resource.spec)
        # First: the relay is rolled to nothing newer than what is seen afterwards.
        secrets, digest = await self._secrets(resource)
        kin = self._children.kin(resource)
        votes = votes_on(self.context.objects, resource)
        # Neither raises for what is wrong with its part.
        async with asyncio.TaskGroup() as group:
            children_task = group.create_task(self._children.ensure(resource, votes))
            database_task = group.create_task(self._database.ensure(resource, votes))
        children, database = children_task.result(), database_task.result()
        try:
            relay = await self._relay(resource, database, children, secrets)
        except OutboxError as error:
            relay = relay_failed(resource, error)
        restarted = await self._restart(resource, relay_restarted=relay.restarted)
        asked = self._database.asked_again(resource, database)
        uid, pods = resource.meta.uid, self._workloads.pods(resource.meta)
        calm = relay.settled and self._workloads.is_calm(uid) and self._children.is_calm(uid)
        calm = calm and resource.spec.relay.autoscaling is None  # passes see to their number
        if asked is not None and digest is not None and calm:
            place, question, longest = asked
            outside = Outside(
                place=place, question=question, answer=database.sample,
                secrets=_secret_names(resource), digest=digest, kin=kin, longest_seconds=longest,
            )  # fmt: skip
            self.saw(resource, outside)
        return pipeline_result(
            resource, database, children, relay,
            pods=pods, restarted=restarted, now=datetime.now(UTC), votes=votes,
        )  # fmt: skip

    async def _secrets(self, resource: Pipeline) -> tuple[str | OutboxError, str | None]:
        """Hash of what relay pods mount, or why nobody knows; and digest of all that is read."""
        refs, namespace = relay_secret_refs(resource.spec), resource.meta.namespace
        try:
            digest = await self.context.secrets.digest(namespace, _secret_names(resource))
            return await self.context.secrets.checksum(namespace, refs), digest
        except OutboxError as error:
            return error, None

    async def _relay(
        self,
        resource: Pipeline,
        database: DatabaseResult,
        children: ChildrenResult,
        secrets: str | OutboxError,
    ) -> RelayResult:
        """The relay, once there is a schema to read and a stream to publish into."""
        owner, spec = resource.meta, resource.spec
        whose = lost_to(database, children)
        if whose is not None:
            # What runs is left: a relay looks whose the schema is, and stops by itself.
            return no_relay(resource, whose)
        exists = self._workloads.exists(owner)
        stream_name = children.stream_name
        if stream_name is None or not prerequisites_met(database, children, exists=exists):
            return relay_waits(resource)
        if database.pending and exists:
            return relay_unchanged(resource)
        if isinstance(secrets, OutboxError):
            raise secrets
        logins = self._logins.get(
            owner.uid, (owner.generation, secrets), lambda: relay_logins(resource, secrets)
        )
        why = database.keeps_relay or children.keeps_relay
        if why is None and self._workloads.logins_changed(owner, relay_name(owner.name), logins):
            sees = await self._children.sees_stream(resource, stream_name)
            why = changed_logins(database, sees_stream=sees)
        if exists and why is not None:
            return relay_kept(resource, database, why)
        restarting = "relay" in (restart_targets(owner) or ())
        load = None if database.sample is None else outbox_load(database.sample)
        scaled = self._scaling.of_relay(resource, load, self._workloads.deployment(owner))
        wanted = relay_replicas(spec, None if scaled is None else scaled.count)
        stopped = stopped_by("spec.relay", spec.relay.state, wanted)
        workload = await self._workloads.ensure(
            ConditionType.RELAY_AVAILABLE,
            owner,
            self._render(
                resource, stream_name, secrets, logins, restarting=restarting, replicas=wanted
            ),
            stopped=stopped,
            restarting=restarting,
            had=was_there(resource, ConditionType.RELAY_AVAILABLE, version.VERSION),
        )
        looked = self.context.resting.confirmed(ObjectKey.of(owner))
        earlier = counted_from(self._samples.get(owner.uid), looked, database.sample)
        result = relay_result(
            resource, database, workload, earlier,
            stopped=stopped, full=children.full, stream=children.stream, scaled=scaled,
        )  # fmt: skip
        self._keep_sample(owner.uid, database.sample)
        return result

    def _render(
        self,
        resource: Pipeline,
        stream_name: str,
        secrets: str,
        logins: str,
        *,
        restarting: bool,
        replicas: int,
    ) -> list[Body]:
        owner = resource.meta
        restarted_at = self._workloads.restarted_at(owner, relay_name(owner.name), now=restarting)
        return self._rendered.get(
            owner.uid,
            (owner.generation, stream_name, secrets, restarted_at, replicas),
            lambda: relay_objects(
                resource,
                stream_name=stream_name,
                image=self.context.settings.image,
                secret_checksum=secrets,
                logins=logins,
                restarted_at=restarted_at,
                replicas=replicas,
                settings=self.context.settings.pods,
            ),
        )

    def _keep_sample(self, uid: str, sample: OutboxNumbers | None) -> None:
        """Count the next rate from this sample, unless the last is recent: it would only jump."""
        earlier = self._samples.get(uid)
        if sample is None:
            return
        if earlier is None or (sample.taken_at - earlier.taken_at).total_seconds() >= RATE_SECONDS:
            self._samples[uid] = sample

    async def _restart(self, resource: Pipeline, *, relay_restarted: bool) -> bool:
        """Pass a restart on to the consumers, or say that it names nothing; whether it is done."""
        owner = resource.meta
        targets = restart_targets(owner)
        if targets is None:
            return False
        if not targets:
            await self._say_unknown_restart(owner.annotations[meta.RESTART_ANNOTATION], resource)
            return True
        if "relay" in targets and not relay_restarted:
            return False
        if "consumers" in targets:
            await self._children.restart_consumers(resource)
        return True

    async def _say_unknown_restart(self, value: str, resource: Pipeline) -> None:
        owner = resource.meta
        body = self.context.objects.get(ObjectKey.of(owner))
        note = (
            f"annotation {meta.RESTART_ANNOTATION}: wanted one of {', '.join(RESTARTS)}, "
            f"found {value[:100]!r}; nothing was restarted"
        )
        if body is not None:
            await self.events.event(body, reason=Reason.INVALID_ANNOTATION, note=note)

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
        self._logins.forget(uid)
        self._scaling.forget(uid)
        self._database.forget(uid)
        self._children.forget(uid)
        super().forget(key, uid)


def counted_from(
    earlier: OutboxNumbers | None, looked: object, sample: OutboxNumbers | None
) -> OutboxNumbers | None:
    """The numbers from which a rate is counted: of an outbox that rested, not from its last pass.

    Args:
        earlier: Numbers of a pass.
        looked: What the last look found that found all as that pass had; None: there was none.
        sample: Numbers of now.
    """
    if earlier is None or sample is None or not isinstance(looked, OutboxNumbers):
        return earlier
    if earlier != looked:
        return earlier
    # The numbers stood still until that look: any moment before it will do.
    latest = min(looked.taken_at, sample.taken_at - timedelta(seconds=RATE_SECONDS))
    return replace(earlier, taken_at=max(earlier.taken_at, latest))


def _secret_names(pipeline: Pipeline) -> frozenset[str]:
    """Secrets that a pass reads."""
    spec = pipeline.spec
    mounted = {name for name, _ in relay_secret_refs(spec)}
    return frozenset(mounted | database_secret_names(spec.database))
