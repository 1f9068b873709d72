"""How fast and how cheaply events are handled: writes build/bench/consumer.json.

Run by `make bench-consumer`. `outbox consume` as a process of its own, reading a stream of events
as the relay writes them, on real servers over loopback; beside it `nats bench js fetch` on the
same stream in the same run, one after another in turns, and what `bench.yardsticks` has. The
producer library's figures come from `bench.client`, the soak from `bench.consumer_soak`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime as dt
import importlib
import json
import re
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import asyncpg

from bench import consumer_soak, yardsticks
from bench.bed import POSTGRES_SETTINGS, create_stream
from bench.conditions import conditions
from bench.measuring import cpu_seconds, family_cpu_seconds, median, peak_rss_mb
from bench.nats_bench import program
from outbox_operator.adapters.nats.driver import WireClient
from outbox_operator.adapters.postgres.inbox import InboxStore, Record
from outbox_operator.adapters.postgres.url import parse_url
from outbox_operator.wire.config import (
    ConsumerConfig,
    HttpHandlerConfig,
    InboxConfig,
    NatsConfig,
    PythonHandlerConfig,
    encode,
)
from support.nats import NatsServer, connected
from support.options import positive, whole
from support.outbox import migrate_inbox
from support.postgres import PostgresServer, running_server
from support.waiting import eventually

OUT: Final = Path("build/bench/consumer.json")
STREAM: Final = "EVENTS"
DURABLE: Final = "bench"
IN_FLIGHT: Final = 1000
"""The default of an EventConsumer."""
_RATE: Final = re.compile(r"stats: ([\d,]+) msgs/sec")
_SKIPPED: Final = 0.1
"""Share of the events handled before the clock starts: start-up is not what is measured."""
_HANDLERS: Final = """
import asyncpg
from outbox_operator.consumer import Context, Handlers, ReceivedEvent

async def empty(event, context):
    return None

async def insert(event, context):
    await context.connection.execute("INSERT INTO effects VALUES ($1)", event.id)

batches = Handlers()

@batches.batch(">", size=200)
async def insert_all(events: list[ReceivedEvent], context: Context) -> None:
    await context.connection.executemany(
        "INSERT INTO effects VALUES ($1)", [(event.id,) for event in events])
