"""Counts changes made behind our back that a pass has undone, for the status and the metrics."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from outbox_operator.plan.status.conditions import stamp


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


@dataclass
class Drift:
    """How often drift was undone, when last, and what it was."""

    count: int = 0
    time: str | None = None
    text: str | None = None
    adopted: bool = False
    """Whether this pass took over something that nobody had declared."""
    corrections: list[str] = field(default_factory=list)
    """What this pass has undone."""

    @classmethod
    def of(cls, before: Counted | None) -> Drift:
        """Go on from the last status."""
        if before is None:
            return cls()
        return cls(before.driftCorrectedCount, before.lastDriftTime, before.lastDrift)

    def corrected(self, text: str) -> None:
        """One more was undone."""
        self.count += 1
        self.time = stamp(datetime.now(UTC))
        self.text = text[:1000]
        self.corrections.append(text)
