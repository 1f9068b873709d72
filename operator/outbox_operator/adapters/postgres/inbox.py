"""Run a handler in the transaction that also remembers the event.

Called by the consumer runtime when the consumer has an inbox. Events are remembered by a row each,
or by one row for each shard of an outbox that holds how far it was handled. Several events may
share a transaction.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy
from asyncpg.transaction import Transaction

from outbox_operator.adapters.postgres import connection as postgres
from outbox_operator.adapters.postgres.connection import Connection
from outbox_operator.adapters.postgres.errors import errors, translate
from outbox_operator.adapters.postgres.inbox_marks import Mark, Place, sort_out
from outbox_operator.adapters.postgres.queries import statement
from outbox_operator.adapters.postgres.url import PostgresTarget
from outbox_operator.errors import OutboxError, PostgresError
from outbox_operator.reasons import Reason
from outbox_operator.wire.durable import Durable

_STATEMENT_SECONDS: Final = 300.0
"""The handler's own statements run on these connections; its time is bounded elsewhere."""
_IDLE_SECONDS: Final = 300.0
_CLEANUP_SECONDS: Final = 5.0

Borrowed: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"
"""An open connection, to be given back; has all methods of an asyncpg Connection."""

Handle = Callable[[Borrowed, Sequence[int]], Awaitable[bool]]
"""Gets the connection and the numbers of the events that are new; True commits."""


