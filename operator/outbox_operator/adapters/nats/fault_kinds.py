"""What JetStream's errors mean, without the driver: for who decides what follows from one."""

from __future__ import annotations

import enum


class FaultKind(enum.Enum):
    """What an error of JetStream means, as far as somebody acts on it."""

    OTHER = enum.auto()
    """Nothing that we know of."""
    NOT_ENABLED = enum.auto()
    UNAVAILABLE = enum.auto()
    """No leader, or too few servers; time helps."""
    STREAM_MISSING = enum.auto()
    CONSUMER_MISSING = enum.auto()
    MESSAGE_MISSING = enum.auto()
    EXISTS = enum.auto()
    """With another configuration."""
    SUBJECT_OVERLAP = enum.auto()
    """Another stream has these subjects."""
    NO_ROOM = enum.auto()
    """More than the account or the server has left."""
    INVALID = enum.auto()
    """The request as it is written is refused for ever."""
    IMMUTABLE = enum.auto()
    """It cannot be changed in place."""
    TOO_LARGE = enum.auto()
    """A message is larger than stream or server allow."""
    FENCE_BROKEN = enum.auto()
    """The last message on our subjects is not the one we named."""
    CHAIN_BROKEN = enum.auto()
    """The last message of the stream is not the one we named."""
    UNKNOWN_BATCH = enum.auto()
    """No batch of this name is open."""
