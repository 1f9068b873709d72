"""EventStream: keep one JetStream stream, and its dead-letter stream, as declared.

Those in Redis are kept by `controller.reconcile.redis_stream`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, ClassVar

from outbox_operator.adapters.execute import execute
from outbox_operator.adapters.nats.admin import JetStreamAdmin
from outbox_operator.adapters.nats.auth import NatsAuth
from outbox_operator.api import meta
from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Pipeline, Stream, parse_pipeline, parse_stream
from outbox_operator.api.v1alpha1.stream import EventStreamStatus
from outbox_operator.controller.reconcile.base import BaseReconciler
from outbox_operator.controller.reconcile.context import Context
from outbox_operator.controller.reconcile.jetstream import Seen, connect, look_back, sight_of
from outbox_operator.controller.reconcile.outside import (
    JetStreamPlace,
    JetStreamQuestion,
    JetStreamSeen,
)
from outbox_operator.controller.reconcile.redis_stream import (
    delete_redis_stream,
    redis_stream_pass,
)
from outbox_operator.controller.reconcile.resting import Outside
from outbox_operator.controller.reconcile.secrets import secret_names
from outbox_operator.controller.reconcile.votes import votes_on
from outbox_operator.controller.runtime.child_cache import owner_of
from outbox_operator.controller.runtime.objects import key_of
from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.errors import OutboxError
from outbox_operator.plan.jetstream.stream_config import (
    dead_letter_name,
    desired_dead_letter_stream,
    desired_stream,
)
from outbox_operator.plan.jetstream.streams import ObservedStream
from outbox_operator.plan.passes.children import waiting_for
from outbox_operator.plan.passes.result import PassPlan, PassResult
from outbox_operator.plan.passes.stream import Reading, StreamObserved, plan_stream, stream_result
from outbox_operator.plan.passes.stream_moving import Left, stream_elsewhere
from outbox_operator.plan.state import Owner
from outbox_operator.plan.steps import Applied, Change


class StreamReconciler(BaseReconciler[Stream, EventStreamStatus]):
    """One pass over one EventStream."""

    kind = meta.STREAM
    status_type = EventStreamStatus
    live_fields: ClassVar[frozenset[str]] = frozenset({"stream", "sampledAt"})

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._homes: dict[str, NatsAuth] = {}
        """By UID, the login with which the stream was as wanted last."""

    def parse(self, body: Mapping[str, Any]) -> Stream:
        """The typed resource."""
        return parse_stream(body, stored=True)

    def condition_types(self, resource: Stream) -> Sequence[ConditionType]:
        """The parts of an EventStream."""
        if resource.spec.redis is not None:
            return (
                ConditionType.REDIS_REACHABLE,
                ConditionType.STREAM_READY,
                ConditionType.STREAM_LOST_EVENTS,
                ConditionType.LEFT_BEHIND,
            )
        return (ConditionType.NATS_REACHABLE, ConditionType.STREAM_READY)

    def interval_seconds(self, resource: Stream) -> float:
        """A minute by default."""
        return self.context.settings.stream_interval_seconds

    async def work(self, resource: Stream) -> PassResult[EventStreamStatus]:
        """Make stream and dead-letter stream as declared."""
        if resource.spec.redis is not None:
            result = await redis_stream_pass(self.context, resource, resource.spec.redis)
            before, after = resource.status.stream, result.status.stream
            if after is not None and (before is None or before.created != after.created):
                self._wake_consumers(resource)
            return result
        digest = await self._digest(resource)
        admin, observed = await self._gather(resource)
        plan = plan_stream(resource, observed)
        applied: list[Applied[ObservedStream]] = []
        if admin is not None:
            applied = await execute(
                plan.steps, create=admin.create_stream, patch=admin.update_stream
            )
            if applied and all(one.error is None for one in applied):
                self._homes[resource.meta.uid] = admin.auth
        if any(one.change is Change.CREATED for one in applied):
            self._wake_consumers(resource)
        if admin is not None and digest is not None and _is_as_wanted(plan, applied):
            self.saw(resource, await _outside(resource, admin, applied, digest))
        return stream_result(resource, plan, applied, datetime.now(UTC), observed)

    async def _digest(self, resource: Stream) -> str | None:
        """Of the Secrets that the pass reads; None: they cannot be read."""
        names = secret_names(resource.spec.jetstream)
        try:
            return await self.context.secrets.digest(resource.meta.namespace, names)
        except OutboxError:
            return None

    async def _gather(self, resource: Stream) -> tuple[JetStreamAdmin | None, StreamObserved]:
        """What there is, and the connection to change it with."""
        spec = resource.spec
        try:
            admin = await connect(self.context, resource.meta, spec.jetstream)
        except OutboxError as error:
            return None, StreamObserved(unreachable=error)
        stream, dead_letters = await _read(admin, spec.name), None
        if spec.deadLetter is not None and not isinstance(stream, OutboxError):
            dead_letters = await _read(admin, dead_letter_name(spec))
        observed = StreamObserved(
            api_level=admin.api_level,
            stream=stream,
            dead_letters=dead_letters,
            living=self.context.living(meta.STREAM),
        )
        if isinstance(stream, OutboxError):
            return admin, observed
        home = self._homes.get(resource.meta.uid)
        sight = await sight_of(admin, spec.jetstream, stream, home)
        observed = replace(observed, sight=sight)
        if stream_elsewhere(resource, sight, observed.left) is None:
            return admin, observed
        left = await self._look_back(resource, home)
        votes = votes_on(self.context.objects, resource)
        return admin, replace(observed, left=left, pipeline=self._pipeline(resource), votes=votes)

    async def _look_back(self, resource: Stream, home: NatsAuth | None) -> Left:
        """What waits where the stream was; by its consumers, if nobody can look there."""
        owner, before = resource.meta, resource.status.stream
        bodies = self.context.objects.of_kind(meta.CONSUMER, owner.namespace)
        counted, durables = waiting_for(owner.name, resource.spec.name, bodies)
        if home is None or before is None:
            return Left(waiting=counted, seen=False)
        looking = self.context.nats.admin(home, ObjectKey.of(owner))
        was = Seen(stream=before.name, created=before.created, place=before.place)
        return await look_back(looking, was, durables, counted, same_login=True)

    def _pipeline(self, resource: Stream) -> Pipeline | None:
        """Which made it: what becomes of the stream is decided there."""
        body = self.context.objects.get(ObjectKey.of(resource.meta))
        owner = None if body is None else owner_of(body)
        above = None if owner is None else self.context.objects.get(owner)
        return None if above is None else parse_pipeline(above, stored=True)

    def forget(self, key: ObjectKey, uid: str) -> None:
        """The object is gone."""
        self._homes.pop(uid, None)
        super().forget(key, uid)

    def _wake_consumers(self, resource: Stream) -> None:
        """They wait for the stream, or their durables went with the one before."""
        owner = resource.meta
        for body in self.context.objects.referring_to(owner.namespace, owner.name):
            if body["kind"] == meta.CONSUMER:
                self.context.wake(key_of(body), "stream created")

    async def clean_up(self, resource: Stream) -> None:
        """With deletionPolicy Delete: delete the streams that carry our mark."""
        if resource.spec.deletionPolicy == "Retain":
            return
        if resource.spec.redis is not None:
            await delete_redis_stream(self.context, resource, resource.spec.redis)
            return
        admin = await connect(self.context, resource.meta, resource.spec.jetstream)
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


def _is_as_wanted(
    plan: PassPlan[ObservedStream], applied: Sequence[Applied[ObservedStream]]
) -> bool:
    whole = bool(applied) and len(applied) == len(plan.steps) and plan.problem is None
    return whole and all(
        one.change is Change.NOOP and one.error is None and one.now is not None for one in applied
    )


async def _outside(
    resource: Stream,
    admin: JetStreamAdmin,
    applied: Sequence[Applied[ObservedStream]],
    digest: str,
) -> Outside:
    """What a pass saw that found the streams as wanted."""
    streams = [one.now for one in applied]
    names = tuple(one.name for one in streams if one is not None)
    return Outside(
        place=JetStreamPlace(admin.auth),
        question=JetStreamQuestion(names),
        answer=JetStreamSeen.of(await admin.whereabouts(), streams),
        secrets=frozenset(secret_names(resource.spec.jetstream)),
        digest=digest,
    )


async def _read(admin: JetStreamAdmin, name: str) -> Reading:
    try:
        return await admin.stream_info(name)
    except OutboxError as error:
        return error
