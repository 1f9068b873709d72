"""What a pass found out of the numbers that are exported; see `plan.status.numbers`. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from outbox_operator.api.conditions import Condition
from outbox_operator.api.resource import Consumer, Pipeline, Stream
from outbox_operator.api.v1alpha1.archive import ArchiveState
from outbox_operator.api.v1alpha1.autoscaling import Autoscaling, AutoscalingStatus
from outbox_operator.api.v1alpha1.consumer import DurableState
from outbox_operator.api.v1alpha1.stream import StreamState
from outbox_operator.plan.kubernetes.workloads import consumer_replicas, relay_replicas
from outbox_operator.plan.postgres.state import OutboxNumbers
from outbox_operator.plan.status import numbers
from outbox_operator.plan.status.workload import Replicas
from outbox_operator.telemetry.declaration import Declaration

Values = Mapping[Declaration, float]
STATUSES: Final = ("True", "False", "Unknown")
_NANOSECONDS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """The numbers of an object as a pass leaves them.

    Attributes:
        labels: Values of the labels that all numbers of the object have, in their order; None: the
            pass did not get so far.
        values: What was read from its server. Empty: it could not be read. None: nobody asked, or
            the answer is not there yet, so that what was known holds.
        at: When the numbers were last read, in this pass or before, as Unix time; None: never.
        pods: Wanted and ready pods; as `values`.
        archive: What was read of an archive; as `values`, with the time of the last sample.
    """

    labels: tuple[str, ...] | None = None
    values: Values | None = None
    at: float | None = None
    pods: Values | None = None
    archive: Values | None = None


NOTHING: Final = Sampled(values={}, pods={}, archive={})
"""The pass ended before anything was read."""


def of_pipeline(
    pipeline: Pipeline,
    sample: OutboxNumbers | None,
    pods: Replicas,
    *,
    waiting: bool,
    scaled: AutoscalingStatus | None = None,
) -> Sampled:
    """The numbers of an OutboxPipeline.

    Args:
        pipeline: The resource.
        sample: Of this pass; None when there is none.
        pods: Of the relay's Deployment.
        waiting: Whether a look at the database is under way.
        scaled: What autoscaling decided last; None: nothing.
    """
    owner, before = pipeline.meta, pipeline.status.outbox
    read: dict[Declaration, float] = {}
    if sample is not None:
        read = {
            numbers.BACKLOG_ROWS: sample.backlog_rows,
            numbers.BACKLOG_IS_ESTIMATE: sample.backlog_is_estimate,
            numbers.OLDEST_AGE_SECONDS: sample.oldest_age_seconds,
            numbers.PIPELINE_DEAD_LETTERS: sample.dead_letters,
            numbers.PUBLISHED: sample.published_total,
        }
    autoscaling = pipeline.spec.relay.autoscaling
    wanted = relay_replicas(pipeline.spec, _scaled(autoscaling, scaled, pods))
    return Sampled(
        labels=(owner.namespace, owner.name),
        values=None if waiting and not read else read,
        at=sample.taken_at.timestamp() if sample else unix(before.sampledAt if before else None),
        pods={
            numbers.RELAY_WANTED: wanted,
            numbers.RELAY_READY: pods.ready,
            **_limit_of(numbers.RELAY_LIMIT, scaled),
        },
    )


def of_consumer(
    consumer: Consumer,
    durable: DurableState | None,
    unread: float | None,
    pods: Replicas,
    now: datetime,
    *,
    scaled: AutoscalingStatus | None = None,
    archive: Values | None = None,
) -> Sampled:
    """The numbers of an EventConsumer.

    Args:
        consumer: The resource.
        durable: The durable consumer as this pass read it; None when it could not.
        unread: Age of the oldest message that is not handled; None: not known.
        pods: Of its Deployment.
        now: Time of the pass.
        scaled: What autoscaling decided last; None: nothing.
        archive: See `of_archive`.
    """
    owner, spec = consumer.meta, consumer.spec
    stream = spec.streamRef.name if spec.streamRef else ""
    read: dict[Declaration, float | None] = {}
    if durable is not None:
        read = {
            numbers.PENDING: durable.pending,
            numbers.ACK_PENDING: durable.ackPending,
            numbers.REDELIVERED: durable.redelivered,
            numbers.CONSUMER_DEAD_LETTERS: durable.deadLetters,
            numbers.UNREAD_AGE_SECONDS: unread,
        }
    of_pods = {
        numbers.CONSUMER_WANTED: consumer_replicas(spec, _scaled(spec.autoscaling, scaled, pods)),
        numbers.CONSUMER_READY: pods.ready,
        **_limit_of(numbers.CONSUMER_LIMIT, scaled),
    }
    return Sampled(
        labels=(owner.namespace, owner.name, owner.pipeline, stream),
        values=_known(read),
        at=unix(consumer.status.sampledAt) if durable is None else now.timestamp(),
        pods={} if spec.handler is None else of_pods,
        archive=archive,
    )


def of_archive(state: ArchiveState | None, *, fresh: bool | None) -> Values | None:
    """The numbers of an archive.

    Args:
        state: As the status says it now; None: there is no archive, or nobody has seen it.
        fresh: Whether that was read in this pass; None: a look is under way.
    """
    if state is None:
        return {}
    if fresh is None:
        return None
    read: dict[Declaration, float | None] = {numbers.ARCHIVE_SAMPLED: unix(state.sampledAt)}
    if fresh:
        read |= {
            numbers.ARCHIVE_ROWS: state.rows,
            numbers.ARCHIVE_BYTES: state.bytes,
            numbers.ARCHIVE_PARTITIONS: state.partitions,
            numbers.ARCHIVE_UNPARTITIONED: state.unpartitioned,
            numbers.ARCHIVE_OLDEST: unix(state.oldest),
            numbers.ARCHIVE_NEWEST: unix(state.newest),
            numbers.ARCHIVE_COMPLETE_TO: unix(state.completeTo),
            numbers.ARCHIVE_GAPS: state.gaps,
        }
    return _known(read)


def of_stream(
    stream: Stream, state: StreamState | None, config: Mapping[str, Any], now: datetime
) -> Sampled:
    """The numbers of an EventStream.

    Args:
        stream: The resource.
        state: The stream as this pass read it; None when it could not.
        config: Its configuration, as in the JetStream API.
        now: Time of the pass.
    """
    owner = stream.meta
    read: dict[Declaration, float | None] = {}
    if state is not None:
        age = _limit(config, "max_age")
        read = {
            numbers.STREAM_MESSAGES: state.messages,
            numbers.STREAM_BYTES: state.bytes,
            numbers.STREAM_MAX_MESSAGES: _limit(config, "max_msgs"),
            numbers.STREAM_MAX_BYTES: _limit(config, "max_bytes"),
            numbers.STREAM_REFUSES: _refuses(config.get("discard")),
            numbers.STREAM_MAX_AGE_SECONDS: None if age is None else age / _NANOSECONDS,
            numbers.STREAM_DEAD_LETTERS: state.deadLetters,
        }
    if state is not None and state.redis is not None:
        read[numbers.REDIS_MEMORY] = state.redis.usedMemoryBytes or None
        read[numbers.REDIS_MAX_MEMORY] = state.redis.maxMemoryBytes or None
    return Sampled(
        labels=(owner.namespace, owner.name, owner.pipeline),
        values=_known(read),
        at=unix(stream.status.sampledAt) if state is None else now.timestamp(),
        pods={},
    )


def of_conditions(
    kind: str, namespace: str, name: str, conditions: Sequence[Condition]
) -> Iterator[tuple[tuple[str, ...], float]]:
    """Labels and value of each series of `outbox_condition` of an object."""
    for one in conditions:
        for status in STATUSES:
            yield (kind, namespace, name, one.type, status), float(one.status == status)


def unix(text: str | None) -> float | None:
    """A time of a status as Unix time; None: there is none that can be read."""
    try:
        return datetime.fromisoformat(text or "").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def _scaled(
    autoscaling: Autoscaling | None, scaled: AutoscalingStatus | None, pods: Replicas
) -> int | None:
    """Pods that autoscaling wants; before its first decision as many as there are to be."""
    if autoscaling is None:
        return None
    return pods.wanted if scaled is None else scaled.wantedReplicas


def _limit_of(metric: Declaration, scaled: AutoscalingStatus | None) -> Values:
    return {} if scaled is None or scaled.limit is None else {metric: scaled.limit}


def _known(values: Mapping[Declaration, float | None]) -> Values:
    return {metric: value for metric, value in values.items() if value is not None}


def _limit(config: Mapping[str, Any], name: str) -> int | None:
    """A limit that a server named; None: it has none."""
    limit = config.get(name)
    return limit if isinstance(limit, int) and limit > 0 else None


def _refuses(discard: object) -> float | None:
    """Whether a stream refuses messages at its limits; None: it is not known."""
    return float(discard == "new") if discard in ("new", "old") else None
