"""Of what a stream holds no message any more, and whether its limits can have taken them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from outbox_operator.plan.jetstream.streams import ObservedStream

SLACK: Final = timedelta(minutes=15)
"""So much the clocks of both servers may differ; the stream is read from so much before."""
_EARLIEST: Final = datetime.min.replace(tzinfo=UTC)
_LATEST: Final = datetime.max.replace(tzinfo=UTC)
_USED: Final = 0.5
"""A limit of which less is used has taken nothing that is younger than `maxAge`."""


@dataclass(frozen=True, slots=True)
class Memory:
    """How far back a stream remembers.

    Attributes:
        since: From when on it holds all that was stored; None: it holds nothing.
        taken: What was stored before may have been taken by its limits; what was stored from then
            on was not.
    """

    since: datetime | None
    taken: datetime

    def expired(self, created_at: datetime) -> bool:
        """Whether the message of a row of that time may be gone by the stream's limits."""
        return created_at < self.taken

    def forgot(self, created_at: datetime) -> bool:
        """Whether a row is older than all that the stream holds."""
        return self.since is None or created_at < self.since


def memory_of(observed: ObservedStream, oldest: datetime | None, now: datetime) -> Memory:
    """How far back a stream remembers.

    Args:
        observed: The stream.
        oldest: When its first message was stored; None: it holds none.
        now: The time.
    """
    since = oldest
    if observed.first_sequence <= 1 and observed.created is not None:  # nothing has gone yet
        since = datetime.fromisoformat(observed.created)
    held = _LATEST if since is None else since
    if _is_full(observed):
        return Memory(since, held)
    age = _number(observed.config.get("max_age"))
    if age <= 0:
        return Memory(since, _EARLIEST)
    try:
        aged = now - timedelta(microseconds=age // 1000) + SLACK
    except OverflowError:
        aged = _EARLIEST
    return Memory(since, min(held, aged))


def drops(observed: ObservedStream) -> str:
    """Why messages go from between; empty: only the oldest go."""
    config = observed.config
    retention = str(config.get("retention") or "limits")
    if retention != "limits":
        return (
            f"the stream keeps messages until they are handled (retention {retention}): rows that "
            "have none cannot be told from lost ones"
        )
    if _number(config.get("max_msgs_per_subject")) > 0:
        return (
            "the stream keeps so many messages of each subject (maxMessagesPerSubject): rows that "
            "have none cannot be told from lost ones"
        )
    if config.get("allow_msg_ttl") or config.get("allow_rollup_hdrs"):
        return (
            "the stream lets messages end by themselves (allowMessageTTL, allowRollup): rows that "
            "have none cannot be told from lost ones"
        )
    return ""


def _is_full(observed: ObservedStream) -> bool:
    """Whether it may have dropped its oldest messages because of their number or size."""
    config = observed.config
    if config.get("discard") == "new":  # refuses new ones instead
        return False
    used = ((observed.messages, "max_msgs"), (observed.bytes, "max_bytes"))
    return any(
        (most := _number(config.get(field))) > 0 and have >= most * _USED for have, field in used
    )


def _number(value: Any) -> int:
    return int(value or -1)
