"""What an archive of many events answers over HTTP: pages, exports, how soon a new one is found.

The part of `bench.archive` behind the writing. `outbox archive serve` is a process of its own, as
are relay and writer.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import random
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import asyncpg
from aiohttp import ClientSession, ClientTimeout

from bench.bed import Bed, a_bed
from bench.measuring import cpu_seconds, peak_rss_mb, rss_mb
from outbox_operator.wire.archive_api import ApiLimits, ArchiveApiConfig, JwtConfig
from outbox_operator.wire.config import NatsConfig, encode
from outbox_operator.wire.times import format_time
from support.archiving import ArchivePlace, Stream, write_process
from support.nats import NatsServer, connected
from support.ports import free_port
from support.postgres import PostgresServer
from support.tokens import AUDIENCE, ISSUER, Issuer
from support.waiting import eventually

DAYS: Final = 8
"""That the events are of."""
_ACTORS: Final = 10_000
_LOOKS: Final = 300
_CHUNK: Final = 50_000
_AT_ONCE: Final = 2
"""Sessions that fill an archive."""
READERS: Final = 50
_PER_SECOND: Final = 1000
_COMMITS: Final = 20
"""In which these are, a second."""
_PROBES: Final = 4
"""Events a second that are looked for."""
_PAUSE: Final = 0.025
"""Between two looks for one."""
_PAGES: Final = ("of_a_key", "of_a_type", "of_an_actor", "of_an_hour")
_ARCHIVED_AFTER: Final = """
SELECT percentile_cont(ARRAY[0.5, 0.99])
       WITHIN GROUP (ORDER BY extract(epoch FROM archived_at - stored_at)::float8 * 1000)
FROM archive.events WHERE stored_at >= $1 AND type = 'order.created'
"""
_FILL: Final = """
INSERT INTO archive.events (class, stored_at, id, type, key, source, subject, sequence, shard,
                            emission, position, occurred_at, headers, payload, payload_bytes, actor)
SELECT 'default', $1::timestamptz - n * $2::interval, md5(n::text)::uuid, 't.' || n % 100,
       'k' || n % 100000, '/shop/orders', 'orders.t', n, 0, n, n, now(),
       '{"Ce-Id": "x", "Ce-Type": "t", "Ce-Source": "/shop/orders", "Outbox-Shard": "0"}',
       jsonb_build_object('n', n, 'actor', jsonb_build_object('id', 'a' || n % $6),
                          'pad', repeat(md5(n::text), 13)),
       512, 'a' || n % $6
