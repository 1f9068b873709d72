"""What the runtime is measured against besides the broker's own tool: writes, requests."""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
from pathlib import Path
from typing import Final

from support.postgres import binaries

CLIENTS: Final = 16
"""As many as an EventConsumer handles at once by default."""
_TPS: Final = re.compile(r"tps = ([\d.]+)")
_WRITES: Final = """
BEGIN;
INSERT INTO outbox.consumer_inbox (event_id, consumer_name, source_topic, event_type, payload)
  VALUES (gen_random_uuid(), 'bench/bench', 'EVENTS.order.created', 'order.created',
    convert_to(repeat('x', {size}), 'UTF8')) ON CONFLICT DO NOTHING;
INSERT INTO effects VALUES (gen_random_uuid()::text);
COMMIT;
"""
_REQUESTS: Final = """
import asyncio, sys, time, uuid
import aiohttp, uvloop

async def main(url, clients, requests, size):
    headers = {
        "Content-Type": "application/json", "ce-id": str(uuid.uuid4()), "ce-type": "order.created",
        "ce-source": "/shop/orders", "ce-time": "2026-11-21T11:59:59.5Z", "ce-specversion": "1.0",
        "ce-subject": "EVENTS.order.created", "ce-partitionkey": "customer-7",
    }
    body = b"x" * size

    async def client(session):
        for _ in range(requests // clients):
            async with session.post(url, data=body, headers=headers) as answer:
                assert answer.status == 204

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=clients)) as session:
        begun = time.perf_counter()
        await asyncio.gather(*(client(session) for _ in range(clients)))
        print(requests // clients * clients / (time.perf_counter() - begun))

uvloop.run(main(sys.argv[1], *map(int, sys.argv[2:])))
"""


_DRIVER: Final = """
import asyncio, sys, time, uuid
import asyncpg, uvloop

CLAIM = (
    "INSERT INTO outbox.consumer_inbox (consumer_name, event_id, source_topic, event_type, payload)"
    " VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING RETURNING event_id"
)

async def main(url, clients, transactions, size):
    body = b"x" * size

    async def client(connection):
        for _ in range(transactions // clients):
            async with connection.transaction():
                await connection.fetch(
                    CLAIM, "bench/bench", uuid.uuid4(), "EVENTS.order.created", "order.created",
                    body,
                )
                await connection.execute("INSERT INTO effects VALUES ($1)", str(uuid.uuid4()))

    connections = [await asyncpg.connect(url) for _ in range(clients)]
    begun = time.perf_counter()
    await asyncio.gather(*map(client, connections))
    print(transactions // clients * clients / (time.perf_counter() - begun))

uvloop.run(main(sys.argv[1], *map(int, sys.argv[2:])))
"""


async def _output(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output = (await asyncio.wait_for(process.communicate(), 600))[0].decode()
    if process.returncode:
        raise SystemExit(f"{command[0]} failed:\n{output}")
    return output


async def bare_writes(url: str, transactions: int, size: int) -> float:
    """Transactions a second of pgbench that write what an event with an inbox and an effect does.

    Prepared statements, a round trip each, no UPDATE of how long it took.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(_WRITES.format(size=size))
        script.flush()
        output = await _output(
            str(binaries() / "pgbench"), "--no-vacuum", "--protocol=prepared",
            f"--client={CLIENTS}", "--jobs=2", f"--transactions={transactions // CLIENTS}",
            f"--file={Path(script.name)}", url,
        )  # fmt: skip
    found = _TPS.search(output)
    if found is None:
        raise SystemExit(f"pgbench says no rate:\n{output}")
    return float(found[1])


async def driver_writes(url: str, transactions: int, size: int) -> float:
    """The same of a program that does nothing else, with the driver that handlers have.

    A transaction takes it four round trips, one more than the runtime.
    """
    return float(
        await _output(
            sys.executable, "-c", _DRIVER, url, str(CLIENTS), str(transactions), str(size)
        )
    )


async def bare_requests(url: str, requests: int, size: int) -> float:
    """Requests a second of a plain client: aiohttp on uvloop, the same headers and bodies."""
    return float(
        await _output(sys.executable, "-c", _REQUESTS, url, str(CLIENTS), str(requests), str(size))
    )
