"""The yardstick: `nats bench js pub async`, the broker's own load generator."""

from __future__ import annotations

import asyncio
import re
import resource
import subprocess
import sys
from typing import Final, NamedTuple

from bench.bed import Bed, create_stream
from support.kube import ROOT

STREAM: Final = "YARDSTICK"
_RATE: Final = re.compile(r"stats: ([\d,]+) msgs/sec")


def program() -> str:
    """Path of the `nats` command line, which `make tools` builds."""
    return subprocess.run(
        [sys.executable, str(ROOT / "hack/localkube/localkube"), "path", "nats"],
        check=True, capture_output=True, text=True, timeout=600,
    ).stdout.strip()  # fmt: skip


class Result(NamedTuple):
    """One run: messages per second as it reports, CPU time in microseconds a message."""

    rate: int
    client_us: float
    server_us: float


async def publish(bed: Bed, messages: int, size: int, *, ids: bool = False) -> Result:
    """Publish into an empty stream like the pipeline's.

    Args:
        size: Bytes of each message.
        ids: Send message ids too, as the relay does, so that the server de-duplicates.
    """
    await create_stream(bed.client, bed.nats.auth, STREAM, bed.replicas)
    usage, begun = bed.usage(), _children_seconds()
    try:
        process = await asyncio.create_subprocess_exec(
            program(), "--no-context", "--server", bed.nats.url, "bench", "js", "pub", "async",
            f"{STREAM}.x", "--stream", STREAM, "--size", str(size), "--msgs", str(messages),
            "--no-progress", *(["--dedup"] if ids else []),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output = (await asyncio.wait_for(process.communicate(), 1800))[0].decode()
        server, client = usage.used()["nats"], _children_seconds() - begun
    finally:
        await bed.client.request(f"$JS.API.STREAM.DELETE.{STREAM}", timeout=10)
    found = _RATE.search(output)
    if process.returncode or found is None:
        raise SystemExit(f"nats bench failed:\n{output}")
    return Result(
        int(found.group(1).replace(",", "")),
        round(client / messages * 1e6, 2),
        round(server / messages * 1e6, 2),
    )


def _children_seconds() -> float:
    """CPU time of child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
