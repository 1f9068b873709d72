"""Concurrent writers that lock their aggregates as the documentation says, and keep a journal.

Called by `delivery.run`. They reach PostgreSQL directly: what is tested is the way from the
committed row to the stream. Besides each event they write a ledger entry in the same transaction:
the aggregate's version, which counts the committed events of the key in the order of its lock.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import asyncpg

from delivery.content import (
    Author,
    Bulk,
    Draft,
    Emit,
    Hold,
    PayloadType,
    Savepoint,
    Step,
    Transaction,
)
from delivery.journal import Fate, Journal

LEDGER_SQL: Final = """
CREATE SCHEMA shop;
CREATE TABLE shop.aggregates (key text PRIMARY KEY, version bigint NOT NULL DEFAULT 1);
CREATE TABLE shop.ledger (event_id uuid PRIMARY KEY, key text NOT NULL, version bigint NOT NULL);
CREATE UNIQUE INDEX ON shop.ledger (key, version) WHERE key <> '';
"""
_ROW_LOCK: Final = (
    "INSERT INTO shop.aggregates (key) VALUES ($1) "
    "ON CONFLICT (key) DO UPDATE SET version = aggregates.version + 1 RETURNING version"
)
_ADVISORY_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtext($1))"
_VERSIONS: Final = (
    "SELECT key, max(version) FROM shop.ledger WHERE key = ANY ($1::text[]) GROUP BY key"
)
_NEXT_VERSION: Final = "SELECT coalesce(max(version), 0) + 1 FROM shop.ledger WHERE key = $1"
_WRITE: Final = (
    "WITH entry AS (INSERT INTO shop.ledger (event_id, key, version) VALUES ($1, $3, $7)) "
    "INSERT INTO outbox.events "
    "(event_id, event_type, partition_key, routing_key, payload, headers) "
    "VALUES ($1, $2, $3, $4, $5, $6)"
)
_BULK: Final = (
    "INSERT INTO outbox.events (event_type, partition_key, payload) "
    "SELECT 'bulk', 'bulk-' || n % 100, '7' FROM generate_series(1, $1::int) n"
)
_LOCK_TIMEOUT: Final = "SET lock_timeout = '500ms'"
_LOST: Final = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError)
_RETRY_SECONDS: Final = 0.1
_BULK_SECONDS: Final = 60.0
_LONGEST_PAUSE_SECONDS: Final = 0.3
PHASE_SECONDS: Final = 3.0
WAVE_SECONDS: Final = 5.0


class Workload:
    """Up to `writers` writers at a time.

    Args:
        rate: Events a second all writers together aim at.
        wave: Events that one more writer commits at once, every few seconds.
        hostile: Share of events that no ordinary application writes.
        fuzz: Whether these are drawn column by column.
        bulk: Events of a transaction that stays open all the time, and is rolled back.
    """

    def __init__(
        self,
        url: str,
        journal: Journal,
        *,
        seed: int,
        writers: int,
        rate: float,
        payload_type: PayloadType,
        hold_seconds: float,
        wave: int = 0,
        hostile: float = 0.0,
        fuzz: bool = False,
        bulk: int = 0,
    ) -> None:
        self._url = url
        self._journal = journal
        self._seed = seed
        self._writers = writers
        self._rate = rate
        self._payload_type = payload_type
        self._hold_seconds = hold_seconds
        self._wave = wave
        self._hostile = hostile
        self._fuzz = fuzz
        self._bulk = bulk
        self._active = writers
        self._holding = 0
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Write until `stop`; returns when every transaction has ended."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._phases())
            for number in range(self._writers):
                group.create_task(self._writer(number))
            if self._wave:
                group.create_task(self._waves())
            if self._bulk:
                group.create_task(self._stay_open())

    def stop(self) -> None:
        """Begin no further transaction."""
        self._stopping.set()

    async def _phases(self) -> None:
        """Now one writer, now many."""
        draw = random.Random(f"{self._seed}/phases")
        while not self._stopping.is_set():
            self._active = draw.choice([n for n in (1, 4, 16, 32, 64) if n <= self._writers] or [1])
            await self._rest(PHASE_SECONDS)

    async def _rest(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return

    async def _stay_open(self) -> None:
        while not self._stopping.is_set():
            try:
                connection = await asyncpg.connect(self._url, timeout=5)
            except _LOST:
                await self._rest(_RETRY_SECONDS)
                continue
            try:
                await connection.execute("BEGIN")
                await connection.execute(_BULK, self._bulk, timeout=_BULK_SECONDS)
                while not self._stopping.is_set() and not connection.is_closed():
                    await self._rest(_RETRY_SECONDS)
            except _LOST:
                await self._rest(_RETRY_SECONDS)
            finally:
                connection.terminate()

    async def _waves(self) -> None:
        """Now and then more than a relay reads at a time."""
        author = Author(self._seed, self._writers, self._payload_type, self._hold_seconds)
        for transaction in author.waves(self._wave):
            await self._rest(WAVE_SECONDS)
            if self._stopping.is_set():
                return
            try:
                connection = await asyncpg.connect(self._url, timeout=5)
            except _LOST:
                continue
            try:
                await Writer(connection, self._journal).write(transaction)
            except _LOST:
                continue
            finally:
                connection.terminate()

    async def _writer(self, number: int) -> None:
        author = Author(
            self._seed,
            number,
            self._payload_type,
            self._hold_seconds,
            self._hostile,
            fuzz=self._fuzz,
        )
        script = author.transactions()
        while not self._stopping.is_set():
            try:
                connection = await asyncpg.connect(self._url, timeout=5)
            except _LOST:
                await self._rest(_RETRY_SECONDS)
                continue
            try:
                writer = Writer(connection, self._journal, self._hold)
                await connection.execute(_LOCK_TIMEOUT)
                while not self._stopping.is_set() and not connection.is_closed():
                    if number >= self._active + self._holding:
                        await self._rest(_RETRY_SECONDS)
                        continue
                    transaction = next(script)
                    await writer.write(transaction)
                    await self._rest(
                        min(_LONGEST_PAUSE_SECONDS, transaction.pause * self._active / self._rate)
                    )
            except _LOST:
                await self._rest(_RETRY_SECONDS)
            finally:
                connection.terminate()

    async def _hold(self, seconds: float) -> None:
        # Whoever holds a transaction open does not count: another writer takes the place.
        self._holding += 1
        await self._rest(seconds)
        self._holding -= 1


class Writer:
    """Does transactions over a connection and journals their fates.

    Args:
        hold: How to wait inside a transaction, told the seconds.
    """

    def __init__(
        self,
        connection: asyncpg.Connection[Any],
        journal: Journal,
        hold: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.connection = connection
        self._journal = journal
        self._hold = hold

    async def write(self, transaction: Transaction) -> None:
        """Do it and journal its fate; errors of the server end it, lost connections are raised."""
        connection = self.connection
        written: list[Draft] = []
        all_drafts = list(transaction.drafts())
        # Until COMMIT is sent nothing can have happened, whatever breaks.
        self._journal.note(all_drafts, Fate.ROLLED_BACK)
        try:
            await connection.execute("BEGIN")
            await self._steps(transaction.steps, written)
        except _LOST:
            self._journal.transactions["aborted"] += 1
            if not connection.is_closed():
                await connection.execute("ROLLBACK")
            return
        if not transaction.commit:
            self._journal.transactions["rolled back"] += 1
            await connection.execute("ROLLBACK")
            return
        try:
            answer = await connection.execute("COMMIT")
        except _LOST:
            self._journal.transactions["unknown"] += 1
            self._journal.note(written, Fate.UNKNOWN)
            raise
        assert answer == "COMMIT", answer
        self._journal.transactions["committed"] += 1
        self._journal.note(written, Fate.COMMITTED)

    async def _steps(self, steps: Sequence[Step], written: list[Draft]) -> None:
        """Run steps; `written` gets the events that live if the transaction is committed."""
        connection = self.connection
        for step in steps:
            match step:
                case Emit(draft):
                    await self._emit(draft)
                    written.append(draft)
                case Hold(seconds):
                    await self._hold(seconds)
                case Bulk(drafts):
                    await self._bulk(drafts)
                    written.extend(drafts)
                case Savepoint(inner, release):
                    await connection.execute("SAVEPOINT s")
                    kept: list[Draft] = []
                    await self._steps(inner, kept)
                    if release:
                        await connection.execute("RELEASE SAVEPOINT s")
                        written.extend(kept)
                    else:
                        await connection.execute("ROLLBACK TO SAVEPOINT s")
                        await connection.execute("RELEASE SAVEPOINT s")

    async def _emit(self, draft: Draft) -> None:
        connection = self.connection
        version = 0
        if draft.key and len(draft.key) % 2:  # half of the keys have no row to lock
            await connection.execute(_ADVISORY_LOCK, draft.key)
            version = await connection.fetchval(_NEXT_VERSION, draft.key)
        elif draft.key:
            version = await connection.fetchval(_ROW_LOCK, draft.key)
        await connection.execute(_WRITE, *_columns(draft, version))

    async def _bulk(self, drafts: Sequence[Draft]) -> None:
        keys = sorted({draft.key for draft in drafts})
        for key in keys:
            await self.connection.execute(_ADVISORY_LOCK, key)
        versions = dict(await self.connection.fetch(_VERSIONS, keys))
        rows = []
        for draft in drafts:
            versions[draft.key] = version = versions.get(draft.key, 0) + 1
            rows.append(_columns(draft, version))
        # A connection that is lost while the driver waits to write more would never tell it.
        await self.connection.executemany(_WRITE, rows, timeout=_BULK_SECONDS)


def _columns(draft: Draft, version: int) -> tuple[object, ...]:
    return (
        draft.event_id, draft.event_type, draft.key, draft.routing_key,
        draft.payload, draft.headers, version,
    )  # fmt: skip
