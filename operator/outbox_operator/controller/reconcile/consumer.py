"""EventConsumer: keep one durable consumer, its inbox table and its workload as declared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

from outbox_operator import version
from outbox_operator.adapters.execute import execute
from outbox_operator.adapters.nats.admin import JetStreamAdmin
from outbox_operator.api import meta
from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Consumer, parse_consumer
from outbox_operator.api.unsupported import check_consumer_supported
from outbox_operator.api.v1alpha1.consumer import EventConsumerStatus
from outbox_operator.controller.reconcile.base import BaseReconciler
from outbox_operator.controller.reconcile.consumer_inbox import ensure_inbox
from outbox_operator.controller.reconcile.context import Context
from outbox_operator.controller.reconcile.jetstream import connect
from outbox_operator.controller.reconcile.workloads import Workloads
from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.errors import OutboxError
from outbox_operator.plan.checks import check_consumer
from outbox_operator.plan.jetstream.consumers import ObservedConsumer
from outbox_operator.plan.kubernetes.workloads import consumer_objects, consumer_secret_refs
from outbox_operator.plan.names import durable_name, workload_name
from outbox_operator.plan.passes.consumer import (
    DurableObserved,
    DurableResult,
    consumer_result,
    durable_result,
    not_ready,
    plan_durable,
    restarting,
)
from outbox_operator.plan.passes.inbox import InboxResult
from outbox_operator.plan.passes.result import PassResult
from outbox_operator.plan.passes.source import Source, StreamNotFoundError, resolve
from outbox_operator.plan.status.conditions import Part, failed
from outbox_operator.plan.status.workload import (
    WorkloadResult,
    not_started,
    replicas,
    stopped_by,
    was_there,
)
from outbox_operator.plan.steps import Applied
from outbox_operator.reasons import Reason

INBOX_PENDING: Final = "started or changed once the inbox has been looked at"


class ConsumerReconciler(BaseReconciler[Consumer, EventConsumerStatus]):
    """One pass over one EventConsumer."""

    kind = meta.CONSUMER
    status_type = EventConsumerStatus
    live_fields: ClassVar[frozenset[str]] = frozenset({"consumer", "sampledAt"})

    def __init__(self, context: Context, workloads: Workloads) -> None:
        super().__init__(context)
        self._workloads = workloads
        self._sources: dict[str, Source] = {}

    def parse(self, body: Mapping[str, Any]) -> Consumer:
        """The typed resource."""
        return parse_consumer(body, stored=True)

    def condition_types(self, resource: Consumer) -> Sequence[ConditionType]:
        """The parts of an EventConsumer, which depend on what it declares."""
        types = [ConditionType.NATS_REACHABLE, ConditionType.CONSUMER_READY]
        if resource.spec.inbox is not None:
            types += [ConditionType.DATABASE_REACHABLE, ConditionType.SCHEMA_APPLIED]
        if resource.spec.handler is not None:
            types.append(ConditionType.WORKLOAD_AVAILABLE)
        return types

    def interval_seconds(self, resource: Consumer) -> float:
        """Shorter with pods: a rotated Secret must roll them soon, and is read at a pass."""
        settings = self.context.settings
        handled = resource.spec.handler is not None
        return settings.handler_interval_seconds if handled else settings.consumer_interval_seconds

    async def work(self, resource: Consumer) -> PassResult[EventConsumerStatus]:
        """Durable consumer, then inbox, then workload; each says for itself how it went."""
        check_consumer_supported(resource.spec)
        check_consumer(resource.spec)
        inbox = InboxResult()
        workload = WorkloadResult()
        try:
            source = self._resolve(resource)
        except OutboxError as error:
            durable = DurableResult(parts=(not_ready(error),))
            return consumer_result(resource, durable, inbox, workload, datetime.now(UTC))
        self._sources[resource.meta.uid] = source
        durable = await self._durable(resource, source)
        inbox = await ensure_inbox(self.context, resource)
        earlier = (*durable.parts, *inbox.parts)
        if any(part.reason == Reason.TAKEN_OVER for part in durable.parts):
            workload = await self._no_workload(resource)
        elif inbox.pending and resource.spec.handler is not None:
            workload = not_started(ConditionType.WORKLOAD_AVAILABLE, INBOX_PENDING)
        else:
            workload = await self._workload(resource, source, earlier)
        return consumer_result(resource, durable, inbox, workload, datetime.now(UTC))

    def _resolve(self, resource: Consumer) -> Source:
        ref = resource.spec.streamRef
        key = ObjectKey(meta.STREAM, resource.meta.namespace, ref.name if ref else "")
        return resolve(resource, self.context.objects.get(key))

    async def _durable(self, resource: Consumer, source: Source) -> DurableResult:
        """Make the durable consumer as declared."""
        admin, observed = await self._gather_durable(resource, source)
        plan = plan_durable(resource, source, observed)
        applied: list[Applied[ObservedConsumer]] = []
        letters: int | OutboxError | None = None
        if admin is not None:
            applied = await execute(
                plan.steps,
                create=lambda config: admin.create_consumer(source.stream, config),
                patch=lambda config: admin.update_consumer(source.stream, config),
            )
            if applied and applied[0].now is not None:
                letters = await _dead_letters(resource, source, admin)
        return durable_result(resource, source, plan, applied, letters, datetime.now(UTC))

    async def _gather_durable(
        self, resource: Consumer, source: Source
    ) -> tuple[JetStreamAdmin | None, DurableObserved]:
        """What there is, and the connection to change it with."""
        try:
            admin = await connect(self.context, resource.meta, source.nats)
        except OutboxError as error:
            return None, DurableObserved(unreachable=error)
        stream = consumer = unreadable = None
        try:
            stream = await admin.stream_info(source.stream)
            consumer = await admin.consumer_info(source.stream, durable_name(resource))
        except OutboxError as error:
            unreadable = error
        return admin, DurableObserved(
            unreadable=unreadable,
            api_level=admin.api_level,
            stream=stream,
            consumer=consumer,
            living=self.context.living(meta.CONSUMER),
        )

    async def _workload(
        self, resource: Consumer, source: Source, earlier: Sequence[Part]
    ) -> WorkloadResult:
        """The pods of a handler; they begin once everything before them is in place."""
        owner, spec, kind = resource.meta, resource.spec, ConditionType.WORKLOAD_AVAILABLE
        if spec.handler is None:
            return await self._no_workload(resource)
        restart = restarting(resource)
        try:
            refs = consumer_secret_refs(spec, source.nats)
            manifests = consumer_objects(
                resource,
                stream_name=source.stream,
                nats=source.nats,
                dead_letter_prefix=source.dead_letter_prefix,
                image=self.context.settings.image,
                secret_checksum=await self.context.secrets.checksum(owner.namespace, refs),
                restarted_at=self._workloads.restarted_at(
                    owner, workload_name(owner.name), now=restart
                ),
                settings=self.context.settings.pods,
            )
            prerequisites_met = all(part.status == "True" for part in earlier)
            if not prerequisites_met and not self._workloads.exists(owner):
                return not_started(kind, "waits for the durable consumer and the inbox")
            return await self._workloads.ensure(
                kind,
                owner,
                manifests,
                stopped=stopped_by("spec", spec.state, spec.replicas),
                restarting=restart,
                had=was_there(resource, kind, version.VERSION),
            )
        except OutboxError as error:
            return WorkloadResult(part=failed(kind, error))

    async def _no_workload(self, resource: Consumer) -> WorkloadResult:
        """None is declared, or it would handle messages of somebody else's durable consumer."""
        await self._workloads.remove(resource.meta)
        gone = not self._workloads.exists(resource.meta)
        return WorkloadResult(
            numbers=replicas(None) if gone else None, restarted=restarting(resource)
        )

    async def clean_up(self, resource: Consumer) -> None:
        """With deletionPolicy Delete: delete the durable consumer that carries our mark."""
        if resource.spec.deletionPolicy == "Retain":
            return
        try:
            source = self._resolve(resource)
        except StreamNotFoundError:
            # The EventStream went with us; where it was is remembered unless we restarted since.
            remembered = self._sources.get(resource.meta.uid)
            if remembered is None:
                await self._left_behind(resource)
                return
            source = remembered
        admin = await connect(self.context, resource.meta, source.nats)
        observed = await admin.consumer_info(source.stream, durable_name(resource))
        if observed is not None and observed.owner_uid == resource.meta.uid:
            await admin.delete_consumer(source.stream, observed.name)

    async def _left_behind(self, resource: Consumer) -> None:
        owner, before = resource.meta, resource.status.consumer
        body = self.context.objects.get(ObjectKey.of(owner))
        if body is None or before is None:
            return
        note = (
            "its EventStream is gone, so nobody knows where the stream is; left behind: durable "
            f"consumer {before.name} of stream {before.stream}, if that still exists"
        )
        await self.events.event(body, reason=Reason.CLEANUP_ABANDONED, note=note)

    def forget(self, key: ObjectKey, uid: str) -> None:
        """The object is gone."""
        self._workloads.forget(uid)
        self._sources.pop(uid, None)
        super().forget(key, uid)


async def _dead_letters(
    resource: Consumer, source: Source, admin: JetStreamAdmin
) -> int | OutboxError | None:
    """Take in what the server gave up on, and count the letters; None: not known where they are."""
    stream, prefix, durable = (
        source.dead_letter_stream,
        source.dead_letter_prefix,
        durable_name(resource),
    )
    if stream is None or prefix is None:
        return None
    try:
        if not resource.meta.paused:
            await admin.dead_letters(stream).collect(source.stream, durable, prefix)
        return await admin.subject_message_count(stream, f"{prefix}.{durable}")
    except OutboxError as error:
        return error
