"""Our objects as the API server has them, for looking at. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from outbox_operator.api.resource import Meta
from outbox_operator.api.v1alpha1.common import StatusBase
from outbox_operator.api.v1alpha1.consumer import EventConsumerStatus
from outbox_operator.api.v1alpha1.pipeline import OutboxPipelineStatus
from outbox_operator.api.v1alpha1.stream import EventStreamStatus

StatusT = TypeVar("StatusT", bound=StatusBase)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen(Generic[StatusT]):
    """One object.

    Attributes:
        meta: Its metadata.
        spec: As the API server has it: another version may have written it.
        status: Parsed.
    """

    meta: Meta
    spec: Mapping[str, Any]
    status: StatusT


SeenPipeline = Seen[OutboxPipelineStatus]
SeenStream = Seen[EventStreamStatus]
SeenConsumer = Seen[EventConsumerStatus]


@dataclass(frozen=True, slots=True, kw_only=True)
class Everything:
    """All objects of our kinds in a namespace, or in all; by namespace and name.

    Attributes:
        tasks: As the API server has them; none where the caller may not see them.
    """

    pipelines: tuple[SeenPipeline, ...]
    streams: tuple[SeenStream, ...]
    consumers: tuple[SeenConsumer, ...]
    tasks: tuple[Mapping[str, Any], ...] = ()
