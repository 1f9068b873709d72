"""Many minutes at a steady rate: does memory, bloat or lag grow?"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any, Final

from bench.bed import Bed
from bench.measuring import peak_rss_mb, rss_mb, slope_per_minute
from support.postgres import binaries
from support.waiting import eventually

_SAMPLE_SECONDS: Final = 5.0
_CLIENTS: Final = 8
_WARM_UP: Final = 0.1
"""Share of the samples, at the beginning, that slopes leave out."""
_SCRIPT: Final = """\\set customer random(1, 1000)
INSERT INTO outbox.events (event_type, partition_key, payload)
VALUES ('order.created', 'customer-' || :customer, '{{"pad": "{pad}"}}');
"""
_SAMPLE: Final = """
SELECT (SELECT last_value FROM outbox.events_position_seq) AS committed,
       (SELECT coalesce(sum(n_dead_tup), 0) FROM pg_stat_user_tables
        WHERE schemaname = 'outbox' AND relname LIKE 'events%') AS dead_events,
       (SELECT coalesce(sum(n_dead_tup), 0) FROM pg_stat_user_tables
        WHERE schemaname = 'outbox' AND relname = 'cursors') AS dead_cursors,
       (SELECT sum(pg_total_relation_size(relid)) FROM pg_stat_user_tables
        WHERE schemaname = 'outbox' AND relname LIKE 'events%') AS events_bytes,
       pg_total_relation_size('outbox.cursors') AS cursors_bytes
"""


async def run(bed: Bed, rate: int, size: int, seconds: float) -> dict[str, Any]:
    """Single-row transactions at `rate` a second, no nudges; samples and their slopes."""
    await bed.clear()
    relay = await bed.relay().start().ready()
    script = bed.directory / "insert.sql"
    script.write_text(_SCRIPT.format(pad="x" * (size - 11)))
    first = await _sample(bed, relay.pid, 0.0)
    usage, begun = bed.usage(relay.pid), time.monotonic()
    writer = await _pgbench(bed, script, rate, seconds)
    samples: list[dict[str, float]] = []
    while writer.returncode is None:
        await asyncio.wait({asyncio.ensure_future(writer.wait())}, timeout=_SAMPLE_SECONDS)
        if writer.returncode is None:
            samples.append(await _sample(bed, relay.pid, time.monotonic() - begun))
    elapsed, used = time.monotonic() - begun, usage.used()
    assert writer.stdout is not None
    output = (await writer.stdout.read()).decode()
    assert writer.returncode == 0, output
    left = await _caught_up(bed, first["committed"])
    counted = samples[int(len(samples) * _WARM_UP) :]
    figures = {
        "events_per_s": round((samples[-1]["committed"] - first["committed"]) / samples[-1]["s"]),
        "seconds": round(elapsed),
        "payload_bytes": size,
        "rss_mb": {
            "first": counted[0]["rss_mb"],
            "last": counted[-1]["rss_mb"],
            "peak": peak_rss_mb(relay.pid),
            "slope_mb_per_minute": _slope(counted, "rss_mb", 3),
        },
        "lag_events": {
            "median": sorted(sample["lag"] for sample in counted)[len(counted) // 2],
            "max": max(sample["lag"] for sample in counted),
            "slope_per_minute": _slope(counted, "lag", 2),
            "seconds_to_catch_up_at_the_end": left,
        },
        "dead_tuples": {
            "events_max": max(sample["dead_events"] for sample in samples),
            "cursors_max": max(sample["dead_cursors"] for sample in samples),
        },
        "cursors_kb": {
            "first": round(counted[0]["cursors_bytes"] / 1024),
            "last": round(counted[-1]["cursors_bytes"] / 1024),
        },
        "table_bytes_per_event": round(
            (samples[-1]["events_bytes"] - first["events_bytes"])
            / (samples[-1]["committed"] - first["committed"])
        ),
        "relay_cpu_percent": round(used["relay"] / elapsed * 100, 1),
        "postgres_cpu_percent": round(used["postgres"] / elapsed * 100, 1),
        "nats_cpu_percent": round(used["nats"] / elapsed * 100, 1),
        "samples": [
            {name: round(value, 1) for name, value in sample.items()} for sample in samples
        ],
    }
    relay.terminate()
    return figures


async def _pgbench(bed: Bed, script: Path, rate: int, seconds: float) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        str(binaries() / "pgbench"), "--no-vacuum", "--protocol=prepared",
        f"--client={_CLIENTS}", "--jobs=2", f"--rate={rate}", f"--time={seconds:.0f}",
        f"--file={script}", bed.url,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip


async def _sample(bed: Bed, pid: int, seconds: float) -> dict[str, float]:
    """What is looked at; `lag` is positions given out less messages stored."""
    row = await bed.connection.fetchrow(_SAMPLE)
    assert row is not None
    stored = (await bed.stream_state())["messages"]
    return {
        "s": seconds,
        "rss_mb": rss_mb(pid),
        **{name: float(value) for name, value in row.items()},
        "lag": max(0.0, float(row["committed"]) - stored),
    }


async def _caught_up(bed: Bed, before: float) -> float:
    """Seconds until every event is in the stream after the writers have stopped."""
    begun = time.monotonic()
    committed = await bed.connection.fetchval("SELECT count(*) FROM outbox.events")

    async def caught_up() -> bool:
        return bool((await bed.stream_state())["messages"] >= committed)

    await eventually(caught_up, "the relay to catch up", pause=0.01, seconds=60)
    return round(time.monotonic() - begun, 2)


def _slope(samples: list[dict[str, float]], name: str, digits: int) -> float:
    return round(slope_per_minute([(sample["s"], sample[name]) for sample in samples]), digits)
