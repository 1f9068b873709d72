"""Row to effect for minutes, with failing handlers and restarts: is anything lost or done twice?

A hundred producers commit events, a relay publishes them, a consumer with an inbox writes one row
for each into a table with a unique constraint; one call in twenty fails. Meanwhile broker and
database are killed and started again, several times. In the end the tables are compared.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any, Final

import asyncpg

from bench.bed import NAMESPACE, STREAM, Bed, a_bed
from bench.measuring import rss_mb, slope_per_minute
from bench.redis_bed import KEY, RedisBed, a_redis_bed
from outbox_operator.wire.config import (
    ConsumerConfig,
    InboxConfig,
    NatsConfig,
    PythonHandlerConfig,
    RedisConfig,
    encode,
)
from support.nats import NatsServer
from support.outbox import migrate_inbox
from support.postgres import running_server
from support.redis import RedisServer, redis_client

PRODUCERS: Final = 100
RATE: Final = 1200
FAILING: Final = 0.05
RESTARTS: Final = 3
DURABLE: Final = "effects"
_PATIENCE_SECONDS: Final = 60.0
"""Without any further effect for so long, what is missing is lost."""
_HANDLER: Final = f"""
import random, uuid

async def handle(event, context):
    await context.connection.execute(
        "INSERT INTO public.effects (event_id) VALUES ($1)", uuid.UUID(event.id))
    if random.random() < {FAILING}:
        raise RuntimeError("one call in twenty fails, after its write")
