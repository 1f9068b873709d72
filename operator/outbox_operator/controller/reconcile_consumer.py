"""EventConsumer: keep one durable consumer, its inbox table and its workload as declared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from outbox_operator.adapters.jetstream_admin import JetStreamAdmin
from outbox_operator.adapters.postgres_admin import PostgresAdmin
from outbox_operator.api import meta as names
from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.fields import seconds
from outbox_operator.api.resource import Consumer, parse_consumer, parse_stream
from outbox_operator.api.unsupported import check_consumer_supported
from outbox_operator.api.v1alpha1.common import NatsConnection
from outbox_operator.api.v1alpha1.consumer import DurableState, EventConsumerStatus, Inbox
from outbox_operator.controller.claims import Claims, Rivals, server_identity
from outbox_operator.controller.context import Context
from outbox_operator.controller.drift import Drift
from outbox_operator.controller.outcome import ObjectKey
from outbox_operator.controller.reconciler import BaseReconciler, Pass
from outbox_operator.controller.secrets import secret_names
from outbox_operator.controller.workloads import Look, Workloads
from outbox_operator.errors import (
    ConflictError,
    CredentialsError,
    DependencyError,
    OutboxError,
    SpecError,
)
from outbox_operator.plan.checks import check_consumer
from outbox_operator.plan.consumers import (
    Create,
    InSync,
    ObservedConsumer,
    Refused,
    Update,
    decide_consumer,
    desired_consumer,
)
from outbox_operator.plan.names import durable_name, workload_name
from outbox_operator.plan.postgres import DesiredInbox, plan_inbox
from outbox_operator.plan.state import Owner
from outbox_operator.plan.status import Part, failed, ok, stamp, unknown, waiting
from outbox_operator.plan.streams import dead_letter_name, dead_letter_prefix
from outbox_operator.plan.workloads import consumer_objects, consumer_secret_refs

RESYNC_SECONDS = 60.0
BUSY_SECONDS = 15.0
INBOX_LOCK_TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Source:
    """The stream a consumer reads, resolved."""

    stream: str
    nats: NatsConnection
    dead_letter_prefix: str | None
    dead_letter_stream: str | None


class StreamNotFoundError(DependencyError):
    """The EventStream or the JetStream stream is not there (yet)."""

    reason = "StreamNotFound"


class ConsumerReconciler(BaseReconciler[Consumer, EventConsumerStatus]):
    """One pass over one EventConsumer."""

    kind = names.CONSUMER
    status_type = EventConsumerStatus
    live_fields: ClassVar[frozenset[str]] = frozenset({"consumer", "sampledAt"})

    def __init__(self, context: Context, workloads: Workloads) -> None:
        super().__init__(context)
        self._workloads = workloads
        self._sources: dict[str, Source] = {}
        self._claims = Claims()

    def parse(self, body: Mapping[str, Any]) -> Consumer:
        """The typed resource."""
        return parse_consumer(body)

    async def work(self, resource: Consumer) -> Pass:
        """Durable consumer, then inbox, then workload; each says for itself how it went."""
        check_consumer_supported(resource.spec)
        check_consumer(resource.spec)
        result = Pass(ready_reason="InSync", requeue_after=RESYNC_SECONDS)
        try:
            source = self._source(resource)
            rivals = self._check_claim(resource, source)
        except StreamNotFoundError as error:
            result.parts = [waiting(ConditionType.CONSUMER_READY, error.reason, error.message)]
            return result
        except OutboxError as error:
            result.parts = [failed(ConditionType.CONSUMER_READY, error)]
            return result
        self._sources[resource.meta.uid] = source
        durable_ready = await self._durable_part(resource, source, rivals, result)
        inbox_ready = await self._inbox_part(resource, result)
        if resource.spec.handler is not None:
            await self._workload_part(resource, source, result, durable_ready and inbox_ready)
        return result

    def _source(self, resource: Consumer) -> Source:
        spec, meta = resource.spec, resource.meta
        own = spec.deadLetter.subjectPrefix if spec.deadLetter else None
        if spec.streamName is not None:
            if spec.nats is None:
                raise SpecError("spec.nats is missing: with streamName it says where the stream is")
            return Source(
                stream=spec.streamName, nats=spec.nats, dead_letter_prefix=own,
                dead_letter_stream=None,
            )  # fmt: skip
        name = spec.streamRef.name if spec.streamRef else ""
        body = self.context.objects.get(ObjectKey(names.STREAM, meta.namespace, name))
        if body is None:
            raise StreamNotFoundError(
                f"spec.streamRef.name: EventStream {meta.namespace}/{name} does not exist (yet)"
            )
        stream = parse_stream(body)
        prefix = own or dead_letter_prefix(stream.spec)
        return Source(
            stream=stream.spec.name,
            nats=spec.nats or stream.spec.nats,
            dead_letter_prefix=prefix if own or stream.spec.deadLetter else None,
            dead_letter_stream=dead_letter_name(stream.spec) if stream.spec.deadLetter else None,
        )

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

    async def _admin(self, resource: Consumer, nats: NatsConnection) -> JetStreamAdmin:
        meta = resource.meta
        key = ObjectKey(meta.kind, meta.namespace, meta.name)
        try:
            auth = await self.context.secrets.nats_auth(meta.namespace, nats, "spec.nats")
            return await self.context.nats.admin(auth, key)
        except CredentialsError:
            self.context.secrets.forget(meta.namespace, secret_names(nats))
            raise

    async def _durable_part(
        self, resource: Consumer, source: Source, rivals: Rivals, result: Pass
    ) -> bool:
        try:
            admin = await self._admin(resource, source.nats)
        except OutboxError as error:
            result.parts += [
                failed(ConditionType.NATS_REACHABLE, error),
                unknown(ConditionType.CONSUMER_READY, error.reason, "not looked at: NATS is away"),
            ]
            return False
        result.parts.append(ok(ConditionType.NATS_REACHABLE, "Connected"))
        drift = Drift.of(resource.status.consumer)
        try:
            observed, part = await self._ensure(resource, source, admin, drift, rivals)
            result.parts.append(part)
            if observed is not None:
                state = await self._state(resource, source, admin, observed, drift)
                before = resource.status.consumer
                if before is None or before.ackFloor != state.ackFloor or state.pending:
                    result.requeue_after = BUSY_SECONDS
                result.fields |= {"consumer": state.model_dump(), "sampledAt": stamp(self._now())}
                result.write_now = bool(drift.corrections)
                await self.announce_drift(resource.meta, drift.corrections)
        except StreamNotFoundError as error:
            result.parts.append(waiting(ConditionType.CONSUMER_READY, error.reason, error.message))
            return False
        except OutboxError as error:
            result.parts.append(failed(ConditionType.CONSUMER_READY, error))
            return False
        return part.status == "True"

    async def _ensure(
        self,
        resource: Consumer,
        source: Source,
        admin: JetStreamAdmin,
        drift: Drift,
        rivals: Rivals,
    ) -> tuple[ObservedConsumer | None, Part]:
        owner, durable = Owner.of(resource.meta), durable_name(resource)
        handler = resource.spec.handler
        runtime = handler is not None and (handler.http is not None or handler.python is not None)
        desired = desired_consumer(resource.spec, durable, owner, runtime=runtime)
        stream = await admin.stream_info(source.stream)
        if stream is None:
            raise StreamNotFoundError(
                f"stream {source.stream} does not exist at {source.nats.url} (yet)"
            )
        observed = await admin.consumer_info(source.stream, durable)
        settled = self._settled(resource)
        decision = decide_consumer(
            desired,
            observed,
            owner=owner,
            adoption=resource.spec.adoptionPolicy,
            settled=settled,
            stream_config=stream.config,
            live_owners=self._live_owners(),
            yielding_owners=rivals.younger,
            api_level=admin.api_level,
        )
        if resource.meta.paused and isinstance(decision, Create | Update):
            text = f"durable consumer {durable} differs from the specification and is left so"
            return observed, waiting(ConditionType.CONSUMER_READY, "UpdateFrozen", text)
        match decision:
            case InSync():
                pass
            case Create(config=config):
                observed = await admin.create_consumer(source.stream, config)
                if settled:
                    drift.corrected(f"durable consumer {durable} was missing: created again")
            case Update(config=config, changes=changes, drift=drifted, adopted=adopted):
                drift.adopted = adopted
                observed = await admin.update_consumer(source.stream, config)
                if drifted:
                    drift.corrected("; ".join(str(change) for change in changes))
            case Refused(error=error):
                return observed, failed(ConditionType.CONSUMER_READY, error)
        return observed, ok(ConditionType.CONSUMER_READY, "InSync")

    def _settled(self, resource: Consumer) -> bool:
        status = resource.status
        return status.consumer is not None and any(
            c.type == ConditionType.CONSUMER_READY
            and c.status == "True"
            and c.observedGeneration == resource.meta.generation
            for c in status.conditions
        )

    def _live_owners(self) -> frozenset[str]:
        objects = self.context.objects.of_kind(names.CONSUMER)
        return frozenset(body["metadata"]["uid"] for body in objects)

    async def _state(
        self,
        resource: Consumer,
        source: Source,
        admin: JetStreamAdmin,
        observed: ObservedConsumer,
        drift: Drift,
    ) -> DurableState:
        dead_letters = None
        if source.dead_letter_stream is not None:
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

    async def _inbox_part(self, resource: Consumer, result: Pass) -> bool:
        """The inbox table in the handler's database."""
        inbox = resource.spec.inbox
        if inbox is None:
            return True
        meta = resource.meta
        key = ObjectKey(meta.kind, meta.namespace, meta.name)
        try:
            runtime = await self.context.secrets.postgres_target(
                meta.namespace, inbox.connectionSecretRef, "spec.inbox.connectionSecretRef"
            )
            target = runtime
            if inbox.migrationSecretRef is not None:
                target = await self.context.secrets.postgres_target(
                    meta.namespace, inbox.migrationSecretRef, "spec.inbox.migrationSecretRef"
                )
            async with self.context.postgres.lease(target, key) as admin:
                changed = await self._ensure_inbox(resource, inbox, runtime.user, admin)
            if changed and meta.paused:
                text = "the inbox table differs and is left so while paused"
                result.parts.append(waiting(ConditionType.SCHEMA_APPLIED, "UpdateFrozen", text))
                return False
        except OutboxError as error:
            if isinstance(error, CredentialsError):
                self.context.secrets.forget(meta.namespace, [inbox.connectionSecretRef.name])
            kind = ConditionType.DATABASE_REACHABLE
            if not isinstance(error, DependencyError | CredentialsError):
                kind = ConditionType.SCHEMA_APPLIED
            result.parts.append(failed(kind, error))
            return False
        result.parts += [
            ok(ConditionType.DATABASE_REACHABLE, "Connected"),
            ok(ConditionType.SCHEMA_APPLIED, "UpToDate"),
        ]
        return True

    async def _ensure_inbox(
        self, resource: Consumer, inbox: Inbox, role: str, admin: PostgresAdmin
    ) -> bool:
        """Make the inbox table as wanted; whether something was not."""
        desired = DesiredInbox(schema=inbox.schema_, consumer_role=role)
        plan = plan_inbox(desired, await admin.observe(desired))
        if not plan.empty and not resource.meta.paused:
            await admin.apply_inbox(plan, desired, lock_timeout=INBOX_LOCK_TIMEOUT_SECONDS)
        if plan.empty:
            await admin.prune_inbox(inbox.schema_, resource.meta.name, seconds(inbox.retention))
        return not plan.empty

    async def _workload_part(
        self, resource: Consumer, source: Source, result: Pass, foundations: bool
    ) -> None:
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
            restarted_at=self.restarted_at(meta, workload_name(meta.name), now=restarting),
        )
        exists = self.context.children.owned_by(meta.uid)
        if not foundations and not exists:
            # Pods that could only crash help nobody; the failing part says what is missing.
            text = "waits for the durable consumer and the inbox"
            result.parts.append(unknown(ConditionType.WORKLOAD_AVAILABLE, "NotStarted", text))
            return
        applied = await self._workloads.ensure(meta, manifests)
        if restarting:
            key = ObjectKey(meta.kind, meta.namespace, meta.name)
            await self.clear_annotation(key, names.RESTART_ANNOTATION)
        stopped = None
        if spec.state == "Stopped":
            stopped = "spec.state is Stopped"
        elif spec.replicas == 0:
            stopped = "spec.replicas is 0"
        look: Look = await self._workloads.look(
            ConditionType.WORKLOAD_AVAILABLE, meta.namespace, applied, stopped=stopped
        )
        result.parts.append(look.part)
        result.fields |= {
            "replicas": look.numbers.existing,
            "readyReplicas": look.numbers.ready,
            "selector": look.selector,
        }
        await self.announce_drift(resource.meta, applied.drifts)

    async def clean_up(self, resource: Consumer) -> None:
        """With deletionPolicy Delete: delete the durable consumer that carries our mark."""
        if resource.spec.deletionPolicy == "Retain":
            return
        try:
            source = self._source(resource)
        except StreamNotFoundError:
            # The EventStream went with us; where it was is remembered unless we restarted since.
            remembered = self._sources.get(resource.meta.uid)
            if remembered is None:
                return
            source = remembered
        admin = await self._admin(resource, source.nats)
        observed = await admin.consumer_info(source.stream, durable_name(resource))
        if observed is not None and observed.owner_uid == resource.meta.uid:
            await admin.delete_consumer(source.stream, observed.name)

    def forget(self, key: ObjectKey, uid: str) -> None:
        """The object is gone."""
        self._sources.pop(uid, None)
        self._claims.drop(uid)
        super().forget(key, uid)
