"""What JetStream knows of a stream beyond what every sink does, and how it names batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from outbox_operator.adapters.sink import Owner, StreamFacts

PREDECESSORS: Final = 8
"""Owners whose batches are ended: each ended those before it, unless it failed at that."""
_USUAL_WINDOW: Final = 120_000_000_000
"""Nanoseconds: what streams get whose specification does not speak of duplicates."""
_LEAST_AGE: Final = 3_600_000_000_000
_LEAST_MESSAGES: Final = 20_000_000
_LEAST_BYTES: Final = 2**35
"""Limits below these may take what was published since the last save, before anybody looks: other
shards, and others, publish while nobody owns this one. In the usual window no server takes more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JetStreamFacts(StreamFacts):
    """What a stream accepts and what its servers can do.

    Attributes:
        fast: Whether it takes fast-ingest batches.
    """

    fast: bool


def keeps_what_came_last(config: Mapping[str, Any]) -> bool:
    """Return whether what a stream has taken stays long enough to be found at its end.

    Then nobody depends on ids to be known again. Whoever chose another `duplicate_window` than the
    usual one wants messages to have them.

    Args:
        config: Of a stream with retention by limits, as the server tells it.
    """
    age, window = config.get("max_age", 0), config.get("duplicate_window", 0)
    limits = (
        (config.get("max_msgs", -1), _LEAST_MESSAGES),
        (config.get("max_bytes", -1), _LEAST_BYTES),
        (age, _LEAST_AGE),
    )
    return (
        window == (min(_USUAL_WINDOW, age) if age > 0 else _USUAL_WINDOW)
        and not config.get("sources")
        and config.get("max_msgs_per_subject", -1) <= 0
        and config.get("discard", "old") == "old"
        and all(limit <= 0 or limit >= least for limit, least in limits)
    )


def batch_names(owner: Owner) -> tuple[str, ...]:
    """Name the batches of this owner of a shard, first, and of the owners before it."""
    epochs = range(owner.epoch, max(-1, owner.epoch - PREDECESSORS), -1)
    return tuple(f"{owner.name}{number:x}" for number in epochs)
