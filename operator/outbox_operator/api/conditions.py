"""Conditions: their types, and the pure merge that keeps transition times. Reasons: `reasons`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from outbox_operator.api import patterns
from outbox_operator.wire.times import format_time

ConditionStatus = Literal["True", "False", "Unknown"]


class ConditionType(StrEnum):
    """Every condition type of the four kinds."""

    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    DATABASE_REACHABLE = "DatabaseReachable"
    SCHEMA_APPLIED = "SchemaApplied"
    NATS_REACHABLE = "NatsReachable"
    REDIS_REACHABLE = "RedisReachable"
    STREAM_READY = "StreamReady"
    CONSUMERS_READY = "ConsumersReady"
    CONSUMER_READY = "ConsumerReady"
    RELAY_AVAILABLE = "RelayAvailable"
    WORKLOAD_AVAILABLE = "WorkloadAvailable"
    ARCHIVE_COMPLETE = "ArchiveComplete"
    ARCHIVE_BACKFILLED = "ArchiveBackfilled"
    API_AVAILABLE = "ApiAvailable"
    LAGGING = "Lagging"
    FOREIGN_PUBLISHER = "ForeignPublisher"
    UNFENCED = "Unfenced"
    STREAM_LOST_EVENTS = "StreamLostEvents"
    POSITIONS_MOVED = "PositionsMoved"
    GROUP_MOVED = "GroupMoved"
    LEFT_BEHIND = "LeftBehind"
    AUTOSCALING = "Autoscaling"
    PAUSED = "Paused"
    COMPLETE = "Complete"
    FAILED = "Failed"
    SUSPENDED = "Suspended"


INFORMING: Final = frozenset(
    {
        ConditionType.LAGGING,
        ConditionType.FOREIGN_PUBLISHER,
        ConditionType.UNFENCED,
        ConditionType.STREAM_LOST_EVENTS,
        ConditionType.POSITIONS_MOVED,
        ConditionType.GROUP_MOVED,
        ConditionType.LEFT_BEHIND,
        ConditionType.PAUSED,
    }
)
"""Those that are True when something is worth a look. They never decide about Ready."""

LONGEST_MESSAGE: Final = 4096
"""Characters; what does not fit is cut."""


class Condition(BaseModel):
    """One condition, in the form of the Kubernetes API conventions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: str = Field(description="What the condition speaks of, for example Ready.")
    status: ConditionStatus = Field(description="Whether it holds.")
    reason: str = Field(
        description="One CamelCase word that says why; stable, safe to match on.",
        pattern=patterns.REASON,
        max_length=128,
    )
    message: str = Field(
        default="",
        description="A sentence for people: object, field, wanted, found, what to do.",
        max_length=LONGEST_MESSAGE,
    )
    lastTransitionTime: str = Field(
        default="",
        description="When `status` last changed (RFC 3339).",
        json_schema_extra={"format": "date-time"},
    )
    observedGeneration: int = Field(
        default=0, description="`metadata.generation` the condition speaks of."
    )


def known_types(conditions: Iterable[Condition]) -> list[ConditionType]:
    """Types of conditions, without those that another version of the operator wrote."""
    ours = {one.value: one for one in ConditionType}
    return [ours[condition.type] for condition in conditions if condition.type in ours]


def merge(
    old: Iterable[Condition], new: Iterable[Condition], *, now: datetime, generation: int
) -> list[Condition]:
    """New conditions, each with the old transition time where its status did not change."""
    before = {condition.type: condition for condition in old}
    merged = []
    for condition in new:
        previous = before.get(condition.type)
        same = previous is not None and previous.status == condition.status
        time = previous.lastTransitionTime if previous and same else ""
        merged.append(
            condition.model_copy(
                update={
                    "lastTransitionTime": time or format_time(now, "seconds"),
                    "observedGeneration": generation,
                    "message": condition.message[:4096],
                }
            )
        )
    return merged
