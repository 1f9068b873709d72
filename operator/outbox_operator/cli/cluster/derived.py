"""Facts about pipelines, made of the statuses that are there. Pure.

Nothing is asked of a database or of NATS: who may read our kinds may know all of this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from outbox_operator.api import meta
from outbox_operator.api.conditions import Condition, ConditionType
from outbox_operator.api.v1alpha1.archive import ArchiveState
from outbox_operator.api.v1alpha1.autoscaling import AutoscalingStatus
from outbox_operator.cli.cluster import troubles
from outbox_operator.cli.cluster.facts import (
    ArchiveFacts,
    ConsumerFacts,
    PipelineFacts,
    RelayFacts,
    Rows,
    Sample,
    StreamFacts,
    StreamGroup,
    Trouble,
)
from outbox_operator.cli.cluster.report import moment
from outbox_operator.cli.cluster.seen import Everything, SeenConsumer, SeenPipeline, SeenStream
from outbox_operator.cli.cluster.troubles import condition
from outbox_operator.plan.redis.keys import letters_key
from outbox_operator.reasons import Reason

STALE: Final = timedelta(minutes=21)
"""The operator confirms numbers that stay the same every 10 minutes; this is two of them missed."""


def pipelines(all_: Everything, now: datetime) -> list[PipelineFacts]:
    """Every pipeline, with the streams and consumers that belong to it."""
    streams, consumers = _by_stream(all_)
    found = []
    for pipeline in all_.pipelines:
        place = (pipeline.meta.namespace, stream_of(pipeline))
        found.append(
            _pipeline(pipeline, streams.get(place), consumers.get(place, []), all_.tasks, now)
        )
    return found


def alone(all_: Everything, now: datetime) -> list[StreamGroup]:
    """Every stream that no pipeline publishes into, with its consumers."""
    streams, consumers = _by_stream(all_)
    of_pipelines = {(one.meta.namespace, stream_of(one)) for one in all_.pipelines}
    places = sorted((streams.keys() | consumers.keys()) - of_pipelines)
    return [
        _group(place, streams.get(place), consumers.get(place, []), all_.tasks, now)
        for place in places
    ]


def _by_stream(
    all_: Everything,
) -> tuple[dict[tuple[str, str], SeenStream], dict[tuple[str, str], list[SeenConsumer]]]:
    """Streams and consumers by namespace and name of the stream."""
    streams = {(one.meta.namespace, one.meta.name): one for one in all_.streams}
    consumers: dict[tuple[str, str], list[SeenConsumer]] = {}
    for one in all_.consumers:
        name = (one.spec.get("streamRef") or {}).get("name") or one.spec.get("streamName")
        consumers.setdefault((one.meta.namespace, str(name)), []).append(one)
    return streams, consumers


def _group(
    place: tuple[str, str],
    stream: SeenStream | None,
    consumers: Sequence[SeenConsumer],
    tasks: Sequence[Mapping[str, Any]],
    now: datetime,
) -> StreamGroup:
    namespace, name = place
    found = [] if stream is None else troubles.troubles_of(stream)
    for one in consumers:
        found += troubles.of_consumer(one, tasks)
    of_consumers = tuple(consumer(one, now) for one in consumers)
    of_stream = _stream(name, stream, now)
    samples = [one.sample for one in of_consumers]
    if stream is not None:
        samples.append(of_stream.sample)
    ready = condition(stream.status.conditions, ConditionType.READY) if stream else None
    return StreamGroup(
        namespace=namespace,
        name=name,
        ready=None if stream is None else ready.status if ready else "Unknown",
        stream=of_stream,
        consumers=of_consumers,
        not_well=tuple(found),
        well=all(one.known for one in samples)
        and all(one.type == ConditionType.PAUSED for one in found),
    )


def stream_of(pipeline: SeenPipeline) -> str:
    """Name of the EventStream that a pipeline publishes into."""
    ref = (pipeline.spec.get("stream") or {}).get("ref") or {}
    return str(ref.get("name") or pipeline.meta.name)


def _pipeline(
    pipeline: SeenPipeline,
    stream: SeenStream | None,
    consumers: Sequence[SeenConsumer],
    tasks: Sequence[Mapping[str, Any]],
    now: datetime,
) -> PipelineFacts:
    owner, status = pipeline.meta, pipeline.status
    ready = condition(status.conditions, ConditionType.READY)
    rows = _rows(pipeline, now)
    of_stream = _stream(stream_of(pipeline), stream, now)
    of_consumers = tuple(consumer(one, now) for one in consumers)
    not_well = troubles.of_pipeline(pipeline, stream, consumers, tasks)
    samples = [rows.sample, of_stream.sample, *(one.sample for one in of_consumers)]
    seen = status.observedGeneration == owner.generation
    is_ready = ready is not None and ready.status == "True"
    return PipelineFacts(
        namespace=owner.namespace,
        name=owner.name,
        ready=ready.status if ready else "Unknown",
        reason=ready.reason if ready else Reason.NOT_OBSERVED,
        message=ready.message if ready else "the operator has not looked at it yet",
        seen=seen,
        paused=owner.paused,
        well=is_ready
        and seen
        and all(one.known for one in samples)
        and all(one.type == ConditionType.PAUSED for one in not_well),
        operator_version=status.operatorVersion,
        rows=rows,
        relay=_relay(pipeline, rows.sample),
        stream=of_stream,
        consumers=of_consumers,
        not_well=not_well,
        events=(),
        next=_next(owner.namespace, owner.name, rows, of_stream, of_consumers, not_well),
    )


def sample(
    conditions: Sequence[Condition],
    reachable: ConditionType,
    made: ConditionType,
    read_at: datetime | None,
    now: datetime,
    last: Mapping[str, float],
) -> Sample:
    """Whether numbers are known.

    Args:
        conditions: Of the object that has them.
        reachable: What must hold for them to be read.
        made: What else: there must be something that has them.
        read_at: When they were read last.
        now: The time.
        last: What they were then.
    """
    found = condition(conditions, reachable)
    if read_at is not None and found is not None and found.status == "True":
        if now - read_at <= STALE:
            return Sample(known=True, read_at=read_at)
        return Sample(
            known=False, read_at=read_at, unknown_since=read_at, why=Reason.NOT_OBSERVED, last=last
        )
    if found is not None and found.status == "True":
        found = condition(conditions, made) or found
    return Sample(
        known=False,
        read_at=read_at,
        unknown_since=moment(found.lastTransitionTime) if found else None,
        why=found.reason if found and found.status != "True" else Reason.NOT_OBSERVED,
        last=last if read_at is not None else None,
    )


def _rows(pipeline: SeenPipeline, now: datetime) -> Rows:
    outbox = pipeline.status.outbox
    last: dict[str, float] = {}
    if outbox is not None:
        last = {
            "waiting": outbox.backlogRows,
            "oldestSeconds": outbox.oldestAgeSeconds,
            "deadLetters": outbox.deadLetters,
        }
    known = sample(
        pipeline.status.conditions,
        ConditionType.DATABASE_REACHABLE,
        ConditionType.SCHEMA_APPLIED,
        moment(outbox.sampledAt) if outbox else None,
        now,
        last,
    )
    shown = outbox if known.known else None
    return Rows(
        waiting=shown.backlogRows if shown else None,
        is_estimate=bool(shown and shown.backlogIsEstimate),
        oldest_seconds=shown.oldestAgeSeconds if shown else None,
        dead_letters=shown.deadLetters if shown else None,
        sample=known,
    )


def _relay(pipeline: SeenPipeline, known: Sample) -> RelayFacts:
    relay = pipeline.status.relay
    spec = pipeline.spec.get("relay") or {}
    return RelayFacts(
        wanted=_wanted(spec, relay.autoscaling if relay else None),
        ready=relay.readyReplicas if relay else None,
        published_total=relay.publishedTotal if relay and known.known else None,
        per_second=relay.publishedPerSecond if relay and known.known else None,
        last_published_at=moment(relay.lastPublishedTime) if relay else None,
        restarts=relay.restarts if relay else None,
        scaling=_scaling(pipeline.status.conditions),
    )


def _wanted(spec: Mapping[str, Any], scaled: AutoscalingStatus | None) -> int:
    """Pods that a relay or a consumer shall have."""
    if spec.get("state") == "Stopped":
        return 0
    return int(spec.get("replicas", 1)) if scaled is None else scaled.wantedReplicas


def _scaling(conditions: Sequence[Condition]) -> str | None:
    """Up to where autoscaling goes, and why; None: it has no say."""
    found = condition(conditions, ConditionType.AUTOSCALING)
    return None if found is None else found.message or found.reason


def _stream(resource: str, stream: SeenStream | None, now: datetime) -> StreamFacts:
    state = stream.status.stream if stream else None
    last: dict[str, float] = {}
    if state is not None:
        last = {"messages": state.messages, "bytes": state.bytes}
        if state.deadLetters is not None:
            last["deadLetters"] = state.deadLetters
    conditions = stream.status.conditions if stream else []
    in_redis = state.redis if state else None
    if state is not None and in_redis is not None:
        last["deadLetters"] = in_redis.deadLetters
    known = sample(
        conditions,
        _reachable(conditions),
        ConditionType.STREAM_READY,
        moment(stream.status.sampledAt) if stream and state else None,
        now,
        last,
    )
    shown = state if known.known else None
    return StreamFacts(
        resource=resource,
        name=state.name if state else None,
        messages=shown.messages if shown else None,
        bytes=shown.bytes if shown else None,
        dead_letters=(in_redis or shown).deadLetters if shown else None,
        sample=known,
        dead_letter_key=letters_key(state.name) if state and in_redis else None,
    )


def _reachable(conditions: Sequence[Condition]) -> ConditionType:
    """The condition that says whether the broker is there, whichever it is."""
    in_redis = condition(conditions, ConditionType.REDIS_REACHABLE) is not None
    return ConditionType.REDIS_REACHABLE if in_redis else ConditionType.NATS_REACHABLE


def consumer(seen: SeenConsumer, now: datetime) -> ConsumerFacts:
    """One consumer."""
    owner, spec, status = seen.meta, seen.spec, seen.status
    state = status.consumer
    last: dict[str, float] = {}
    if state is not None:
        last = {
            "pending": state.pending,
            "inFlight": state.ackPending,
            "redelivered": state.redelivered,
            "handledTo": state.ackFloor,
        }
        if state.deadLetters is not None:
            last["deadLetters"] = state.deadLetters
    known = sample(
        status.conditions,
        _reachable(status.conditions),
        ConditionType.CONSUMER_READY,
        moment(status.sampledAt) if state else None,
        now,
        last,
    )
    shown = state if known.known else None
    ready = condition(status.conditions, ConditionType.READY)
    ours = spec.get("handler") is not None
    return ConsumerFacts(
        resource=owner.name,
        name=owner.labels.get(meta.CONSUMER_LABEL) or owner.name,
        durable=state.name if state else None,
        state="Stopped" if spec.get("state") == "Stopped" else "Running",
        ready=ready.status if ready else "Unknown",
        wanted=_wanted(spec, status.autoscaling) if ours else None,
        ready_pods=status.readyReplicas if ours and ready else None,
        pending=shown.pending if shown else None,
        in_flight=shown.ackPending if shown else None,
        redelivered=shown.redelivered if shown else None,
        handled_to=shown.ackFloor if shown else None,
        oldest_seconds=shown.oldestUnreadSeconds if shown else None,
        per_second=None,
        dead_letters=shown.deadLetters if shown else None,
        scaling=_scaling(status.conditions),
        sample=known,
        archive=_archive(status.archive),
    )


def _archive(state: ArchiveState | None) -> ArchiveFacts | None:
    if state is None:
        return None
    number = (state.lastSeal or "").partition(":")[0]
    backfill = state.backfill
    return ArchiveFacts(
        rows=state.rows,
        complete_to=moment(state.completeTo),
        gaps=state.gaps,
        last_seal=int(number) if number.isdecimal() and len(number) < 19 else None,
        backfilling=backfill is not None and backfill.finishedAt is None,
        sampled_at=moment(state.sampledAt),
    )


def _next(
    namespace: str,
    name: str,
    rows: Rows,
    stream: StreamFacts,
    consumers: Sequence[ConsumerFacts],
    not_well: Sequence[Trouble],
) -> tuple[str, ...]:
    found = [one.next for one in not_well if one.next]
    dead = [rows.dead_letters, *(one.dead_letters for one in consumers)]
    if any(dead) or stream.dead_letters:
        found.append(f"kubectl outbox dlq list {name} -n {namespace}")
    return tuple(dict.fromkeys(found))
