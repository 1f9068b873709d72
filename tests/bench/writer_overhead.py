"""What a writer pays: inserts into the outbox against inserts into a bare table, by pgbench.

The bare table has the same columns with the same defaults and the same primary key, and nothing
else: no partitions, no further index. Both get the same statement, one row a transaction, with
full commits, in turn; no relay runs.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any, Final

from bench.bed import Bed
from bench.measuring import median
from support.postgres import binaries

CLIENTS: Final = (1, 16)
_OURS, _BARE = "outbox.events", "bench_bare"
_CREATE_BARE: Final = f"""
CREATE TABLE {_BARE} (LIKE {_OURS} INCLUDING DEFAULTS INCLUDING GENERATED, PRIMARY KEY (position))
"""
_SCRIPT: Final = """\\set customer random(1, 1000)
INSERT INTO {table} (event_type, partition_key, payload)
VALUES ('order.created', 'customer-' || :customer, '{{"pad": "{pad}"}}');
"""
_TPS: Final = re.compile(r"tps = ([\d.]+)")


async def compare(bed: Bed, size: int, seconds: float, rounds: int) -> dict[str, Any]:
    """Transactions per second into both tables, and our share, by number of clients."""
    await bed.connection.execute(_CREATE_BARE)
    figures: dict[str, Any] = {"seconds": seconds, "rounds": rounds, "payload_bytes": size}
    for clients in CLIENTS:
        found: dict[str, list[float]] = {_OURS: [], _BARE: []}
        for number in range(rounds):
            # Each goes first as often as the other.
            for table in (_OURS, _BARE) if number % 2 else (_BARE, _OURS):
                found[table].append(await _pgbench(bed, table, clients, size, seconds))
        ratio = median(found[_OURS], 3) / median(found[_BARE], 3)
        figures[f"clients_{clients}"] = {
            "ratio": round(ratio, 3),
            "ours_tps": median(found[_OURS]),
            "bare_tps": median(found[_BARE]),
            "ours_runs": [round(tps) for tps in found[_OURS]],
            "bare_runs": [round(tps) for tps in found[_BARE]],
        }
        print(f"  {clients} clients: {ratio:.3f}", flush=True)
    return figures


async def _pgbench(bed: Bed, table: str, clients: int, size: int, seconds: float) -> float:
    await bed.connection.execute(f"TRUNCATE {table}")
    await bed.connection.execute("CHECKPOINT")
    script = Path(bed.directory) / f"{table}.sql"
    script.write_text(_SCRIPT.format(table=table, pad="x" * (size - 11)))
    process = await asyncio.create_subprocess_exec(
        str(binaries() / "pgbench"), "--no-vacuum", "--protocol=prepared",
        f"--client={clients}", f"--jobs={min(2, clients)}", f"--time={seconds:.0f}",
        f"--file={script}", bed.url,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output = (await asyncio.wait_for(process.communicate(), seconds + 600))[0].decode()
    found = _TPS.search(output)
    if process.returncode or found is None:
        raise SystemExit(f"pgbench failed:\n{output}")
    return float(found.group(1))
