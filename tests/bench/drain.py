"""Draining a backlog: from owning the shard to the last event in the stream."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import asyncpg

from bench import nats_bench
from bench.bed import LONGEST_SECONDS, Bed
from bench.measuring import median, peak_rss_mb, spread
from support.waiting import eventually

_POLL_SECONDS: Final = 0.02


async def cold(bed: Bed, events: int) -> dict[str, float]:
    """A relay starts before a backlog. The clock runs from its taking the shard.

    Returns:
        Figures of one drain; see `_figures`.
    """
    await bed.rewind()
    started = time.time()
    relay = await bed.claiming_relay()
    begun = time.time()
    figures = await finish(bed, events, [relay.pid], begun)
    relay.terminate()
    return figures | {"boot_s": round(begun - started, 2)}


async def big_transaction(bed: Bed, events: int, size: int) -> float:
    """Commit a whole backlog at once, and nudge, as the library does; when the commit was sent."""
    writer = await asyncpg.connect(bed.url)
    try:
        await writer.execute("BEGIN")
        await writer.execute("CALL bench_fill($1, $2, false)", events, size)
        begun = time.time()
        await writer.execute("COMMIT")
        await bed.nudge()
    finally:
        await writer.close()
    # What its server process used would be counted as used afterwards, if it ended meanwhile.
    process = Path(f"/proc/{writer.get_server_pid()}")

    async def gone() -> bool:
        return not await asyncio.to_thread(process.exists)

    await eventually(
        gone, "the end of the writer's server process", pause=0.001, seconds=LONGEST_SECONDS
    )
    return begun


async def finish(
    bed: Bed, events: int, relays: list[int], begun: float, already: int = 0
) -> dict[str, float]:
    """Wait for the last event of a drain that began at `begun`; what these processes needed.

    Args:
        already: Messages that were in the stream before.
    """
    usage = bed.usage(*relays)
    state = await _all_stored(bed, already + events)
    return {
        **_figures(events, _unix(state["last_ts"]) - begun, usage.used()),
        "stream_bytes_per_event": round(state["bytes"] / state["messages"]),
        "peak_rss_mb": max(peak_rss_mb(pid) for pid in relays),
    }


async def warm(
    bed: Bed, events: int, size: int, relays: int, *, before: int = 0
) -> dict[str, float]:
    """Idle relays, then one big transaction commits. The clock runs from its commit.

    That is how several relays can be measured: they share the shards before work comes.

    Args:
        before: Events of a transaction that they drain first, which does not count.
    """
    await bed.clear()
    processes = [bed.relay().start() for _ in range(relays)]
    for process in processes:
        await process.ready()
    pids = [process.pid for process in processes]
    if before:
        await finish(bed, before, pids, await big_transaction(bed, before, size))
    figures = await finish(bed, events, pids, await big_transaction(bed, events, size), before)
    for process in processes:
        process.terminate()
    return figures


async def _all_stored(bed: Bed, events: int) -> dict[str, Any]:
    """Wait for the last event; the stream's state then. Checks that there are no others."""
    state: dict[str, Any] = {}

    async def all_there() -> bool:
        state.update(await bed.stream_state())
        return bool(state["messages"] >= events)

    await eventually(
        all_there, f"{events} messages in the stream", pause=_POLL_SECONDS, seconds=LONGEST_SECONDS
    )
    bed.check(state, events)
    return state


def _unix(stamp: str) -> float:
    """Seconds since 1970 of the server's nanosecond stamp."""
    whole, _, fraction = stamp.rstrip("Z").partition(".")
    moment = datetime.fromisoformat(whole).replace(tzinfo=UTC)
    return moment.timestamp() + float(f"0.{fraction or 0}")


def _figures(events: int, seconds: float, used: dict[str, float]) -> dict[str, float]:
    """What one drain tells: rate, and CPU time by part in microseconds an event."""
    return {
        "events_per_s": round(events / seconds),
        "seconds": round(seconds, 3),
        "relay_us_per_event": round(used["relay"] / events * 1e6, 2),
        "relay_user_us_per_event": round(used["relay_user"] / events * 1e6, 2),
        "postgres_us_per_event": round(used["postgres"] / events * 1e6, 2),
        "nats_us_per_event": round(used["nats"] / events * 1e6, 2),
        "bench_cpu_s": used["bench"],
        "foreign_cpu_s": used["foreign"],
        "stolen_cpu_s": used["stolen"],
    }


