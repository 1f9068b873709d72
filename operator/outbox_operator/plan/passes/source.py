"""Which stream an EventConsumer reads and where its dead letters go. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from outbox_operator.api.resource import Consumer, Stream, parse_stream
from outbox_operator.api.v1alpha1.common import NatsConnection
from outbox_operator.api.v1alpha1.stream import StreamState
from outbox_operator.errors import DependencyError, NotSupportedError, SpecError
from outbox_operator.plan.jetstream.stream_config import dead_letter_name, dead_letter_prefix
from outbox_operator.reasons import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The stream a consumer reads, resolved.

    Attributes:
        stream: Name of the JetStream stream.
        nats: Where it is.
        dead_letter_prefix: Subject prefix of dead letters; None: there is no place for them.
        dead_letter_stream: Stream that keeps them; None: not known.
        follows: EventStream that decides where the stream is; None: the consumer says that itself.
        seen: The stream as its EventStream saw it last; None: nobody did.
    """

    stream: str
    nats: NatsConnection
    dead_letter_prefix: str | None
    dead_letter_stream: str | None
    follows: str | None = None
    seen: StreamState | None = None


class StreamNotFoundError(DependencyError):
    """The EventStream or the JetStream stream is not there (yet)."""

    reason = Reason.STREAM_NOT_FOUND


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
        raise StreamNotFoundError(
            f"spec.streamRef.name: EventStream {namespace}/{name} does not exist (yet)"
        )
    return source_in(consumer, parse_stream(event_stream, stored=True))


def source_in(consumer: Consumer, event_stream: Stream) -> Source:
    """The source of a consumer that reads an EventStream.

    Raises:
        NotSupportedError: The stream is in Redis.
    """
    spec, stream = consumer.spec, event_stream.spec
    if stream.redis is not None:
        raise NotSupportedError(
            f"spec.streamRef.name: EventStream {event_stream.meta.name} is in Redis, which "
            "EventConsumers do not read yet: read its key with a consumer group "
            "(docs/how-to/publish-to-redis-streams.md)"
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
