"""Our resources as values: metadata, specification, previous status. Parsed once, then passed on.

The controller parses what the API server returns; `plan` takes these values and never dictionaries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from outbox_operator.api import meta, patterns
from outbox_operator.api.v1alpha1.consumer import EventConsumerSpec, EventConsumerStatus
from outbox_operator.api.v1alpha1.pipeline import OutboxPipelineSpec, OutboxPipelineStatus
from outbox_operator.api.v1alpha1.stream import EventStreamSpec, EventStreamStatus
from outbox_operator.api.v1alpha1.task import OutboxTaskSpec, OutboxTaskStatus
from outbox_operator.documents import problems
from outbox_operator.errors import SpecError, UnknownFieldError

SpecT = TypeVar("SpecT", bound=BaseModel)
StatusT = TypeVar("StatusT", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """The metadata we use of one object."""

    kind: str
    namespace: str
    name: str
    uid: str
    generation: int
    created: str
    """RFC 3339; decides which of two claimants is older."""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    finalizers: tuple[str, ...] = ()
    deleted_at: str | None = None
    owner_uid: str | None = None
    """UID of the controlling owner, for an EventStream or EventConsumer that a pipeline made."""
    pipeline: str = ""
    """Name of the OutboxPipeline that made it; empty: none did."""
    resource_version: str = ""
    cluster: str = ""
    """UID of what stands for the cluster; the operator fills it in, empty where it may not."""

    @property
    def key(self) -> str:
        """`Kind/namespace/name`: identifies the object in logs, metrics and ownership marks."""
        return f"{self.kind}/{self.namespace}/{self.name}"

    @property
    def paused(self) -> bool:
        """Whether the pause annotation is set."""
        return self.annotations.get(meta.PAUSE_ANNOTATION) == "true"

    def owner_reference(self) -> dict[str, Any]:
        """Reference that makes a child go when this object goes."""
        return {
            "apiVersion": meta.API_VERSION,
            "kind": self.kind,
            "name": self.name,
            "uid": self.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource(Generic[SpecT, StatusT]):
    """One of our objects."""

    meta: Meta
    spec: SpecT
    status: StatusT

    def in_cluster(self, cluster: str) -> Resource[SpecT, StatusT]:
        """Return it with what stands for its cluster, as marks of it say."""
        return replace(self, meta=replace(self.meta, cluster=cluster))


Pipeline = Resource[OutboxPipelineSpec, OutboxPipelineStatus]
Stream = Resource[EventStreamSpec, EventStreamStatus]
Consumer = Resource[EventConsumerSpec, EventConsumerStatus]
Task = Resource[OutboxTaskSpec, OutboxTaskStatus]


def parse_meta(body: Mapping[str, Any]) -> Meta:
    """Metadata of a raw object."""
    raw = body["metadata"]
    owners = [o for o in raw.get("ownerReferences") or () if o.get("controller")]
    return Meta(
        kind=body["kind"],
        namespace=raw.get("namespace", ""),
        name=raw["name"],
        uid=raw.get("uid", ""),
        generation=raw.get("generation", 0),
        created=raw.get("creationTimestamp") or "",
        labels=dict(raw.get("labels") or {}),
        annotations=dict(raw.get("annotations") or {}),
        finalizers=tuple(raw.get("finalizers") or ()),
        deleted_at=raw.get("deletionTimestamp"),
        owner_uid=owners[0]["uid"] if owners else None,
        pipeline=next((str(o["name"]) for o in owners if o.get("kind") == meta.PIPELINE), ""),
        resource_version=raw.get("resourceVersion", ""),
    )


def parse_pipeline(body: Mapping[str, Any], *, stored: bool = False) -> Pipeline:
    """An OutboxPipeline.

    Args:
        body: The object.
        stored: The API server has taken it: a field that is not known is one of a newer version
            of the resource definition, and no reason to do nothing.

    Raises:
        SpecError: Names each field with what is wrong.
    """
    return _parse(body, OutboxPipelineSpec, OutboxPipelineStatus, stored)


def parse_stream(body: Mapping[str, Any], *, stored: bool = False) -> Stream:
    """An EventStream; as `parse_pipeline`."""
    return _parse(body, EventStreamSpec, EventStreamStatus, stored)


def parse_consumer(body: Mapping[str, Any], *, stored: bool = False) -> Consumer:
    """An EventConsumer; as `parse_pipeline`."""
    return _parse(body, EventConsumerSpec, EventConsumerStatus, stored)


def parse_task(body: Mapping[str, Any], *, stored: bool = False) -> Task:
    """An OutboxTask; as `parse_pipeline`.

    What carries it out must not take it as `stored`: a field that is not known may say what is to
    be left alone.
    """
    return _parse(body, OutboxTaskSpec, OutboxTaskStatus, stored)


def _parse(
    body: Mapping[str, Any], spec_type: type[SpecT], status_type: type[StatusT], stored: bool
) -> Resource[SpecT, StatusT]:
    return Resource(
        meta=parse_meta(body),
        spec=_parse_spec(body, spec_type, stored),
        status=parse_status(body, status_type),
    )


def _parse_spec(body: Mapping[str, Any], spec_type: type[SpecT], stored: bool) -> SpecT:
    spec = body.get("spec") or {}
    if meta.LEFT_OUT in spec:
        what = f"{body['kind']} {body['metadata']['name']}"
        raise SpecError(f"{what}: spec is not read: {spec[meta.LEFT_OUT]}; make it smaller")
    try:
        return spec_type.model_validate(spec, extra="ignore" if stored else "forbid")
    except ValidationError as error:
        unknown = any(one["type"] == "extra_forbidden" for one in error.errors(include_input=False))
        wrong = problems(error, "spec", kind=spec_type, told=patterns.told)
        raise (UnknownFieldError if unknown else SpecError)(
            f"{body['kind']} {body['metadata']['name']}: {wrong}"
        ) from error


def parse_status(body: Mapping[str, Any], status_type: type[StatusT]) -> StatusT:
    """The previous status; one that an other version wrote and we cannot read counts as empty."""
    try:
        return status_type.model_validate(body.get("status") or {}, extra="ignore")
    except ValidationError:
        return status_type()
