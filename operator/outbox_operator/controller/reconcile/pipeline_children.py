"""EventStream and EventConsumers of a pipeline: applied as rendered, statuses read back."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from outbox_operator.adapters.kubernetes.objects import ref_of
from outbox_operator.api import meta
from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Meta, Pipeline, parse_status, parse_stream
from outbox_operator.api.v1alpha1.stream import EventStreamStatus
from outbox_operator.controller.reconcile.cache import LastResult
from outbox_operator.controller.reconcile.context import Context
from outbox_operator.controller.reconcile.jetstream import Seen, connect, look_back
from outbox_operator.controller.reconcile.redis_stream import sees_key
from outbox_operator.controller.reconcile.resources import OwnedResources
from outbox_operator.controller.reconcile.resting import Kin
from outbox_operator.controller.runtime.objects import key_of
from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.errors import OutboxError
from outbox_operator.plan.kubernetes.children import (
    event_consumers,
    event_stream,
    event_stream_name,
    handed_over,
)
from outbox_operator.plan.kubernetes.resources import (
    Body,
    ObservedResources,
    id_of,
    pruning_steps,
    wanted_steps,
)
from outbox_operator.plan.passes.approval import Vote, allows, last_word
from outbox_operator.plan.passes.children import (
    ChildrenResult,
    children_result,
    had_before,
    waiting_for,
)
from outbox_operator.plan.passes.stream_moving import (
    StreamMove,
    declared_elsewhere,
    move_held,
)

Rendered = tuple[Sequence[Body], Sequence[Body]]
"""The EventStream, none when the pipeline refers to one; and the EventConsumers."""


class PipelineChildren:
    """Applies and reads the children of pipelines."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._rendered = LastResult[Rendered]()
        self._resources = OwnedResources(
            context.kube,
            cached=self._cached,
            owned_by=context.objects.owned_by,
            belongs=_belongs,
            complete=True,
        )

    async def ensure(self, pipeline: Pipeline, votes: Sequence[Vote] = ()) -> ChildrenResult:
        """Apply what differs, delete what is no longer declared, sum up.

        `check_pipeline` has passed. What goes wrong becomes a part.

        Args:
            pipeline: The resource.
            votes: What tasks say of plans.
        """
        owner = pipeline.meta
        stream, consumers = self._rendered.get(
            owner.uid, owner.generation, lambda: _render(pipeline)
        )
        # The stream by itself: one that is somebody else's does not keep consumers from going.
        had = had_before(pipeline)
        observed = await self._resources.observe(owner, stream, had=had)
        live = next(iter(observed.live.values()), None)
        move, kind = await self._move(pipeline, live), ConditionType.STREAM_READY
        held = move is not None and move_held(pipeline, kind, move, votes) is not None
        stream_steps = () if held else wanted_steps(owner, stream, observed)
        stream_applied = await self._resources.execute(owner, stream_steps)
        observed = await self._resources.observe(owner, consumers, had=had)
        await self._hand_over(owner, consumers, observed)
        consumer_steps = [
            # First: a durable consumer may pass from one to another.
            *pruning_steps(owner, [*stream, *consumers], observed),
            *wanted_steps(owner, consumers, observed),
        ]
        consumers_applied = await self._resources.execute(owner, consumer_steps)
        referred = self._cached(meta.STREAM, owner.namespace, event_stream_name(pipeline))
        self._pass_pause_on(owner)
        result = children_result(pipeline, referred, stream_applied, consumers_applied, move, votes)
        pending = result.pending_move
        if pending is not None and allows(last_word(pipeline, "Stream", pending.hash, votes)):
            # The login of the EventStream leads elsewhere: it waits for what is decided here.
            key = ObjectKey(meta.STREAM, owner.namespace, event_stream_name(pipeline))
            self._context.wake(key, "approved")
        return result

    async def _hand_over(
        self, owner: Meta, consumers: Sequence[Body], observed: ObservedResources
    ) -> None:
        """Numbers of pods that are an autoscaler's from now on stay what they are."""
        for manifest in () if owner.paused else consumers:
            passed = handed_over(manifest, observed.live.get(id_of(manifest)))
            if passed is not None:
                await self._context.kube.apply(passed, meta.HANDOVER_FIELD_MANAGER)

    async def _move(self, pipeline: Pipeline, live: Body | None) -> StreamMove | None:
        """Whether the stream is declared elsewhere than it was, and what waits there."""
        owner, wanted = pipeline.meta, pipeline.spec.nats
        if live is None or owner.paused or wanted is None:
            return None
        before = parse_stream(live, stored=True).spec
        known = parse_status(live, EventStreamStatus).stream
        if known is None or before.nats in (None, wanted):
            return None
        with suppress(OutboxError):  # what cannot be looked at is another one
            there = await (await connect(self._context, owner, wanted)).stream_info(before.name)
            if there is not None and there.created == known.created:
                return None  # by another name or login
        bodies = self._context.objects.of_kind(meta.CONSUMER, owner.namespace)
        counted, durables = waiting_for(event_stream_name(pipeline), before.name, bodies)
        looking = connect(self._context, owner, before.jetstream)
        was = Seen(stream=before.name, created=known.created, place=known.place)
        left = await look_back(looking, was, durables, counted, same_login=False)
        return declared_elsewhere(pipeline, before.jetstream, left)

    def kin(self, pipeline: Pipeline) -> dict[ObjectKey, Kin]:
        """The objects that are summed up."""
        owner, objects = pipeline.meta, self._context.objects
        key = ObjectKey(meta.STREAM, owner.namespace, event_stream_name(pipeline))
        referred = objects.get(key)
        bodies = [
            *objects.owned_by(owner.namespace, owner.uid),
            *([] if referred is None else [referred]),
        ]
        return {key_of(body): Kin(body) for body in bodies}

    def is_calm(self, uid: str) -> bool:
        """Whether no child of a pipeline was put back lately."""
        return self._resources.is_calm(uid)

    async def sees_stream(self, pipeline: Pipeline, stream: str) -> bool:
        """Whether the relay's login leads to the stream that the EventStream has."""
        owner = pipeline.meta
        body = self._cached(meta.STREAM, owner.namespace, event_stream_name(pipeline))
        known = None if body is None else parse_status(body, EventStreamStatus).stream
        if known is None:
            return False
        spec = pipeline.spec
        if spec.redis is not None:
            keys = known.redis.keys if known.redis else []
            return bool(keys) and await sees_key(self._context, owner, spec.redis, keys[0])
        try:
            admin = await connect(self._context, owner, spec.jetstream)
            found = await admin.stream_info(stream)
        except OutboxError:
            return False
        return found is not None and found.created == known.created

    def _cached(self, kind: str, namespace: str, name: str) -> Body | None:
        return self._context.objects.get(ObjectKey(kind, namespace, name))

    def _pass_pause_on(self, owner: Meta) -> None:
        """Wake the children that do not know yet that their pipeline is paused, or no longer."""
        for body in self._context.objects.owned_by(owner.namespace, owner.uid):
            if _is_paused(body) is not owner.paused:
                key = ObjectKey(body["kind"], owner.namespace, body["metadata"]["name"])
                self._context.wake(key, "pause")

    async def restart_consumers(self, pipeline: Pipeline) -> None:
        """Pass a restart on to every consumer."""
        for manifest in event_consumers(pipeline):
            if "handler" in manifest["spec"]:
                await self._context.kube.merge_metadata(
                    ref_of(manifest), annotations={meta.RESTART_ANNOTATION: "all"}
                )

    def forget(self, uid: str) -> None:
        """The pipeline is gone."""
        self._rendered.forget(uid)
        self._resources.forget(uid)


def _render(pipeline: Pipeline) -> Rendered:
    stream = event_stream(pipeline)
    return ([] if stream is None else [stream]), event_consumers(pipeline)


def _belongs(owner: Meta, body: Body) -> bool:
    owners = body["metadata"].get("ownerReferences") or ()
    return any(one.get("uid") == owner.uid for one in owners)


def _is_paused(body: Body) -> bool:
    return any(
        condition["type"] == ConditionType.PAUSED and condition["status"] == "True"
        for condition in (body.get("status") or {}).get("conditions") or ()
    )
