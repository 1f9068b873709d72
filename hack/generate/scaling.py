"""Autoscaling in docs/how-to/scale.md: the picture, as measured; and a workload that is simulated.

The tests of the decision use the latter.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from generate import svg
from generate.tables import Figures
from outbox_operator.plan.scaling.decide import Memory, decide
from outbox_operator.plan.scaling.limits import Limits, Step
from outbox_operator.plan.scaling.load import Load
from outbox_operator.plan.status.workload import Replicas

CHART: Final = Path("docs/how-to/img/scale.svg")
FIGURES: Final = Path("docs/explanation/figures/autoscaling.json")
LOOK_SECONDS: Final = 15
REFERENCE: Final = Limits(
    least=3, most=10, ceiling=None, backlog=1000, drain_seconds=None,
    up=Step(after_seconds=0, most=4), down=Step(after_seconds=300, most=2), what="rows",
)  # fmt: skip
"""Three to ten pods, by an average of 1000 events that wait, as the API's defaults have it."""
PER_POD: Final = 100.0
_START: Final = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Look:
    """What was there at one look, and what was decided."""

    second: int
    pods: int
    backlog: int


@dataclass(frozen=True, slots=True)
class Workload:
    """Pods that take a while to start.

    Attributes:
        limits: What was asked for.
        each: Events a second that a pod does.
        start_seconds: Until a new pod is ready.
    """

    limits: Limits
    each: float = PER_POD
    start_seconds: float = 30.0

    def run(self, comes: Callable[[float], float], seconds: int) -> list[Look]:
        """What happens under a load.

        Args:
            comes: Events a second, at each second.
            seconds: For how long.
        """
        memory, wanted = Memory(), self.limits.least
        since = [-self.start_seconds] * wanted
        backlog = done = 0.0
        looks = []
        for second in range(seconds):
            ready = sum(second - at >= self.start_seconds for at in since)
            backlog += comes(second)
            did = min(backlog, ready * self.each)
            backlog, done = backlog - did, done + did
            if second % LOOK_SECONDS:
                continue
            load = Load(
                backlog=int(backlog), at_least=False, done=int(done),
                at=_START + timedelta(seconds=second),
            )  # fmt: skip
            decision = decide(
                self.limits, load,
                Replicas(wanted=wanted, existing=wanted, ready=ready, updated=wanted), memory,
                current=wanted, settled=ready >= wanted, paused=False, now=load.at,
            )  # fmt: skip
            memory, wanted = decision.memory, decision.count
            since = (since + [second] * wanted)[:wanted]
            looks.append(Look(second, wanted, int(backlog)))
        return looks


def step_of_load(second: float) -> float:
    """Events a second of the reference case: a step up for 20 minutes."""
    return 700.0 if 120 <= second < 1320 else 50.0


def files(root: Path) -> dict[Path, str]:
    """The picture, by its path: as measured."""
    return {CHART: chart(json.loads((root / FIGURES).read_text()))}


def chart(measured: Figures) -> str:
    """What happened under the load, as `make bench-autoscaling` writes it down."""
    looks = measured["looks"]

    def panel(label: str, field: str, unit: str) -> svg.Panel:
        return svg.Panel(label, [(one["second"], one[field]) for one in looks], unit)

    panels = [
        panel("events come", "comes", "a second"),
        panel("events wait", "waiting", "events"),
        panel("pods wanted", "wanted", "pods"),
        panel("pods ready", "ready", "pods"),
    ]
    limits = measured["autoscaling"]
    least, most = limits["minReplicas"], limits["maxReplicas"]
    title = f"{least} to {most} pods, {limits['targetBacklog']} events may wait for each"
    note = (
        f"A pod does {measured['perPod']} events a second. Measured on a real node with two cores."
    )
    return svg.lines(title, note, panels, f"{looks[-1]['second'] / 60:.0f} minutes")
