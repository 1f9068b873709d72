"""What JetStream knows of a stream beyond what every sink does, and how it names batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from outbox_operator.adapters.sink import Owner, StreamFacts

PREDECESSORS: Final = 8
"""Owners whose batches are ended: each ended those before it, unless it failed at that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JetStreamFacts(StreamFacts):
    """What a stream accepts and what its servers can do.

    Attributes:
        fast: Whether it takes fast-ingest batches.
    """

    fast: bool


def batch_names(owner: Owner) -> tuple[str, ...]:
    """Name the batches of this owner of a shard, first, and of the owners before it."""
    epochs = range(owner.epoch, max(-1, owner.epoch - PREDECESSORS), -1)
    return tuple(f"{owner.name}{number:x}" for number in epochs)
