"""What a relay costs while nothing happens."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from bench.bed import Bed
from bench.measuring import rss_mb

_SETTLE_SECONDS: Final = 10.0
"""Adaptive polling gets to its longest interval within this time."""


async def cost(bed: Bed, seconds: float) -> dict[str, Any]:
    """CPU and statements of an idle relay."""
    await bed.clear()
    relay = await bed.relay().start().ready()
    await bed.connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
    await asyncio.sleep(_SETTLE_SECONDS)
    await bed.connection.execute("SELECT pg_stat_statements_reset()")
    usage, begun = bed.usage(relay.pid), time.monotonic()
    await asyncio.sleep(seconds)
    elapsed, used = time.monotonic() - begun, usage.used()
    statements = await bed.connection.fetchval(
        "SELECT sum(calls) FROM pg_stat_statements JOIN pg_database d ON d.oid = dbid "
        "WHERE datname = current_database() AND query NOT LIKE '%pg_stat_statements%'"
    )
    figures = {
        "seconds": round(elapsed),
        "relay_cpu_percent": round(used["relay"] / elapsed * 100, 2),
        "postgres_cpu_percent": round(used["postgres"] / elapsed * 100, 2),
        "queries_per_s": round(float(statements or 0) / elapsed, 2),
        "rss_mb": rss_mb(relay.pid),
    }
    relay.terminate()
    return figures
