"""EventConsumer: keep one durable consumer, its inbox table and its workload as declared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from outbox_operator.adapters.nats.admin import JetStreamAdmin
from outbox_operator.api import meta as names
from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Consumer, parse_consumer
from outbox_operator.api.unsupported import check_consumer_supported
from outbox_operator.api.v1alpha1.consumer import DurableState, EventConsumerStatus
from outbox_operator.controller.reconcile.base import BaseReconciler, Pass
from outbox_operator.controller.reconcile.claims import Claims, Rivals, server_identity
from outbox_operator.controller.reconcile.consumer_inbox import ensure_inbox
from outbox_operator.controller.reconcile.consumer_source import (
    Source,
    StreamNotFoundError,
    resolve,
)
from outbox_operator.controller.reconcile.context import Context
from outbox_operator.controller.reconcile.drift import Drift
from outbox_operator.controller.reconcile.jetstream import carry_out, connect, live_owners
from outbox_operator.controller.reconcile.workloads import Workloads
from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.errors import ConflictError, OutboxError
from outbox_operator.plan.checks import check_consumer
from outbox_operator.plan.jetstream.consumers import (
    ObservedConsumer,
    decide_consumer,
    desired_consumer,
    handled_by_runtime,
)
from outbox_operator.plan.kubernetes.workloads import consumer_objects, consumer_secret_refs
from outbox_operator.plan.names import durable_name, workload_name
from outbox_operator.plan.passes.result import PassResult
from outbox_operator.plan.state import Owner
from outbox_operator.plan.status.conditions import (
    Part,
    failed,
    ok,
    settled,
    stamp,
    unknown,
    waiting,
)
from outbox_operator.reasons import Reason


class ConsumerReconciler(BaseReconciler[Consumer, EventConsumerStatus]):
    """One pass over one EventConsumer."""

    kind = names.CONSUMER
    status_type = EventConsumerStatus
    live_fields: ClassVar[frozenset[str]] = frozenset({"consumer", "sampledAt"})

    def __init__(self, context: Context, workloads: Workloads) -> None:
        super().__init__(context)
        self._workloads = workloads
        self._sources: dict[str, Source] = {}
        self._claims = Claims(ConditionType.CONSUMER_READY)

    def parse(self, body: Mapping[str, Any]) -> Consumer:
        """The typed resource."""
        return parse_consumer(body)

    def condition_types(self, resource: Consumer) -> Sequence[ConditionType]:
        """The parts of an EventConsumer, which depend on what it declares."""
        types = [ConditionType.NATS_REACHABLE, ConditionType.CONSUMER_READY]
        if resource.spec.inbox is not None:
            types += [ConditionType.DATABASE_REACHABLE, ConditionType.SCHEMA_APPLIED]
        if resource.spec.handler is not None:
            types.append(ConditionType.WORKLOAD_AVAILABLE)
        return types

    def interval_s(self, resource: Consumer) -> float:
        """Shorter with pods: a rotated Secret must roll them soon, and is read at a pass."""
        settings = self.context.settings
        handled = resource.spec.handler is not None
        return settings.handler_interval_s if handled else settings.consumer_interval_s

    async def work(self, resource: Consumer) -> PassResult[EventConsumerStatus]:
        """Durable consumer, then inbox, then workload; each says for itself how it went."""
        return (await self._work(resource)).result(resource.status)

    async def _work(self, resource: Consumer) -> Pass:
        check_consumer_supported(resource.spec)
        check_consumer(resource.spec)
        result = Pass(ready_reason=Reason.IN_SYNC)
        try:
            source = resolve(resource, self.context.objects)
            rivals = self._check_claim(resource, source)
        except StreamNotFoundError as error:
            result.parts = [waiting(ConditionType.CONSUMER_READY, error.reason, error.message)]
            return result
        except ConflictError as error:
            result.parts = [failed(ConditionType.CONSUMER_READY, error)]
            await self._no_workload(resource, result)
            return result
        except OutboxError as error:
            result.parts = [failed(ConditionType.CONSUMER_READY, error)]
            return result
        self._sources[resource.meta.uid] = source
        await self._durable_part(resource, source, rivals, result)
        result.parts += await ensure_inbox(self.context, resource)
        if resource.spec.handler is None:
            await self._no_workload(resource, result)
            return result
        try:
            await self._workload_part(resource, source, result)
        except OutboxError as error:
            result.parts.append(failed(ConditionType.WORKLOAD_AVAILABLE, error))
        return result

    def _check_claim(self, resource: Consumer, source: Source) -> Rivals:
        """Of two resources for one durable consumer the older one has it."""
        durable = durable_name(resource)
        claim = (server_identity(source.nats), source.stream, durable)
        self._claims.set(resource.meta.uid, claim)
        consumers = self.context.objects.of_kind(names.CONSUMER)
        rivals = self._claims.rivals(resource.meta, consumers, claim)
        if rivals.older is not None:
            raise ConflictError(
                f"durable consumer {durable} of stream {source.stream} is already declared by "
                f"{rivals.older}, which is older; set another spec.durableName or delete one of "
                "the two"
            )
        return rivals

    async def _durable_part(
        self, resource: Consumer, source: Source, rivals: Rivals, result: Pass
    ) -> None:
        try:
            admin = await connect(self.context, resource.meta, source.nats)
        except OutboxError as error:
            text = "not looked at: NATS is away"
            result.parts += [
                failed(ConditionType.NATS_REACHABLE, error),
                unknown(ConditionType.CONSUMER_READY, error.reason, text),
            ]
            return
        result.parts.append(ok(ConditionType.NATS_REACHABLE, Reason.CONNECTED))
        drift = Drift.of(resource.status.consumer)
        try:
            observed, part = await self._ensure(resource, source, admin, drift, rivals)
            result.parts.append(part)
            if observed is not None:
                state = await self._state(resource, source, admin, observed, drift)
                before = resource.status.consumer
                if before is None or before.ackFloor != state.ackFloor or state.pending:
                    result.busy = True
                result.fields |= {"consumer": state.model_dump(), "sampledAt": stamp(self._now())}
                result.corrections += drift.corrections
        except StreamNotFoundError as error:
            result.parts.append(waiting(ConditionType.CONSUMER_READY, error.reason, error.message))
        except OutboxError as error:
            kept = [part for part in result.parts if part.type is not ConditionType.CONSUMER_READY]
            result.parts = [*kept, failed(ConditionType.CONSUMER_READY, error)]

    async def _ensure(
        self,
        resource: Consumer,
        source: Source,
        admin: JetStreamAdmin,
        drift: Drift,
        rivals: Rivals,
    ) -> tuple[ObservedConsumer | None, Part]:
        """Make the durable consumer as desired; what it is afterwards, and how that went."""
        owner, durable = Owner.of(resource.meta), durable_name(resource)
        runtime = handled_by_runtime(resource.spec)
        desired = desired_consumer(
            resource.spec, durable, owner, runtime=runtime, api_level=admin.api_level
        )
        stream = await admin.stream_info(source.stream)
        if stream is None:
            raise StreamNotFoundError(
                f"stream {source.stream} does not exist at {source.nats.url} (yet)"
            )
        observed = await admin.consumer_info(source.stream, durable)
        was_settled = resource.status.consumer is not None and settled(
            resource, ConditionType.CONSUMER_READY
        )
        decision = decide_consumer(
            desired,
            observed,
            owner=owner,
            adoption=resource.spec.adoptionPolicy,
            settled=was_settled,
            handled=resource.spec.handler is not None,
            stream_config=stream.config,
            live_owners=live_owners(self.context, names.CONSUMER),
            yielding_owners=rivals.younger,
            api_level=admin.api_level,
        )
        return await carry_out(
            decision,
            observed,
            what=f"durable consumer {durable}",
            kind=ConditionType.CONSUMER_READY,
            paused=resource.meta.paused,
            was_settled=was_settled,
            drift=drift,
            create=lambda config: admin.create_consumer(source.stream, config),
            update=lambda config: admin.update_consumer(source.stream, config),
        )

    async def _state(
        self,
        resource: Consumer,
        source: Source,
        admin: JetStreamAdmin,
        observed: ObservedConsumer,
        drift: Drift,
    ) -> DurableState:
        dead_letters = None
        if source.dead_letter_stream is not None and source.dead_letter_prefix is not None:
            if not resource.meta.paused:
                await admin.dead_letters(source.dead_letter_stream).collect(
                    source.stream, observed.name, source.dead_letter_prefix
                )
            dead_letters = await admin.subject_message_count(
                source.dead_letter_stream, f"{source.dead_letter_prefix}.{observed.name}"
            )
        before = resource.status.consumer
        return DurableState(
            name=observed.name,
            stream=source.stream,
            created=observed.created,
            pending=observed.pending,
            ackPending=observed.ack_pending,
            redelivered=observed.redelivered,
            waiting=observed.waiting,
            ackFloor=observed.ack_floor,
            deadLetters=dead_letters,
            adopted=drift.adopted or bool(before and before.adopted),
            driftCorrectedCount=drift.count,
            lastDriftTime=drift.time,
            lastDrift=drift.text,
        )

    async def _workload_part(self, resource: Consumer, source: Source, result: Pass) -> None:
        meta, spec = resource.meta, resource.spec
        refs = consumer_secret_refs(spec, source.nats)
        restarting = names.RESTART_ANNOTATION in meta.annotations and not meta.paused
        manifests = consumer_objects(
            resource,
            stream_name=source.stream,
            nats=source.nats,
            dead_letter_prefix=source.dead_letter_prefix,
            image=self.context.settings.image,
            secret_checksum=await self.context.secrets.checksum(meta.namespace, refs),
            restarted_at=self._workloads.restarted_at(
                meta, workload_name(meta.name), now=restarting
            ),
        )
        founded = all(part.status == "True" for part in result.parts)
        if not founded and not self.context.children.owned_by(meta.uid):
            # Pods that could only crash help nobody; the failing part says what is missing.
            text = "waits for the durable consumer and the inbox"
            result.parts.append(unknown(ConditionType.WORKLOAD_AVAILABLE, Reason.NOT_STARTED, text))
            return
        applied = await self._workloads.ensure(meta, manifests)
        result.drifts += applied.drifts
        if restarting:
            result.acted_on.add(names.RESTART_ANNOTATION)
        stopped = None
        if spec.state == "Stopped":
            stopped = "spec.state is Stopped"
        elif spec.replicas == 0:
            stopped = "spec.replicas is 0"
        look = await self._workloads.look(
            ConditionType.WORKLOAD_AVAILABLE, meta.namespace, applied, stopped=stopped
        )
        result.parts.append(look.part)
        result.fields |= {
            "replicas": look.numbers.existing,
            "readyReplicas": look.numbers.ready,
            "selector": look.selector,
        }

    async def _no_workload(self, resource: Consumer, result: Pass) -> None:
        """None is declared, or it would handle messages of somebody else's durable consumer."""
        await self._workloads.ensure(resource.meta, [])
        if not self.context.children.owned_by(resource.meta.uid):
            result.fields |= {"replicas": 0, "readyReplicas": 0, "selector": ""}
        if names.RESTART_ANNOTATION in resource.meta.annotations and not resource.meta.paused:
            result.acted_on.add(names.RESTART_ANNOTATION)

    async def clean_up(self, resource: Consumer) -> None:
        """With deletionPolicy Delete: delete the durable consumer that carries our mark."""
        if resource.spec.deletionPolicy == "Retain":
            return
        try:
            source = resolve(resource, self.context.objects)
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
        meta, before = resource.meta, resource.status.consumer
        body = self.context.objects.get(ObjectKey(meta.kind, meta.namespace, meta.name))
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
        self.wake_all(self._claims.drop(uid), "a rival is gone")
        super().forget(key, uid)
