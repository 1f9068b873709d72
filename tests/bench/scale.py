"""What many idle pipelines cost one operator: writes build/bench/scale.json.

Run by `make bench-scale`. As `bench.reconcile`, with one operator for each number of pipelines: how
long it takes until all are ready, what they cost a minute when nothing happens, how long one more
takes beside them, and a restart; then the minute and the restart once more, after many of them were
made anew and changed. All are in one database and one account, where the most can be asked at once.
The idle time is as long as statuses go unconfirmed, so that their writes are part of it. CPU
seconds and calls say more than the times on a machine with other work. What is measured is in the
file at once, beside what it has of other numbers of pipelines.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg

from bench.measuring import cpu_seconds, family_cpu_seconds, peak_rss_mb, rss_mb
from bench.operator_bed import (
    AT_ONCE,
    NAMESPACE,
    OperatorBed,
    apply,
    conditions,
    operator_bed,
    pipeline,
    ready_conditions,
    secret,
    watching_ready,
    write,
)
from bench.reconcile import one_pipeline
from support.nats import connected
from support.options import positive, whole
from support.waiting import eventually

OUT: Final = Path("build/bench/scale.json")
KINDS: Final = ("OutboxPipeline", "EventStream", "EventConsumer")
_PATIENCE_SECONDS: Final = 1800.0


@dataclass(frozen=True)
class Filled(OperatorBed):
    """One operator with its servers, and many pipelines in one database.

    Attributes:
        url: Of the database.
    """

    url: str

    def passes(self) -> float:
        """Made since it started, over all kinds."""
        name = "outbox_operator_reconciles_total"
        return sum(self.operator.metric(name, kind=kind) for kind in KINDS)

    def looks(self) -> float:
        """At what rests, since it started, of those that spared a pass."""
        return self.operator.metric("outbox_operator_looks_total", result="same")

    def kubernetes_calls(self) -> float:
        """Since it started."""
        return self.operator.metric("outbox_operator_api_requests_total")

    async def ready(self) -> int:
        """Pipelines that are Ready."""
        return (await ready_conditions(self.kubectl, "-n", NAMESPACE)).count("True")

    async def fill(self, count: int) -> dict[str, Any]:
        """Many pipelines, until all are ready."""
        await apply(self.kubectl, secret("shared", self.url))
        documents = [
            pipeline(f"scale-{i}", self.nats.url, f"scale_{i}", "shared") for i in range(count)
        ]
        async with watching_ready(self.kubectl, "-n", NAMESPACE) as ready:
            start, cpu, calls = time.perf_counter(), cpu_seconds(self.pid), self.kubernetes_calls()
            for first in range(0, count, AT_ONCE):
                await apply(self.kubectl, *documents[first : first + AT_ONCE])
            applied = time.perf_counter() - start
            await asyncio.wait_for(ready(count), _PATIENCE_SECONDS)
        return {
            "apply_s": round(applied, 1),
            "ready_s": round(time.perf_counter() - start, 1),
            "ready_cpu_ms_each": round((cpu_seconds(self.pid) - cpu) / count * 1000),
            "kubernetes_calls_each": round((self.kubernetes_calls() - calls) / count, 1),
        }

    async def resting(self, count: int, longest: float) -> float | None:
        """Wait until all rest, but not for longer; seconds that took."""
        start = time.perf_counter()
        made, at = self.passes(), time.perf_counter()

        # Longer than any pause between two passes over what does not rest.
        while time.perf_counter() - at <= 70:
            if time.perf_counter() - start > longest:
                return None
            await asyncio.sleep(5.0)
            now = self.passes()
            if now > made + count / 10:
                made, at = now, time.perf_counter()
        return round(time.perf_counter() - start, 1)

    async def idle(self, seconds: float) -> dict[str, Any]:
        """What a minute costs in which nothing happens."""
        counted = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
        monitor = await asyncpg.connect(self.url)

        async def now() -> tuple[float, ...]:
            async with connected(self.nats) as client:
                api = (await client.jetstream().account_info()).api.total
            return (
                cpu_seconds(self.pid),
                family_cpu_seconds(self.server.pid),
                cpu_seconds(self.nats.pid),
                api,
                await monitor.fetchval(counted),
                self.kubernetes_calls(),
                self.passes(),
                self.looks(),
            )

        before, begun = await now(), time.perf_counter()
        await asyncio.sleep(seconds)
        after, minutes = await now(), (time.perf_counter() - begun) / 60
        await monitor.close()
        spent = [(one - other) / minutes for one, other in zip(after, before, strict=True)]
        names = (
            "cpu_s", "postgres_cpu_s", "nats_cpu_s",
            "nats_calls", "postgres_calls", "kubernetes_calls", "passes", "looks",
        )  # fmt: skip
        return {
            "minutes": round(minutes, 1),
            **{
                f"{name}_per_min": round(value, 2 if name.endswith("_s") else 0)
                for name, value in zip(names, spent, strict=True)
            },
            "rss_mb": rss_mb(self.pid),
            "peak_rss_mb": peak_rss_mb(self.pid),
        }

    async def restart(self, count: int) -> dict[str, Any]:
        """The operator anew, until it has made as many passes as there are objects."""
        await asyncio.to_thread(self.operator.stop)
        start = time.perf_counter()
        self.operator.start()
        await asyncio.to_thread(self.operator.wait_ready, _PATIENCE_SECONDS)
        wanted = count * len(KINDS)
        await eventually(
            lambda: self.passes() >= wanted, "all were looked at", seconds=_PATIENCE_SECONDS,
            pause=0.5,
        )  # fmt: skip
        return {
            "all_looked_at_s": round(time.perf_counter() - start, 1),
            "cpu_s": round(cpu_seconds(self.pid), 1),
        }

    async def churn(self, count: int, seconds: float) -> dict[str, Any]:
        """One part after the other is deleted and applied again, and another one changed."""
        documents = [
            pipeline(f"scale-{i}", self.nats.url, f"scale_{i}", "shared") for i in range(count)
        ]
        part, start, at, changes = min(AT_ONCE, count // 2), time.perf_counter(), 0, 0
        while time.perf_counter() - start < seconds:
            anew = [documents[(at + i) % count] for i in range(part)]
            changed = [documents[(at + count // 2 + i) % count] for i in range(part)]
            names = [one["metadata"]["name"] for one in anew]
            await asyncio.to_thread(
                self.kubectl, "delete", "obp", "-n", NAMESPACE, "--wait=true", *names
            )
            for one in changed:
                changes += 1
                one["spec"]["consumers"][0]["maxDeliver"] = 5 + changes % 90
            await apply(self.kubectl, *anew, *changed)
            await self._ready_again([one["metadata"]["name"] for one in (*anew, *changed)])
            at += part
        return {
            "minutes": round((time.perf_counter() - start) / 60, 1),
            "made_anew": at,
            "changed": changes,
        }

    async def _ready_again(self, names: Sequence[str]) -> None:
        """Wait until these are Ready as they are written now."""
        path = (
            "{range .items[*]}{.metadata.generation}={.status.observedGeneration} "
            '{.status.conditions[?(@.type=="Ready")].status}{"\\n"}{end}'
        )

        async def ready() -> bool:
            get = ("get", "obp", "-n", NAMESPACE, *names, "-o", f"jsonpath={path}")
            said = (await asyncio.to_thread(self.kubectl, *get)).splitlines()
            pairs = [line.partition(" ") for line in said]
            return all(
                status == "True" and len({*generations.split("=")}) == 1
                for generations, _, status in pairs
            )

        await eventually(ready, f"{len(names)} are ready again", seconds=300, pause=1.0)


async def measure(bed: Filled, count: int, options: argparse.Namespace) -> None:
    """All figures of one number of pipelines."""
    figures: dict[str, Any] = {"pipelines": count, **conditions(), "complete": False}
    begun = time.perf_counter()

    def keep(**found: Any) -> None:
        figures.update(found)
        print(f"{time.perf_counter() - begun:.0f} s: {found}", flush=True)
        others = [one for one in _kept() if one["pipelines"] != count]
        every = sorted([*others, figures], key=lambda one: int(one["pipelines"]))
        write({"scale": every}, OUT, quiet=True)

    keep(empty_rss_mb=rss_mb(bed.pid), many_at_once=await bed.fill(count))
    # What does not rest by then is part of what a minute costs.
    keep(rest_after_s=await bed.resting(count, options.idle_seconds))
    keep(idle=await bed.idle(options.idle_seconds))
    keep(one_more_ms=await one_pipeline(bed.kubectl, bed.server, bed.nats, options.rounds))
    keep(restart=await bed.restart(count))
    keep(churn=await bed.churn(count, options.churn_seconds))
    await bed.resting(count, options.idle_seconds)
    keep(idle_after_churn=await bed.idle(options.idle_seconds))
    keep(restart_after_churn=await bed.restart(count), complete=True)


def _kept() -> list[dict[str, Any]]:
    """What was measured before."""
    return list(json.loads(OUT.read_text())["scale"]) if OUT.exists() else []


def run(count: int, options: argparse.Namespace) -> None:
    """One operator with its servers, and so many pipelines."""
    with operator_bed("bench") as bed:
        filled = Filled(
            bed.kubectl, bed.server, bed.nats, bed.operator, bed.server.create_database()
        )
        asyncio.run(measure(filled, count, options))


def main() -> None:
    """Measure, write, show."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--pipelines", type=whole(1), nargs="+", default=[200, 1000])
    parser.add_argument("--rounds", type=whole(1), default=20)
    parser.add_argument("--idle-seconds", type=positive, default=600)
    parser.add_argument("--churn-seconds", type=positive, default=600)
    options = parser.parse_args()
    for count in options.pipelines:
        run(count, options)
    print(f"written to {OUT}")


if __name__ == "__main__":
    main()
