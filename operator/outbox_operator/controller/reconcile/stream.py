"""EventStream: keep one JetStream stream, and its dead-letter stream, as declared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from outbox_operator.adapters.nats.admin import JetStreamAdmin
from outbox_operator.api import meta as names
from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Stream, parse_stream
from outbox_operator.api.v1alpha1.stream import EventStreamStatus, StreamState
from outbox_operator.controller.reconcile.base import BaseReconciler, Pass
from outbox_operator.controller.reconcile.claims import Claims, Rivals, server_identity
from outbox_operator.controller.reconcile.context import Context
from outbox_operator.controller.reconcile.drift import Drift
from outbox_operator.controller.reconcile.jetstream import carry_out, connect, live_owners, settled
from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.errors import ConflictError, OutboxError
from outbox_operator.plan.jetstream.streams import (
    ObservedStream,
    decide_stream,
    desired_dead_letter_stream,
    desired_stream,
)
from outbox_operator.plan.state import Owner
from outbox_operator.plan.status.conditions import Part, failed, ok, stamp
from outbox_operator.reasons import Reason


class StreamReconciler(BaseReconciler[Stream, EventStreamStatus]):
    """One pass over one EventStream."""

    kind = names.STREAM
    status_type = EventStreamStatus
    live_fields: ClassVar[frozenset[str]] = frozenset({"stream", "sampledAt"})

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._claims = Claims(ConditionType.STREAM_READY)

    def parse(self, body: Mapping[str, Any]) -> Stream:
        """The typed resource."""
        return parse_stream(body)

    def condition_types(self, resource: Stream) -> Sequence[ConditionType]:
        """The parts of an EventStream."""
        return (ConditionType.NATS_REACHABLE, ConditionType.STREAM_READY)

    async def work(self, resource: Stream) -> Pass:
        """Connect, then make stream and dead-letter stream as declared."""
        result = Pass(
            ready_reason=Reason.IN_SYNC, requeue_after=self.context.settings.stream_interval_s
        )
        try:
            rivals = self._check_claim(resource)
        except ConflictError as error:
            result.parts = [failed(ConditionType.STREAM_READY, error)]
            return result
        try:
            admin = await connect(self.context, resource.meta, resource.spec.nats)
        except OutboxError as error:
            result.parts = [failed(ConditionType.NATS_REACHABLE, error)]
            return result
        result.parts.append(ok(ConditionType.NATS_REACHABLE, Reason.CONNECTED))
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
        except OutboxError as error:
            result.parts.append(failed(ConditionType.STREAM_READY, error))
            result.corrections = drift.corrections
            return result
        result.parts.append(part)
        if observed is not None:
            state = self._state(resource, observed, dead_letters, drift)
            before = resource.status.stream
            if before is None or before.lastSequence != state.lastSequence:
                result.requeue_after = self.context.settings.busy_interval_s
            result.fields = {"stream": state.model_dump(), "sampledAt": stamp(self._now())}
            result.corrections = drift.corrections
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
        was_settled = resource.status.stream is not None and settled(
            resource, ConditionType.STREAM_READY
        )
        decision = decide_stream(
            desired,
            observed,
            owner=Owner.of(resource.meta),
            adoption=resource.spec.adoptionPolicy,
            settled=was_settled,
            live_owners=live_owners(self.context, names.STREAM),
            yielding_owners=rivals.younger,
            api_level=admin.api_level,
        )
        kept = await carry_out(
            decision,
            observed,
            what=f"stream {name}",
            kind=ConditionType.STREAM_READY,
            paused=resource.meta.paused,
            was_settled=was_settled,
            drift=drift,
            create=admin.create_stream,
            update=admin.update_stream,
        )
        if observed is None and kept[0] is not None:
            self._wake_consumers(resource)
        return kept

    def _wake_consumers(self, resource: Stream) -> None:
        """They wait for the stream, or their durables went with the one before."""
        for body in self.context.objects.of_kind(names.CONSUMER, resource.meta.namespace):
            ref = (body.get("spec") or {}).get("streamRef") or {}
            if ref.get("name") == resource.meta.name:
                meta = body["metadata"]
                key = ObjectKey(names.CONSUMER, meta["namespace"], meta["name"])
                self.context.wake(key, "stream created")

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
        admin = await connect(self.context, resource.meta, resource.spec.nats)
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
        self.wake_all(self._claims.drop(uid), "a rival is gone")
        super().forget(key, uid)
