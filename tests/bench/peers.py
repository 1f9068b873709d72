"""Our relay beside its peers: writes build/bench/peers.json.

Run by `make bench-peers`; optional, because it fetches the peers. Each peer reads the same table
on the same server into the same stream, one after another.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from bench import drain, latency, nats_bench, peer, peers_redis
from bench.bed import POSTGRES_SETTINGS, Bed, a_bed
from bench.conditions import conditions
from bench.debezium import NATS_ASYNC, NATS_SYNC, Debezium
from support.nats import NatsServer
from support.options import positive, some_of, whole
from support.postgres import PostgresServer, running_server

OUT: Final = Path("build/bench/peers.json")
PEERS: Final = (
    Debezium("3.0.0.Final", NATS_SYNC),
    Debezium("3.6.0.Final", NATS_ASYNC),
)


async def on_nats(
    options: argparse.Namespace, postgres: PostgresServer, directory: Path
) -> dict[str, Any]:
    """Ours and every peer, into a stream of JetStream."""
    with NatsServer() as nats:
        figures: dict[str, Any] = {
            "conditions": await conditions(postgres, nats),
            "events": options.events,
            "payload_bytes": options.size,
            "rounds": options.rounds,
            "latency_events_per_s": latency.RATE,
            "peers": {},
        }
        for one in (peer.OurRelay(), *PEERS):
            print(f"{one.name} …", flush=True)
            async with a_bed(postgres, [nats], directory) as bed:
                figures["peers"][one.name] = await _one_peer(one, bed, options)
    return figures


async def _one_peer(one: peer.Peer, bed: Bed, options: argparse.Namespace) -> dict[str, Any]:
    """Drains in turn with the yardstick, then latencies."""
    bench: list[nats_bench.Result] = []
    runs: list[dict[str, float]] = []
    await one.prepare(bed)
    await bed.fill(options.events, options.size)
    for _ in range(options.rounds):
        bench.append(await nats_bench.publish(bed, options.events, options.size))
        runs.append(await peer.cold(one, bed, options.events))
    warm = await peer.warm(one, bed, options)
    print(f"  {one.name}: {drain.rate(runs):,}/s, warm {drain.rate(warm):,}/s, "
          f"nats bench {drain.yardstick(bench)['median']:,}/s", flush=True)  # fmt: skip
    figures = {
        "drain": drain.summary(runs, bench),
        "drain_warm": drain.summary(warm, bench),
        "latency": await peer.latencies(one, bed, options),
    }
    print(f"  {one.name}: {figures['latency']}", flush=True)
    await one.forget(bed)
    return figures


PARTS: Final = {"nats": on_nats, "redis": peers_redis.measure}


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The parts that were asked for, in order."""
    figures: dict[str, Any] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        running_server(**POSTGRES_SETTINGS, wal_level="logical") as postgres,
    ):
        for name in options.parts:
            figures |= await PARTS[name](options, postgres, Path(folder))
    return figures


def main() -> int:
    """Measure and write; parts that are not measured stay as the file has them."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument(
        "--parts", type=some_of(PARTS), default="", help="comma-separated; default: all"
    )
    parser.add_argument("--events", type=whole(1), default=200_000, help="backlog to drain")
    parser.add_argument("--size", type=whole(1), default=512, help="bytes of a payload")
    parser.add_argument("--rounds", type=whole(1), default=2)
    parser.add_argument("--latency-seconds", type=positive, default=15)
    options = parser.parse_args()
    before = json.loads(OUT.read_text()) if OUT.exists() else {}
    figures = before | asyncio.run(measure(options))
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(figures, indent=2) + "\n")
    print(f"written to {OUT}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
