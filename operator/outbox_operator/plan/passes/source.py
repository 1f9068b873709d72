"""Which stream an EventConsumer reads and where its dead letters go. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from outbox_operator.api.resource import Consumer, Stream, parse_stream
from outbox_operator.errors import DependencyError, NotSupportedError, SpecError
from outbox_operator.plan.jetstream.stream_config import dead_letter_name, dead_letter_prefix
from outbox_operator.plan.redis.keys import keys_of, letters_key
from outbox_operator.plan.redis.readers import check_reader
from outbox_operator.plan.sources import AnySource, RedisSource, Source
from outbox_operator.reasons import Reason


class StreamNotFoundError(DependencyError):
    """The EventStream or the JetStream stream is not there (yet)."""

    reason = Reason.STREAM_NOT_FOUND


def no_stream(field: str, namespace: str, name: str) -> str:
    """What is said of an EventStream that another object names and that is not there; whether
    another namespace has one of the name is nobody's business."""
    return (
        f"{field}: EventStream {namespace}/{name} does not exist (yet); references do not cross "
        "namespaces"
    )


def resolve(consumer: Consumer, event_stream: Mapping[str, Any] | None) -> Source:
    """The source of a consumer.

    Args:
        consumer: The resource.
        event_stream: The EventStream that `spec.streamRef` names, if it exists.

    Raises:
        StreamNotFoundError: Its EventStream does not exist (yet).
        SpecError: Its specification, or that of its EventStream, cannot be read.
    """
    spec, namespace = consumer.spec, consumer.meta.namespace
    if spec.streamName is not None:
        if spec.nats is None:
            raise SpecError("spec.nats is missing: with streamName it says where the stream is")
        return Source(
            stream=spec.streamName,
            nats=spec.nats,
            dead_letter_prefix=spec.deadLetter.subjectPrefix if spec.deadLetter else None,
            dead_letter_stream=None,
        )
    if event_stream is None:
        name = spec.streamRef.name if spec.streamRef else ""
        raise StreamNotFoundError(no_stream("spec.streamRef.name", namespace, name))
    return source_in(consumer, parse_stream(event_stream, stored=True))


def resolve_any(consumer: Consumer, event_stream: Mapping[str, Any] | None) -> AnySource:
    """As `resolve`, wherever the stream is.

    Raises:
        StreamNotFoundError: Its EventStream does not exist (yet).
        SpecError: Its specification, or that of its EventStream, cannot be read, or has what a
            stream in Redis cannot do.
    """
    if event_stream is not None and consumer.spec.streamRef is not None:
        return any_source_in(consumer, parse_stream(event_stream, stored=True))
    return resolve(consumer, event_stream)


def any_source_in(consumer: Consumer, event_stream: Stream) -> AnySource:
    """As `source_in`, wherever the stream is.

    Raises:
        SpecError: The consumer has what a stream in Redis cannot do.
    """
    spec = event_stream.spec
    if spec.redis is None:
        if consumer.spec.filterEventTypes:
            raise SpecError(
                "spec.filterEventTypes is for streams in Redis, which have no subjects; use "
                "filterSubjects"
            )
        return source_in(consumer, event_stream)
    check_reader(consumer.spec)
    return RedisSource(
        stream=spec.name,
        redis=spec.redis,
        keys=tuple(keys_of(spec)),
        letters=letters_key(spec.name),
        follows=event_stream.meta.name,
        seen=event_stream.status.stream,
    )


def source_in(consumer: Consumer, event_stream: Stream) -> Source:
    """The source of a consumer that reads an EventStream.

    Raises:
        NotSupportedError: The stream is in Redis.
    """
    spec, stream = consumer.spec, event_stream.spec
    if stream.redis is not None:
        raise NotSupportedError(
            f"spec.streamRef.name: EventStream {event_stream.meta.name} is in Redis, and this "
            'works with NATS JetStream only (the how-to "Publish to Redis Streams")'
        )
    own = spec.deadLetter.subjectPrefix if spec.deadLetter else None
    theirs = dead_letter_prefix(stream) if stream.deadLetter else None
    return Source(
        stream=stream.name,
        nats=spec.nats or stream.jetstream,
        dead_letter_prefix=own or theirs,
        # Letters sent elsewhere are in a stream that we do not know.
        dead_letter_stream=dead_letter_name(stream) if theirs and own in (None, theirs) else None,
        follows=event_stream.meta.name if spec.nats is None else None,
        seen=event_stream.status.stream,
    )
