"""One shard, from its lock to letting go: connect, claim, run the loop.

Started by `relay.ownership` with the lock of the shard held. Three barriers keep a second writer
away: the session lock; the owner epoch, which every write of the cursor demands; and the fence or
the de-duplication in the stream, for what a frozen process may still send.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import Final

from outbox_operator.adapters.postgres import connection as postgres
from outbox_operator.adapters.postgres.outbox import OutboxStore
from outbox_operator.adapters.postgres.url import Login, resolve
from outbox_operator.adapters.sink import Sink
from outbox_operator.relay.loop import RelayLoop
from outbox_operator.relay.metrics import RelayMetrics
from outbox_operator.relay.paging import check_cursor
from outbox_operator.relay.progress import ShardProgress
from outbox_operator.relay.repeated_ids import RepeatedIds
from outbox_operator.relay.settings import Settings
from outbox_operator.relay.signals import Signals
from outbox_operator.relay.turns import Turns
from outbox_operator.relay.wakeup import Wakeup
from outbox_operator.telemetry.tracer import Tracer

log = logging.getLogger(__name__)

STATEMENT_SECONDS: Final = 60.0
_IDLE_SECONDS: Final = 60.0
"""Silence after which the database ends our session; a relay that is alive polls more often."""
_IDLE_POLLS: Final = 3
"""And at least so many polls of a quiet shard."""


@dataclass(frozen=True, slots=True)
class ShardSession:
    """What it takes to be the active relay of a shard once.

    Attributes:
        sink: Shared with the other shards of this process.
        signals: Of this shard alone; `request_stop` begins the hand-over.
        sleeps: Whether writers notify us when we sleep.
        ids: Of the rows that were read last, of all shards.
        turns: Of all shards of this process.
        tracer: Makes spans; None: nobody wants any.
    """

    shard: int
    settings: Settings
    sink: Sink
    signals: Signals
    progress: ShardProgress
    metrics: RelayMetrics
    sleeps: bool
    ids: RepeatedIds
    turns: Turns
    tracer: Tracer | None

    async def run(self) -> None:
        """Publish until asked to stop.

        Raises:
            OutboxError: A connection is lost, or the ownership is, or the cursor is unusable.
        """
        self.progress.starting()
        store = await self._connect()
        try:
            await store.prepare(max(_IDLE_SECONDS, _IDLE_POLLS * self.signals.poll_ceiling))
            self.progress.watch_postgres(store.waiting_seconds)
            before = await store.read_cursor()
            check_cursor(before, store.address)
            epoch = await store.claim(self.settings.owner, before.server_system)
            # An earlier owner may have written until the claim; nobody but us does from here on.
            cursor = await store.read_cursor()
            self.progress.active(epoch)
            log.info("active relay of the shard", extra={"epoch": epoch})
            await RelayLoop(
                self.settings, store, self.sink, cursor,
                shard=self.shard, signals=self.signals, progress=self.progress,
                metrics=self.metrics, wakeup=await self._wakeup(store), ids=self.ids,
                turns=self.turns, tracer=self.tracer,
            ).run()  # fmt: skip
        finally:
            await store.close()

    async def _wakeup(self, store: OutboxStore) -> Wakeup:
        if not self.sleeps:
            return Wakeup(None)
        sleep = store.wakeup()
        await sleep.listen(self._woken)
        return Wakeup(sleep)

    def _woken(self) -> None:
        self.metrics.wakeups.inc()
        self.signals.wake()

    async def _connect(self) -> OutboxStore:
        config = self.settings.config
        target = resolve(Login.from_files(config.database))
        connection = await postgres.connect(
            target,
            application_name=f"{self.settings.application_name} shard {self.shard}",
            statement_timeout=STATEMENT_SECONDS,
            statements_of_others=True,
        )
        store = OutboxStore(
            connection,
            target,
            schema=config.database.schema,
            payload_type=config.payload_type,
            shard=self.shard,
        )
        store.on_lost(partial(_lost, self.signals))
        return store


def _lost(signals: Signals) -> None:
    signals.wake()
    signals.interrupt()
