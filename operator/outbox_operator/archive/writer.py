"""Reads messages of a durable consumer and has them stored, a batch at a time.

A message is acknowledged once its row is committed: whoever dies meanwhile, it comes again, and is
known. While a batch is stored, the next one gathers; there are never more in hand than these two.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Final

from outbox_operator.adapters.nats.pull_consumer import Delivery, PullConsumer
from outbox_operator.adapters.postgres.archive_store import ArchiveStore, Missing
from outbox_operator.adapters.postgres.errors import UnreadableRowsError
from outbox_operator.aio import Backoff, wait
from outbox_operator.archive.batches import Waiting, batch_of
from outbox_operator.archive.metrics import ArchiveMetrics
from outbox_operator.archive.records import Record, Recorder
from outbox_operator.errors import NatsError, OutboxError
from outbox_operator.reasons import Reason
from outbox_operator.telemetry.readiness import ServerState
from outbox_operator.wire.archive import ArchiveConfig

log = logging.getLogger(__name__)

_CHECK_SECONDS: Final = 1.0
"""How often it looks when nothing wakes it."""
_MISSING_SECONDS: Final = 5.0
"""How often the ledger is asked what is missing, while events come."""
_RETRY_SECONDS: Final = (0.2, 15.0)
_CONFIRM_SECONDS: Final = 2.0
_BESIDES_BYTES: Final = 8192
"""Of a message as the server counts it, besides payload and headers: subjects, at most."""


Item = tuple[Delivery, Record]
"""A message in hand."""


class Writer:
    """Between one durable consumer and one archive.

    Args:
        config: Of the archive.
        store: Where batches go.
        database: What readiness says of it.
        metrics: What to count.
        stopping: Ends the work; call `wake` after setting it.
    """

    def __init__(
        self,
        config: ArchiveConfig,
        store: ArchiveStore,
        database: ServerState,
        metrics: ArchiveMetrics,
        stopping: asyncio.Event,
    ) -> None:
        self._config = config
        self._store = store
        self._database = database
        self._metrics = metrics
        self._stopping = stopping
        self._changed = asyncio.Event()
        self._recorder = Recorder(config.rules, config.durable)
        self._waiting: Waiting[Item] = Waiting(
            config.batch_events, config.batch_bytes, config.batch_seconds
        )
        self._storing: asyncio.Task[None] | None = None
        self._stored_now = 0
        self._stored_bytes = 0
        self._came = True
        self._source: PullConsumer | None = None
        self._accounts = False
        self._missing: Missing | None = None
        self._asked = 0.0
        metrics.gaps.watch(lambda: None if self._missing is None else self._missing.gaps)
        metrics.missing.watch(lambda: None if self._missing is None else self._missing.numbers)

    def wake(self) -> None:
        """Look again: something changed."""
        self._changed.set()

    def deliver(self, delivery: Delivery) -> None:
        """Take one message in hand."""
        try:
            record = self._recorder.record(delivery)
        except Exception:  # a bug of ours must not be one message's end of the archive
            log.exception("message %d of %s is stored as bytes", delivery.sequence, delivery.stream)
            record = self._recorder.bare(delivery, "it was not understood")
        self._came = True
        if delivery.deliveries > 1:
            self._metrics.redeliveries.inc()
        waiting, source = self._waiting, self._source
        waiting.add((delivery, record), record.size, time.monotonic())
        if len(waiting.items) == 1 or waiting.full or (source is not None and not source.requested):
            self.wake()

    async def run(self, source: PullConsumer) -> None:
        """Store messages until `stopping`, then what is in hand.

        Args:
            source: An open durable consumer that reports to `deliver` and `wake`.

        Raises:
            OutboxError: Nothing can arrive any more. What is in hand is stored all the same.
        """
        self._take_limits(source)
        self._source = source
        try:
            while not self._stopping.is_set():
                self._changed.clear()
                if source.failure is not None:
                    raise source.failure
                if source.silent and source.connected:
                    await source.verify()
                    source.forget_requests()
                await self._request(source)
                self._start_storing()
                await wait(self._changed, self._seconds_until_due())
        finally:
            self._source = None
            await source.close()
            await self._finish()
            source.flush()
            with contextlib.suppress(OutboxError, TimeoutError):
                async with asyncio.timeout(_CONFIRM_SECONDS):
                    await source.confirm()

    def _take_limits(self, source: PullConsumer) -> None:
        """Heed what the durable consumer allows.

        Raises:
            NatsError: Its acknowledgements count for messages that are not stored yet.
        """
        if source.ack_all:
            raise NatsError(
                f"durable consumer {self._config.durable!r}: ackPolicy: wanted explicit, found "
                "all, with which an answer counts for events that are not stored yet",
                reason=Reason.WRONG_CONSUMER,
            )
        most = source.most_in_flight
        self._waiting.most = self._config.batch_events
        if 0 < most < 2 * self._config.batch_events:
            self._waiting.most = max(1, most // 2)
            log.warning(
                "durable consumer %r: maxAckPending %d is less than twice batch_events (%d): "
                "batches have %d events",
                self._config.durable, most, self._config.batch_events, self._waiting.most,
            )  # fmt: skip
        self._accounts = not source.durable.filter
        if not self._accounts:
            self._missing = None
            log.warning(
                "durable consumer %r has a filter: what is missing cannot be told",
                self._config.durable,
            )

    async def _request(self, source: PullConsumer) -> None:
        """Request as many messages, and bytes, as there is room for: at least one of any size."""
        waiting = self._waiting
        self._metrics.in_hand.set(len(waiting.items) + self._stored_now)
        room = 2 * waiting.most - len(waiting.items) - self._stored_now
        room_bytes = 2 * waiting.most_bytes - waiting.bytes - self._stored_bytes
        if source.requested or room <= 0 or room_bytes <= 0:
            return
        if source.out_of_bytes and not self._came:
            await source.request(1)  # from before the server's limit was lowered
            return
        self._came = False
        largest = source.largest_message + _BESIDES_BYTES
        await source.request(room, most_bytes=max(room_bytes, largest))

    def _start_storing(self) -> None:
        if self._storing is None and self._waiting.due(time.monotonic()):
            self._stored_bytes = self._waiting.bytes
            items = self._waiting.take()
            self._stored_now = len(items)
            self._storing = asyncio.create_task(self._store_all(items))
            self._storing.add_done_callback(self._stored)

    def _stored(self, task: asyncio.Task[None]) -> None:
        self._storing, self._stored_now, self._stored_bytes = None, 0, 0
        if not task.cancelled() and task.exception() is not None:
            log.error("a batch was not stored", exc_info=task.exception())
        self.wake()

    def _seconds_until_due(self) -> float:
        if not self._waiting.items or self._storing is not None:
            return _CHECK_SECONDS
        due = self._waiting.since + self._waiting.seconds - time.monotonic()
        return min(_CHECK_SECONDS, max(0.0, due))

    async def _finish(self) -> None:
        """Store what is in hand, within the time allowed; what is not comes again."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._config.drain_seconds):
                while self._storing is not None or self._waiting.items:
                    if self._storing is None:
                        self._waiting.since = 0.0
                        self._start_storing()
                    assert self._storing is not None  # noqa: S101 - just started
                    await asyncio.wait([self._storing])
                    await asyncio.sleep(0)  # its callback
        self._waiting.take()
        if self._storing is not None:
            self._storing.cancel()
            await asyncio.wait([self._storing])

    async def _store_all(self, items: Sequence[Item]) -> None:
        """Store messages, however often the database goes away meanwhile."""
        retry = Backoff(*_RETRY_SECONDS)
        while True:
            try:
                await self._store_some(items)
            except OutboxError as error:
                await self._failed(error)
                await asyncio.sleep(retry.next())
            else:
                break
        self._database.set(True, f"connected to {self._store.address}")
        try:
            await self._look_for_missing()
        except OutboxError as error:
            await self._failed(error)

    async def _failed(self, error: OutboxError) -> None:
        self._metrics.errors(error.reason).inc()
        self._database.set(False, f"{error.reason}: {error.message}")
        await self._store.close()

    async def _store_some(self, items: Sequence[Item]) -> None:
        """Store messages in one transaction; if one of them is refused, in as many as it takes.

        Raises:
            OutboxError: The database is away, or refuses.
        """
        records = [record for _, record in items]
        batch = batch_of(records, accounts=self._accounts)
        began = time.monotonic()
        try:
            new = await self._store.store(batch)
        except UnreadableRowsError as error:
            if len(items) > 1:
                half = len(items) // 2
                await self._store_some(items[:half])
                await self._store_some(items[half:])
                return
            [(delivery, record)] = items
            log.warning("message %d is stored as bytes: %s", delivery.sequence, error)
            bare = self._recorder.bare(delivery, "the database refused it")
            if bare == record:
                raise
            await self._store_some([(delivery, bare)])
            return
        self._metrics.batch_seconds.observe(time.monotonic() - began)
        self._done(items, new)

    def _done(self, items: Sequence[Item], new: Mapping[str, int]) -> None:
        """Acknowledge what is committed, and count it."""
        now = time.time_ns()
        with contextlib.suppress(NatsError):  # away: they come again, and are known
            for delivery, _ in items:
                delivery.ack()
        metrics = self._metrics
        others = sum(not record.wanted for _, record in items)
        metrics.for_others.inc(others)
        metrics.duplicates.inc(len(items) - others - sum(new.values()))
        metrics.delay.observe_ages([one.stored_ns // 1000 for one, _ in items], now // 1000)
        for name, count in new.items():
            metrics.events(name).inc(count)
        metrics.noted.inc(sum(record.noted for _, record in items))

    async def _look_for_missing(self) -> None:
        """Ask the ledger, now and then.

        Raises:
            OutboxError: The database is away.
        """
        if self._accounts and time.monotonic() - self._asked > _MISSING_SECONDS:
            self._missing = await self._store.missing()
            self._asked = time.monotonic()
