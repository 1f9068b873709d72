"""Latency from commit to consumer at a steady rate: with nudge, by polling, and the floor.

A writer and a consumer, each a process of its own, share the machine's monotonic clock. The
clock of an event starts just before its INSERT with COMMIT is sent (`from_commit_sent`), and once
more when the commit has returned (`from_committed`), and ends where the consumer's program gets
the message. The floor has no relay: the writer publishes by itself after its commit.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any, Final, Literal

from bench.bed import NAMESPACE, PIPELINE, STREAM, Bed
from bench.measuring import median, peak_rss_mb
from outbox_operator.wire.subjects import nudge_subject
from support.kube import ROOT

Mode = Literal["floor", "nudge", "polling"]
"""The floor: the writer publishes by itself. The others: a relay does, nudged or not."""
RATE: Final = 500
WARM_UP: Final = 5 * RATE
"""Events at the beginning that do not count: a Java peer needs some seconds to be compiled."""


async def one(bed: Bed, mode: Mode, seconds: float) -> dict[str, Any]:
    """One run with our relay, or none; milliseconds and CPU use of the relay."""
    await bed.clear()
    if mode == "floor":
        return await run(bed, mode, seconds, None)
    relay = await bed.relay().start().ready()
    figures = await run(bed, mode, seconds, relay.pid)
    relay.terminate()
    return figures


async def run(
    bed: Bed, mode: Mode, seconds: float, relay: int | None, *, rate: int = RATE
) -> dict[str, Any]:
    """Write and consume while a relay, any relay, does its work.

    Args:
        relay: Its process; None when there is none.
        rate: Events a second.
    """
    events = int(seconds * rate) + WARM_UP
    task = {
        "database": bed.url,
        **bed.broker(),
        "events": events,
        "rate": rate,
        "nudge": nudge_subject(NAMESPACE, PIPELINE) if mode == "nudge" else None,
        "publish": f"{STREAM}.order.created" if mode == "floor" else None,
    }
    consumer = await _program("consumer", task)
    assert consumer.stdout is not None
    await consumer.stdout.readline()  # it listens
    usage = bed.usage(*([relay] if relay else []))
    begun = time.monotonic()
    writer = await _program("writer", task)
    written = json.loads((await asyncio.wait_for(writer.communicate(), 1800))[0])
    arrived = json.loads((await asyncio.wait_for(consumer.communicate(), 600))[0])
    elapsed, used = time.monotonic() - begun, usage.used()
    assert writer.returncode == 0, "the writer failed"
    assert consumer.returncode == 0, "the consumer failed"
    figures = _percentiles(written, arrived, events)
    if relay is not None:
        figures["relay_cpu_percent"] = round(used["relay"] / elapsed * 100, 1)
        figures["relay_peak_rss_mb"] = peak_rss_mb(relay)
    figures["postgres_cpu_percent"] = round(used["postgres"] / elapsed * 100, 1)
    return figures


async def _program(role: str, task: dict[str, Any]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.latency_programs", role, json.dumps(task),
        stdout=asyncio.subprocess.PIPE, cwd=ROOT / "tests", limit=1 << 30,
    )  # fmt: skip


def _percentiles(
    written: list[tuple[int, int, int]], arrived: list[tuple[int, int]], events: int
) -> dict[str, Any]:
    """Figures of a run.

    Args:
        written: Per event its number, and when its commit was sent and had returned.
        arrived: Per event its number and when it came.
    """
    assert len(arrived) == events, f"{len(arrived)} of {events} events arrived"
    came = dict(arrived)
    assert len(came) == events, "an event arrived twice"
    counted = [line for line in written if line[0] >= WARM_UP]
    return {
        **_summary([(came[n] - sent) / 1e6 for n, sent, _ in counted]),
        "after_commit_returned": _summary([(came[n] - done) / 1e6 for n, _, done in counted]),
        "commit_itself": _summary([(done - sent) / 1e6 for _, sent, done in counted]),
        "events": len(counted),
    }


def _summary(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)

    def at(share: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))], 2)

    return {"p50": at(0.5), "p95": at(0.95), "p99": at(0.99), "max": round(ordered[-1], 2)}


async def compare(plain: Bed, held: Bed, seconds: float, rounds: int) -> dict[str, Any]:
    """Every way in turn, some rounds; per figure the median of the rounds."""
    ways: dict[str, tuple[Bed, Mode]] = {
        "floor": (plain, "floor"),
        "nudge": (plain, "nudge"),
        "polling": (plain, "polling"),
        "nudge_held_transaction": (held, "nudge"),
        "polling_held_transaction": (held, "polling"),
    }
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, (bed, mode) in ways.items():
            runs[way].append(await one(bed, mode, seconds))
            found = runs[way][-1]
            print(f"  {way}: p50 {found['p50']} p99 {found['p99']} max {found['max']} ms",
                  flush=True)  # fmt: skip
    return {
        "events_per_s": RATE,
        "seconds": seconds,
        "rounds": rounds,
        **{way: median_of(found) for way, found in runs.items()},
    }


def median_of(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Figure by figure the median of some runs, but the largest of what is a largest."""
    merged: dict[str, Any] = {}
    for name, value in runs[0].items():
        values = [run[name] for run in runs]
        if isinstance(value, dict):
            merged[name] = median_of(values)
        elif name in ("max", "relay_peak_rss_mb"):
            merged[name] = max(values)
        elif name == "events":
            merged[name] = sum(values)
        else:
            merged[name] = median(values, 2)
    return merged
