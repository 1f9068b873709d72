"""What a pipeline is made of: its EventStream and its EventConsumers. Pure.

The controller calls `check_pipeline` first, then applies what `event_stream` and
`event_consumers` render; the reconcilers of those kinds do the rest. Nothing here knows
JetStream's own configuration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from outbox_operator.api import meta
from outbox_operator.api.resource import Pipeline
from outbox_operator.api.v1alpha1.consumer import ConsumerConfigSpec
from outbox_operator.api.v1alpha1.pipeline import OutboxPipelineSpec, PipelineConsumer
from outbox_operator.api.v1alpha1.stream import EventStreamSpec, StreamConfig
from outbox_operator.api.v1alpha1.stream_parts import DeadLetter
from outbox_operator.errors import SpecError
from outbox_operator.plan import names
from outbox_operator.plan.kubernetes.diff import stamped
from outbox_operator.plan.kubernetes.lanes import Lane, lanes
from outbox_operator.wire import subjects
from outbox_operator.wire.subjects import SubjectTemplate

_STREAM_FIELDS: Final = set(StreamConfig.model_fields)
_CONSUMER_FIELDS: Final = set(ConsumerConfigSpec.model_fields)


def event_stream_name(pipeline: Pipeline) -> str:
    """Name of the EventStream a pipeline publishes into, its own or the one it refers to."""
    ref = pipeline.spec.stream.ref
    return pipeline.meta.name if ref is None else ref.name


def stream_subjects(spec: OutboxPipelineSpec) -> list[str]:
    """Subject filters of a pipeline's own stream; in Redis there are none."""
    if spec.redis is not None:
        return []
    return spec.stream.subjects or [SubjectTemplate.parse(spec.subject).filter()]


def event_stream(pipeline: Pipeline) -> dict[str, Any] | None:
    """The EventStream manifest of a pipeline; None when it publishes into one it refers to.

    Raises:
        SpecError: The subject template is malformed.
    """
    spec = pipeline.spec
    if spec.stream.ref is not None or spec.stream.name is None:
        return None
    stream = EventStreamSpec.model_validate(
        {
            **spec.stream.model_dump(include=_STREAM_FIELDS),
            # A relay may set events aside and consumers give up on them: they need a place to go.
            "deadLetter": None if spec.redis else spec.stream.deadLetter or DeadLetter(),
            "name": spec.stream.name,
            "shards": spec.outbox.shards if spec.redis else None,
            "subjects": stream_subjects(spec),
            "nats": spec.nats,
            "redis": spec.redis,
            "deletionPolicy": spec.deletionPolicy,
        }
    )
    return _child(
        pipeline,
        kind=meta.STREAM,
        name=event_stream_name(pipeline),
        labels=names.common_labels("stream", pipeline.meta.name, pipeline=pipeline.meta.name),
        spec=stream.model_dump(by_alias=True, exclude_none=True),
    )


def event_consumers(pipeline: Pipeline) -> list[dict[str, Any]]:
    """The EventConsumer manifests of a pipeline, in the order of the specification.

    Raises:
        SpecError: A filter cannot be expressed over the subject template.
    """
    template = None
    if pipeline.spec.redis is None:
        template = SubjectTemplate.parse(pipeline.spec.subject)
    return [_event_consumer(pipeline, template, lane) for lane in lanes(pipeline.spec)]


def _event_consumer(
    pipeline: Pipeline, template: SubjectTemplate | None, lane: Lane
) -> dict[str, Any]:
    consumer = lane.consumer
    # The whole specification, defaults included, is rendered each time: a field that was removed
    # from the pipeline then goes back to its default here.
    spec = consumer.model_dump(by_alias=True, exclude_none=True, include=_CONSUMER_FIELDS)
    if consumer.autoscaling is not None and not consumer.autoscaling.builtin:
        # Whoever writes it through the scale subresource owns it.
        del spec["replicas"]
    spec["streamRef"] = {"name": event_stream_name(pipeline)}
    if template is None:
        spec["filterEventTypes"] = consumer.filterEventTypes
    else:
        spec["filterSubjects"] = filter_subjects(template, consumer, lane.shards)
    # A position lost is every event handled again when the pipeline comes back.
    spec["deletionPolicy"] = pipeline.spec.deletionPolicy
    name = names.event_consumer_name(pipeline.meta.name, consumer.name)
    return _child(
        pipeline,
        kind=meta.CONSUMER,
        name=name,
        labels=names.common_labels(
            "consumer", name, pipeline=pipeline.meta.name, consumer=consumer.name
        ),
        spec=spec,
    )


