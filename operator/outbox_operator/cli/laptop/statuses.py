"""Statuses of what `outbox dev` runs, as the operator would write them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Consumer, Pipeline, Stream
from outbox_operator.api.v1alpha1.common import StatusBase
from outbox_operator.api.v1alpha1.consumer import DurableState, EventConsumerStatus
from outbox_operator.api.v1alpha1.pipeline import OutboxPipelineStatus
from outbox_operator.api.v1alpha1.stream import EventStreamStatus, StreamState
from outbox_operator.errors import OutboxError
from outbox_operator.plan.jetstream.consumers import ObservedConsumer, settles_itself
from outbox_operator.plan.jetstream.streams import ObservedStream
from outbox_operator.plan.postgres.state import OutboxNumbers
from outbox_operator.plan.status.conditions import (
    Part,
    conditions,
    failed,
    ok,
    round_age,
    stamp,
    unknown,
    waiting,
)
from outbox_operator.plan.status.full_stream import full_part, fullness
from outbox_operator.plan.status.pipeline import (
    foreign_publisher_part,
    lagging_part,
    lost_events_part,
    outbox_status,
    progress_part,
    relay_status,
    unfenced_part,
)
from outbox_operator.plan.status.workload import Replicas
from outbox_operator.reasons import Reason
from outbox_operator.version import VERSION

Status = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamNumbers:
    """A stream as it is; None: there is none."""

    stream: ObservedStream | None
    dead_letters: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DurableNumbers:
    """A durable consumer as it is; None: there is none, or it cannot be told."""

    durable: ObservedConsumer | None
    dead_letters: int | None
    oldest_unread_seconds: float | None


def of_pipeline(
    pipeline: Pipeline,
    stream: Stream,
    rows: OutboxNumbers | OutboxError,
    found: StreamNumbers | OutboxError,
    *,
    runs: bool,
    now: datetime,
) -> Status:
    """Of a pipeline; `runs`: its relay does."""
    pods = Replicas(wanted=1, existing=int(runs), ready=int(runs), updated=int(runs))
    relay = _process(ConditionType.RELAY_AVAILABLE, f"relay-{pipeline.meta.name}", runs)
    of_stream = _nats(ConditionType.STREAM_READY, found)
    state = None if isinstance(found, OutboxError) else _stream_state(found)
    if isinstance(rows, OutboxError):
        parts = [failed(ConditionType.DATABASE_REACHABLE, rows), of_stream, relay]
        return _status(OutboxPipelineStatus(stream=state), parts, Reason.PIPELINE_RUNNING, now)
    if runs:
        relay = full_part(progress_part(relay, rows), fullness(stream.spec, state, (), None))
    informs = (lagging_part, foreign_publisher_part, unfenced_part)
    parts = [
        ok(ConditionType.DATABASE_REACHABLE, Reason.CONNECTED), of_stream, relay,
        *(part(rows) for part in informs), lost_events_part(rows, state),
    ]  # fmt: skip
    status = OutboxPipelineStatus(
        outbox=outbox_status(rows), relay=relay_status(None, None, rows, pods, None), stream=state
    )
    return _status(status, parts, Reason.PIPELINE_RUNNING, now)


def of_stream(stream: Stream, found: StreamNumbers | OutboxError, now: datetime) -> Status:
    """Of a stream."""
    in_redis = stream.spec.redis is not None
    kind = ConditionType.REDIS_REACHABLE if in_redis else ConditionType.NATS_REACHABLE
    part = _nats(kind, found)
    if isinstance(found, OutboxError):
        return _status(EventStreamStatus(), [part], Reason.IN_SYNC, now)
    status = EventStreamStatus(stream=_stream_state(found), sampledAt=stamp(now))
    return _status(status, [part, _there(ConditionType.STREAM_READY, found.stream)],
                   Reason.IN_SYNC, now)  # fmt: skip


def of_consumer(
    consumer: Consumer, found: DurableNumbers | OutboxError, *, runs: bool, now: datetime
) -> Status:
    """Of a consumer; `runs`: its process does, if it has one here."""
    part = _nats(ConditionType.NATS_REACHABLE, found)
    parts, status = [part], EventConsumerStatus()
    if not isinstance(found, OutboxError):
        parts.append(_there(ConditionType.CONSUMER_READY, found.durable))
        status = status.model_copy(
            update={"consumer": _durable_state(found), "sampledAt": stamp(now)}
        )
    if settles_itself(consumer.spec):
        name = f"consumer-{consumer.meta.name}"
        parts.append(_process(ConditionType.WORKLOAD_AVAILABLE, name, runs))
        status = status.model_copy(update={"replicas": int(runs), "readyReplicas": int(runs)})
    return _status(status, parts, Reason.IN_SYNC, now)


def _status(status: StatusBase, parts: Sequence[Part], ready: Reason, now: datetime) -> Status:
    said = conditions(parts, ready_reason=ready, previous=(), generation=1, now=now)
    whole = status.model_copy(
        update={"conditions": said, "observedGeneration": 1, "operatorVersion": VERSION}
    )
    return whole.model_dump(mode="json", by_alias=True, exclude_none=True)


def _process(kind: ConditionType, name: str, runs: bool) -> Part:
    if runs:
        return ok(kind, Reason.MINIMUM_REPLICAS, f"process {name} runs")
    return waiting(
        kind, Reason.PODS_NOT_READY, f"process {name} does not run: is `outbox dev` running?"
    )


def _nats(kind: ConditionType, found: object) -> Part:
    return failed(kind, found) if isinstance(found, OutboxError) else ok(kind, Reason.CONNECTED)


def _there(kind: ConditionType, found: object) -> Part:
    if found is not None:
        return ok(kind, Reason.IN_SYNC)
    return unknown(kind, Reason.NOT_OBSERVED, "it is not there; `outbox dev` makes it at its start")


def _stream_state(found: StreamNumbers) -> StreamState | None:
    stream = found.stream
    if stream is None:
        return None
    return StreamState(
        name=stream.name,
        created=stream.created,
        messages=stream.messages,
        bytes=stream.bytes,
        firstSequence=stream.first_sequence,
        lastSequence=stream.last_sequence,
        consumerCount=stream.consumer_count,
        subjects=list(stream.subjects),
        deadLetters=found.dead_letters,
    )


def _durable_state(found: DurableNumbers) -> DurableState | None:
    durable, oldest = found.durable, found.oldest_unread_seconds
    if durable is None:
        return None
    return DurableState(
        name=durable.name,
        stream=durable.stream,
        created=durable.created,
        pending=durable.pending,
        ackPending=durable.ack_pending,
        redelivered=durable.redelivered,
        waiting=durable.waiting,
        ackFloor=durable.ack_floor,
        oldestUnreadSeconds=None if oldest is None else round_age(oldest),
        deadLetters=found.dead_letters,
    )