class CommitRefusedError(OutboxError):
    """The database is there, but does not take what the handler wrote."""

    reason = Reason.COMMIT_REFUSED


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What the inbox keeps of an event."""

    event_id: uuid.UUID
    source_topic: str
    event_type: str
    payload: bytes
    source: str
    shard: str | None
    emission: int | None
    """Number of the event in its shard; None: it comes from no outbox of ours."""
    stored: dt.datetime
    sequence: int = 0
    durable: Durable | None = None
    """What it came through."""


class InboxStore:
    """Connections to the handler's database, and the inbox of one consumer in it.

    Args:
        target: The database.
        consumer_name: Whose inbox.
        schema: Schema of the inbox tables.
        mode: What is remembered: each event, or how far each shard is handled. The latter takes
            the events of a shard one after another, in the order of the stream.
        size: Most connections, and so most transactions at the same time.
    """

    def __init__(
        self,
        target: PostgresTarget,
        *,
        consumer_name: str,
        schema: str,
        mode: Literal["PerEvent", "PerShard"],
        size: int,
    ) -> None:
        self._target = target
        self._consumer = consumer_name
        self._by_shard = mode == "PerShard"
        self._schema = schema
        self._claim_sql = statement("inbox_claim", schema=schema)
        self._finish_sql = statement("inbox_finish", schema=schema)
        self._position_sql = statement("inbox_position", schema=schema)
        self._begin_sql = statement("inbox_begin", schema=schema)
        self._advance_sql = statement("inbox_advance", schema=schema)
        self._name = f"outbox-consumer {consumer_name}"
        self._used = False
        self._pool: asyncpg.Pool[asyncpg.Record] = asyncpg.create_pool(
            min_size=0,
            max_size=size,
            max_inactive_connection_lifetime=_IDLE_SECONDS,
            connect=self._connect,
            reset=partial(postgres.reset, statement_timeout=_STATEMENT_SECONDS),
        )

    @property
    def address(self) -> str:
        """`host:port/database`, for messages."""
        return self._target.address

    async def check(self) -> None:
        """See that the tables are there and may be read.

        Raises:
            PostgresError: The database is away, or a table does not exist (StatementFailed).
            AccessDeniedError: The role may not read them.
            CredentialsError: The login was refused.
        """
        connection = await self._acquire()
        try:
            with errors(self._target):
                await connection.execute(statement("inbox_check", schema=self._schema))
        finally:
            await self._pool.release(connection)

    async def process(self, records: Sequence[Record], handle: Handle) -> bool:
        """Call `handle` in a transaction that remembers the events, unless all are known.

        Args:
            records: The events; with mode PerShard, of one shard and in order.
            handle: Gets the connection and which events are new; True commits its writes and the
                records, False rolls both back.

        Returns:
            Whether all events are handled and remembered, now or before.

        Raises:
            PostgresError: The database is away, or went away; nothing is committed as far as we
                know. The same for every other OutboxError but the next.
            CommitRefusedError: The database refused the commit: the handler's writes are at fault.
            Exception: Whatever `handle` raises; both are rolled back.
        """
        connection = await self._acquire()
        try:
            transaction = connection.transaction()
            with errors(self._target):
                await transaction.start()
            try:
                result = await self._process(connection, records, handle)
                if result != "rolled back":
                    await self._commit(connection, transaction)
            finally:
                # After a commit there is nothing left to undo.
                if not _is_lost(connection) and connection.is_in_transaction():
                    await _undo(connection, transaction)
            return result != "rolled back"
        finally:
            await self._pool.release(connection)

    async def close(self) -> None:
        """Close all connections; open transactions are rolled back."""
        if self._used:  # the pool of a process that stops at once was never opened
            self._pool.terminate()

    async def _process(
        self, connection: Borrowed, records: Sequence[Record], handle: Handle
    ) -> Literal["committed", "rolled back", "duplicates"]:
        mark: Mark | None = None
        with errors(self._target):
            if self._by_shard and records[0].shard is not None:
                new, claimed, mark = await self._beyond_mark(connection, records)
            else:
                new = claimed = await self._claim(connection, records, range(len(records)))
            if not new:
                if mark is not None:
                    await self._advance(connection, records[0], mark)
                return "duplicates"
        started = time.perf_counter()
        keep = await handle(connection, new)
        if _is_lost(connection):
            raise PostgresError(
                f"PostgreSQL at {self.address}: the connection was lost while the handler ran"
            )
        if not keep:
            return "rolled back"
        # Also the proof that the handler left the transaction whole: a COMMIT after a failed
        # statement would roll back without a word.
        with self._refusals(connection):
            if claimed:
                ids = [records[index].event_id for index in claimed]
                milliseconds = round((time.perf_counter() - started) * 1000)
                await connection.execute(self._finish_sql, self._consumer, ids, milliseconds)
            if mark is not None:
                await self._advance(connection, records[0], mark)
        return "committed"

    async def _claim(
        self, connection: Borrowed, records: Sequence[Record], which: Sequence[int]
    ) -> list[int]:
        """Write a row for each of these events; which of them had none."""
        by_id = {records[index].event_id: index for index in reversed(which)}
        rows = await connection.fetch(
            self._claim_sql,
            self._consumer,
            list(by_id),
            [records[index].source_topic for index in by_id.values()],
            [records[index].event_type for index in by_id.values()],
            [records[index].payload for index in by_id.values()],
        )
        return sorted(by_id[row["event_id"]] for row in rows)

    async def _beyond_mark(
        self, connection: Borrowed, records: Sequence[Record]
    ) -> tuple[list[int], list[int], Mark | None]:
        """Which events are new, which of them got rows of their own, and the mark if it moves."""
        key = (self._consumer, records[0].source, records[0].shard)
        row = await connection.fetchrow(self._position_sql, *key)
        if row is None:
            await connection.execute(self._begin_sql, *key)
            [row] = await connection.fetch(self._position_sql, *key)
        committed = None if row["last_sequence"] is None else _mark(row)
        found = sort_out(committed, [_place(record) for record in records])
        claimed = await self._claim(connection, records, found.unplaced) if found.unplaced else []
        moved = None if found.mark is committed else found.mark
        return sorted(found.new + claimed), claimed, moved

    async def _advance(self, connection: Borrowed, record: Record, mark: Mark) -> None:
        durable = mark.durable
        await connection.execute(
            self._advance_sql, self._consumer, record.source, record.shard, mark.emission,
            mark.stored, durable.stream, durable.created, durable.filter, mark.first, mark.last,
        )  # fmt: skip

    async def _commit(self, connection: Borrowed, transaction: Transaction) -> None:
        with self._refusals(connection):
            await transaction.commit()

    @contextmanager
    def _refusals(self, connection: Borrowed) -> Iterator[None]:
        """Tell a database that refuses the handler's writes from one that is away."""
        try:
            yield
        except (
            asyncpg.PostgresError,
            asyncpg.InterfaceError,
            asyncpg.InternalClientError,
            OutboxError,
            OSError,
        ) as error:
            if _is_lost(connection) or isinstance(error, OSError | asyncpg.InternalClientError):
                raise translate(error, self._target) from error
            raise CommitRefusedError(
                f"PostgreSQL at {self.address} refused to commit what the handler wrote: {error}"
            ) from error

    async def _connect(self, *_: Any, **__: Any) -> Connection:
        # The pool's own arguments are the driver's defaults; ours are in `target`.
        return await postgres.connect(
            self._target, application_name=self._name, statement_timeout=_STATEMENT_SECONDS
        )

    async def _acquire(self) -> Borrowed:
        with errors(self._target):
            await self._pool  # opens it the first time
            self._used = True
            return await self._pool.acquire()


def _place(record: Record) -> Place | None:
    if record.durable is None or record.shard is None or record.emission is None:
        return None
    return Place(
        durable=record.durable,
        sequence=record.sequence,
        stored=record.stored,
        subject=record.source_topic,
        emission=record.emission,
    )


def _mark(row: asyncpg.Record) -> Mark:
    return Mark(
        durable=Durable(row["stream"], row["durable_created"], row["durable_filter"]),
        first=row["first_sequence"],
        last=row["last_sequence"],
        stored=row["stored_at"],
        emission=row["emission"],
    )


async def _undo(connection: Borrowed, transaction: Transaction) -> None:
    """Roll back, or throw the connection away if that is not possible in time."""
    try:
        await asyncio.wait_for(transaction.rollback(), _CLEANUP_SECONDS)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError):
        connection.terminate()
    except asyncio.CancelledError:
        connection.terminate()
        raise


def _is_lost(connection: Borrowed) -> bool:
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:
        return True  # the pool takes a connection back in the moment it breaks
