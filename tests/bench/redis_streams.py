"""The relay on Redis Streams, and handling there: writes build/bench/redis.json.

Run by `make bench-redis`. As `bench.relay`, with Valkey, or what `OUTBOX_TEST_REDIS` names. The
yardstick is the broker's own load generator, `redis-benchmark -c 1 -P 500`, which appends entries
of the same fields and bytes as the relay's to another key of the same server, in turn with it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import resource
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench import consumer_soak, drain, latency
from bench.bed import POSTGRES_SETTINGS
from bench.conditions import machine
from bench.latency import Mode
from bench.measuring import Usage, median, spread
from bench.redis_bed import RedisBed, a_redis_bed
from support.options import positive, some_of, whole
from support.postgres import PostgresServer, running_server
from support.redis import RedisServer, redis_client

OUT: Final = Path("build/bench/redis.json")
KEY: Final = "YARDSTICK"
BENCHMARKS: Final = ("redis-benchmark", "valkey-benchmark")
PIPELINED: Final = 500
PERSISTENCE: Final = ("always", "everysec")
"""Of `appendfsync`: what loses nothing, and what servers do by default."""
SETTINGS: Final[dict[str, Any]] = {"appendonly": "yes", "auto_aof_rewrite_percentage": "0"}
"""The file is not written anew in the middle, which takes a core."""
_RATE: Final = re.compile(r"([\d.]+) requests per second")


class Result(NamedTuple):
    """One run of the yardstick: entries per second, CPU time in microseconds an entry."""

    rate: float
    client_us: float
    server_us: float


@dataclass(frozen=True)
class Stage:
    """Servers and choices of a run."""

    options: argparse.Namespace
    directory: Path
    postgres: PostgresServer

    @contextlib.asynccontextmanager
    async def bed(self, fsync: str) -> AsyncIterator[RedisBed]:
        """An outbox, and a server that writes to disk so often."""
        with RedisServer(**SETTINGS, appendfsync=fsync) as server:
            async with a_redis_bed(self.postgres, server, self.directory) as bed:
                yield bed


def benchmark_program() -> str:
    """Path of the load generator, which Debian has in `redis-tools`.

    Raises:
        SystemExit: There is none.
    """
    found = next((path for name in BENCHMARKS if (path := shutil.which(name))), None)
    if found is None:
        raise SystemExit(f"none of {', '.join(BENCHMARKS)}: apt-get install redis-tools")
    return found


async def append(bed: RedisBed, entries: int, fields: dict[bytes, bytes]) -> Result:
    """Append entries with the yardstick to a key of its own, which is gone afterwards."""
    async with redis_client(bed.redis) as client:
        await client.delete(KEY)
        usage = Usage([], bed.postgres.pid, bed.broker_pids())
        begun = _children_seconds()
        texts = [text for pair in fields.items() for text in pair]
        process = await asyncio.create_subprocess_exec(
            benchmark_program(), "-h", "127.0.0.1", "-p", str(bed.redis.port), "-c", "1",
            "-P", str(PIPELINED), "-n", str(entries), "-q", "XADD", KEY, "*", *texts,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output = (await asyncio.wait_for(process.communicate(), 1800))[0].decode()
        server, used = usage.used()["nats"], _children_seconds() - begun
        stored = await client.xlen(KEY)
        await client.delete(KEY)
    rates = _RATE.findall(output)
    if process.returncode or not rates or stored < entries:
        raise SystemExit(f"the yardstick stored {stored} of {entries} entries:\n{output[-2000:]}")
    return Result(
        float(rates[-1]), round(used / entries * 1e6, 2), round(server / entries * 1e6, 2)
    )


def _children_seconds() -> float:
    """CPU time of child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


async def drains(stage: Stage) -> dict[str, Any]:
    """Backlog of small transactions, in turn with the yardstick, for each way to write to disk."""
    options, found = stage.options, dict[str, Any]()
    for fsync in PERSISTENCE:
        async with stage.bed(fsync) as bed:
            await bed.fill(options.events, options.size)
            runs: list[dict[str, float]] = []
            yardsticks: list[Result] = []
            for _ in range(options.rounds):
                runs.append(await drain.cold(bed, options.events))
                yardsticks.append(await append(bed, options.events, await bed.entry()))
                print(f"  {fsync}: {runs[-1]['events_per_s']:.0f} events/s, yardstick "
                      f"{yardsticks[-1].rate:.0f}", flush=True)  # fmt: skip
            found[fsync] = summary(runs, yardsticks)
    return {"events": options.events, "payload_bytes": options.size, **found}


