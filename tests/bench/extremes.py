"""What is far from the middle: many shards, a transaction of millions, nudges in quick succession.

Each figure stands beside that of the plain case, measured in turn with it.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

import asyncpg

from bench import drain, latency
from bench.bed import Bed
from bench.measuring import median

SHARDS: Final = 64
UNCOMMITTED: Final = 2_000_000
QUICK: Final = 2000
"""Events a second."""


async def many_shards(one: Bed, many: Bed, events: int, size: int, rounds: int) -> dict[str, Any]:
    """CPU of PostgreSQL and relay for an event, in one shard and in many, by one relay each.

    Each has drained as much before: to plan a statement costs once in each of 64 sessions.
    """
    parts = ("relay_us_per_event", "postgres_us_per_event")
    runs: dict[int, list[dict[str, float]]] = {one.shards: [], many.shards: []}
    for _ in range(rounds):
        for bed in (one, many):
            runs[bed.shards].append(await drain.warm(bed, events, size, 1, before=events))
    found = {
        shards: {part: median([run[part] for run in those], 2) for part in parts}
        for shards, those in runs.items()
    }
    print(f"  µs an event by shards: {found}", flush=True)
    return {
        "events": events,
        "shards": many.shards,
        "one": found[one.shards],
        "many": found[many.shards],
    }


async def uncommitted(bed: Bed, seconds: float, rounds: int) -> dict[str, Any]:
    """Latency of nudged events, without and while one transaction holds millions uncommitted."""
    runs: dict[str, list[dict[str, Any]]] = {"without": [], "beside": []}
    for _ in range(rounds):
        for name, rows in (("without", 0), ("beside", UNCOMMITTED)):
            await bed.clear()
            async with _held(bed, rows):
                relay = await bed.relay().start().ready()
                runs[name].append(await latency.run(bed, "nudge", seconds, relay.pid))
                relay.terminate()
                bed.stop()
            print(f"  {rows} uncommitted: p50 {runs[name][-1]['p50']} ms", flush=True)
    return {
        "rows": UNCOMMITTED,
        **{name: latency.median_of(those) for name, those in runs.items()},
    }


async def quick(bed: Bed, seconds: float, rounds: int) -> dict[str, Any]:
    """Latency of nudged events that come quickly."""
    runs = []
    for _ in range(rounds):
        await bed.clear()
        relay = await bed.relay().start().ready()
        runs.append(await latency.run(bed, "nudge", seconds, relay.pid, rate=QUICK))
        relay.terminate()
        bed.stop()
        print(f"  {QUICK}/s: p50 {runs[-1]['p50']} p99 {runs[-1]['p99']} ms", flush=True)
    return {"events_per_s": QUICK, **latency.median_of(runs)}


@contextlib.asynccontextmanager
async def _held(bed: Bed, rows: int) -> AsyncIterator[None]:
    """An open transaction with so many events, which is rolled back."""
    connection = await asyncpg.connect(bed.url)
    try:
        await connection.execute("BEGIN")
        await connection.execute(
            "INSERT INTO outbox.events (event_type, partition_key, payload) "
            "SELECT 'order.created', 'customer-' || n % 1000, '{}' FROM generate_series(1, $1) n",
            rows,
            timeout=600,
        )
        yield
    finally:
        await connection.close()
