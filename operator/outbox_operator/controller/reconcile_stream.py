"""EventStream: keep one JetStream stream, and its dead-letter stream, as declared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from outbox_operator.adapters.jetstream_admin import JetStreamAdmin
from outbox_operator.api import meta as names
from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Stream, parse_stream
from outbox_operator.api.v1alpha1.stream import EventStreamStatus, StreamState
from outbox_operator.controller.claims import Claims, Rivals, server_identity
from outbox_operator.controller.context import Context
from outbox_operator.controller.drift import Drift
from outbox_operator.controller.outcome import ObjectKey
from outbox_operator.controller.reconciler import BaseReconciler, Pass
from outbox_operator.controller.secrets import secret_names
from outbox_operator.errors import ConflictError, CredentialsError, OutboxError
from outbox_operator.plan.state import Owner
from outbox_operator.plan.status import Part, failed, ok, stamp, unknown, waiting
from outbox_operator.plan.streams import (
    Create,
    InSync,
    ObservedStream,
    Refused,
    Update,
    decide_stream,
    desired_dead_letter_stream,
    desired_stream,
)

RESYNC_SECONDS = 60.0
BUSY_SECONDS = 15.0
"""Next look while the numbers move."""


class StreamReconciler(BaseReconciler[Stream, EventStreamStatus]):
    """One pass over one EventStream."""

    kind = names.STREAM
    status_type = EventStreamStatus
    live_fields: ClassVar[frozenset[str]] = frozenset({"stream", "sampledAt"})

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._claims = Claims()

    def parse(self, body: Mapping[str, Any]) -> Stream:
        """The typed resource."""
        return parse_stream(body)

    async def work(self, resource: Stream) -> Pass:
        """Connect, then make stream and dead-letter stream as declared."""
        result = Pass(ready_reason="InSync", requeue_after=RESYNC_SECONDS)
        try:
            rivals = self._check_claim(resource)
        except ConflictError as error:
            result.parts = [failed(ConditionType.STREAM_READY, error)]
            return result
        try:
            admin = await self._admin(resource)
        except OutboxError as error:
            result.parts = [
                failed(ConditionType.NATS_REACHABLE, error),
                unknown(ConditionType.STREAM_READY, error.reason, "not looked at: NATS is away"),
            ]
            return result
        result.parts.append(ok(ConditionType.NATS_REACHABLE, "Connected"))
        drift = Drift.of(resource.status.stream)
        try:
            owner = Owner.of(resource.meta)
            observed, part = await self._ensure(
                resource, admin, desired_stream(resource.spec, owner), drift, rivals
            )
            dead_letters: ObservedStream | None = None
            wanted = desired_dead_letter_stream(resource.spec, owner)
            if wanted is not None and part.status == "True":
                dead_letters, dead_part = await self._ensure(resource, admin, wanted, drift, rivals)
                if dead_part.status != "True":
                    part = dead_part
            result.parts.append(part)
        except OutboxError as error:
            result.parts.append(failed(ConditionType.STREAM_READY, error))
            return result
        if observed is not None:
            now = self._now()
            state = self._state(resource, observed, dead_letters, drift)
            before = resource.status.stream
            if before is None or before.lastSequence != state.lastSequence:
                result.requeue_after = BUSY_SECONDS
            result.fields = {"stream": state.model_dump(), "sampledAt": stamp(now)}
            result.write_now = bool(drift.corrections)
            await self.announce_drift(resource.meta, drift.corrections)
        return result

    def _check_claim(self, resource: Stream) -> Rivals:
        """Of two resources for one stream the older one has it."""
        claim = (server_identity(resource.spec.nats), resource.spec.name)
        self._claims.set(resource.meta.uid, claim)
        streams = self.context.objects.of_kind(names.STREAM)
        rivals = self._claims.rivals(resource.meta, streams, claim)
        if rivals.older is not None:
            raise ConflictError(
                f"stream {resource.spec.name} at {resource.spec.nats.url} is already declared by "
                f"{rivals.older}, which is older; rename spec.name or delete one of the two"
            )
        return rivals

    async def _admin(self, resource: Stream) -> JetStreamAdmin:
        meta, nats = resource.meta, resource.spec.nats
        key = ObjectKey(meta.kind, meta.namespace, meta.name)
        try:
            auth = await self.context.secrets.nats_auth(meta.namespace, nats, "spec.nats")
            return await self.context.nats.admin(auth, key)
        except CredentialsError:
            self.context.secrets.forget(meta.namespace, secret_names(nats))
            raise

    async def _ensure(
        self,
        resource: Stream,
        admin: JetStreamAdmin,
        desired: dict[str, Any],
        drift: Drift,
        rivals: Rivals,
    ) -> tuple[ObservedStream | None, Part]:
        """Make one stream as desired; what it is afterwards, and how that went."""
        name = str(desired["name"])
        observed = await admin.stream_info(name)
        settled = self._settled(resource)
        decision = decide_stream(
            desired,
            observed,
            owner=Owner.of(resource.meta),
            adoption=resource.spec.adoptionPolicy,
            settled=settled,
            live_owners=self._live_owners(),
            yielding_owners=rivals.younger,
            api_level=admin.api_level,
        )
        if resource.meta.paused and isinstance(decision, Create | Update):
            text = f"stream {name} differs from the specification and is left so while paused"
            return observed, waiting(ConditionType.STREAM_READY, "UpdateFrozen", text)
        match decision:
            case InSync():
                pass
            case Create(config=config):
                observed = await admin.create_stream(config)
                if settled:
                    drift.corrected(f"stream {name} was missing and has been created again")
                    self._wake_consumers(resource)
            case Update(config=config, changes=changes, drift=drifted, adopted=adopted):
                drift.adopted |= adopted
                observed = await admin.update_stream(config)
                if drifted:
                    drift.corrected(f"stream {name}: " + "; ".join(str(c) for c in changes))
            case Refused(error=error):
                return observed, failed(ConditionType.STREAM_READY, error)
        return observed, ok(ConditionType.STREAM_READY, "InSync")

    def _wake_consumers(self, resource: Stream) -> None:
        """Their durables went with the stream."""
        for body in self.context.objects.of_kind(names.CONSUMER, resource.meta.namespace):
            ref = (body.get("spec") or {}).get("streamRef") or {}
            if ref.get("name") == resource.meta.name:
                meta = body["metadata"]
                key = ObjectKey(names.CONSUMER, meta["namespace"], meta["name"])
                self.context.wake(key, "stream created again")

    def _settled(self, resource: Stream) -> bool:
        """Whether this generation was in force before: a difference is then drift."""
        status = resource.status
        return status.stream is not None and any(
            c.type == ConditionType.STREAM_READY
            and c.status == "True"
            and c.observedGeneration == resource.meta.generation
            for c in status.conditions
        )

    def _live_owners(self) -> frozenset[str]:
        objects = self.context.objects.of_kind(names.STREAM)
        return frozenset(body["metadata"]["uid"] for body in objects)

    def _state(
        self,
        resource: Stream,
        observed: ObservedStream,
        dead_letters: ObservedStream | None,
        drift: Drift,
    ) -> StreamState:
        before = resource.status.stream
        return StreamState(
            name=observed.name,
            created=observed.created,
            messages=observed.messages,
            bytes=observed.bytes,
            firstSequence=observed.first_sequence,
            lastSequence=observed.last_sequence,
            consumerCount=observed.consumer_count,
            subjects=list(observed.subjects),
            deadLetters=dead_letters.messages if dead_letters else None,
            adopted=drift.adopted or bool(before and before.adopted),
            driftCorrectedCount=drift.count,
            lastDriftTime=drift.time,
            lastDrift=drift.text,
        )

    async def clean_up(self, resource: Stream) -> None:
        """With deletionPolicy Delete: delete the streams that carry our mark."""
        if resource.spec.deletionPolicy == "Retain":
            return
        admin = await self._admin(resource)
        owner = Owner.of(resource.meta)
        for wanted in (
            desired_stream(resource.spec, owner),
            desired_dead_letter_stream(resource.spec, owner),
        ):
            if wanted is None:
                continue
            observed = await admin.stream_info(str(wanted["name"]))
            if observed is not None and observed.owner_uid == owner.uid:
                await admin.delete_stream(observed.name)

    def forget(self, key: ObjectKey, uid: str) -> None:
        """The object is gone."""
        self._claims.drop(uid)
        super().forget(key, uid)
