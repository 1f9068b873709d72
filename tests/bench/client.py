"""What the library costs and how soon an event arrives: figures for build/bench/consumer.json.

Called by `bench.consumer`; alone: `PYTHONPATH=tests python -m bench.client`. Real PostgreSQL and
nats-server on loopback, one writer. `add` is compared with a bare INSERT of the same row through
the same driver, in alternation.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session

from outbox_operator.client import Event, NatsLink, Nudge, Outbox, Publish, SyncOutbox
from support.nats import NatsServer, connected
from support.outbox import migrate
from support.postgres import running_server
from support.relaying import NAMESPACE, PIPELINE, an_outbox
from support.shop import django_connection

ADDS = 50
ROUNDS = 60
"""Alternations of so many `add` and bare INSERTs: short, so that both meet the same machine."""
MANY = 20_000
COMMITS = 600
IMPORTS = 21
SECONDS_BETWEEN_COMMITS = 0.005
PAYLOAD = {"id": "0" * 36, "text": "x" * 440}

COLUMNS = "(event_id, event_type, partition_key, payload)"
VALUES = "(CAST({} AS uuid), {}, {}, CAST({} AS jsonb))"

Work = Callable[[int], Awaitable[None]]


def event(number: int) -> Event:
    """An event of about 500 bytes."""
    return Event(type="order.created", key=f"k{number % 100}", payload=PAYLOAD)


def row(number: int) -> tuple[str, str, str, str]:
    """The same for a bare INSERT."""
    return str(uuid.uuid4()), "order.created", f"k{number % 100}", json.dumps(PAYLOAD)


def insert(*places: str) -> str:
    """The bare INSERT with a driver's placeholders."""
    return f"INSERT INTO outbox.events {COLUMNS} VALUES {VALUES.format(*places)}"


async def seconds(work: Work) -> float:
    """Of so many calls."""
    start = time.perf_counter()
    await work(ADDS)
    return time.perf_counter() - start


async def compared(add: Work, bare: Work) -> dict[str, float]:
    """Microseconds of both, and of their difference; medians over the rounds."""
    await seconds(add), await seconds(bare)
    pairs = [(await seconds(add), await seconds(bare)) for _ in range(ROUNDS)]
    found = {
        "add_us": [pair[0] for pair in pairs],
        "bare_insert_us": [pair[1] for pair in pairs],
        "overhead_us": [pair[0] - pair[1] for pair in pairs],
    }
    return {name: round(statistics.median(s) / ADDS * 1e6, 1) for name, s in found.items()}


def loop_of(call: Callable[[int], Any]) -> Work:
    """So many calls, awaited if they want it."""

    async def work(count: int) -> None:
        for number in range(count):
            result = call(number)
            if result is not None and hasattr(result, "__await__"):
                await result

    return work


async def _asyncpg(url: str) -> dict[str, Any]:
    connection, outbox = await asyncpg.connect(url), Outbox()
    bare = insert("$1::text", "$2", "$3", "$4::text")
    async with connection.transaction():
        figures: dict[str, Any] = await compared(
            loop_of(lambda n: outbox.add(connection, event(n))),
            loop_of(lambda n: connection.execute(bare, *row(n))),
        )
        figures["add_many_per_s"] = await rate(lambda e: outbox.add_many(connection, e))
    await connection.close()
    return figures


async def _psycopg(url: str) -> dict[str, Any]:
    outbox = Outbox()
    async with await psycopg.AsyncConnection.connect(url) as connection:
        figures: dict[str, Any] = await compared(
            loop_of(lambda n: outbox.add(connection, event(n))),
            loop_of(lambda n: connection.execute(insert(*["%s"] * 4), row(n))),
        )
        figures["add_many_per_s"] = await rate(lambda e: outbox.add_many(connection, e))
    return figures


async def _sync_psycopg(url: str) -> dict[str, Any]:
    outbox = SyncOutbox()
    with psycopg.connect(url) as connection:
        figures: dict[str, Any] = await compared(
            loop_of(lambda n: outbox.add(connection, event(n))),
            loop_of(lambda n: connection.execute(insert(*["%s"] * 4), row(n))),
        )
        figures["add_many_per_s"] = await rate(lambda e: outbox.add_many(connection, e))
    return figures


async def _sqlalchemy(url: str) -> dict[str, Any]:
    outbox, bare = Outbox(), text(insert("CAST(:a AS text)", ":b", ":c", "CAST(:d AS text)"))
    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://"))
    async with engine.begin() as connection:
        figures: dict[str, Any] = await compared(
            loop_of(lambda n: outbox.add(connection, event(n))),
            loop_of(lambda n: connection.execute(bare, dict(zip("abcd", row(n), strict=True)))),
        )
        figures["add_many_per_s"] = await rate(lambda e: outbox.add_many(connection, e))
    await engine.dispose()
    return figures


