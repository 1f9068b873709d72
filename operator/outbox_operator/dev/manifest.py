"""Resources out of manifests, as if an API server had taken them. Pure.

Called by `dev.app` and the pytest plugin. Owned streams and consumers are compiled from a pipeline
exactly as the operator compiles them.
"""

from __future__ import annotations

import difflib
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from pydantic import BaseModel

from outbox_operator.api import meta, patterns
from outbox_operator.api.admission import mistyped, refusals
from outbox_operator.api.resource import (
    Consumer,
    Pipeline,
    Stream,
    parse_consumer,
    parse_pipeline,
    parse_stream,
)
from outbox_operator.api.v1alpha1.consumer import EventConsumerSpec
from outbox_operator.api.v1alpha1.pipeline import OutboxPipelineSpec
from outbox_operator.api.v1alpha1.stream import EventStreamSpec
from outbox_operator.errors import SpecError
from outbox_operator.plan.archives import api_of, archive_of
from outbox_operator.plan.checks import check_consumer, check_pipeline
from outbox_operator.plan.kubernetes.children import (
    event_consumers,
    event_stream,
    event_stream_name,
)

_UID_SPACE: Final = uuid.UUID("6f7c1f1e-5a7b-4f0e-9a53-6d0f0c1f2a11")
AnyResource = Pipeline | Stream | Consumer
_PARSERS: Final[Mapping[str, Callable[..., AnyResource]]] = {
    meta.PIPELINE: parse_pipeline,
    meta.STREAM: parse_stream,
    meta.CONSUMER: parse_consumer,
}
_SPECS: Final[Mapping[str, type[BaseModel]]] = {
    meta.PIPELINE: OutboxPipelineSpec,
    meta.STREAM: EventStreamSpec,
    meta.CONSUMER: EventConsumerSpec,
}
_OURS: Final = tuple(_PARSERS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What runs locally.

    Attributes:
        documents: What the manifests hold of ours, as JSON.
        ignored: Kind and name of documents that mean nothing without Kubernetes.
        reduced: Streams that asked for replicas, which one server does not have.
    """

    pipelines: tuple[Pipeline, ...]
    streams: tuple[Stream, ...]
    consumers: tuple[Consumer, ...]
    documents: tuple[Mapping[str, Any], ...]
    ignored: tuple[str, ...]
    reduced: tuple[str, ...]

    @property
    def remarks(self) -> list[str]:
        """What of the manifests is not so here, for people."""
        return [
            *(f"leaving out {one}: it needs Kubernetes" for one in self.ignored),
            *(f"stream {one}: one replica, because there is one server" for one in self.reduced),
            *(
                f"archive {one.meta.name}: its API is not served here; `outbox dev archive export "
                f"{one.meta.name} --into events.parquet` writes what it holds"
                for one in self.consumers
                if api_of(one.spec) is not None
            ),
            *(
                f"archive {one.meta.name}: nothing is sealed here by itself; `outbox archive "
                f"upkeep --config .outbox-dev/run/consumer-{one.meta.name}.json` does"
                for one in self.consumers
                if (archive := archive_of(one.spec)) is not None and archive.sealing is not None
            ),
        ]

    @property
    def needs_nats(self) -> bool:
        """Whether a stream is in NATS."""
        return any(stream.spec.redis is None for stream in self.streams)

    @property
    def needs_redis(self) -> bool:
        """Whether any stream is in Redis."""
        return any(stream.spec.redis is not None for stream in self.streams)

    def stream_of(self, pipeline: Pipeline) -> Stream:
        """The stream a pipeline publishes into.

        Raises:
            SpecError: It refers to one that no manifest declares.
        """
        field = "spec.stream.ref.name"
        return self._stream(pipeline.meta.namespace, event_stream_name(pipeline), field)

    def source_of(self, consumer: Consumer) -> Stream:
        """The stream a consumer reads.

        Raises:
            SpecError: No manifest declares it.
        """
        ref = consumer.spec.streamRef
        if ref is None:
            raise SpecError(
                f"{consumer.meta.key}: spec.streamName: only streams that a manifest declares run "
                "here; use streamRef and add its EventStream"
            )
        return self._stream(consumer.meta.namespace, ref.name, "spec.streamRef.name")

    def consumer_with_http_handler(self, name: str) -> str:
        """Name of an EventConsumer, given that or the name it has in its pipeline.

        Raises:
            SpecError: There is none, or its handler is not an HTTP endpoint.
        """
        known = self.http_consumers()
        if name in known:
            return name
        found = [
            consumer.meta.name
            for consumer in self.consumers
            if consumer.meta.labels.get(meta.CONSUMER_LABEL) == name and consumer.meta.name in known
        ]
        if len(found) != 1:
            raise SpecError(
                f"consumer {name!r}: wanted one with an HTTP handler, there are: "
                f"{', '.join(known) or 'none'}"
            )
        return found[0]

    def http_consumers(self) -> tuple[str, ...]:
        """Names of the EventConsumers whose handler is an HTTP endpoint."""
        return tuple(
            consumer.meta.name
            for consumer in self.consumers
            if consumer.spec.handler is not None and consumer.spec.handler.http is not None
        )

    def _stream(self, namespace: str, name: str, field: str) -> Stream:
        for stream in self.streams:
            if (stream.meta.namespace, stream.meta.name) == (namespace, name):
                return stream
        there = ", ".join("/".join((one.meta.namespace, one.meta.name)) for one in self.streams)
        raise SpecError(
            f"{field}: no manifest declares EventStream {namespace}/{name}; there is "
            f"{there or 'none'}, and references do not cross namespaces"
        )


def read(documents: Iterable[object], where: str) -> Resources:
    """The resources among parsed YAML documents.

    Args:
        where: Names the file, for messages.

    Raises:
        SpecError: A resource is malformed or unsupported, or there is none at all.
    """
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in _OURS}
    ignored = []
    for document in documents:
        if document is None:
            continue
        body = _body(document, where)
        if body["kind"] in found and body["apiVersion"] == meta.API_VERSION:
            found[body["kind"]].append(body)
        elif body["kind"] == meta.TASK and body["apiVersion"] == meta.API_VERSION:
            ignored.append(_named(body))
        elif body["apiVersion"].partition("/")[0] == meta.GROUP:
            raise SpecError(f"{where}: {_not_ours(body)}")
        else:
            ignored.append(_named(body))
    for bodies in found.values():
        for body in bodies:
            _check_names(body)
            if wrong := mistyped(_SPECS[body["kind"]], body.get("spec")):
                raise SpecError(f"{_named(body)}: {'; '.join(wrong)}")
    pipelines = [parse_pipeline(body) for body in found[meta.PIPELINE]]
    streams = [parse_stream(body) for body in found[meta.STREAM]]
    consumers = [parse_consumer(body) for body in found[meta.CONSUMER]]
    declared: list[AnyResource] = [*pipelines, *streams, *consumers]
    for resource in declared:
        _admit(resource)
    if not (pipelines or streams or consumers):
        raise SpecError(f"{where}: holds no {', '.join(_OURS)} of {meta.API_VERSION}")
    for pipeline in pipelines:
        check_pipeline(pipeline.spec)
        own = event_stream(pipeline)
        streams += [parse_stream(_body(own, where))] if own is not None else []
        consumers += [parse_consumer(_body(body, where)) for body in event_consumers(pipeline)]
    for consumer in consumers:
        check_consumer(consumer.spec)
    _check_once([*pipelines, *streams, *consumers], where)
    resources = Resources(
        pipelines=tuple(pipelines),
        streams=tuple(_single(stream) for stream in streams),
        consumers=tuple(consumers),
        documents=tuple(body for bodies in found.values() for body in bodies),
        ignored=tuple(ignored),
        reduced=tuple(stream.spec.name for stream in streams if stream.spec.replicas > 1),
    )
    _check_schemas(consumers)
    for consumer in consumers:
        resources.source_of(consumer)
    for pipeline in pipelines:
        resources.stream_of(pipeline)
    return resources


def check_change(now: Resources, before: Iterable[object]) -> None:
    """Refuse what an API server would refuse of resources that it holds.

    Args:
        before: The documents of what ran before; of those that cannot be read nothing is known.

    Raises:
        SpecError: Names each field that may not change so.
    """
    was = {one.meta.key: one for one in map(_parsed, before) if one is not None}
    for body in now.documents:
        one = _parsed(body)
        if one is not None and one.meta.key in was:
            _admit(one, was[one.meta.key].spec)


def _parsed(body: object) -> AnyResource | None:
    if not isinstance(body, Mapping) or body.get("kind") not in _PARSERS:
        return None
    try:
        return _PARSERS[body["kind"]](body, stored=True)
    except SpecError:
        return None  # what an other version took


def _admit(resource: AnyResource, before: BaseModel | None = None) -> None:
    if found := refusals(resource.spec, before):
        raise SpecError(f"{resource.meta.kind} {resource.meta.name}: {'; '.join(found)}")


def _check_once(resources: Iterable[AnyResource], where: str) -> None:
    """There is one of each: an API server would keep the last, and nobody knows which is meant."""
    seen = set()
    for one in resources:
        if one.meta.key in seen:
            name = f"{one.meta.kind} {one.meta.namespace}/{one.meta.name}"
            raise SpecError(
                f"{where}: {name} stands twice, or is made by a pipeline as well: which is meant?"
            )
        seen.add(one.meta.key)


def _named(body: Mapping[str, Any]) -> str:
    return f"{body['kind']} {body['metadata'].get('name', '')}".strip()


def _check_schemas(consumers: Iterable[Consumer]) -> None:
    """Each archive has a schema of its own: here all are in one database. Raises SpecError."""
    owners: dict[str, str] = {}
    for consumer in consumers:
        archive = archive_of(consumer.spec)
        if archive is None:
            continue
        other = owners.setdefault(archive.schema_, consumer.meta.name)
        if other != consumer.meta.name:
            raise SpecError(
                f"{consumer.meta.key}: spec.handler.archive.schema: {archive.schema_!r} is that of "
                f"{other} too, and here both are in one database; give one another schema"
            )


def _not_ours(body: Mapping[str, Any]) -> str:
    kind, version = body["kind"], body["apiVersion"]
    if kind in _OURS:
        return f"{kind}: apiVersion: wanted {meta.API_VERSION}, found {version!r}"
    near = difflib.get_close_matches(kind, _OURS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"wanted one of {', '.join(_OURS)}"
    return f"kind {kind!r} of {version} is not known; {hint}"


def _body(document: object, where: str) -> dict[str, Any]:
    """A document with the metadata that an API server would have given it."""
    if not isinstance(document, Mapping) or not isinstance(document.get("metadata"), Mapping):
        raise SpecError(
            f"{where}: a document is not a Kubernetes manifest (apiVersion, kind, metadata)"
        )
    for field in ("apiVersion", "kind"):
        if not isinstance(document.get(field), str):
            raise SpecError(f"{where}: a document has no {field}")
    metadata = dict(document["metadata"])
    namespace = metadata.setdefault("namespace", "default")
    # The same from run to run: what we made carries it as our mark.
    place = f"{document['kind']}/{namespace}/{metadata.get('name', '')}"
    metadata["uid"] = str(uuid.uuid5(_UID_SPACE, place))
    metadata["generation"] = 1
    annotations = metadata.get("annotations")
    if isinstance(annotations, Mapping):
        # Each start is a first one: there is nothing yet that a pause could leave as it is.
        metadata["annotations"] = {
            name: value for name, value in annotations.items() if name != meta.PAUSE_ANNOTATION
        }
    body = {**document, "metadata": metadata}
    body.pop("status", None)
    return body


def _check_names(body: Mapping[str, Any]) -> None:
    """Refuse what an API server would, before it is part of other names. Raises SpecError."""
    metadata = body["metadata"]
    for field, dots in (("name", body["kind"] == meta.CONSUMER), ("namespace", False)):
        value = metadata.get(field)
        what = f"{body['kind']} {metadata.get('name') or '(without a name)'}: metadata.{field}"
        if value is None or value == "":
            raise SpecError(f"{what}: is missing")
        pattern = patterns.DNS_NAME if dots else patterns.OBJECT_NAME
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise SpecError(f"{what}: {patterns.told(patterns.OBJECT_NAME, str(value))}")


def _single(stream: Stream) -> Stream:
    """The stream with one replica: that is how many servers there are."""
    spec = stream.spec.model_copy(update={"replicas": 1})
    return replace(stream, spec=spec)