FROM generate_series($3::int, $4::int) n
WHERE (n % $5 = 0) = $7
"""


def say(what: str) -> None:
    """Tell who waits how far it is."""
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


async def fill(place: ArchivePlace, rows: int) -> datetime:
    """Fill an empty archive with events of some days; the time of the newest."""
    now = datetime.now(UTC)
    apart = timedelta(days=DAYS) / rows
    some = max(2, rows // 1000)

    async def part(connection: asyncpg.Connection[Any], low: int, *, first: bool) -> None:
        high = min(rows, low + _CHUNK - 1)
        await connection.execute(
            _FILL, now, apart, low, high, some, _ACTORS, first, timeout=600
        )  # fmt: skip

    # A few of each day first, which upkeep makes partitions for.
    for low in range(1, rows + 1, _CHUNK):
        await part(place.root, low, first=True)
    await place.upkeep()
    lows = iter(range(1, rows + 1, _CHUNK))
    leaves = iter(
        await place.root.fetch(
            "SELECT inhrelid::regclass::text AS name FROM pg_inherits i JOIN pg_class c "
            "ON c.oid = inhrelid WHERE c.relkind = 'r' AND c.relname LIKE 'rows\\_default\\_2%'"
        )
    )

    async def session() -> None:
        connection = await place.open(None)
        await connection.execute("SET synchronous_commit = off")
        for low in lows:
            await part(connection, low, first=False)
            if rows >= 10 * _CHUNK and low // _CHUNK % (rows // _CHUNK // 10) == 0:
                say(f"  {low - 1:,} of {rows:,} events are there")
        for leaf in leaves:  # autovacuum would do so in the middle of what is measured
            await connection.execute(f"VACUUM (ANALYZE) {leaf['name']}", timeout=1200)

    await asyncio.gather(*(session() for _ in range(_AT_ONCE)))
    return now


def id_of(number: int) -> uuid.UUID:
    """The id that `fill` gives an event."""
    return uuid.UUID(hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest())


@dataclass(frozen=True, slots=True)
class Api:
    """The process that answers.

    Attributes:
        http: For questions.
        pid: Of the process.
        issuer: Of tokens.
    """

    http: ClientSession
    pid: int
    issuer: Issuer

    def caller(self, name: str) -> dict[str, str]:
        """Headers of somebody who may do everything."""
        token = self.issuer.token(sub=name, exp=int(time.time()) + 7200)
        return {"Authorization": f"Bearer {token}"}

    async def get(self, path: str, caller: dict[str, str], *fine: int) -> int:
        """Ask, and again while there are too many at a time; the status, one of `fine`."""
        while True:
            async with self.http.get(path, headers=caller) as answer:
                body = await answer.read()
                if answer.status in fine:
                    return answer.status
                assert answer.status == 429, body
            await asyncio.sleep(_PAUSE)

    async def page(self, caller: dict[str, str], **given: str) -> None:
        """Have events, as asked."""
        await self.get(f"/v1/events?{urlencode(given)}", caller, 200)

    async def there(self, event_id: uuid.UUID, caller: dict[str, str]) -> bool:
        """Whether an event is found."""
        return await self.get(f"/v1/events/{event_id}?fields=id", caller, 200, 404) == 200


@asynccontextmanager
async def serving(place: ArchivePlace, folder: Path) -> AsyncIterator[Api]:
    """`outbox archive serve`, and who asks it with a token for everything."""
    issuer, port = Issuer(folder), free_port()
    config = ArchiveApiConfig(
        namespace="shop",
        consumer="audit",
        database=place.with_api(),
        jwt=JwtConfig(issuer=ISSUER, audience=AUDIENCE, jwks_file=str(issuer.path)),
        extracted=tuple(sorted(place.config.rules.extract)),
        limits=ApiLimits(requests_per_second=100_000.0, burst=100_000),
        port=port,
        health_port=0,
    )
    await place.migrate()  # which gives its role the rights
    document = folder / "api.json"
    document.write_text(encode(config))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "outbox_operator.cli.main", "archive", "serve",
        env={**os.environ, "OUTBOX_CONFIG": str(document)},
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with ClientSession(
            f"http://127.0.0.1:{port}", timeout=ClientTimeout(total=1200)
        ) as http:

            async def answers() -> bool:
                with contextlib.suppress(OSError):
                    async with http.get("/openapi.json") as answer:
                        return bool(answer.status == 200)
                return False

            await eventually(answers, "the API to answer", pause=0.1)
            yield Api(http, process.pid, issuer)
    finally:
        process.terminate()
        await process.wait()


async def percentiles(look: Callable[[], Awaitable[object]]) -> dict[str, float]:
    """Of so many looks, one after another, in milliseconds."""
    taken = []
    for _ in range(_LOOKS):
        began = time.perf_counter()
        await look()
        taken.append((time.perf_counter() - began) * 1000)
    return _summary(taken)


def _summary(taken: list[float]) -> dict[str, float]:
    ordered = sorted(taken)
    return {
        "p50_ms": round(statistics.median(ordered), 2),
        "p99_ms": round(ordered[max(0, int(0.99 * len(ordered)) - 1)], 2),
    }


def question(chance: random.Random, now: datetime, name: str) -> dict[str, str]:
    """A page of a hundred, as it is asked for."""
    week = format_time(now - timedelta(days=7))
    return {
        "of_a_key": {"key": f"k{chance.randrange(100_000)}", "from": week},
        "of_a_type": {"type": f"t.{chance.randrange(100)}", "from": week},
        "of_an_actor": {"actor": f"a{chance.randrange(_ACTORS)}", "from": week},
        "of_an_hour": {"to": format_time(now - timedelta(days=DAYS) * chance.random())},
    }[name] | {"limit": "100"}


async def pages(api: Api, now: datetime, rows: int) -> dict[str, Any]:
    """How long five kinds of questions take."""
    chance, caller = random.Random(1), api.caller("one")
    found = {}
    for name in _PAGES:

        async def page(name: str = name) -> None:
            await api.page(caller, **question(chance, now, name))

        found[name] = await percentiles(page)

    async def by_id() -> None:
        assert await api.there(id_of(chance.randint(1, rows)), caller)

    return {**found, "of_an_id": await percentiles(by_id)}


async def export(api: Api, now: datetime, share: float, form: str) -> dict[str, Any]:
    """Events a second of an export of a share of all, and the memory that it takes."""
    before, cpu = rss_mb(api.pid), cpu_seconds(api.pid)
    began = time.monotonic()
    body = {"format": form, "from": format_time(now - timedelta(days=DAYS) * share)}
    size, caller = 0, api.caller("exporter")
    async with api.http.post("/v1/exports", json=body, headers=caller) as answer:
        assert answer.status == 200, await answer.text()
        async for piece in answer.content.iter_any():
            size += len(piece)
        manifest = answer.headers["Location"]
    seconds = time.monotonic() - began
    async with api.http.get(manifest, headers=caller) as answer:
        events = int((await answer.json())["events"])
    return {
        "events": events,
        "bytes": size,
        "rows_per_s": round(events / seconds),
        "server_cpu_us": round((cpu_seconds(api.pid) - cpu) / events * 1e6, 1),
        "memory_before_mb": before,
        "memory_peak_mb": peak_rss_mb(api.pid),
    }


async def found_again(
    place: ArchivePlace,
    postgres: PostgresServer,
    nats: NatsServer,
    folder: Path,
    api: Api,
    seconds: float,
) -> dict[str, Any]:
    """From the return of a commit in the outbox until the API shows the event, under load.

    And from the stream to the archive alone: what is between the two is the API's.
    """
    async with a_bed(postgres, [nats], folder) as bed, connected(nats) as client:
        stream = Stream(client, "ORDERS")
        await stream.make_durable(max_ack_pending=20_000, ack_wait=60.0)
        place.change(nats=NatsConfig(url=nats.url), stream="ORDERS", durable=stream.durable)
        document = folder / "fresh.json"
        document.write_text(encode(place.config))
        await bed.claiming_relay()
        process = write_process(document)
        began = datetime.now(UTC)
        try:
            found = await _under_load(bed, api, seconds)
            p50, p99 = await place.root.fetchval(_ARCHIVED_AFTER, began)
        finally:
            process.terminate()
            await asyncio.to_thread(process.wait, 60)
    return found | {"archived_after": {"p50_ms": round(p50, 2), "p99_ms": round(p99, 2)}}


async def _under_load(bed: Bed, api: Api, seconds: float) -> dict[str, Any]:
    text = (
        "INSERT INTO outbox.events (event_type, partition_key, payload) SELECT 'order.created', "
        "'customer-' || n, jsonb_build_object('n', n, 'pad', repeat('x', 460)) "
        "FROM generate_series(1, $1::int) n RETURNING event_id"
    )
    taken: list[float] = []
    waits: list[float] = []
    now, chance, ending = datetime.now(UTC), random.Random(2), asyncio.Event()
    probes: set[asyncio.Task[None]] = set()

    prober = api.caller("prober")

    async def probe(event_id: uuid.UUID, since: float, *, counts: bool) -> None:
        while not await api.there(event_id, prober):
            assert time.perf_counter() - since < 60, "an event is not found for a minute"
            await asyncio.sleep(_PAUSE)
        if counts:
            taken.append((time.perf_counter() - since) * 1000)

    async def write() -> int:
        began, number = time.monotonic(), 0
        async with asyncpg.create_pool(dsn=bed.url, min_size=1, max_size=1) as pool:
            await probe(await pool.fetchval(text, 1), time.perf_counter(), counts=False)
            began = time.monotonic()
            while time.monotonic() - began < seconds:
                rows = await pool.fetch(text, _PER_SECOND // _COMMITS)
                if number % (_COMMITS // _PROBES) == 0:
                    one = probe(rows[-1]["event_id"], time.perf_counter(), counts=True)
                    probes.add(asyncio.create_task(one))
                number += 1
                await asyncio.sleep(max(0.0, began + number / _COMMITS - time.monotonic()))
        return round(number * (_PER_SECOND // _COMMITS) / (time.monotonic() - began))

    async def read(number: int) -> None:
        caller = api.caller(f"reader-{number}")
        await asyncio.sleep(number / READERS)
        while not ending.is_set():
            began = time.perf_counter()
            await api.page(caller, **question(chance, now, _PAGES[number % len(_PAGES)]))
            waits.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(max(0.0, 1.0 - (time.perf_counter() - began)))

    began = time.monotonic()
    readers = [asyncio.create_task(read(number)) for number in range(READERS)]
    try:
        rate = await write()
        await asyncio.gather(*probes)
        ending.set()
        await asyncio.gather(*readers)
        asked_for = time.monotonic() - began
    finally:
        for task in (*readers, *probes):
            task.cancel()
    return {
        "committed_per_s": rate,
        "readers": READERS,
        "pages_per_s": round(len(waits) / asked_for),
        "page": _summary(waits),
        "looked_for": len(taken),
        "found_after": _summary(taken) | {"max_ms": round(max(taken), 2)},
    }
