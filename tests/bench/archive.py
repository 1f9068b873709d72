"""How fast an archive is written, sealed, verified and asked: writes build/bench/archive.json.

Run by `make bench-archive`. `outbox archive write` as a process of its own empties a stream of
events as a relay writes them; beside it, in turns, one bare COPY of the same rows into the same
tables. Then `outbox archive serve` answers about ten million events, and a relay brings new ones.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
import uuid
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

from bench import archive_asking as asking
from bench.archive_asking import say
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
from support.postgres import PostgresServer, running_server
from support.waiting import eventually

OUT: Final = Path("build/bench/archive.json")
_EXPORTS: Final = {"ndjson": 0.2, "csv": 0.02, "parquet": 0.05}
"""Share of all events that is exported, by format."""
_SKIPPED: Final = 0.1
"""Share of the rows written before the clock starts."""
_ACTORS: Final = 10_000


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
    process = write_process(document)
    high = "SELECT coalesce(max(high), 0) FROM archive.ledger"
    try:

        async def reached(number: int) -> bool:
            return bool(await place.root.fetchval(high) >= number)

        await eventually(lambda: reached(1), "the first events are archived", pause=0.05)
        # What it takes to start is not of the rows.
        first = await place.root.fetchval(high)
        before, before_all = cpu_seconds(process.pid), family_cpu_seconds(postmaster)
        await eventually(
            lambda: reached(events), "all events are archived", pause=0.5, seconds=1200
        )
        cpu = cpu_seconds(process.pid) - before
        cpu_all = family_cpu_seconds(postmaster) - before_all
        peak = peak_rss_mb(process.pid)
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 60)
    counted = max(1, events - first)
    skipped = int(events * _SKIPPED)
    seconds = await place.root.fetchval(
        "SELECT extract(epoch FROM max(archived_at) - min(archived_at))::float8 FROM "
        "(SELECT archived_at FROM archive.events ORDER BY archived_at OFFSET $1) r",
        skipped,
    )
    return {
        "rows_per_s": round((events - skipped) / seconds),
        "writer_cpu_us": round(cpu / counted * 1e6, 1),
        "postgres_cpu_us": round(cpu_all / counted * 1e6, 1),
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


async def sealed(place: ArchivePlace, rows: int) -> dict[str, Any]:
    """How fast events are sealed, and verified; what seals take."""
    place.change(sealing=ArchiveSealing(every_seconds=0, after_seconds=0))
    began = time.monotonic()
    await place.upkeep()
    sealing = time.monotonic() - began
    began = time.monotonic()
    well, said = await keeping.verify(place.config)
    verifying = time.monotonic() - began
    if not well or not said[0].startswith(f"{rows} events are as they were sealed"):
        raise SystemExit(f"not sealed as a whole: {said}")
    taken = await place.root.fetchval(
        "SELECT pg_total_relation_size('archive.seals') + "
        "pg_total_relation_size('archive.sealed_rows')"
    )
    return {
        "sealed": rows,
        "sealed_rows_per_s": round(rows / sealing),
        "verified_rows_per_s": round(rows / verifying),
        "seal_bytes_per_row": round(int(taken) / rows, 1),
    }


async def sizes(place: ArchivePlace, rows: int) -> dict[str, Any]:
    """What a row takes, with all its indexes."""
    size = await place.root.fetchval(
        "SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits i JOIN pg_class c "
        "ON c.oid = inhrelid WHERE c.relkind = 'r'"
    )
    payload = await place.root.fetchval(
        "SELECT avg(octet_length(payload::text)) FROM archive.events TABLESAMPLE SYSTEM (1)"
    )
    return {
        "rows": rows,
        "bytes_per_row": round(int(size) / rows),
        "payload_bytes": round(float(payload)),
    }


async def write(
    stack: AsyncExitStack, postgres: PostgresServer, nats: NatsServer, options: argparse.Namespace
) -> dict[str, Any]:
    """How fast the process writes, beside a bare COPY in turns; then what seals cost."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    url = postgres.create_database()
    async with ArchivePlace(postgres, url, folder) as place, connected(nats) as client:
        runs, name = [], "EVENTS"
        say(f"fills a stream with {options.events:,} events")
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
            run |= await copied(place, folder)
            run["ratio_to_copy"] = round(run["rows_per_s"] / run["copy_rows_per_s"], 2)
            say(
                f"round {number + 1}: {run['rows_per_s']:,} rows/s, "
                f"{run['ratio_to_copy']} of a bare COPY"
            )
            runs.append(run)
        await client.request(f"$JS.API.STREAM.DELETE.{name}", timeout=10)
        await place.root.execute("TRUNCATE archive.events, archive.ledger")
        rows = max(1000, options.rows // 10)
        say(f"seals {rows:,} events")
        await asking.fill(place, rows)
        seals = await sealed(place, rows)
    await asyncio.to_thread(postgres.drop_database, url)
    return {
        "events": options.events,
        "event_bytes": options.size,
        "rows_per_s": round(statistics.median(run["rows_per_s"] for run in runs)),
        "ratio_to_copy": statistics.median(run["ratio_to_copy"] for run in runs),
        "runs": runs,
        "seals": seals,
    }


async def ask(
    stack: AsyncExitStack, postgres: PostgresServer, nats: NatsServer, options: argparse.Namespace
) -> dict[str, Any]:
    """What an archive of many events answers, and how soon it has a new one."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    async with ArchivePlace(postgres, postgres.create_database(), folder) as place:
        await place.migrate()
        say(f"fills an archive with {options.rows:,} events")
        now = await asking.fill(place, options.rows)
        found = await sizes(place, options.rows)
        async with asking.serving(place, folder) as api:
            say("asks for pages")
            found["queries"] = await asking.pages(api, now, options.rows)
            found["exports"] = {}
            for form, share in _EXPORTS.items():
                say(f"exports {share:.0%} of them as {form}")
                found["exports"][form] = await asking.export(api, now, share, form)
        async with asking.serving(place, folder) as api:
            say(f"{options.fresh_seconds:g} s of new events, which {asking.READERS} ask beside")
            found["fresh"] = await asking.found_again(
                place, postgres, nats, folder, api, options.fresh_seconds
            )
    return found


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All figures."""
    load = os.getloadavg()[0]
    async with AsyncExitStack() as stack:
        postgres = stack.enter_context(running_server(**POSTGRES_SETTINGS))
        nats = stack.enter_context(NatsServer())
        wrote = await write(stack, postgres, nats, options)
        seals = wrote.pop("seals")
        found = await ask(stack, postgres, nats, options)
        return {
            "conditions": await conditions(postgres, nats),
            "load_before": round(load, 1),
            "load_after": round(os.getloadavg()[0], 1),
            **wrote,
            "archive": found | seals,
        }


def main() -> None:
    """Measure, write the file, print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=whole(1), default=300_000)
    parser.add_argument("--size", type=whole(128), default=512)
    parser.add_argument("--rounds", type=whole(1), default=3)
    parser.add_argument("--rows", type=whole(10_000), default=10_000_000)
    parser.add_argument("--fresh-seconds", type=float, default=60.0)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    figures = asyncio.run(measure(options))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
