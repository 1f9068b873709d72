"""What an EventConsumer reads, resolved: a stream in JetStream or in Redis. Values only."""

from __future__ import annotations

from dataclasses import dataclass

from outbox_operator.api.v1alpha1.common import NatsConnection
from outbox_operator.api.v1alpha1.redis import RedisConnection
from outbox_operator.api.v1alpha1.stream import StreamState
from outbox_operator.errors import NotSupportedError


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
    dead_letter_prefix: str | None = None
    dead_letter_stream: str | None = None
    follows: str | None = None
    seen: StreamState | None = None

    @property
    def broker(self) -> NatsConnection:
        """Where it is."""
        return self.nats

    @property
    def dead_letters(self) -> str | None:
        """As the runtime is told: the prefix."""
        return self.dead_letter_prefix


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisSource:
    """The same, of a stream in Redis.

    Attributes:
        stream: Name of the stream.
        redis: Where it is.
        keys: Of its shards.
        letters: Key of dead letters.
        follows: EventStream that declares it.
        seen: The stream as its EventStream saw it last; None: nobody did.
    """

    stream: str
    redis: RedisConnection
    keys: tuple[str, ...]
    letters: str
    follows: str
    seen: StreamState | None = None

    @property
    def broker(self) -> RedisConnection:
        """Where it is."""
        return self.redis

    @property
    def dead_letters(self) -> str:
        """As the runtime is told: the key."""
        return self.letters


AnySource = Source | RedisSource


def jetstream_only(source: AnySource) -> Source:
    """A source in JetStream.

    Raises:
        NotSupportedError: It is in Redis.
    """
    if isinstance(source, RedisSource):
        raise NotSupportedError(
            f"stream {source.stream} is in Redis, and this works with NATS JetStream only"
        )
    return source