def rate(runs: list[dict[str, float]]) -> float:
    """Median of events per second."""
    return median([run["events_per_s"] for run in runs])


def yardstick(runs: list[nats_bench.Result]) -> dict[str, float]:
    """Messages per second, and CPU time by part in microseconds a message."""
    return {
        **spread([one.rate for one in runs]),
        "client_us": median([one.client_us for one in runs], 2),
        "server_us": median([one.server_us for one in runs], 2),
    }


def summary(runs: list[dict[str, float]], yardsticks: list[nats_bench.Result]) -> dict[str, Any]:
    """Medians of runs that alternated with the yardstick.

    Returns:
        `ratio_to_nats_bench` is the ratio of the medians.
    """
    bench = median([one.rate for one in yardsticks])
    return {
        "drain_events_per_s": rate(runs),
        "nats_bench_msgs_per_s": bench,
        "ratio_to_nats_bench": round(rate(runs) / bench, 3),
        "python_us_per_event": median([run["relay_us_per_event"] for run in runs], 2),
        "cpu_us_per_event": {
            part: median([run[f"{part}_us_per_event"] for run in runs], 2)
            for part in ("relay", "postgres", "nats")
        },
        "peak_rss_mb": max(run["peak_rss_mb"] for run in runs),
        "events_per_s": spread([run["events_per_s"] for run in runs]),
        "nats_bench": yardstick(yardsticks),
        "runs": runs,
    }


async def main_figure(plain: Bed, held: Bed, events: int, size: int, rounds: int) -> dict[str, Any]:
    """The main figure: yardstick, plain drain, drain under held transactions, in turn."""
    bench: list[nats_bench.Result] = []
    with_ids: list[nats_bench.Result] = []
    runs: list[dict[str, float]] = []
    held_runs: list[dict[str, float]] = []
    for number in range(rounds):
        bench.append(await nats_bench.publish(plain, events, size))
        runs.append(await cold(plain, events))
        with_ids.append(await nats_bench.publish(plain, events, size, ids=True))
        held_runs.append(await cold(held, events))
        print(f"  round {number + 1}: nats bench {bench[-1].rate:,}/s, "
              f"with ids {with_ids[-1].rate:,}/s, relay {runs[-1]['events_per_s']:,}/s, "
              f"held {held_runs[-1]['events_per_s']:,}/s", flush=True)  # fmt: skip
    figure = summary(runs, bench)
    under = summary(held_runs, bench)
    return {
        "events": events,
        "payload_bytes": size,
        **figure,
        "nats_bench_with_ids": yardstick(with_ids),
        "ratio_to_nats_bench_with_ids": round(
            figure["drain_events_per_s"] / yardstick(with_ids)["median"], 3
        ),
        "held_transaction": {
            **under,
            "ratio_to_without": round(
                under["drain_events_per_s"] / figure["drain_events_per_s"], 3
            ),
        },
    }


async def by_size(bed: Bed, events: int, size: int, rounds: int) -> dict[str, Any]:
    """Another payload size, against the yardstick of that size."""
    bench: list[nats_bench.Result] = []
    runs: list[dict[str, float]] = []
    await bed.fill(events, size)
    for _ in range(rounds):
        bench.append(await nats_bench.publish(bed, events, size))
        runs.append(await cold(bed, events))
    print(f"  {size} bytes: nats bench {yardstick(bench)['median']:,}/s, "
          f"relay {rate(runs):,}/s", flush=True)  # fmt: skip
    return {"events": events, "payload_bytes": size, **summary(runs, bench)}


async def sharded(bed: Bed, events: int, size: int, rounds: int) -> dict[str, Any]:
    """The bed's shards, drained warm by one and by two relay processes in turn."""
    bench: list[nats_bench.Result] = []
    runs: dict[int, list[dict[str, float]]] = {1: [], 2: []}
    for _ in range(rounds):
        bench.append(await nats_bench.publish(bed, events, size))
        for relays in runs:
            runs[relays].append(await warm(bed, events, size, relays))
    for relays, found in runs.items():
        print(f"  {bed.shards} shards, {relays} relays: "
              f"{rate(found):,}/s", flush=True)  # fmt: skip
    return {
        "events": events,
        "payload_bytes": size,
        "shards": bed.shards,
        **{f"relays_{relays}": summary(found, bench) for relays, found in runs.items()},
    }