"""


async def run(seconds: float, *, in_redis: bool = False) -> dict[str, Any]:
    """The figures of a soak.

    Args:
        seconds: How long events are written.
        in_redis: Whether the stream is in Redis, and a consumer group reads it.

    Raises:
        SystemExit: An event was lost, or took effect twice.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        running_server(fsync="on", max_connections="200") as postgres,
        RedisServer() if in_redis else NatsServer() as broker,
    ):
        directory = Path(folder)
        laid_out = (
            a_redis_bed(postgres, broker, directory)
            if isinstance(broker, RedisServer)
            else a_bed(postgres, [broker], directory)
        )
        async with laid_out as bed:
            await bed.connection.execute("CREATE TABLE public.effects (event_id uuid PRIMARY KEY)")
            await migrate_inbox(bed.url)
            await _durable(bed)
            relay = await bed.relay().start().ready()
            consumer = _consumer(bed, Path(folder))
            begun, samples, restarts = time.monotonic(), [], 0
            stop = asyncio.Event()
            producers = [asyncio.create_task(_produce(bed.url, stop)) for _ in range(PRODUCERS)]
            try:
                for number in range(2 * RESTARTS):
                    until = begun + seconds * (number + 1) / (2 * RESTARTS + 1)
                    while time.monotonic() < until:
                        samples.append((time.monotonic() - begun, rss_mb(consumer.pid)))
                        await asyncio.sleep(1)
                    server = postgres if number % 2 else broker
                    await asyncio.to_thread(server.kill)
                    await asyncio.sleep(1)
                    await asyncio.to_thread(server.start)
                    restarts += 1
                while time.monotonic() < begun + seconds:
                    samples.append((time.monotonic() - begun, rss_mb(consumer.pid)))
                    await asyncio.sleep(1)
                stop.set()
                committed = sum(await asyncio.gather(*producers))
                elapsed = time.monotonic() - begun
                found = await _compare(bed.url)
            finally:
                stop.set()
                consumer.terminate()
                await asyncio.to_thread(consumer.wait)
                relay.terminate()
    if found["lost"] or found["phantom"] or found["dead_letters"]:
        raise SystemExit(f"soak failed: {found}")
    later = samples[len(samples) // 4 :]
    return {
        "seconds": round(elapsed),
        "producers": PRODUCERS,
        "acknowledged_commits_per_s": round(committed / elapsed),
        "failing_share": FAILING,
        "broker_kills": RESTARTS,
        "database_kills": restarts - RESTARTS,
        **found,
        "consumer_rss_mb": {
            "first": later[0][1], "last": later[-1][1],
            "slope_per_minute": round(slope_per_minute(later), 2),
        },
    }  # fmt: skip


async def _durable(bed: Bed) -> None:
    if isinstance(bed, RedisBed):
        async with redis_client(bed.redis) as client:
            await client.xgroup_create(KEY, DURABLE, id="0")
        return
    config = {
        "durable_name": DURABLE, "ack_policy": "explicit", "max_deliver": -1,
        "ack_wait": 10 * 10**9, "max_ack_pending": 1000,
    }  # fmt: skip
    answer = await bed.client.request(
        f"$JS.API.CONSUMER.CREATE.{STREAM}.{DURABLE}",
        json.dumps({"stream_name": STREAM, "config": config}).encode(), timeout=10,
    )  # fmt: skip
    assert "error" not in json.loads(answer.data), answer.data


def _consumer(bed: Bed, folder: Path) -> subprocess.Popen[bytes]:
    (folder / "soak.py").write_text(_HANDLER)
    (folder / "soak-url").write_text(bed.url)
    redis = RedisConfig(url=bed.redis.url) if isinstance(bed, RedisBed) else None
    config = ConsumerConfig(
        namespace=NAMESPACE, consumer=DURABLE, redis=redis, stream=KEY if redis else STREAM,
        nats=None if redis else NatsConfig(url=bed.nats.url),
        durable=DURABLE, python=PythonHandlerConfig(module="soak:handle"),
        inbox=InboxConfig(url_file=str(folder / "soak-url")), ack_wait_seconds=10.0,
        max_deliver=20, backoff_seconds=(0.1, 0.5, 1.0), health_port=0,
    )  # fmt: skip
    (folder / "soak.json").write_text(encode(config))
    return subprocess.Popen(
        [sys.executable, "-m", "outbox_operator.cli.main", "consume",
         "--config", str(folder / "soak.json"), "--log-level", "error"],
        cwd=folder, stderr=subprocess.DEVNULL,
    )  # fmt: skip


async def _produce(url: str, stop: asyncio.Event) -> int:
    """Commit events at this producer's share of the rate; how many commits were confirmed."""
    confirmed, pause = 0, PRODUCERS / RATE
    connection: asyncpg.Connection[Any] | None = None
    due = time.monotonic() + random.random() * pause
    while not stop.is_set():
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        due = max(due + pause, time.monotonic() - 1)
        try:
            if connection is None or connection.is_closed():
                connection = await asyncpg.connect(url, timeout=5)
            await connection.execute(
                "INSERT INTO outbox.events (event_id, event_type, partition_key, payload) "
                "VALUES ($1, 'order.created', $2, $3)",
                uuid.uuid4(), f"customer-{random.randrange(1000)}", '{"total": 1}',
            )  # fmt: skip
            confirmed += 1
        except (
            OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError,
            asyncpg.InternalClientError,
        ):  # fmt: skip
            connection = None  # the database is being restarted
            due = time.monotonic() + 0.2
    if connection is not None:
        with contextlib.suppress(Exception):
            await connection.close()
    return confirmed


async def _compare(url: str) -> dict[str, int]:
    """Wait until every committed event took effect; then what is missing and what is too much."""
    connection = await asyncpg.connect(url)
    moved_at, missing = time.monotonic(), -1
    try:
        while True:
            asked_at = time.monotonic()
            row = await connection.fetchrow(
                "SELECT (SELECT count(*) FROM outbox.events) AS committed, "
                "(SELECT count(*) FROM public.effects) AS handled, "
                "(SELECT count(*) FROM outbox.events e WHERE NOT EXISTS "
                " (SELECT FROM public.effects f WHERE f.event_id = e.event_id)) AS lost, "
                "(SELECT count(*) FROM public.effects f WHERE NOT EXISTS "
                " (SELECT FROM outbox.events e WHERE f.event_id = e.event_id)) AS phantom, "
                "(SELECT count(*) FROM outbox.dead_letters) AS dead_letters"
            )
            assert row is not None
            if row["lost"] != missing:
                moved_at, missing = time.monotonic(), row["lost"]
            if missing == 0 or time.monotonic() > moved_at + _PATIENCE_SECONDS:
                return {name: int(value) for name, value in row.items()}
            # Of hundreds of thousands this takes a processor, which the consumer needs.
            await asyncio.sleep(max(0.5, 4 * (time.monotonic() - asked_at)))
    finally:
        await connection.close()
