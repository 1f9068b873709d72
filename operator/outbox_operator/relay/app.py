"""A relay process from start to exit: connections, probes, signals.

Called by `outbox relay`. Works in sessions: connect to both servers, then own a share of the
shards (`relay.ownership`). The loss of either connection ends the session, which lets go of all
shards so that a relay with better connections can have them; then the next session begins.
Nothing is lost by that: the cursors know.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from functools import partial
from typing import Final

from outbox_operator.adapters.postgres import connection as postgres
from outbox_operator.adapters.postgres.shard_locks import STATEMENT_SECONDS, ShardLocks
from outbox_operator.adapters.postgres.url import Login, resolve
from outbox_operator.adapters.sink import Sink
from outbox_operator.aio import Backoff
from outbox_operator.errors import OutboxError
from outbox_operator.reasons import Reason
from outbox_operator.relay.metrics import RelayMetrics
from outbox_operator.relay.nudges import Nudges
from outbox_operator.relay.ownership import Ownership
from outbox_operator.relay.progress import Progress
from outbox_operator.relay.settings import Settings
from outbox_operator.relay.signals import Signals
from outbox_operator.relay.sinks import open_sink
from outbox_operator.telemetry.health import HealthServer
from outbox_operator.telemetry.logging import bind
from outbox_operator.telemetry.tracer import Tracer
from outbox_operator.wire.subjects import nudge_subject

log = logging.getLogger(__name__)

_RETRY_SECONDS: Final = (0.2, 10.0)
"""First and longest pause between two attempts."""
_STABLE_SECONDS: Final = 30.0
"""A session this long was fine; the back-off starts anew after it."""


class RelayApp:
    """One relay process.

    Args:
        tracer: Makes spans; None: nobody wants any.
    """

    def __init__(self, settings: Settings, tracer: Tracer | None = None) -> None:
        config = settings.config
        self._settings = settings
        self._tracer = tracer
        self._config = config
        self._signals = Signals()
        self._metrics = RelayMetrics(config.namespace, config.pipeline)
        self._progress = Progress(
            self._metrics, shards=config.shards, sink="nats" if config.redis is None else "redis"
        )
        self._nudges = Nudges(
            nudge_subject(config.namespace, config.pipeline),
            self._progress, self._metrics, self._nudged,
        )  # fmt: skip
        self._denied = ""
        """The missing right that was logged last."""
        self._ownership: Ownership | None = None

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then drain within `drain_seconds`."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signals.request_stop)
        health = HealthServer(
            self._config.health_port,
            self._progress.checks(),
            registry=self._metrics.metrics.registry,
        )
        identity = f"{self._config.namespace}/{self._config.pipeline}"
        with bind(pipeline=identity, owner=self._settings.owner):
            async with health:
                log.info("relay started", extra={"health_port": health.port})
                await self._work()
                log.info("relay stopped")

    async def _work(self) -> None:
        work = asyncio.create_task(self._sessions())
        stop = asyncio.create_task(self._signals.stop_requested())
        try:
            await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                log.info("asked to stop, finishing the pages in flight")
                await asyncio.wait({work}, timeout=self._config.drain_seconds)
            if not work.done():
                log.warning("the pages in flight did not finish in time; they will be sent again")
        finally:
            work.cancel()
            stop.cancel()
            results = await asyncio.gather(work, stop, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _sessions(self) -> None:
        retry = Backoff(*_RETRY_SECONDS, stable_after=_STABLE_SECONDS)
        while not self._signals.stopping:
            started = time.monotonic()
            try:
                await self._session()
            except OutboxError as error:
                pause = retry.next(lasted=time.monotonic() - started)
                self._warn("starting over: %s", error, pause)
                self._progress.left(error.message)
                await self._signals.rest(pause)

    async def _session(self) -> None:
        """Work from both connections to the loss of one, or to the request to stop."""
        locks, sink = await asyncio.gather(self._postgres(), self._sink())
        listening: asyncio.Task[None] | None = None
        try:
            if locks is None or sink is None:
                return
            listening = asyncio.create_task(self._nudges.listen(sink))
            await self._nudges.tried.wait()
            self._ownership = Ownership(
                self._settings, locks, sink, self._signals, self._progress, self._metrics,
                self._tracer,
            )  # fmt: skip
            await self._ownership.run()
        finally:
            self._ownership = None
            if listening is not None:
                listening.cancel()
            self._progress.left("between two sessions")
            await asyncio.gather(*(part.close() for part in (locks, sink) if part is not None))

    async def _postgres(self) -> ShardLocks | None:
        """Connect to the database, however long it takes; None when asked to stop."""
        retry = Backoff(*_RETRY_SECONDS)
        while not self._signals.stopping:
            try:
                # The Secret is read each time: a corrected one needs no restart.
                target = resolve(Login.from_files(self._config.database))
                connection = await postgres.connect(
                    target,
                    application_name=f"{self._settings.application_name} locks",
                    statement_timeout=STATEMENT_SECONDS,
                    statements_of_others=True,
                )
            except OutboxError as error:
                pause = retry.next()
                self._failed(error, pause)
                self._progress.postgres(ok=False, reason=error.message)
                await self._signals.rest(pause)
                continue
            locks = ShardLocks(connection, target, schema=self._config.database.schema)
            locks.on_lost(partial(self._lost_postgres, target.address))
            self._progress.postgres(ok=True, reason=f"connected to {target.address}")
            self._progress.watch_postgres(locks.waiting_seconds)
            return locks
        return None

    async def _sink(self) -> Sink | None:
        """Connect to where events go, however long it takes; None when asked to stop."""
        retry = Backoff(*_RETRY_SECONDS)
        while not self._signals.stopping:
            try:
                sink = await open_sink(self._settings)
            except OutboxError as error:
                pause = retry.next()
                self._failed(error, pause)
                self._progress.sink(ok=False, reason=f"{error.reason}: {error.message}")
                await self._signals.rest(pause)
                continue
            self._denied = ""
            sink.on_lost(partial(self._lost_sink, sink))
            self._progress.sink(ok=True, reason=f"connected to {sink.address}")
            return sink
        return None

    def _failed(self, error: OutboxError, pause: float) -> None:
        self._warn("cannot connect: %s", error, pause)

    def _warn(self, sentence: str, error: OutboxError, pause: float) -> None:
        """Log why something is tried again, and count it; a missing right is logged once."""
        self._metrics.errors(error.reason).inc()
        if error.reason == Reason.PERMISSION_DENIED:
            said, self._denied = self._denied, error.message
            if said == error.message:
                return
        log.warning(
            sentence, error.message,
            extra={"reason": error.reason, "retry_seconds": round(pause, 2)},
        )  # fmt: skip

    def _lost_postgres(self, address: str) -> None:
        self._progress.postgres(
            ok=False, reason=f"PostgreSQL at {address}: the connection was lost"
        )
        self._signals.interrupt()

    def _lost_sink(self, sink: Sink) -> None:
        error = sink.lost_error()
        self._progress.sink(ok=False, reason=f"{error.reason}: {error.message}")
        self._signals.interrupt()

    def _nudged(self) -> None:
        self._metrics.nudges.inc()
        if self._ownership is not None:
            self._ownership.nudged()