async def _sync_session(url: str) -> dict[str, Any]:
    outbox, bare = SyncOutbox(), text(insert(":a", ":b", ":c", ":d"))
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with Session(engine) as session:
        figures: dict[str, Any] = await compared(
            loop_of(lambda n: outbox.add(session, event(n))),
            loop_of(lambda n: session.execute(bare, dict(zip("abcd", row(n), strict=True)))),
        )
        figures["add_many_per_s"] = await rate(lambda e: outbox.add_many(session, e))
        session.commit()
    engine.dispose()
    return figures


async def _django(url: str) -> dict[str, Any]:
    outbox, bare = SyncOutbox(), insert(*["%s"] * 4)
    with django_connection(url) as connection:
        from django.db import transaction

        def execute(number: int) -> None:
            with connection.cursor() as cursor:
                cursor.execute(bare, row(number))

        with transaction.atomic():
            figures: dict[str, Any] = await compared(
                loop_of(lambda n: outbox.add(connection, event(n))), loop_of(execute)
            )
            figures["add_many_per_s"] = await rate(lambda e: outbox.add_many(connection, e))
    return figures


async def rate(add_many: Callable[[list[Event]], Any]) -> int:
    """Events per second of `add_many`, their making and checking included."""
    start = time.perf_counter()
    result = add_many([event(number) for number in range(MANY)])
    if hasattr(result, "__await__"):
        await result
    return round(MANY / (time.perf_counter() - start))


DRIVERS = {
    "asyncpg": _asyncpg,
    "psycopg": _psycopg,
    "sync_psycopg": _sync_psycopg,
    "sqlalchemy_asyncpg": _sqlalchemy,
    "sync_session_psycopg": _sync_session,
    "django": _django,
}


async def _latency(nats: NatsServer, database: str, how: str) -> dict[str, float]:
    """Milliseconds from the commit to a subscriber of the stream's subjects, p50 and p99."""
    arrived: dict[str, float] = {}
    async with (
        an_outbox(database, nats, Path(tempfile.mkdtemp(prefix="outbox-bench-"))) as whole,
        connected(nats) as client,
    ):

        async def note(message: Any) -> None:
            arrived[message.headers["Ce-Id"]] = time.perf_counter()

        subject = whole.prefix + ".{event_type}"
        await client.subscribe(whole.prefix + ".>", cb=note)
        await client.flush()
        link = NatsLink(nats.url)
        sends: dict[str, Nudge | Publish | None] = {
            "relay_polling": None,
            "nudge": Nudge(link=link, namespace=NAMESPACE, pipeline=PIPELINE),
            "publish": Publish(
                link=link, namespace=NAMESPACE, pipeline=PIPELINE, subject=subject
            ),
        }  # fmt: skip
        settings = {"ordering": "None"} if how == "publish" else {}
        relay = whole.relay(subject=subject, **settings).start()
        await relay.active()
        outbox = Outbox(send=sends[how])
        committed: dict[str, float] = {}
        for number in range(COMMITS):
            async with outbox.transaction(whole.connection):
                found = await outbox.publish_after_commit(whole.connection, event(number))
            committed[str(found)] = time.perf_counter()
            await asyncio.sleep(SECONDS_BETWEEN_COMMITS)
        await whole.idle(relay)
        await asyncio.to_thread(link.close)
    # The first few pay for connecting.
    waits = sorted((arrived[one] - at) * 1e3 for one, at in list(committed.items())[20:])
    return {
        "p50": round(waits[len(waits) // 2], 2),
        "p99": round(waits[len(waits) * 99 // 100], 2),
    }


def _imported() -> float:
    """Milliseconds of CPU that importing the library takes a new process, the median of some."""
    script = (
        "import time; begun = time.process_time(); import outbox_operator.client; "
        "print(time.process_time() - begun)"
    )
    command = [sys.executable, "-c", script]
    runs = [subprocess.check_output(command, text=True, timeout=60) for _ in range(IMPORTS)]
    return round(statistics.median(map(float, runs)) * 1e3, 1)


def figures() -> dict[str, Any]:
    """`add` per driver, and latencies of `publish_after_commit`; takes about a minute."""
    with running_server(fsync="on") as server, NatsServer() as nats:
        adds = {}
        for name, measure in DRIVERS.items():
            url = server.create_database()
            asyncio.run(migrate(url))
            adds[name] = asyncio.run(measure(url))
            server.drop_database(url)
        latency = {}
        for how in ("relay_polling", "nudge", "publish"):
            url = server.create_database()
            latency[how] = asyncio.run(_latency(nats, url, how))
            server.drop_database(url)
    return {
        "add": adds,
        "commit_to_subscriber_ms": latency,
        "import_cpu_ms": _imported(),
        "conditions": {
            "payload_bytes": len(json.dumps(PAYLOAD)),
            "adds": ADDS,
            "rounds": ROUNDS,
            "add_many_events": MANY,
            "commits": COMMITS,
            "imports": IMPORTS,
            "seconds_between_commits": SECONDS_BETWEEN_COMMITS,
            "fsync": True,
        },
    }


if __name__ == "__main__":
    print(json.dumps(figures(), indent=2))
