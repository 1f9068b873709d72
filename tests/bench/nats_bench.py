"""The yardstick: `nats bench js pub async`, the broker's own load generator."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from typing import Final

from bench.bed import Bed, create_stream
from support.kube import ROOT

STREAM: Final = "YARDSTICK"
_RATE: Final = re.compile(r"stats: ([\d,]+) msgs/sec")


def program() -> str:
    """Path of the `nats` command line, which `make tools` builds."""
    return subprocess.run(
        [sys.executable, str(ROOT / "hack/localkube/localkube"), "path", "nats"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip


async def publish(bed: Bed, messages: int, size: int, *, ids: bool = False) -> int:
    """Messages per second it reports, into an empty stream like the pipeline's.

    Args:
        size: Bytes of each message.
        ids: Send message ids too, as the relay does, so that the server de-duplicates.
    """
    await create_stream(bed.client, bed.nats.auth, STREAM, bed.replicas)
    try:
        process = await asyncio.create_subprocess_exec(
            program(), "--no-context", "--server", bed.nats.url, "bench", "js", "pub", "async",
            f"{STREAM}.x", "--stream", STREAM, "--size", str(size), "--msgs", str(messages),
            "--no-progress", *(["--dedup"] if ids else []),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output = (await process.communicate())[0].decode()
    finally:
        await bed.client.request(f"$JS.API.STREAM.DELETE.{STREAM}", timeout=10)
    found = _RATE.search(output)
    if process.returncode or found is None:
        raise SystemExit(f"nats bench failed:\n{output}")
    return int(found.group(1).replace(",", ""))
