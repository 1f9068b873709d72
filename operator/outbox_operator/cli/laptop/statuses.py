"""Statuses of what `outbox dev` runs, as the operator would write them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from outbox_operator.api import meta
from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Consumer, Pipeline, Stream
from outbox_operator.api.v1alpha1.common import StatusBase
from outbox_operator.api.v1alpha1.consumer import DurableState, EventConsumerStatus
from outbox_operator.api.v1alpha1.pipeline import OutboxPipelineStatus
from outbox_operator.api.v1alpha1.redis import RedisState
from outbox_operator.api.v1alpha1.stream import EventStreamStatus, StreamState
from outbox_operator.dev.ends import Ends, how, lasts, often
from outbox_operator.dev.runs import Run
from outbox_operator.errors import OutboxError
from outbox_operator.plan.amounts import span
from outbox_operator.plan.jetstream.consumers import ObservedConsumer, settles_itself
from outbox_operator.plan.jetstream.streams import ObservedStream
from outbox_operator.plan.passes.children import consumers_of
from outbox_operator.plan.postgres.state import OutboxNumbers
from outbox_operator.plan.status.conditions import (
    Part,
    conditions,
    failed,
    ok,
    round_age,
    stamp,
    waiting,
)
from outbox_operator.plan.status.full_stream import full_part, fullness
from outbox_operator.plan.status.pipeline import (
    outbox_status,
    progress_part,
    relay_status,
    rows_parts,
)
from outbox_operator.plan.status.workload import Replicas
from outbox_operator.reasons import Reason
from outbox_operator.version import VERSION

Status = dict[str, Any]

_GENERATION: Final = 1

_GONE: Final = {
    ConditionType.STREAM_READY: (Reason.STREAM_NOT_FOUND, "stream"),
    ConditionType.CONSUMER_READY: (Reason.CONSUMER_MISSING, "durable consumer"),
}
"""What is said of what `outbox dev` has made and is there no more."""


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
    run: Run,
    consumers: Mapping[str, Status],
    now: datetime,
) -> Status:
    """Of a pipeline; `run`: its relay; `consumers`: what is said of its own, by name."""
    there = int(run.lives)
    pods = Replicas(wanted=1, existing=there, ready=int(run.ready), updated=there)
    restarts = run.ends.times if run.ends else 0
    relay = _process(ConditionType.RELAY_AVAILABLE, f"relay-{pipeline.meta.name}", run, now)
    of_stream = _broker(ConditionType.STREAM_READY, found)
    state = None if isinstance(found, OutboxError) else _stream_state(stream, found)
    of_consumers = consumers_of(
        [
            {
                "kind": meta.CONSUMER,
                "metadata": {"name": name, "generation": _GENERATION},
                "status": status,
            }
            for name, status in consumers.items()
        ]
    )
    if isinstance(rows, OutboxError):
        reachable = failed(ConditionType.DATABASE_REACHABLE, rows)
        parts = [reachable, of_stream, of_consumers, relay]
        status = OutboxPipelineStatus(
            relay=relay_status(None, None, None, pods, restarts), stream=state
        )
        return _status(status, parts, Reason.PIPELINE_RUNNING, now)
    if relay.status == "True":
        relay = progress_part(relay, rows)
    relay = full_part(relay, fullness(stream.spec, state, (), None))
    reachable = ok(ConditionType.DATABASE_REACHABLE, Reason.CONNECTED)
    parts = [reachable, of_stream, of_consumers, relay, *rows_parts(rows, state)]
    status = OutboxPipelineStatus(
        outbox=outbox_status(rows),
        relay=relay_status(None, None, rows, pods, restarts),
        stream=state,
    )
    return _status(status, parts, Reason.PIPELINE_RUNNING, now)


def of_stream(stream: Stream, found: StreamNumbers | OutboxError, now: datetime) -> Status:
    """Of a stream."""
    part = _broker(_reachable(stream), found)
    if isinstance(found, OutboxError):
        return _status(EventStreamStatus(), [part], Reason.IN_SYNC, now)
    status = EventStreamStatus(stream=_stream_state(stream, found), sampledAt=stamp(now))
    return _status(status, [part, _there(ConditionType.STREAM_READY, found.stream)],
                   Reason.IN_SYNC, now)  # fmt: skip


def of_consumer(
    consumer: Consumer, stream: Stream, found: DurableNumbers | OutboxError, run: Run, now: datetime
) -> Status:
    """Of a consumer; `stream`: what it reads; `run`: its process, if it has one here."""
    part = _broker(_reachable(stream), found)
    parts, status = [part], EventConsumerStatus()
    if not isinstance(found, OutboxError):
        parts.append(_there(ConditionType.CONSUMER_READY, found.durable))
        status = status.model_copy(
            update={"consumer": _durable_state(found), "sampledAt": stamp(now)}
        )
    if settles_itself(consumer.spec):
        name = f"consumer-{consumer.meta.name}"
        parts.append(_process(ConditionType.WORKLOAD_AVAILABLE, name, run, now))
        numbers = {"replicas": int(run.lives), "readyReplicas": int(run.ready)}
        status = status.model_copy(update=numbers)
    return _status(status, parts, Reason.IN_SYNC, now)


def _status(status: StatusBase, parts: Sequence[Part], ready: Reason, now: datetime) -> Status:
    said = conditions(parts, ready_reason=ready, previous=(), generation=_GENERATION, now=now)
    whole = status.model_copy(
        update={"conditions": said, "observedGeneration": _GENERATION, "operatorVersion": VERSION}
    )
    return whole.model_dump(mode="json", by_alias=True, exclude_none=True)


def _process(kind: ConditionType, name: str, run: Run, now: datetime) -> Part:
    ended = "" if run.ends is None else _ended(run.ends, run.last, now)
    if not run.lives and run.ends is None:
        text = f"process {name} does not run: is `outbox dev` running?"
        return waiting(kind, Reason.PODS_NOT_READY, text)
    if not lasts(run.ends, now, lives=run.lives):
        text = f"process {name} {ended}; `outbox dev` starts it again each time"
        return waiting(kind, Reason.CRASH_LOOP_BACK_OFF, text)
    behind = f"; it {ended}" if ended else ""
    if run.unready is not None:
        text = f"process {name} is not ready: {run.unready}{behind}"
        return waiting(kind, Reason.PODS_NOT_READY, text)
    return ok(kind, Reason.MINIMUM_REPLICAS, f"process {name} runs{behind}")


def _ended(ends: Ends, last: str, now: datetime) -> str:
    ago = span((now - ends.at).total_seconds())
    when = f"{ago} ago" if ends.times == 1 else f"the last time {ago} ago"
    return f"ended {often(ends.times)}, {when} ({how(ends.code)}){f': {last}' if last else ''}"


def _reachable(stream: Stream) -> ConditionType:
    in_redis = stream.spec.redis is not None
    return ConditionType.REDIS_REACHABLE if in_redis else ConditionType.NATS_REACHABLE


def _broker(kind: ConditionType, found: object) -> Part:
    return failed(kind, found) if isinstance(found, OutboxError) else ok(kind, Reason.CONNECTED)


def _there(kind: ConditionType, found: object) -> Part:
    if found is not None:
        return ok(kind, Reason.IN_SYNC)
    reason, what = _GONE[kind]
    again = "`outbox dev` makes it when it starts: end that, and start it again"
    return waiting(kind, reason, f"the {what} is not there; {again}")


def _stream_state(stream: Stream, found: StreamNumbers) -> StreamState | None:
    there, letters, redis = found.stream, found.dead_letters, None
    if there is None:
        return None
    if stream.spec.redis is not None:
        redis, letters = RedisState(server="", persistence="", deadLetters=letters or 0), None
    return StreamState(
        name=there.name,
        created=there.created,
        messages=there.messages,
        bytes=there.bytes,
        firstSequence=there.first_sequence,
        lastSequence=there.last_sequence,
        consumerCount=there.consumer_count,
        subjects=list(there.subjects),
        deadLetters=letters,
        redis=redis,
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
