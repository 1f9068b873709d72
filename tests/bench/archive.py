"""How fast an archive is written, read, sealed and verified: writes build/bench/archive.json.

Run by `make bench-archive`. `outbox archive write` as a process of its own empties a stream of
events as a relay writes them; beside it, in turns, one bare COPY of the same rows into the same
tables.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import random
import statistics
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from bench.bed import POSTGRES_SETTINGS, create_stream
from bench.conditions import conditions
from bench.measuring import cpu_seconds, family_cpu_seconds, peak_rss_mb
from outbox_operator.adapters.nats.driver import WireClient
from outbox_operator.cli import archive_keeping as keeping
from outbox_operator.wire.archive import ArchiveSealing
from outbox_operator.wire.config import NatsConfig, encode
from support.archiving import ArchivePlace, Stream, write_process
from support.nats import NatsServer, connected
from support.options import whole
from support.postgres import running_server
from support.waiting import eventually

OUT: Final = Path("build/bench/archive.json")
_SKIPPED: Final = 0.1
"""Share of the rows written before the clock starts."""
_LOOKS: Final = 300
_ACTORS: Final = 10_000
_QUERIES: Final = {
    "of_a_key": "key = $1 AND stored_at > $2 ORDER BY stored_at DESC LIMIT 100",
    "of_a_type": "type = $1 AND stored_at > $2 ORDER BY stored_at DESC LIMIT 100",
    "of_an_actor": "actor = $1 AND stored_at > $2 ORDER BY stored_at DESC LIMIT 100",
    "of_an_hour": "stored_at < $1 ORDER BY stored_at DESC LIMIT 100",
    "of_an_id": "id = $1",
}
_FILL: Final = """
INSERT INTO archive.events (class, stored_at, id, type, key, source, subject, sequence, shard,
                            emission, position, occurred_at, headers, payload, payload_bytes, actor)
SELECT 'default', $1::timestamptz - n * $2::interval, md5(n::text)::uuid, 't.' || n % 100,
       'k' || n % 100000, '/shop/orders', 'orders.t', n, 0, n, n, now(),
       '{"Ce-Id": "x", "Ce-Type": "t", "Ce-Source": "/shop/orders", "Outbox-Shard": "0"}',
       jsonb_build_object('n', n, 'actor', jsonb_build_object('id', 'a' || n % $5),
                          'pad', repeat(md5(n::text), 13)),
       512, 'a' || n % $5
