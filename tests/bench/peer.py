"""What is done with every peer, whatever the broker: drains cold and warm, and latencies."""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Protocol

from bench import drain, latency
from bench.bed import Bed


class Peer(Protocol):
    """What a peer must be able to do."""

    @property
    def name(self) -> str: ...
    async def prepare(self, bed: Bed) -> None: ...
    async def rewind(self, bed: Bed) -> None: ...
    def running(self, bed: Bed) -> contextlib.AbstractAsyncContextManager[int]: ...
    async def settle(self, bed: Bed) -> None: ...
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

    async def settle(self, bed: Bed) -> None:
        """Nothing: its cursor says where it is."""

    async def forget(self, bed: Bed) -> None:
        """Nothing."""


async def cold(peer: Peer, bed: Bed, events: int) -> dict[str, float]:
    """A peer starts before a backlog. The clock runs from when it takes its source."""
    await peer.rewind(bed)
    async with peer.running(bed) as pid:
        return await drain.finish(bed, events, [pid], time.time())


async def warm(peer: Peer, bed: Bed, options: argparse.Namespace) -> list[dict[str, float]]:
    """One process gets a big transaction each round, and one before that does not count."""
    runs: list[dict[str, float]] = []
    await bed.clear()
    async with peer.running(bed) as pid:
        for number in range(options.rounds + 1):
            begun = await drain.big_transaction(bed, options.events, options.size)
            already = number * options.events
            runs.append(await drain.finish(bed, options.events, [pid], begun, already))
    return runs[1:]  # a Java peer needs the first to be compiled


async def latencies(peer: Peer, bed: Bed, options: argparse.Namespace) -> dict[str, Any]:
    """From commit to consumer at a steady rate: nudged, if the peer can be, and by polling."""
    found: dict[str, list[dict[str, Any]]] = {}
    for _ in range(options.rounds):
        for mode in ("nudge", "polling") if isinstance(peer, OurRelay) else ("polling",):
            await bed.clear()
            async with peer.running(bed) as pid:
                await peer.settle(bed)
                found.setdefault(mode, []).append(
                    await latency.run(bed, mode, options.latency_seconds, pid)
                )
    return {mode: latency.median_of(runs) for mode, runs in found.items()}
