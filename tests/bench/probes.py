"""How soon a relay answers its probes while it drains a backlog at full speed."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from itertools import cycle
from typing import Any, Final

from bench.bed import LONGEST_SECONDS, Bed
from support.waiting import eventually

PROBES: Final = 1000
PAUSE_SECONDS: Final = 0.003
"""Between two probes; some hundred times as often as a kubelet asks."""


async def answered(bed: Bed, events: int) -> dict[str, Any]:
    """Probe in turn `/healthz` and `/readyz` while a backlog is drained, again and again.

    A relay is asked once it has published something, and until it has published all.

    Returns:
        `p50_ms`, `p99_ms` and `max_ms` from the connection to the end of the answer; `wrong` counts
        what was not 200; `drains` says how many it took to ask so often.
    """
    took: list[float] = []
    wrong = drains = 0
    paths = cycle(("/healthz", "/readyz"))
    while len(took) < PROBES:
        await bed.rewind()
        relay = await bed.claiming_relay()
        drains += 1
        await eventually(partial(relay.metric, "published_total"), "the drain", pause=0.002)
        port = relay.health_port
        before = len(took)
        while len(took) < PROBES:
            seconds, status = await _probe(port, next(paths))
            if (await bed.stream_state())["messages"] >= events:
                break  # it may have been idle when it answered
            took.append(seconds)
            wrong += status != 200
            await asyncio.sleep(PAUSE_SECONDS)
        assert len(took) > before, "the backlog is too small to ask meanwhile"
        relay.terminate()
    took.sort()
    return {
        "probes": len(took),
        "drains": drains,
        "wrong": wrong,
        "p50_ms": round(took[len(took) // 2] * 1e3, 2),
        "p99_ms": round(took[len(took) * 99 // 100] * 1e3, 2),
        "max_ms": round(took[-1] * 1e3, 2),
    }


async def _probe(port: int, path: str) -> tuple[float, int]:
    """Seconds that one took, with a connection of its own as a kubelet's, and its status."""
    begun = time.perf_counter()
    async with asyncio.timeout(LONGEST_SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
    seconds = time.perf_counter() - begun
    writer.close()
    return seconds, int(answer.split(b" ", 2)[1])
