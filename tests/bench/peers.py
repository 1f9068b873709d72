"""Our relay beside its peers: writes build/bench/peers.json.

Run by `make bench-peers`; optional, because it fetches the peers. Each peer reads the same table
on the same server into the same stream, one after another.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from bench import drain, latency, nats_bench
from bench.bed import POSTGRES_SETTINGS, Bed, a_bed
from bench.conditions import conditions
from bench.debezium import Debezium
from support.nats import NatsServer
from support.options import positive, whole
from support.postgres import PostgresServer, running_server

OUT: Final = Path("build/bench/peers.json")
PEERS: Final = (
    Debezium("3.0.0.Final", asynchronous=False),
    Debezium("3.6.0.Final", asynchronous=True),
)


class Peer(Protocol):
    """What a peer must be able to do."""

    @property
    def name(self) -> str: ...
    async def prepare(self, bed: Bed) -> None: ...
    async def rewind(self, bed: Bed) -> None: ...
    def running(self, bed: Bed) -> contextlib.AbstractAsyncContextManager[int]: ...
    async def forget(self, bed: Bed) -> None: ...


@dataclass
class OurRelay:
    """The relay of this project."""

    name: str = "outbox-operator"

    async def prepare(self, bed: Bed) -> None:
        """Nothing: the migrations have done it."""

    async def rewind(self, bed: Bed) -> None:
        """Before all events again."""
        await bed.rewind()

    @contextlib.asynccontextmanager
    async def running(self, bed: Bed) -> AsyncIterator[int]:
        """The process, once it has taken its shard."""
        relay = await bed.claiming_relay()
        yield relay.pid
        relay.terminate()

    async def forget(self, bed: Bed) -> None:
        """Nothing."""


async def one_peer(
    peer: Peer, postgres: PostgresServer, nats: NatsServer, directory: Path,
    options: argparse.Namespace,
) -> dict[str, Any]:  # fmt: skip
    """Drains in turn with the yardstick, then latencies."""
    bench: list[nats_bench.Result] = []
    runs: list[dict[str, float]] = []
    warm: list[dict[str, float]] = []
    async with a_bed(postgres, [nats], directory) as bed:
        await peer.prepare(bed)
        await bed.fill(options.events, options.size)
        for _ in range(options.rounds):
            bench.append(await nats_bench.publish(bed, options.events, options.size))
            await peer.rewind(bed)
            async with peer.running(bed) as pid:
                runs.append(await drain.finish(bed, options.events, [pid], time.time()))
        await bed.clear()
        async with peer.running(bed) as pid:
            for number in range(options.rounds + 1):
                begun = await drain.big_transaction(bed, options.events, options.size)
                already = number * options.events
                warm.append(await drain.finish(bed, options.events, [pid], begun, already))
        del warm[0]  # a Java peer needs it to be compiled
        print(f"  {peer.name}: {drain.rate(runs):,}/s, warm {drain.rate(warm):,}/s, "
              f"nats bench {drain.yardstick(bench)['median']:,}/s", flush=True)  # fmt: skip
        figures: dict[str, Any] = {
            "drain": drain.summary(runs, bench),
            "drain_warm": drain.summary(warm, bench),
        }
        found: dict[str, list[dict[str, Any]]] = {}
        for _ in range(options.rounds):
            for mode in ("nudge", "polling") if isinstance(peer, OurRelay) else ("polling",):
                await bed.clear()
                async with peer.running(bed) as pid:
                    found.setdefault(mode, []).append(
                        await latency.run(bed, mode, options.latency_seconds, pid)
                    )
        figures["latency"] = {mode: latency.median_of(runs) for mode, runs in found.items()}
        print(f"  {peer.name}: {figures['latency']}", flush=True)
        await peer.forget(bed)
    return figures


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Ours and every peer."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running_server(**POSTGRES_SETTINGS, wal_level="logical") as postgres,
        NatsServer() as nats,
    ):
        figures: dict[str, Any] = {
            "conditions": await conditions(postgres, nats),
            "events": options.events,
            "payload_bytes": options.size,
            "rounds": options.rounds,
            "latency_events_per_s": latency.RATE,
            "peers": {},
        }
        for peer in (OurRelay(), *PEERS):
            print(f"{peer.name} …", flush=True)
            figures["peers"][peer.name] = await one_peer(
                peer, postgres, nats, Path(folder), options
            )
    return figures


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--events", type=whole(1), default=200_000, help="backlog to drain")
    parser.add_argument("--size", type=whole(1), default=512, help="bytes of a payload")
    parser.add_argument("--rounds", type=whole(1), default=2)
    parser.add_argument("--latency-seconds", type=positive, default=15)
    options = parser.parse_args()
    figures = asyncio.run(measure(options))
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(figures, indent=2) + "\n")
    print(f"written to {OUT}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
