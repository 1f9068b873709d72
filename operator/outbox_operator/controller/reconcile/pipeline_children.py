"""EventStream and EventConsumers of a pipeline: applied as rendered, statuses read back."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from outbox_operator.adapters.kubernetes.objects import ref_of
from outbox_operator.api import meta as names
from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Pipeline, parse_stream
from outbox_operator.api.v1alpha1.stream import unfit_for_outbox
from outbox_operator.controller.reconcile.cache import LastResult
from outbox_operator.controller.reconcile.context import Context
from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.errors import ConflictError, OutboxError, SpecError
from outbox_operator.plan.kubernetes.children import (
    event_consumers,
    event_stream,
    event_stream_name,
)
from outbox_operator.plan.kubernetes.diff import differences, was_changed_by_others
from outbox_operator.plan.status.conditions import Part, failed, ok, waiting
from outbox_operator.reasons import Reason
from outbox_operator.wire.subjects import SubjectTemplate, covers

log = logging.getLogger(__name__)

LOST_REASONS: Final = frozenset({Reason.RESOURCE_CONFLICT, Reason.STREAM_EXISTS})
"""Why an EventStream is not ready when the JetStream stream is not its own."""


@dataclass(kw_only=True)
class ChildrenLook:
    """The children after a pass.

    Attributes:
        parts: StreamReady and ConsumersReady.
        stream_name: Name of the JetStream stream, None while it is not known.
        stream: `status.stream` of the EventStream.
        consumers: One `ConsumerSummary` each, as dictionaries.
        drifts: Children that somebody had changed or deleted, and that were put back.
        lost: The JetStream stream is somebody else's.
        frozen: Names of children that differ and were left so because the pipeline is paused.
    """

    parts: list[Part] = field(default_factory=list)
    stream_name: str | None = None
    stream: dict[str, Any] | None = None
    consumers: list[dict[str, Any]] = field(default_factory=list)
    drifts: list[str] = field(default_factory=list)
    lost: bool = False
    frozen: set[str] = field(default_factory=set)


class PipelineChildren:
    """Applies and reads the children of pipelines."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._known: dict[tuple[str, str], set[str]] = {}  # (kind, pipeline UID) -> child names
        self._rendered = LastResult[tuple[dict[str, Any] | None, list[dict[str, Any]]]]()

    async def ensure(self, pipeline: Pipeline) -> ChildrenLook:
        """Apply what differs, delete what is no longer declared, sum up.

        `check_pipeline` has passed. What goes wrong becomes a part.
        """
        look = ChildrenLook()
        stream, consumers = self._rendered.get(
            pipeline.meta.uid,
            pipeline.meta.generation,
            lambda: (event_stream(pipeline), event_consumers(pipeline)),
        )
        try:
            body = await self._stream_body(pipeline, stream, look)
            look.parts.append(self._stream_part(pipeline, body, look))
        except OutboxError as error:
            look.parts.append(failed(ConditionType.STREAM_READY, error))
        try:
            await self._prune(pipeline, [*([stream] if stream else []), *consumers])
            bodies = [await self._ensure_one(pipeline, m, look) for m in consumers]
            declared = [consumer.name for consumer in pipeline.spec.consumers]
            look.consumers = [
                _summary(name, body) for name, body in zip(declared, bodies, strict=True)
            ]
            look.parts.append(_consumers_part(bodies, look.frozen))
        except OutboxError as error:
            look.parts.append(failed(ConditionType.CONSUMERS_READY, error))
        self._pass_pause_on(pipeline)
        return look

    async def _stream_body(
        self, pipeline: Pipeline, manifest: dict[str, Any] | None, look: ChildrenLook
    ) -> Mapping[str, Any] | None:
        if manifest is not None:
            return await self._ensure_one(pipeline, manifest, look)
        name = event_stream_name(pipeline)
        return self._context.objects.get(ObjectKey(names.STREAM, pipeline.meta.namespace, name))

    def _stream_part(
        self, pipeline: Pipeline, body: Mapping[str, Any] | None, look: ChildrenLook
    ) -> Part:
        if body is None:
            return waiting(
                ConditionType.STREAM_READY,
                Reason.STREAM_NOT_FOUND,
                f"spec.stream.ref.name: EventStream {pipeline.meta.namespace}/"
                f"{event_stream_name(pipeline)} does not exist (yet)",
            )
        spec = parse_stream(body).spec
        template = SubjectTemplate.parse(pipeline.spec.stream.subject)
        if not any(covers(subject, template.filter()) for subject in spec.subjects):
            raise SpecError(
                f"spec.stream.subject {template.text!r} renders subjects in {template.filter()!r}, "
                f"which EventStream {body['metadata']['name']} does not store "
                f"(its subjects: {', '.join(spec.subjects) or 'none'})"
            )
        unfit = unfit_for_outbox(spec)
        if unfit is not None:
            raise SpecError(
                f"spec.stream.ref.name: EventStream {body['metadata']['name']} sets {unfit}, with "
                "which no pipeline can publish into it (docs/reference/stream-options.md says why)"
            )
        look.stream_name = spec.name
        look.stream = (body.get("status") or {}).get("stream")
        part = _child_part(ConditionType.STREAM_READY, body, look.frozen)
        look.lost = part.reason in LOST_REASONS
        return part

    async def _ensure_one(
        self, pipeline: Pipeline, manifest: dict[str, Any], look: ChildrenLook
    ) -> Mapping[str, Any]:
        meta = pipeline.meta
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        key = ObjectKey(kind, meta.namespace, name)
        live = self._context.objects.get(key)
        if live is not None:
            if not _is_owned(live, meta.uid):
                raise ConflictError(
                    f"{kind} {meta.namespace}/{name} exists and does not belong to this pipeline; "
                    "rename or delete one of the two"
                )
            if live["metadata"].get("deletionTimestamp"):
                return live
        known = self._known.setdefault((kind, meta.uid), set())
        changes = () if live is None else differences(manifest, live)
        if live is not None:
            known.add(name)
            if not changes:
                return live
        if meta.paused:
            look.frozen.add(name)
            return live or manifest
        written = await self._context.kube.apply(manifest)
        log.info("applied %s %s", kind, name)
        if live is None and name in known:
            look.drifts.append(f"{kind} {name} was deleted and has been created again")
        elif was_changed_by_others(changes):
            text = "; ".join(str(change) for change in changes[:5])
            look.drifts.append(f"{kind} {name} was changed and has been put back: {text}")
        known.add(name)
        return written

    async def _prune(self, pipeline: Pipeline, manifests: list[dict[str, Any]]) -> None:
        """Delete children that the specification no longer declares."""
        if pipeline.meta.paused:
            return
        wanted = {(m["kind"], m["metadata"]["name"]) for m in manifests}
        for body in self._context.objects.owned_by(pipeline.meta.uid):
            kind, name = body["kind"], body["metadata"]["name"]
            if (kind, name) in wanted or body["metadata"].get("deletionTimestamp"):
                continue
            self._known.get((kind, pipeline.meta.uid), set()).discard(name)
            await self._context.kube.delete(ref_of(body), uid=body["metadata"]["uid"])
            log.info("deleted %s %s, no longer declared", kind, name)

    def _pass_pause_on(self, pipeline: Pipeline) -> None:
        """Wake the children that do not know yet that their pipeline is paused, or no longer."""
        for body in self._context.objects.owned_by(pipeline.meta.uid):
            if _is_paused(body) is not pipeline.meta.paused:
                key = ObjectKey(body["kind"], pipeline.meta.namespace, body["metadata"]["name"])
                self._context.wake(key, "pause")

    async def restart_consumers(self, pipeline: Pipeline) -> None:
        """Pass a restart on to every consumer."""
        for manifest in event_consumers(pipeline):
            if "handler" in manifest["spec"]:
                await self._context.kube.merge_metadata(
                    ref_of(manifest), annotations={names.RESTART_ANNOTATION: "all"}
                )

    def forget(self, uid: str) -> None:
        """The pipeline is gone."""
        self._rendered.forget(uid)
        for kind in (names.STREAM, names.CONSUMER):
            self._known.pop((kind, uid), None)


