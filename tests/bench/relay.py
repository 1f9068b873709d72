"""How fast, how soon and how cheaply the relay publishes: writes build/bench/relay.json.

Run by `make bench-relay`. Real PostgreSQL and nats-server on loopback, relays as processes of
their own with the defaults. Figures are of one run on one machine; the conditions stand in the
file. docs/explanation/performance.md explains them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench import drain, extremes, idle, latency, probes, steady, writer_overhead
from bench.bed import POSTGRES_SETTINGS, Bed, a_bed, held_transactions
from bench.conditions import conditions
from support.nats import NatsCluster, NatsServer
from support.options import positive, some_of, whole
from support.postgres import PostgresServer, running_server

OUT: Final = Path("build/bench/relay.json")
CLUSTER_SHARE: Final = 5
"""A replicated stream is this much slower, about, so its backlog is this much smaller."""


@dataclass(frozen=True)
class Stage:
    """Servers and choices of a run.

    Attributes:
        held: A second PostgreSQL server, for what is measured under held transactions.
    """

    options: argparse.Namespace
    directory: Path
    postgres: PostgresServer
    held: PostgresServer
    nats: NatsServer

    @contextlib.asynccontextmanager
    async def bed(self, *, shards: int = 1) -> AsyncIterator[Bed]:
        """An outbox on the plain server."""
        async with a_bed(self.postgres, [self.nats], self.directory, shards=shards) as bed:
            yield bed

    @contextlib.asynccontextmanager
    async def two_beds(self) -> AsyncIterator[tuple[Bed, Bed]]:
        """One on the plain server, and one to hold transactions open in, with its own NATS."""
        folder = self.directory / "held"
        folder.mkdir(exist_ok=True)
        with NatsServer() as nats:
            async with self.bed() as plain, a_bed(self.held, [nats], folder) as held:
                yield plain, held


async def drains(stage: Stage) -> dict[str, Any]:
    """Backlog of small transactions, without and with transactions held open."""
    options = stage.options
    async with stage.two_beds() as (plain, held), held_transactions(stage.held, held.url):
        await asyncio.gather(
            plain.fill(options.events, options.size), held.fill(options.events, options.size)
        )
        return await drain.main_figure(plain, held, options.events, options.size, options.rounds)


async def sizes(stage: Stage) -> dict[str, Any]:
    """Other payloads; fewer events where they are large."""
    found = {}
    for size in (64, 4096, 65536):
        events = min(stage.options.events, stage.options.backlog_bytes // (size + 1024))
        async with stage.bed() as bed:
            found[str(size)] = await drain.by_size(bed, events, size, stage.options.side_rounds)
    return found


async def shards(stage: Stage) -> dict[str, Any]:
    """Four shards."""
    options = stage.options
    async with stage.bed(shards=4) as bed:
        return await drain.sharded(bed, options.events, options.size, options.side_rounds)


async def cluster(stage: Stage) -> dict[str, Any]:
    """A stream with three replicas in a cluster of three servers on this machine."""
    options = stage.options
    events = options.events // CLUSTER_SHARE
    with NatsCluster() as servers:
        async with a_bed(stage.postgres, servers.servers, stage.directory, replicas=3) as bed:
            return await drain.by_size(bed, events, options.size, options.side_rounds)


async def latencies(stage: Stage) -> dict[str, Any]:
    """Commit to consumer, without and with transactions held open."""
    options = stage.options
    async with stage.two_beds() as (plain, held), held_transactions(stage.held, held.url):
        return await latency.compare(plain, held, options.latency_seconds, options.latency_rounds)


async def writers(stage: Stage) -> dict[str, Any]:
    """Inserts into the outbox against inserts into a bare table."""
    options = stage.options
    async with stage.bed() as bed:
        return await writer_overhead.compare(
            bed, options.size, options.writer_seconds, options.rounds
        )


async def probing(stage: Stage) -> dict[str, Any]:
    """A thousand probes of relays that drain."""
    options = stage.options
    async with stage.bed() as bed:
        await bed.fill(options.events, options.size)
        return await probes.answered(bed, options.events)


async def extreme(stage: Stage) -> dict[str, Any]:
    """Many shards, a transaction of millions, nudges in quick succession."""
    options = stage.options
    seconds, rounds = options.latency_seconds, options.latency_rounds
    found = {}
    async with stage.bed() as one, stage.bed(shards=extremes.SHARDS) as many:
        found["shards"] = await extremes.many_shards(
            one, many, options.events // CLUSTER_SHARE, options.size, options.side_rounds
        )
    async with stage.bed() as bed:
        found["quick"] = await extremes.quick(bed, seconds, rounds)
        found["uncommitted"] = await extremes.uncommitted(bed, seconds, rounds)
    return found


async def idleness(stage: Stage) -> dict[str, Any]:
    """A relay without events."""
    async with stage.bed() as bed:
        return await idle.cost(bed, stage.options.idle_seconds)


async def steadiness(stage: Stage) -> dict[str, Any]:
    """Ten minutes at a steady rate."""
    options = stage.options
    async with stage.bed() as bed:
        return await steady.run(bed, options.steady_rate, options.size, options.steady_seconds)


PARTS: Final[dict[str, Callable[[Stage], Awaitable[dict[str, Any]]]]] = {
    "drain": drains,
    "sizes": sizes,
    "shards": shards,
    "cluster": cluster,
    "latency": latencies,
    "writer_overhead": writers,
    "extremes": extreme,
    "probes": probing,
    "idle": idleness,
    "steady": steadiness,
}


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The parts that were asked for, in order."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running_server(**POSTGRES_SETTINGS) as postgres,
        running_server(**POSTGRES_SETTINGS) as held,
        NatsServer() as nats,
    ):
        stage = Stage(options, Path(folder), postgres, held, nats)
        figures: dict[str, Any] = {"conditions": await conditions(postgres, nats)}
        for name in options.parts:
            print(f"{name} …", flush=True)
            begun = time.monotonic()
            figures[name] = await PARTS[name](stage)
            print(f"{name}: {time.monotonic() - begun:.0f} s", flush=True)
    return figures


def beside(before: dict[str, Any], again: dict[str, Any]) -> dict[str, Any]:
    """The figures of a whole run with some parts measured again, which the file says."""
    conditions = again.pop("conditions")
    noted = before.get("again", {}) | dict.fromkeys(again, conditions)
    return before | again | {"again": noted}


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument(
        "--parts", type=some_of(PARTS), default="", help="comma-separated; default: all"
    )
    parser.add_argument("--events", type=whole(1), default=500_000, help="backlog to drain")
    parser.add_argument("--size", type=whole(1), default=512, help="bytes of a payload")
    parser.add_argument("--rounds", type=whole(1), default=3, help="of the main figure")
    parser.add_argument("--side-rounds", type=whole(1), default=2, help="of the other drains")
    parser.add_argument(
        "--backlog-bytes", type=whole(1), default=400_000_000, help="largest backlog of other sizes"
    )
    parser.add_argument(
        "--latency-seconds", type=positive, default=15, help="of each way and round"
    )
    parser.add_argument("--latency-rounds", type=whole(1), default=2)
    parser.add_argument("--writer-seconds", type=positive, default=8, help="of each pgbench")
    parser.add_argument("--idle-seconds", type=positive, default=30)
    parser.add_argument("--steady-rate", type=whole(1), default=5_000, help="events per second")
    parser.add_argument("--steady-seconds", type=positive, default=600)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    figures = asyncio.run(measure(options))
    if len(options.parts) < len(PARTS) and options.out.exists():
        figures = beside(json.loads(options.out.read_text()), figures)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(figures, indent=2) + "\n")
    print(f"written to {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
