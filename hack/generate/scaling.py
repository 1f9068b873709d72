"""Figures of docs/how-to/scale.md: a picture of autoscaling, as measured, and what pipelines cost.

And a workload that is simulated, which tests of the decision use. In the page, what stands between
`<!-- figures: NAME -->` and `<!-- end -->` is drawn here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from generate import svg
from generate.tables import Figures, table
from outbox_operator.plan.scaling.decide import Memory, decide
from outbox_operator.plan.scaling.limits import Limits, Step
from outbox_operator.plan.scaling.load import Load
from outbox_operator.plan.status.workload import Replicas

PAGE: Final = Path("docs/how-to/scale.md")
CHART: Final = Path("docs/how-to/img/scale.svg")
FIGURES: Final = Path("docs/explanation/figures")
_BLOCK: Final = re.compile(r"(<!-- figures: ([a-z_]+) -->\n).*?(<!-- end -->)", re.DOTALL)
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
    """The picture and the page's tables, by their paths: as measured."""
    measured = json.loads((root / FIGURES / "autoscaling.json").read_text())
    return {CHART: chart(measured), PAGE: written((root / PAGE).read_text(), root / FIGURES)}


def written(page: str, figures: Path) -> str:
    """The page with its tables drawn anew.

    Args:
        page: As it is.
        figures: Folder of files such as `scale.json`; what is missing is said to be.
    """

    def block(found: re.Match[str]) -> str:
        path = figures / f"{found[2]}.json"
        if not path.is_file():
            return f"{found[1]}Not measured yet: `make bench-{found[2]}`.\n{found[3]}"
        return f"{found[1]}{_TABLES[found[2]](json.loads(path.read_text()))}{found[3]}"

    return _BLOCK.sub(block, page)


def _scale(measured: Figures) -> str:
    """What idle pipelines cost one operator, from `bench.scale`."""
    rows = []
    for one in measured["scale"]:
        ready = f"{one['many_at_once']['ready_s']:g} s"
        first = (ready, one.get("idle"), one.get("one_more_ms"), one.get("restart"))
        rows.append((one["pipelines"], *_measured(*first)))
        if churn := one.get("churn"):
            what = (
                f"{one['pipelines']}, after {churn['minutes']:g} minutes in which "
                f"{churn['made_anew']} were deleted and made anew and {churn['changed']} changed"
            )
            later = ("-", one.get("idle_after_churn"), None, one.get("restart_after_churn"))
            rows.append((what, *_measured(*later)))
    head = (
        "Pipelines", "all ready after", "CPU s/min", "calls/min of PostgreSQL", "of NATS",
        "of Kubernetes", "MB", "one more is ready after, ms (p95)", "restart, s",
    )  # fmt: skip
    dates = ", ".join(sorted({one["date"] for one in measured["scale"]}))
    [last] = measured["scale"][-1:]
    return f"{table(head, rows)}\nMeasured {dates} on {last['cpus']} processors: {last['what']}.\n"


def _measured(
    ready: str, idle: Figures | None, one_more: Figures | None, restart: Figures | None
) -> tuple[object, ...]:
    """The cells of one row behind its first."""
    return (
        ready,
        *(_or_dash(idle or {}, f"{name}_per_min") for name in _PER_MINUTE),
        _or_dash(idle or {}, "rss_mb"),
        _or_dash(one_more or {}, "p95"),
        _or_dash(restart or {}, "all_looked_at_s"),
    )


_PER_MINUTE: Final = ("cpu_s", "postgres_calls", "nats_calls", "kubernetes_calls")


def _or_dash(figures: Figures, name: str) -> object:
    value = figures.get(name)
    return "-" if value is None else f"{value:g}"


def _slices(measured: Figures) -> str:
    """What they cost several leaders, from `bench.slices`."""
    slices = measured["slices"]
    rows = [
        (
            step["pipelines"], f"{step['ready_s']:g} s", step["cpu_ms_each"],
            " / ".join(f"{one:g}" for one in step["objects"]),
            " / ".join(f"{one:.0f}" for one in step["rss_mb"]),
        )
        for step in slices["steps"]
    ]  # fmt: skip
    head = (
        "Pipelines", "the last step is ready after", "CPU ms each, of all leaders",
        "objects of each leader", "MB of each",
    )  # fmt: skip
    idle = slices.get("idle") or {}
    told = [f"Measured {measured['conditions']['date']}, {slices['slices']} leaders."]
    if idle:
        cpu = " / ".join(f"{one:g}" for one in idle["cpu_s_per_min"])
        told.append(f"Idle: {cpu} CPU s a minute.")
    if "takeover" in slices:
        seconds = slices["takeover"]["killed_to_ready_s"]
        told.append(f"A pipeline whose leader had just been killed was ready after {seconds:g} s.")
    return f"{table(head, rows)}\n{' '.join(told)}\n"


_TABLES: Final[dict[str, Callable[[Figures], str]]] = {"scale": _scale, "slices": _slices}


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