FROM generate_series($3::int, $4::int) n
"""


async def fill_stream(client: WireClient, stream: str, events: int, size: int) -> None:
    """Events as a relay writes them, in file storage."""
    frames: list[bytes] = []
    for number in range(1, events + 1):
        body = {"actor": {"id": f"a{number % _ACTORS}"}, "n": number, "pad": ""}
        body["pad"] = "x" * (size - len(json.dumps(body)))
        payload = json.dumps(body).encode()
        event_id = uuid.UUID(int=number)
        block = (
            f"NATS/1.0\r\nNats-Msg-Id: {event_id}\r\n"
            f"Ce-Id: {event_id}\r\nCe-Type: order.created\r\n"
            "Ce-Source: /shop/orders\r\nCe-Time: 2026-11-21T11:59:59.5Z\r\nCe-Specversion: 1.0\r\n"
            f"Ce-Partitionkey: customer-{number % 1000}\r\nContent-Type: application/json\r\n"
            f"Outbox-Position: {number}\r\nOutbox-Shard: 0\r\nOutbox-Emission: {number}\r\n\r\n"
        ).encode()
        head = f"HPUB {stream}.order.created {len(block)} {len(block) + len(payload)}\r\n"
        frames.append(head.encode() + block + payload + b"\r\n")
        if len(frames) == 500 or number == events:
            client.write(b"".join(frames))
            await client.flush(timeout=60)
            frames = []

    async def stored() -> bool:
        answer = await client.request(f"$JS.API.STREAM.INFO.{stream}", timeout=30)
        return bool(json.loads(answer.data)["state"]["messages"] >= events)

    await eventually(stored, "the stream to be filled", pause=0.1, seconds=300)


async def written(
    place: ArchivePlace, postmaster: int, folder: Path, events: int
) -> dict[str, Any]:
    """Rows per second of the process that writes, once it is under way."""
    document = folder / "config.json"
    document.write_text(encode(place.config))
    before = family_cpu_seconds(postmaster)
    process = write_process(document)
    try:

        async def there() -> bool:
            return bool(await place.root.fetchval("SELECT count(*) FROM archive.events") >= events)

        await eventually(there, "all events are archived", pause=1.0, seconds=1200)
        cpu, peak = cpu_seconds(process.pid), peak_rss_mb(process.pid)
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 60)
    skipped = int(events * _SKIPPED)
    seconds = await place.root.fetchval(
        "SELECT extract(epoch FROM max(archived_at) - min(archived_at))::float8 FROM "
        "(SELECT archived_at FROM archive.events ORDER BY archived_at OFFSET $1) r",
        skipped,
    )
    return {
        "rows_per_s": round((events - skipped) / seconds),
        "writer_cpu_us": round(cpu / events * 1e6, 1),
        "postgres_cpu_us": round((family_cpu_seconds(postmaster) - before) / events * 1e6, 1),
        "writer_peak_rss_mb": peak,
    }


async def copied(place: ArchivePlace, folder: Path) -> dict[str, Any]:
    """Rows per second of one COPY of the same rows into the same tables, empty again."""
    rows = folder / "rows"
    await place.root.copy_from_query("SELECT * FROM archive.events", output=rows, format="binary")
    await place.root.execute("TRUNCATE archive.events, archive.ledger")
    began = time.monotonic()
    done = await place.root.copy_to_table(
        "events", schema_name="archive", source=rows, format="binary", timeout=1200
    )
    seconds = time.monotonic() - began
    rows.unlink()
    await place.root.execute("TRUNCATE archive.events")
    return {"copy_rows_per_s": round(int(done.rpartition(" ")[2]) / seconds)}


async def percentiles(look: Callable[[int], Awaitable[object]]) -> dict[str, float]:
    """Of so many looks, one after another, in milliseconds."""
    taken = []
    for number in range(_LOOKS):
        began = time.perf_counter()
        await look(number)
        taken.append((time.perf_counter() - began) * 1000)
    ordered = sorted(taken)
    return {
        "p50_ms": round(statistics.median(ordered), 2),
        "p99_ms": round(ordered[int(0.99 * _LOOKS) - 1], 2),
    }


async def looked_up(place: ArchivePlace, rows: int) -> dict[str, Any]:
    """Typical queries over many rows, as the reader; what a row takes; seals of them."""
    await place.root.execute("TRUNCATE archive.events, archive.ledger")
    now = datetime.now(UTC)
    apart = timedelta(days=8) / rows
    for low in range(1, rows + 1, 100_000):
        high = min(rows, low + 99_999)
        await place.root.execute(_FILL, now, apart, low, high, _ACTORS, timeout=600)
    await place.upkeep()  # gives them their partitions
    await place.root.execute("VACUUM ANALYZE archive.events", timeout=1200)
    reader = await place.open(place.reader)
    chance, week = random.Random(1), now - timedelta(days=7)
    arguments: dict[str, Callable[[], tuple[object, ...]]] = {
        "of_a_key": lambda: (f"k{chance.randrange(100_000)}", week),
        "of_a_type": lambda: (f"t.{chance.randrange(100)}", week),
        "of_an_actor": lambda: (f"a{chance.randrange(_ACTORS)}", week),
        "of_an_hour": lambda: (now - timedelta(days=8) * chance.random(),),
        "of_an_id": lambda: (id_of(chance.randint(1, rows)),),
    }
    queries = {}
    for name, condition in _QUERIES.items():
        text, argument = f"SELECT * FROM archive.events WHERE {condition}", arguments[name]
        queries[name] = await percentiles(
            lambda _, text=text, argument=argument: reader.fetch(text, *argument())  # type: ignore[misc]
        )
    size = await place.root.fetchval(
        "SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits i JOIN pg_class c "
        "ON c.oid = inhrelid WHERE c.relkind = 'r'"
    )
    payload = await place.root.fetchval(
        "SELECT avg(octet_length(payload::text)) FROM archive.events TABLESAMPLE SYSTEM (1)"
    )
    place.change(sealing=ArchiveSealing(every_seconds=0, after_seconds=0))
    began = time.monotonic()
    await place.upkeep()
    sealing = time.monotonic() - began
    began = time.monotonic()
    well, said = await keeping.verify(place.config)
    verifying = time.monotonic() - began
    if not well or not said[0].startswith(f"{rows} events are as they were sealed"):
        raise SystemExit(f"not sealed as a whole: {said}")
    sealed = await place.root.fetchval(
        "SELECT pg_total_relation_size('archive.seals') + "
        "pg_total_relation_size('archive.sealed_rows')"
    )
    return {
        "rows": rows,
        "queries": queries,
        "bytes_per_row": round(int(size) / rows),
        "payload_bytes": round(float(payload)),
        "sealed_rows_per_s": round(rows / sealing),
        "verified_rows_per_s": round(rows / verifying),
        "seal_bytes_per_row": round(int(sealed) / rows, 1),
    }


def id_of(number: int) -> uuid.UUID:
    """The id that `_FILL` gives a row."""
    return uuid.UUID(hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest())


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All figures."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        postgres = stack.enter_context(running_server(**POSTGRES_SETTINGS))
        nats = stack.enter_context(NatsServer())
        place = ArchivePlace(postgres, postgres.create_database(), folder)
        await stack.enter_async_context(place)
        client = await stack.enter_async_context(connected(nats))
        load = os.getloadavg()[0]
        runs = []
        name = "EVENTS"
        await create_stream(client, nats.auth, name, 1)
        await fill_stream(client, name, options.events, options.size)
        place.change(nats=NatsConfig(url=nats.url), stream=name)
        await place.migrate()
        for number in range(options.rounds):
            stream = Stream(client, name)
            stream.durable = f"audit{number}"
            await stream.make_durable(max_ack_pending=20_000, ack_wait=60.0)
            place.change(durable=stream.durable)
            run = await written(place, postgres.pid, folder, options.events)
            runs.append(run | await copied(place, folder))
        found = await looked_up(place, options.rows)
        rates = [run["rows_per_s"] for run in runs]
        return {
            "conditions": await conditions(postgres, nats),
            "load_before": round(load, 1),
            "load_after": round(os.getloadavg()[0], 1),
            "events": options.events,
            "event_bytes": options.size,
            "rows_per_s": round(statistics.median(rates)),
            "ratio_to_copy": round(
                statistics.median(run["rows_per_s"] / run["copy_rows_per_s"] for run in runs), 2
            ),
            "runs": runs,
            "archive": found,
        }


def main() -> None:
    """Measure, write the file, print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=whole(1), default=200_000)
    parser.add_argument("--size", type=whole(128), default=512)
    parser.add_argument("--rounds", type=whole(1), default=3)
    parser.add_argument("--rows", type=whole(1000), default=1_000_000)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    figures = asyncio.run(measure(options))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
