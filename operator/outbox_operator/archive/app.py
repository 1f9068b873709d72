"""Wire a process that writes an archive together and keep it running.

Called by `outbox archive write`. NATS, the durable consumer and the database may be away at the
start or go away later: the process says so on /readyz, waits and goes on by itself.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from outbox_operator.adapters.nats.pull_consumer import PullConsumer
from outbox_operator.adapters.nats.pull_session import has_new_login, pull_session
from outbox_operator.adapters.postgres.archive_backfill import KeptRows
from outbox_operator.adapters.postgres.archive_store import ArchiveStore
from outbox_operator.adapters.postgres.url import Login, resolve
from outbox_operator.aio import Backoff, wait
from outbox_operator.archive.backfill import Backfill
from outbox_operator.archive.metrics import ArchiveMetrics
from outbox_operator.archive.records import columns
from outbox_operator.archive.writer import Writer
from outbox_operator.errors import AccessDeniedError, OutboxError
from outbox_operator.telemetry.health import Check, HealthServer
from outbox_operator.telemetry.logging import bind
from outbox_operator.telemetry.readiness import ServerState
from outbox_operator.wire.archive import ArchiveConfig, owner_uid

log = logging.getLogger(__name__)

RETRY_SECONDS: Final = (1.0, 15.0)
"""First and longest pause between attempts to reach a server: recovery within this time."""


class ArchiveApp:
    """One process that writes an archive.

    Args:
        config: Of the archive.

    Attributes:
        metrics: What it counts.
        checks: What readiness asks.
        health: Serves both.
    """

    def __init__(self, config: ArchiveConfig) -> None:
        self._config = config
        self._stopping = asyncio.Event()
        self._nats, self._durable, self._database = ServerState(), ServerState(), ServerState()
        self.metrics = ArchiveMetrics(config.namespace, config.consumer)
        self._writer: Writer | None = None
        self.checks: dict[str, Check] = {
            "nats": self._nats.check,
            "consumer": self._durable.check,
            "database": self._database.check,
        }
        self.health = HealthServer(config.health_port, self.checks, registry=self.metrics.registry)

    def stop(self) -> None:
        """Store what is in hand and end `run`. May be called more than once."""
        self._stopping.set()
        if self._writer is not None:
            self._writer.wake()

    async def run(self) -> None:
        """Store messages until `stop` is called."""
        config = self._config
        log.info(
            "archive %s keeps what durable consumer %r of stream %r is given",
            config.consumer, config.durable, config.stream,
        )  # fmt: skip
        retry = Backoff(*RETRY_SECONDS)
        async with self.health, self._backfilling():
            while not self._stopping.is_set():
                try:
                    await self._connected(self._new_store())
                except OutboxError as error:
                    log.debug("session ended: %s", error)
                    await wait(self._stopping, retry.next())
                else:
                    retry.reset()
        log.info("stopped")

    @asynccontextmanager
    async def _backfilling(self) -> AsyncIterator[None]:
        """Meanwhile the rows of an outbox's table are archived, if one is named."""
        declared, config = self._config.backfill, self._config
        if declared is None:
            yield
            return
        rows = KeptRows(
            lambda: resolve(Login.from_files(declared)),
            schema=declared.schema,
            application_name=f"outbox-archive {config.namespace}/{config.consumer}",
        )
        backfill = Backfill(config, rows, self._new_store(), self.metrics, self._stopping)
        task = asyncio.create_task(backfill.run())
        try:
            yield
        finally:
            task.cancel()  # what it has begun is not committed, and the next process begins it anew
            await asyncio.wait((task,))

    def _new_store(self) -> ArchiveStore:
        """Who stores, each time with the login that the files have by then."""
        config = self._config
        return ArchiveStore(
            lambda: resolve(Login.from_files(config.database)),
            schema=config.database.schema,
            columns=columns(config.rules),
            classes=[one.name for one in config.rules.retention],
            owner_uid=owner_uid(config),
            duplicate_window=dt.timedelta(seconds=config.duplicate_window_seconds),
            application_name=f"outbox-archive {config.namespace}/{config.consumer}",
        )

    async def _connected(self, store: ArchiveStore) -> None:
        """Store messages over one connection to NATS, until stopped.

        Raises:
            OutboxError: A server is away, or the session is to begin anew.
        """
        config = self._config
        writer = Writer(config, store, self._database, self.metrics, self._stopping)
        session = pull_session(
            config.nats,
            name=f"outbox-archive {config.namespace}/{config.consumer}",
            stream=config.stream,
            durable=config.durable,
            state=self._nats,
            stopping=self._stopping,
            on_delivery=writer.deliver,
            on_change=writer.wake,
            on_refused=lambda _: None,  # it comes again, and is known
        )
        async with session as source:
            self._writer = writer
            try:
                await self._read(source, store, writer)
            finally:
                self._writer = None
                await store.close()

    async def _read(self, source: PullConsumer, store: ArchiveStore, writer: Writer) -> None:
        """Read the durable consumer, however often it goes away.

        Raises:
            OutboxError: The connection is closed for good, or its login has changed.
        """
        retry = Backoff(*RETRY_SECONDS)
        while not self._stopping.is_set():
            try:
                with self._database.reporting():
                    await store.open()
                self._database.set(True, f"connected to {store.address}")
                with self._durable.reporting():
                    await source.open()
                    self._durable.set(True, f"reading {self._config.durable!r}")
                    retry.reset()
                    await writer.run(source)
            except OutboxError as error:
                self.metrics.errors(error.reason).inc()
                if source.closed or has_new_login(self._config.nats, source):
                    raise
                if isinstance(error, AccessDeniedError):
                    await source.close()
                await wait(self._stopping, retry.next())


async def main(config: ArchiveConfig) -> None:
    """Write an archive until SIGTERM or SIGINT; then store what is in hand."""
    app = ArchiveApp(config)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, app.stop)
    with bind(consumer=f"{config.namespace}/{config.consumer}"):
        await app.run()
