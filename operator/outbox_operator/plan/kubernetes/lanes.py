"""Consumers of a pipeline that several pods read at once, although each key keeps its order. Pure.

One durable consumer that keeps an order has one reader at a time, whatever the server's groups:
these choose a reader and know nothing of keys. So the keys are divided before, by the shard in the
subject: each lane is an EventConsumer with some of the shards, and with a durable consumer and pods
of its own. A key has one shard for ever, so it has one lane.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from outbox_operator.api.v1alpha1.pipeline import OutboxPipelineSpec, PipelineConsumer


@dataclass(frozen=True, slots=True)
class Lane:
    """What one EventConsumer of a pipeline reads.

    Attributes:
        consumer: As declared, with the name that it has in the pipeline.
        shards: Whose events; None: of all.
    """

    consumer: PipelineConsumer
    shards: tuple[int, ...] | None = None


def lanes(spec: OutboxPipelineSpec) -> list[Lane]:
    """All consumers of a pipeline, each lane by itself, in the order of the specification."""
    return [lane for consumer in spec.consumers for lane in _lanes(consumer, spec.outbox.shards)]


def lane_name(name: str, number: int) -> str:
    """Name of a lane, from 0, of a consumer or of its durable consumer."""
    return f"{name}-{number}"


def _lanes(consumer: PipelineConsumer, shards: int) -> Iterator[Lane]:
    if consumer.lanes == 1:
        yield Lane(consumer)
        return
    durable = consumer.durableName
    for number in range(consumer.lanes):
        update = {
            "name": lane_name(consumer.name, number),
            "durableName": None if durable is None else lane_name(durable, number),
        }
        yield Lane(consumer.model_copy(update=update), tuple(range(number, shards, consumer.lanes)))
