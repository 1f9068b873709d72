"""Fields of the vocabulary whose behaviour does not exist yet: refused by name, never ignored.

Remove a line here in the change that makes the field work.
"""

from __future__ import annotations

from collections.abc import Iterator

from outbox_operator.api.v1alpha1.consumer import ConsumerConfigSpec, EventConsumerSpec
from outbox_operator.api.v1alpha1.pipeline import OutboxPipelineSpec
from outbox_operator.errors import NotSupportedError


def check_pipeline_supported(spec: OutboxPipelineSpec) -> None:
    """Refuse a pipeline that uses something that does not work yet.

    Raises:
        NotSupportedError: Names every such field.
    """
    fields: list[str] = []
    for consumer in spec.consumers:
        fields += _consumer_fields(f"spec.consumers[{consumer.name}]", consumer)
    _refuse(fields)


def check_consumer_supported(spec: EventConsumerSpec) -> None:
    """The same for an EventConsumer. Raises NotSupportedError."""
    _refuse(list(_consumer_fields("spec", spec)))


def _consumer_fields(path: str, spec: ConsumerConfigSpec) -> Iterator[str]:
    archive = None if spec.handler is None else spec.handler.archive
    if archive is not None and archive.backfill is not None:
        yield f"{path}.handler.archive.backfill"


def _refuse(fields: list[str]) -> None:
    if fields:
        raise NotSupportedError(
            f"not supported yet: {', '.join(fields)}; remove it, the rest then works"
        )
