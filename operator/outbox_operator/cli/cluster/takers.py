"""Whether any consumer of a pipeline takes events of a type. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from outbox_operator.api import meta
from outbox_operator.api.resource import Pipeline
from outbox_operator.plan.kubernetes.children import event_stream_name
from outbox_operator.wire.subjects import SubjectTemplate, covers, escape_tokens, overlaps

_ALL: Final = ">"
_TYPE: Final = "{event_type}"


def untaken(
    event_type: str, pipeline: Pipeline, consumers: Sequence[Mapping[str, Any]]
) -> tuple[str, ...]:
    """What is taken of a pipeline, if events of a type are not.

    Args:
        event_type: The type.
        pipeline: Where the event is written.
        consumers: The EventConsumers of its namespace, as the API server has them.

    Returns:
        The types that its consumers take, or the subjects; nothing: somebody takes the event, or
        nobody takes any, and what reads the stream is not declared here.
    """
    own = [one.filterEventTypes or [_ALL] for one in pipeline.spec.consumers]
    others = list(_others(pipeline, consumers))
    types = [kind for kinds in own for kind in kinds]
    types += [kind for spec in others for kind in spec.get("filterEventTypes") or ()]
    subjects = [one for spec in others for one in spec.get("filterSubjects") or ()]
    if any(not spec.get("filterEventTypes") and not spec.get("filterSubjects") for spec in others):
        return ()
    if any(kind == event_type or covers(kind, event_type) for kind in types):
        return ()
    if subjects:
        # What else is in a subject is not looked at: it may be taken.
        text = pipeline.spec.subject.replace(_TYPE, escape_tokens(event_type))
        subject = SubjectTemplate.parse(text).filter()
        if any(overlaps(subject, one) for one in subjects):
            return ()
    return tuple(dict.fromkeys([*types, *subjects]))


def _others(
    pipeline: Pipeline, consumers: Sequence[Mapping[str, Any]]
) -> Iterator[Mapping[str, Any]]:
    """Specifications of those that read its stream and that the pipeline does not declare."""
    stream = event_stream_name(pipeline)
    for body in consumers:
        labels, spec = body["metadata"].get("labels") or {}, body.get("spec") or {}
        reads = (spec.get("streamRef") or {}).get("name") == stream
        if reads and labels.get(meta.PIPELINE_LABEL) != pipeline.meta.name:
            yield spec