def _ready_condition(body: Mapping[str, Any]) -> dict[str, Any] | None:
    """The Ready condition, if it speaks of the generation that is there now."""
    generation = body["metadata"].get("generation")
    for condition in (body.get("status") or {}).get("conditions") or ():
        if condition["type"] == "Ready" and condition.get("observedGeneration") == generation:
            return dict(condition)
    return None


def _is_stalled(body: Mapping[str, Any]) -> bool:
    return any(
        condition["type"] == "Stalled" and condition["status"] == "True"
        for condition in (body.get("status") or {}).get("conditions") or ()
    )


def _is_owned(body: Mapping[str, Any], uid: str) -> bool:
    owners = body["metadata"].get("ownerReferences") or ()
    return any(owner.get("uid") == uid for owner in owners)


def _is_paused(body: Mapping[str, Any]) -> bool:
    return any(
        condition["type"] == ConditionType.PAUSED and condition["status"] == "True"
        for condition in (body.get("status") or {}).get("conditions") or ()
    )


def _child_part(kind: ConditionType, body: Mapping[str, Any], frozen: Container[str]) -> Part:
    name = f"{body['kind']} {body['metadata']['name']}"
    if body["metadata"]["name"] in frozen:
        text = f"{name} differs from the specification and is left so while paused"
        return waiting(kind, Reason.UPDATE_FROZEN, text)
    ready = _ready_condition(body)
    if ready is None:
        return waiting(kind, Reason.RECONCILING, f"{name} has not been reconciled yet")
    if ready["status"] == "True":
        return ok(kind, Reason.IN_SYNC)
    return Part(
        type=kind,
        status="False",
        reason=ready["reason"],
        message=f"{name}: {ready.get('message', '')}",
        stalled=_is_stalled(body),
    )


def _summary(name: str, body: Mapping[str, Any]) -> dict[str, Any]:
    status = body.get("status") or {}
    durable = status.get("consumer") or {}
    ready = _ready_condition(body)
    is_ready = ready is not None and ready["status"] == "True"
    return {
        "name": name,
        "ready": is_ready,
        "replicas": status.get("replicas", 0),
        "readyReplicas": status.get("readyReplicas", 0),
        "pending": durable.get("pending", 0),
        "ackPending": durable.get("ackPending", 0),
        "redelivered": durable.get("redelivered", 0),
        "deadLetters": durable.get("deadLetters") or 0,
        "message": "" if is_ready else str((ready or {}).get("message", "not reconciled yet")),
    }


def _consumers_part(bodies: Sequence[Mapping[str, Any]], frozen: Container[str]) -> Part:
    kind = ConditionType.CONSUMERS_READY
    if not bodies:
        return ok(kind, Reason.NO_CONSUMERS)
    parts = [_child_part(kind, body, frozen) for body in bodies]
    bad = [part for part in parts if part.status != "True"]
    if not bad:
        return ok(kind, Reason.IN_SYNC)
    worst = next((part for part in bad if part.stalled), bad[0])
    more = f" (and {len(bad) - 1} more not ready)" if len(bad) > 1 else ""
    return dataclasses.replace(worst, message=worst.message + more)
