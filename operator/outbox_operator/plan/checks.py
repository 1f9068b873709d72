"""Rules over several fields that the CRD cannot express, checked before anything is touched. Pure.

The controller calls these right after parsing. Each problem names field, wanted and found, so
that the condition it ends in can be acted on. What JetStream itself would refuse is said by
plan.jetstream.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NoReturn

from outbox_operator.api.fields import seconds
from outbox_operator.api.v1alpha1.autoscaling import Autoscaling
from outbox_operator.api.v1alpha1.consumer import ConsumerConfigSpec, EventConsumerSpec
from outbox_operator.api.v1alpha1.pipeline import (
    SUBJECTS,
    OutboxPipelineSpec,
    PipelineConsumer,
    PipelineStream,
)
from outbox_operator.api.v1alpha1.redis import first_without_meaning
from outbox_operator.api.v1alpha1.stream import StreamConfig
from outbox_operator.errors import SpecError
from outbox_operator.plan.archives import check_archive
from outbox_operator.plan.jetstream.consumers import handled_by_runtime, is_ordered
from outbox_operator.plan.kubernetes.children import filter_subjects
from outbox_operator.plan.kubernetes.lanes import lane_name, lanes
from outbox_operator.plan.redis.readers import check_consumer_in_redis
from outbox_operator.wire import subjects
from outbox_operator.wire.subjects import SubjectTemplate

MIN_ACK_WAIT_SECONDS: Final = 1.0
_MOST_FILTERS: Final = 256
_LONGEST_NAME: Final = 63
_LONGEST_DEFAULT_BACKOFF_SECONDS: Final = 300.0


def check_pipeline(spec: OutboxPipelineSpec) -> None:
    """Refuse a pipeline that cannot work as written.

    Raises:
        SpecError: Names the first problem.
    """
    if (spec.nats is None) == (spec.redis is None):
        raise SpecError("spec: set exactly one of nats and redis")
    if spec.redis is not None:
        _check_redis(spec)
    elif not spec.stream.subject:
        raise SpecError(
            "spec.stream.subject is missing: the subject of an event, for example "
            "orders.{event_type}"
        )
    template = SubjectTemplate.parse(spec.subject)
    if spec.stream.ref is not None:
        _check_reference(spec.stream)
    elif spec.redis is None:
        _check_subject(spec.stream, template)
    if spec.outbox.shards > 1 and spec.outbox.ordering == "PerKey":
        _check_shard_token(template)
    polling = spec.relay.polling
    if not 0 < seconds(polling.min) <= seconds(polling.max):
        raise SpecError(
            f"spec.relay.polling: wanted 0 < min <= max, found min {polling.min} and max "
            f"{polling.max}"
        )
    _check_autoscaling(spec.relay.autoscaling, "spec.relay")
    for consumer in spec.consumers:
        _check_lanes(spec, consumer, template)
        _check_consumer(consumer, f"spec.consumers[{consumer.name}]")
        if spec.redis is None:
            filter_subjects(template, consumer)
    all_ = lanes(spec)
    _refuse_twice((lane.consumer.name for lane in all_), "spec.consumers", "name")
    durables = (lane.consumer.durableName for lane in all_)
    _refuse_twice((name for name in durables if name), "spec.consumers", "durableName")
    for lane in all_ if spec.redis is None else ():
        path = f"spec.consumers[{lane.consumer.name}]"
        filters = filter_subjects(template, lane.consumer, lane.shards)
        if len(filters) > _MOST_FILTERS:
            raise SpecError(
                f"{path}: wanted at most {_MOST_FILTERS} filters, found {len(filters)}: "
                "filterEventTypes for each shard of the lane; declare more lanes or fewer types"
            )


def check_consumer(spec: EventConsumerSpec) -> None:
    """Refuse an EventConsumer that cannot work as written. Raises SpecError."""
    _check_consumer(spec, "spec")


def _check_redis(spec: OutboxPipelineSpec) -> None:
    """What the resource definition refuses too, for manifests that no API server sees."""
    for consumer in spec.consumers:
        path = f"spec.consumers[{consumer.name}]"
        check_consumer_in_redis(consumer, path)
        if consumer.lanes != 1:
            raise SpecError(f"{path}.lanes: wanted 1 with redis, found {consumer.lanes}")
    if spec.stream.name is None:
        raise SpecError("spec.stream.name is missing: the key that events go to")
    problem = first_without_meaning(spec.stream, left_out=SUBJECTS)
    if problem is not None:
        raise SpecError(f"spec.stream.{problem}")


def _check_reference(stream: PipelineStream) -> None:
    """With `ref` the stream is declared elsewhere; a setting here would have no effect."""
    blank = StreamConfig()
    ignored = [
        name for name in StreamConfig.model_fields if getattr(stream, name) != getattr(blank, name)
    ]
    if stream.subjects:
        ignored.append("subjects")
    if ignored:
        raise SpecError(
            f"spec.stream: {', '.join(sorted(ignored))} cannot be set together with ref; set it "
            "on the EventStream"
        )


def _check_subject(stream: PipelineStream, template: SubjectTemplate) -> None:
    if stream.subjects and not any(
        subjects.covers(wide, template.filter()) for wide in stream.subjects
    ):
        raise SpecError(
            f"spec.stream.subjects: wanted a filter that covers {template.filter()!r}, the "
            f"subjects of template {stream.subject!r}; found {', '.join(stream.subjects)}"
        )


def _check_shard_token(template: SubjectTemplate) -> None:
    if not template.separates_shards():
        _refuse_together(template)


def _refuse_together(template: SubjectTemplate) -> NoReturn:
    raise SpecError(
        f"spec.stream.subject: {template.text!r} does not tell shards apart; with "
        "outbox.shards above 1 and ordering PerKey, {shard} must be a token of its own, "
        "before {event_type} and {routing_key}, for example orders.{shard}.{event_type}: "
        "the stream then refuses a relay that has lost its shard, and lanes know what is theirs"
    )


def _check_lanes(
    spec: OutboxPipelineSpec, consumer: PipelineConsumer, template: SubjectTemplate
) -> None:
    """Lanes divide shards, which their subjects have to tell apart."""
    path = f"spec.consumers[{consumer.name}]"
    if consumer.lanes == 1:
        return
    if not is_ordered(consumer):
        raise SpecError(
            f"{path}.lanes: wanted 1, or ordering PerKey or an inbox of mode PerShard; found "
            f"{consumer.lanes}: without an order any number of pods read one durable consumer"
        )
    if consumer.lanes > spec.outbox.shards:
        raise SpecError(
            f"{path}.lanes: wanted at most {spec.outbox.shards}, which is outbox.shards, found "
            f"{consumer.lanes}; a lane reads whole shards"
        )
    if not template.separates_shards():
        _refuse_together(template)
    longest = lane_name(consumer.name, consumer.lanes - 1)
    if len(longest) > _LONGEST_NAME:
        raise SpecError(
            f"{path}.name: wanted at most {_LONGEST_NAME} characters with the number of the lane, "
            f"found {len(longest)}"
        )


def _check_consumer(spec: ConsumerConfigSpec, path: str) -> None:
    ack_wait = seconds(spec.ackWait)
    if ack_wait < MIN_ACK_WAIT_SECONDS:
        raise SpecError(f"{path}.ackWait: wanted at least 1s, found {spec.ackWait}")
    if spec.maxDeliver == 0:
        raise SpecError(f"{path}.maxDeliver: wanted at least 1, or -1 for no limit, found 0")
    if 0 < spec.maxDeliver <= len(spec.backoff):
        raise SpecError(
            f"{path}.backoff: wanted at most {spec.maxDeliver - 1} delays, because maxDeliver "
            f"{spec.maxDeliver} allows so many redeliveries; found {len(spec.backoff)}"
        )
    _check_autoscaling(spec.autoscaling, path)
    check_archive(spec, path)
    _check_runtime(spec, path)
    if spec.inbox is not None:
        longest = _longest_redelivery_seconds(spec, ack_wait)
        if longest is not None and seconds(spec.inbox.retention) <= longest:
            raise SpecError(
                f"{path}.inbox.retention: wanted more than {longest:g}s, the longest time in "
                f"which an event may come again (maxDeliver, ackWait and backoff); found "
                f"{spec.inbox.retention}"
            )


def _check_autoscaling(autoscaling: Autoscaling | None, path: str) -> None:
    drain = None if autoscaling is None else autoscaling.targetDrainTime
    if drain is not None and seconds(drain) <= 0:
        raise SpecError(
            f"{path}.autoscaling.targetDrainTime: wanted more than 0s, found {drain}; in no time "
            "at all nothing can be done"
        )


def _check_runtime(spec: ConsumerConfigSpec, path: str) -> None:
    """What our runtime does, and a program that reads by itself cannot be told to do."""
    if not handled_by_runtime(spec):
        if is_ordered(spec):
            raise SpecError(
                f"{path}: ordering PerKey and inbox mode PerShard need a handler of kind http or "
                "python; a program that reads by itself keeps its own order"
            )
        return
    if spec.ackPolicy == "None" or (spec.ackPolicy == "All" and not is_ordered(spec)):
        raise SpecError(
            f"{path}.ackPolicy: wanted Explicit, or All with ordering PerKey or an inbox of mode "
            f"PerShard; found {spec.ackPolicy}"
        )
    if spec.priorityPolicy != "None" and not (
        is_ordered(spec) and spec.priorityPolicy == "PinnedClient"
    ):
        raise SpecError(
            f"{path}.priorityPolicy: wanted None, found {spec.priorityPolicy}; handlers of kind "
            "http and python ask for no priority"
        )


def _longest_redelivery_seconds(spec: ConsumerConfigSpec, ack_wait: float) -> float | None:
    """From the first to the last delivery of an event at most; None: there is no bound."""
    if spec.maxDeliver < 0:
        return None
    redeliveries = spec.maxDeliver - 1
    delays = [seconds(delay) for delay in spec.backoff] or [_LONGEST_DEFAULT_BACKOFF_SECONDS]
    used = delays[:redeliveries]
    waits = sum(used) + delays[-1] * (redeliveries - len(used))
    return spec.maxDeliver * ack_wait + waits


def _refuse_twice(values: Iterable[str], path: str, field: str) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise SpecError(
                f"{path}: {field} {value!r} is there twice; a lane has that of its consumer "
                "and -0, -1, …"
            )
        seen.add(value)
