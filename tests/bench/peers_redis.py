"""Our relay beside its peers on Redis Streams: a part of `bench.peers`.

Whoever appends, entries carry the id of their event, and all are read after each drain: every
event of the table must be there. The yardstick is that of `bench.redis_streams`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Final

from bench import drain, latency, peer, redis_streams
from bench.bed import LONGEST_SECONDS
from bench.conditions import machine
from bench.debezium import REDIS, Debezium
from bench.redis_bed import KEY, Fields, RedisBed, a_redis_bed
from support.postgres import PostgresServer
from support.redis import RedisServer, redis_client
from support.waiting import eventually

_PAGE: Final = 10_000
"""Entries in one answer."""


class PeerBed(RedisBed):
    """As `RedisBed`, for entries whose numbers the server gives."""

    fields = Fields("ID", "value")

    def check(self, state: dict[str, Any], events: int) -> None:
        """Nothing: `repeated` looks at the events themselves."""


PEERS: Final[tuple[tuple[peer.Peer, type[RedisBed]], ...]] = (
    (peer.OurRelay(), RedisBed),
    (Debezium("3.6.0.Final", REDIS), PeerBed),
)


async def measure(
    options: argparse.Namespace, postgres: PostgresServer, directory: Path
) -> dict[str, Any]:
    """Ours and every peer, on a server that writes to disk before it answers."""
    redis_streams.benchmark_program()
    figures: dict[str, Any] = {
        "conditions": {**await machine(postgres), "server": await redis_streams.server_version()},
        "events": options.events,
        "payload_bytes": options.size,
        "rounds": options.rounds,
        "latency_events_per_s": latency.RATE,
        "peers": {},
    }
    with RedisServer(**redis_streams.SETTINGS, appendfsync="always") as server:
        for one, kind in PEERS:
            print(f"{one.name}, Redis …", flush=True)
            async with a_redis_bed(postgres, server, directory, kind) as bed:
                figures["peers"][one.name] = await _one_peer(one, bed, options)
    return {"peers_on_redis": figures}


async def _one_peer(one: peer.Peer, bed: RedisBed, options: argparse.Namespace) -> dict[str, Any]:
    """Drains in turn with the yardstick, then latencies."""
    runs: list[dict[str, float]] = []
    yardsticks: list[redis_streams.Result] = []
    twice = 0
    await one.prepare(bed)
    await bed.fill(options.events, options.size)
    for _ in range(options.rounds):
        runs.append(await peer.cold(one, bed, options.events))
        twice += await repeated(bed)
        yardsticks.append(await redis_streams.append(bed, options.events, await bed.entry()))
    warm = await peer.warm(one, bed, options)
    twice += await repeated(bed)
    print(f"  {one.name}: {drain.rate(runs):,}/s, warm {drain.rate(warm):,}/s, "
          f"{twice} events twice", flush=True)  # fmt: skip
    figures = {
        "drain": redis_streams.summary(runs, yardsticks),
        "drain_warm": redis_streams.summary(warm, yardsticks),
        "twice": twice,
        "latency": await peer.latencies(one, bed, options),
    }
    print(f"  {one.name}: {figures['latency']}", flush=True)
    await one.forget(bed)
    return figures


async def repeated(bed: RedisBed) -> int:
    """How many entries repeat an event. Waits until all events of the table are there."""
    rows = await bed.connection.fetch("SELECT event_id FROM outbox.events")
    wanted = {str(event_id) for (event_id,) in rows}
    found: list[str] = []

    async def all_there() -> bool:
        found[:] = await _event_ids(bed)
        return wanted <= set(found)

    await eventually(all_there, "every event in the stream", pause=1, seconds=LONGEST_SECONDS)
    return len(found) - len(wanted)


async def _event_ids(bed: RedisBed) -> list[str]:
    found: list[str] = []
    last = "-"
    async with redis_client(bed.redis) as client:
        while entries := await client.xrange(KEY, last, count=_PAGE):
            # Debezium's header is JSON, a text in quotes.
            found += [fields[bed.fields.event_id].strip('"') for _, fields in entries]
            last = f"({entries[-1][0]}"
    return found