def summary(runs: list[dict[str, float]], yardsticks: list[Result]) -> dict[str, Any]:
    """Medians of runs that alternated with the yardstick, and the ratio of the two."""
    rates, bench = [run["events_per_s"] for run in runs], [one.rate for one in yardsticks]
    return {
        "events_per_s": spread(rates),
        "redis_benchmark": {
            **spread(bench),
            "client_us": median([one.client_us for one in yardsticks], 2),
            "server_us": median([one.server_us for one in yardsticks], 2),
        },
        "ratio": round(median(rates) / median(bench), 3),
        "cpu_us_per_event": {
            part: median([run[f"{where}_us_per_event"] for run in runs], 2)
            for part, where in (("relay", "relay"), ("postgres", "postgres"), ("redis", "nats"))
        },
        "bytes_per_event": round(runs[-1]["stream_bytes_per_event"]),
        "peak_rss_mb": max(run["peak_rss_mb"] for run in runs),
        "foreign_cpu_s": max(run["foreign_cpu_s"] for run in runs),
        "stolen_cpu_s": max(run["stolen_cpu_s"] for run in runs),
    }


async def latencies(stage: Stage) -> dict[str, Any]:
    """Commit to reader at a steady rate: floor, nudged, by polling, in turn."""
    options = stage.options
    ways: tuple[Mode, ...] = ("floor", "nudge", "polling")
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    async with stage.bed("always") as bed:
        for _ in range(options.latency_rounds):
            for way in ways:
                runs[way].append(await latency.one(bed, way, options.latency_seconds))
                print(f"  {way}: p50 {runs[way][-1]['p50']} ms", flush=True)
    return {
        "events_per_s": latency.RATE,
        "seconds": options.latency_seconds,
        "rounds": options.latency_rounds,
        **{way: latency.median_of(found) for way, found in runs.items()},
    }


async def soak(stage: Stage) -> dict[str, Any]:
    """Row to effect for minutes, with failing handlers, Redis and PostgreSQL killed."""
    return await consumer_soak.run(stage.options.soak_seconds, in_redis=True)


PARTS: Final = {"drain": drains, "latency": latencies, "soak": soak}


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The parts that were asked for, in order."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running_server(**POSTGRES_SETTINGS) as postgres,
    ):
        where = {**await machine(postgres), "server": await server_version()}
        stage = Stage(options, Path(folder), postgres)
        figures: dict[str, Any] = {"conditions": where}
        for name in options.parts:
            print(f"{name} …", flush=True)
            figures[name] = await PARTS[name](stage)
    return {"redis": figures}


async def server_version() -> str:
    """Which server is measured."""
    with RedisServer() as server:
        async with redis_client(server) as client:
            facts = await client.info("server")
    if "valkey_version" in facts:
        return f"Valkey {facts['valkey_version']}"
    return f"Redis {facts['redis_version']}"


def main() -> int:
    """Measure and write; parts that are not measured stay as the file has them."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument(
        "--parts", type=some_of(PARTS), default="", help="comma-separated; default: all"
    )
    parser.add_argument("--events", type=whole(1), default=300_000, help="backlog to drain")
    parser.add_argument("--size", type=whole(1), default=512, help="bytes of a payload")
    parser.add_argument("--rounds", type=whole(1), default=3)
    parser.add_argument(
        "--latency-seconds", type=positive, default=15, help="of each way and round"
    )
    parser.add_argument("--latency-rounds", type=whole(1), default=2)
    parser.add_argument("--soak-seconds", type=positive, default=600)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    benchmark_program()
    figures = asyncio.run(measure(options))
    if len(options.parts) < len(PARTS) and options.out.exists():
        before = json.loads(options.out.read_text())["redis"]
        figures = {"redis": {**before, **figures["redis"]}}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(figures, indent=2) + "\n")
    print(f"written to {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