"""
_ENDPOINT: Final = """
import asyncio, sys
class Endpoint(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.left = transport, b""
    def data_received(self, data):
        data = self.left + data
        while (end := data.find(b"\\r\\n\\r\\n")) >= 0:
            size = int(data[:end].lower().split(b"content-length: ")[1].split(b"\\r\\n")[0])
            if len(data) < end + 4 + size:
                break
            data = data[end + 4 + size:]
            self.transport.write(b"HTTP/1.1 204 No Content\\r\\n\\r\\n")
        self.left = data
async def main():
    server = await asyncio.get_running_loop().create_server(Endpoint, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
import uvloop
uvloop.run(main())
"""


@dataclass(frozen=True)
class Stage:
    """Servers of a run, a filled stream, and a folder with handlers."""

    options: argparse.Namespace
    folder: Path
    postgres: PostgresServer
    nats: NatsServer
    client: WireClient
    url: str
    config: ConsumerConfig

    async def fill(self, events: int, size: int) -> None:
        """A stream of events as a relay writes them, stored in file storage."""
        await create_stream(self.client, self.nats.auth, STREAM, 1)
        payload = json.dumps({"pad": "x" * (size - 11)}).encode()
        frames: list[bytes] = []
        for number in range(events):
            block = (
                f"NATS/1.0\r\nNats-Msg-Id: {uuid.UUID(int=number)}\r\n"
                f"Ce-Id: {uuid.UUID(int=number)}\r\nCe-Type: order.created\r\n"
                "Ce-Source: /shop/orders\r\nCe-Time: 2026-11-21T11:59:59.5Z\r\n"
                f"Ce-Specversion: 1.0\r\nCe-Partitionkey: customer-{number % 1000}\r\n"
                f"Content-Type: application/json\r\nOutbox-Position: {number + 1}\r\n"
                f"Outbox-Shard: 0\r\nOutbox-Emission: {number + 1}\r\n\r\n"
            ).encode()
            head = b"HPUB %b.order.created %d %d\r\n" % (
                STREAM.encode(), len(block), len(block) + len(payload),
            )  # fmt: skip
            frames.append(head + block + payload + b"\r\n")
            if len(frames) == 500 or number == events - 1:
                self.client.write(b"".join(frames))
                await self.client.flush(timeout=60)
                frames = []

        async def stored() -> bool:
            answer = await self.client.request(f"$JS.API.STREAM.INFO.{STREAM}", timeout=10)
            return bool(json.loads(answer.data)["state"]["messages"] >= events)

        await eventually(stored, "the stream to be filled", pause=0.05, seconds=120)

    async def durable(self, **settings: Any) -> None:
        """A fresh durable consumer that starts at the first event."""
        await self.client.request(f"$JS.API.CONSUMER.DELETE.{STREAM}.{DURABLE}", timeout=10)
        config = {
            "durable_name": DURABLE, "ack_policy": "explicit", "max_deliver": -1,
            "ack_wait": 30 * 10**9, "max_ack_pending": IN_FLIGHT, **settings,
        }  # fmt: skip
        answer = await self.client.request(
            f"$JS.API.CONSUMER.CREATE.{STREAM}.{DURABLE}",
            json.dumps({"stream_name": STREAM, "config": config}).encode(), timeout=10,
        )  # fmt: skip
        assert "error" not in json.loads(answer.data), answer.data

    async def floor(self) -> int:
        """All events up to this one are acknowledged."""
        answer = await self.client.request(f"$JS.API.CONSUMER.INFO.{STREAM}.{DURABLE}", timeout=10)
        return int(json.loads(answer.data)["ack_floor"]["stream_seq"])

    async def consume(self, config: ConsumerConfig, events: int) -> dict[str, float]:
        """Events per second, CPU and memory of `outbox consume` over the first `events`."""
        file = self.folder / "consumer.json"
        file.write_text(encode(config))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "outbox_operator.cli.main", "consume",
            "--config", str(file), "--log-level", "error", cwd=self.folder,
        )  # fmt: skip
        try:
            begun = ended = (0.0, 0, 0.0, 0.0)
            while ended[1] < events:
                if process.returncode is not None:
                    raise SystemExit("outbox consume ended")
                await asyncio.sleep(0.02)
                ended = (
                    time.perf_counter(), await self.floor(), cpu_seconds(process.pid),
                    family_cpu_seconds(self.postgres.pid),
                )  # fmt: skip
                if begun[1] < events * _SKIPPED:
                    begun = ended
            handled = ended[1] - begun[1]
            return {
                "rate": handled / (ended[0] - begun[0]),
                "cpu_us": (ended[2] - begun[2]) / handled * 1e6,
                "postgres_us": (ended[3] - begun[3]) / handled * 1e6,
                "peak_rss_mb": peak_rss_mb(process.pid),
            }
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()

    async def yardstick(self, events: int) -> float:
        """Messages per second of the broker's own tool, every one acknowledged."""
        await self.durable()
        process = await asyncio.create_subprocess_exec(
            program(), "--no-context", "--server", self.nats.url, "bench", "js", "fetch",
            "--stream", STREAM, "--consumer", DURABLE, "--msgs", str(events), "--batch", "500",
            "--acks", "explicit", "--no-progress",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output = (await asyncio.wait_for(process.communicate(), 1800))[0].decode()
        found = _RATE.search(output)
        if process.returncode or found is None:
            raise SystemExit(f"nats bench failed:\n{output}")
        return float(found.group(1).replace(",", ""))


@contextlib.asynccontextmanager
async def an_endpoint() -> AsyncIterator[str]:
    """A web server that accepts everything at once, as a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _ENDPOINT, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{(await process.stdout.readline()).decode().strip()}/events"
    finally:
        process.kill()
        await process.wait()


ORDERED: Final = {
    "priority_policy": "pinned_client", "priority_groups": ["outbox"],
    "priority_timeout": 20 * 10**9,
}  # fmt: skip


async def rates(stage: Stage) -> dict[str, Any]:
    """Every way to handle events, beside the broker's own tool."""
    options, python = stage.options, stage.config
    events = options.events
    inbox = InboxConfig(url_file=str(stage.folder / "url"))
    async with an_endpoint() as endpoint:
        plain = PythonHandlerConfig(module="handlers:empty")
        insert = PythonHandlerConfig(module="handlers:insert")
        batch = PythonHandlerConfig(module="handlers:batches")
        ways: dict[str, tuple[ConsumerConfig, int, dict[str, Any]]] = {
            "empty": (replace(python, python=plain), events, {}),
            "empty_per_key": (replace(python, python=plain, ordering="PerKey"), events, ORDERED),
            "empty_per_key_ack_all": (
                replace(python, python=plain, ordering="PerKey"), events,
                {**ORDERED, "ack_policy": "all"},
            ),
            "inbox": (replace(python, python=insert, inbox=inbox), events // 20, {}),
            "inbox_batches": (replace(python, python=batch, inbox=inbox), events // 5, {}),
            "inbox_ordered": (
                replace(python, python=insert, inbox=replace(inbox, mode="PerShard")),
                events // 10, ORDERED,
            ),
            "http": (replace(python, http=HttpHandlerConfig(url=endpoint)), events // 10, {}),
        }  # fmt: skip
        found: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
        tool: list[float] = []
        writes: list[float] = []
        driven: list[float] = []
        requests: list[float] = []
        for _ in range(options.rounds):
            tool.append(await stage.yardstick(events))
            await clear(stage.url)
            writes.append(await yardsticks.bare_writes(stage.url, events // 20, options.size))
            driven.append(await yardsticks.driver_writes(stage.url, events // 20, options.size))
            requests.append(await yardsticks.bare_requests(endpoint, events // 10, options.size))
            for name, (config, count, settings) in ways.items():
                await clear(stage.url)
                await stage.durable(**settings)
                found[name].append(await stage.consume(config, count))
    result = {name: median([one["rate"] for one in runs]) for name, runs in found.items()}
    return {
        "events": events,
        "rounds": options.rounds,
        "payload_bytes": options.size,
        "consume_events_per_s": result,
        "nats_bench_js_fetch": median(tool),
        "ratio_to_nats_bench": round(result["empty"] / statistics.median(tool), 3),
        "bare_writes": median(writes),
        "driver_writes": median(driven),
        "ratio_to_bare_writes": round(result["inbox"] / statistics.median(writes), 3),
        "bare_requests": median(requests),
        "ratio_to_bare_requests": round(result["http"] / statistics.median(requests), 3),
        "cpu_us_per_event": {
            name: median([one["cpu_us"] for one in runs], 1) for name, runs in found.items()
        },
        "postgres_us_per_event": {
            name: median([one["postgres_us"] for one in runs], 1) for name, runs in found.items()
        },
        "peak_rss_mb": {
            name: max(one["peak_rss_mb"] for one in runs) for name, runs in found.items()
        },
    }


async def clear(url: str) -> None:
    """No effects and nothing remembered."""
    connection = await asyncpg.connect(url)
    await connection.execute(
        "CREATE TABLE IF NOT EXISTS effects (id text PRIMARY KEY); TRUNCATE effects, "
        "outbox.consumer_inbox, outbox.consumer_positions"
    )
    await connection.close()


async def duplicates(stage: Stage) -> dict[str, float]:
    """Milliseconds to find that an event was handled before, in an inbox of many."""
    connection = await asyncpg.connect(stage.url)
    await connection.execute(
        "INSERT INTO outbox.consumer_inbox (consumer_name, event_id, source_topic, event_type) "
        "SELECT 'bench', gen_random_uuid(), 's', 't' FROM generate_series(1, 500000)"
    )
    rows = await connection.fetch("SELECT event_id FROM outbox.consumer_inbox LIMIT 3000")
    await connection.close()
    store = InboxStore(
        parse_url(stage.url), consumer_name="bench", schema="outbox", mode="PerEvent", size=1
    )
    took: list[float] = []

    async def never(connection: object, new: object) -> bool:
        raise AssertionError("it is known")

    for row in rows:
        record = Record(
            event_id=row["event_id"], source_topic="s", event_type="t", payload=b"", source="/s",
            shard=None, emission=None, stored=dt.datetime.now(dt.UTC),
        )  # fmt: skip
        started = time.perf_counter()
        await store.process([record], never)
        took.append((time.perf_counter() - started) * 1000)
    await store.close()
    percent = statistics.quantiles(took[100:], n=100)
    return {"rows": 500_000, "p50_ms": round(percent[49], 3), "p99_ms": round(percent[98], 3)}


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The parts that were asked for."""
    parts = options.parts.split(",")
    figures: dict[str, Any] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        running_server(**POSTGRES_SETTINGS) as postgres,
        NatsServer() as nats,
    ):
        figures["conditions"] = await conditions(postgres, nats)
        async with connected(nats) as client:
            stage = await prepare(options, Path(folder), postgres, nats, client)
            if "rates" in parts:
                await stage.fill(options.events, options.size)
                figures |= await rates(stage)
            if "duplicates" in parts:
                figures["duplicates"] = await duplicates(stage)
    if "client" in parts:
        library = importlib.import_module("bench.client")
        figures["client"] = await asyncio.to_thread(library.figures)
    if "soak" in parts:
        figures["soak"] = await consumer_soak.run(options.soak_seconds)
    return figures


async def prepare(
    options: argparse.Namespace,
    folder: Path,
    postgres: PostgresServer,
    nats: NatsServer,
    client: WireClient,
) -> Stage:
    """An inbox in a database, and handlers in a folder."""
    url = postgres.create_database()
    await migrate_inbox(url)
    (folder / "url").write_text(url)
    (folder / "handlers.py").write_text(_HANDLERS)
    config = ConsumerConfig(
        namespace="bench", consumer="bench", nats=NatsConfig(url=nats.url), stream=STREAM,
        durable=DURABLE, health_port=0,
    )  # fmt: skip
    return Stage(options, folder, postgres, nats, client, url, config)


def main() -> None:
    """Measure, write the file, print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=whole(1), default=400_000)
    parser.add_argument("--size", type=whole(1), default=512)
    parser.add_argument("--rounds", type=whole(1), default=3)
    parser.add_argument("--parts", default="rates,duplicates,client,soak")
    parser.add_argument("--keep", action="store_true", help="what other parts found stays")
    parser.add_argument("--soak-seconds", type=positive, default=60.0)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    figures = asyncio.run(measure(options))
    if options.keep and options.out.exists():
        figures = {**json.loads(options.out.read_text()), **figures}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
