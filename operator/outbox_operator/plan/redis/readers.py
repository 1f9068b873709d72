"""Which EventConsumers can read a stream in Redis. Pure."""

from __future__ import annotations

from outbox_operator.api.v1alpha1.consumer import ConsumerConfigSpec, EventConsumerSpec
from outbox_operator.api.v1alpha1.redis_readers import (
    NO_ARCHIVE,
    NO_SHARD_MARKS,
    ONE_POD,
    START,
    WITHOUT_MEANING,
)
from outbox_operator.errors import SpecError


def check_reader(spec: EventConsumerSpec) -> None:
    """Refuse an EventConsumer of a stream in Redis that cannot work as written.

    Raises:
        SpecError: Names the first problem.
    """
    for name in ("nats", "streamName", "deadLetter"):
        if getattr(spec, name) is not None:
            raise SpecError(
                f"spec.{name}: the stream is in Redis, where its EventStream says; leave it out"
            )
    if spec.filterSubjects:
        raise SpecError(
            "spec.filterSubjects: the stream is in Redis, which has no subjects; use "
            "filterEventTypes"
        )
    check_consumer_in_redis(spec, "spec")


def check_consumer_in_redis(spec: ConsumerConfigSpec, path: str) -> None:
    """Refuse what the rules of pipelines refuse too, for manifests that no API server sees.

    Raises:
        SpecError: Names the first problem.
    """
    for why, names in WITHOUT_MEANING:
        for name in names:
            default = type(spec).model_fields[name].get_default(call_default_factory=True)
            if getattr(spec, name) != default:
                raise SpecError(f"{path}.{name} has no meaning with redis: {why}; leave it out")
    if spec.deliverPolicy not in ("All", "New"):
        raise SpecError(f"{path}.{START}, found {spec.deliverPolicy}: {WITHOUT_MEANING[0][0]}")
    if spec.ordering == "PerKey" and (spec.replicas > 1 or spec.autoscaling is not None):
        raise SpecError(f"{path}.ordering: {ONE_POD}")
    if spec.inbox is not None and spec.inbox.mode != "PerEvent":
        raise SpecError(f"{path}.{NO_SHARD_MARKS}")
    if spec.handler is not None and spec.handler.archive is not None:
        raise SpecError(f"{path}.{NO_ARCHIVE}")
