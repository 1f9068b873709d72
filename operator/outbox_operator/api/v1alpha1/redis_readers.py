"""What of a consumer has no meaning where the stream is in Redis, or cannot be had there.

Read by `pipeline` for its rules, and by `plan.redis.readers` for what no API server sees.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pydantic import BaseModel

from outbox_operator.api.fields import cel
from outbox_operator.api.v1alpha1.redis import is_default

WITHOUT_MEANING: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    (
        "a group begins with the first entry there is (All), or with the next (New)",
        ("startSequence", "startTime"),
    ),
    (
        "a group hands out all it has to whoever asks, and keeps nothing else of a reader",
        (
            "maxAckPending", "maxWaiting", "maxRequestBatch", "maxRequestExpires",
            "maxRequestMaxBytes", "inactiveThreshold", "priorityPolicy", "priorityGroups",
            "pinnedTTL", "pauseUntil",
        ),
    ),
    (
        "entries come whole, at once, and are acknowledged one by one; the group is kept with them",
        (
            "ackPolicy", "headersOnly", "replayPolicy", "sampleFrequency", "numReplicas",
            "memoryStorage", "metadata", "description",
        ),
    ),
)  # fmt: skip
"""Why, and which fields."""
_LANES: Final = (
    "lanes are for ordering PerKey over several pods, which a group cannot keep: it gives entries "
    "to all who ask"
)
ONE_POD: Final = (
    "with ordering PerKey wanted replicas 1 (or 0) and no autoscaling: a group gives entries to "
    "all who ask, so the order of a key is kept as long as one pod reads"
)
NO_SHARD_MARKS: Final = (
    "inbox.mode PerShard needs a stream that gives its events to one reader at a time, which Redis "
    "does not: use PerEvent"
)
NO_ARCHIVE: Final = "handler.archive reads NATS JetStream only"
START: Final = "deliverPolicy: wanted All or New"


def _conditions(consumer: type[BaseModel]) -> Iterator[tuple[str, str]]:
    """CEL over a consumer `c`, and what to say where it does not hold."""
    for why, names in WITHOUT_MEANING:
        holds = " && ".join(is_default(consumer, "c", name) for name in names)
        yield holds, f"leave out {', '.join(names)}: {why}"
    yield (
        "c.deliverPolicy == 'All' || c.deliverPolicy == 'New'",
        f"{START}; {WITHOUT_MEANING[0][0]}",
    )
    yield "c.lanes == 1", f"wanted lanes 1: {_LANES}"
    yield "c.ordering == 'None' || (c.replicas <= 1 && !has(c.autoscaling))", ONE_POD
    yield "!has(c.inbox) || c.inbox.mode == 'PerEvent'", NO_SHARD_MARKS
    yield "!has(c.handler) || !has(c.handler.archive)", NO_ARCHIVE


def reader_rules(consumer: type[BaseModel]) -> tuple[dict[str, str], ...]:
    """The CEL rules of a pipeline by which its consumers have nothing that Redis cannot do."""
    return tuple(
        cel(
            f"!has(self.redis) || self.consumers.all(c, {holds})",
            f"consumers of a pipeline with redis: {text}",
        )
        for holds, text in _conditions(consumer)
    )
