"""Counts changes made behind our back that were undone, as every status carries them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from outbox_operator.plan.status.conditions import stamp

LONGEST_TEXT = 1000


class Counted(Protocol):
    """A status part that counts drift."""

    @property
    def driftCorrectedCount(self) -> int:  # noqa: N802 - the name in the resource
        """How often drift was undone."""

    @property
    def lastDriftTime(self) -> str | None:  # noqa: N802
        """When that last happened."""

    @property
    def lastDrift(self) -> str | None:  # noqa: N802
        """What it was."""


@dataclass(frozen=True, slots=True)
class DriftCount:
    """How often drift was undone, when last, and what it was."""

    count: int = 0
    time: str | None = None
    text: str | None = None

    @classmethod
    def after(cls, before: Counted | None, drifts: Sequence[str], now: datetime) -> DriftCount:
        """The count of the last status and what this pass has undone."""
        kept = cls()
        if before is not None:
            kept = cls(before.driftCorrectedCount, before.lastDriftTime, before.lastDrift)
        if not drifts:
            return kept
        return cls(kept.count + len(drifts), stamp(now), drifts[-1][:LONGEST_TEXT])