def handed_over(wanted: Mapping[str, Any], live: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What keeps the number of pods of an EventConsumer that passes from us to an autoscaler.

    A field that its only owner leaves out falls back to its default. So it is applied once more
    before, by another owner, from whom the autoscaler takes it over.

    Args:
        wanted: Its manifest.
        live: The object as it is; None: there is none.

    Returns:
        To be applied first as `meta.HANDOVER_FIELD_MANAGER`; None: nothing passes.
    """
    # At every pass over every pipeline: nothing is parsed.
    if live is None or _mode(wanted) != "External" or _mode(live) == "External":
        return None
    scaled = (live.get("status") or {}).get("autoscaling") or {}
    count = live["spec"].get("replicas", 1)
    if _mode(live) is not None:
        count = scaled.get("wantedReplicas", count)
    return {
        "apiVersion": wanted["apiVersion"],
        "kind": wanted["kind"],
        "metadata": {key: wanted["metadata"][key] for key in ("name", "namespace")},
        "spec": {"replicas": count},
    }


def _mode(body: Mapping[str, Any]) -> str | None:
    """The mode of autoscaling of an EventConsumer; None: its number of pods is declared."""
    autoscaling = body["spec"].get("autoscaling")
    return None if autoscaling is None else str(autoscaling.get("mode"))


def filter_subjects(
    template: SubjectTemplate, consumer: PipelineConsumer, shards: Sequence[int] | None = None
) -> list[str]:
    """Subject filters for the event types a consumer asks for; empty: all.

    Filters that another one covers are left out, because JetStream refuses overlaps.

    Args:
        template: Of the pipeline's subjects.
        consumer: Who asks.
        shards: Only events of these; None: of all. The template separates them.

    Raises:
        SpecError: The template cannot tell event types apart, or two filters overlap in part.
    """
    where = f"spec.consumers[{consumer.name}].filterEventTypes"
    templates = [template] if shards is None else [_of_shard(template, shard) for shard in shards]
    if shards is not None and not consumer.filterEventTypes:
        return [one.filter() for one in templates]
    kinds = _kinds(template, tuple(consumer.filterEventTypes), where)
    return [_filter_subject(one, kind, where) for one in templates for kind in kinds]


@lru_cache(maxsize=8)  # of one consumer all lanes have the same, one after the other
def _kinds(template: SubjectTemplate, kinds: tuple[str, ...], where: str) -> tuple[str, ...]:
    """The event types whose filters no other's covers; of each shard they are the same."""
    filters: dict[str, str] = {}
    for kind in kinds:
        filters.setdefault(_filter_subject(template, kind, where), kind)
    kept = subjects.widest(list(filters))
    overlap = subjects.first_overlap(kept)
    if overlap is not None:
        one, other = overlap
        raise SpecError(
            f"{where}: {kept[one]!r} and {kept[other]!r} overlap in part, which JetStream refuses; "
            "write filters that do not share event types"
        )
    return tuple(filters[one] for one in kept)


def _of_shard(template: SubjectTemplate, shard: int) -> SubjectTemplate:
    tokens = (str(shard) if one == "{shard}" else one for one in template.text.split("."))
    return SubjectTemplate.parse(".".join(tokens))


def _filter_subject(template: SubjectTemplate, event_type: str, where: str) -> str:
    """The subject filter of one event type, which may hold wildcards."""
    if "event_type" not in template.pieces[1::2]:
        raise SpecError(
            f"{where}: the subject template {template.text!r} holds no {{event_type}}, so events "
            "cannot be told apart by type; add it to spec.stream.subject or remove the filter"
        )
    tokens = template.text.split(".")
    result = []
    for index, token in enumerate(tokens):
        last = index == len(tokens) - 1
        result.append(_filter_token(token, event_type, last, f"{where}: {event_type!r}"))
    subject = ".".join(result)
    if not subjects.is_valid_filter(subject):
        raise SpecError(
            f"{where}: {event_type!r} gives {subject!r} over the subject template "
            f"{template.text!r}, which is not a subject filter; wildcards stand for whole tokens "
            "and > only at the end"
        )
    return subject


def _filter_token(token: str, event_type: str, last: bool, where: str) -> str:
    if "{event_type}" in token:
        rest = token.replace("{event_type}", "", 1)
        if "{" in rest:
            raise SpecError(
                f"{where}: {{event_type}} shares a token with another placeholder ({token!r}) in "
                "the subject template; separate them by a dot"
            )
        return token.replace("{event_type}", _escape_pattern(event_type))
    if "{routing_key}" in token:
        if last:
            return ">"
        raise SpecError(
            f"{where}: {{routing_key}} may span several tokens and stands before other tokens in "
            "the subject template, so that no filter can skip it; move it to the end"
        )
    return "*" if "{" in token else token


def _escape_pattern(event_type: str) -> str:
    """An event type as subject tokens; whole-token wildcards stay."""
    return ".".join(
        token if token in ("*", ">") else subjects.escape_token(token)
        for token in event_type.split(".")
    )


def _child(
    pipeline: Pipeline, *, kind: str, name: str, labels: dict[str, str], spec: dict[str, Any]
) -> dict[str, Any]:
    return stamped(
        {
            "apiVersion": meta.API_VERSION,
            "kind": kind,
            "metadata": {
                "name": name,
                "namespace": pipeline.meta.namespace,
                "labels": labels,
                "ownerReferences": [pipeline.meta.owner_reference()],
            },
            "spec": spec,
        }
    )
