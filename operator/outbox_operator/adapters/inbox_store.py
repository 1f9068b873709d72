"""Run a handler in the transaction that also remembers the event.

Called by the consumer runtime when the consumer has an inbox. The SQL is `client.inbox`'s; this
adds connections, the transaction around it, and errors in our terms.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy
from asyncpg.transaction import Transaction

from outbox_operator.adapters import postgres
from outbox_operator.adapters.postgres import Connection, PostgresTarget, errors
from outbox_operator.client.inbox import Inbox
from outbox_operator.errors import OutboxError, PostgresError
from outbox_operator.wire import tables

_STATEMENT_SECONDS: Final = 300.0
"""The handler's own statements run on these connections; its time is bounded elsewhere."""
_IDLE_SECONDS: Final = 300.0
_CLEANUP_SECONDS: Final = 5.0

Borrowed: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"
"""An open connection, to be given back; has all methods of an asyncpg Connection."""

Result = Literal["committed", "rolled back", "duplicate"]


class CommitRefusedError(OutboxError):
    """The database is there, but does not take what the handler wrote."""

    reason = "CommitRefused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What the inbox keeps of an event."""

    event_id: uuid.UUID
    source_topic: str
    event_type: str
    payload: bytes


class InboxStore:
    """Connections to the handler's database, and the inbox of one consumer in it.

    Args:
        target: The database.
        consumer_name: Whose inbox.
        schema: Schema of the inbox table.
        size: Most connections, and so most transactions at the same time.
    """

    def __init__(
        self, target: PostgresTarget, *, consumer_name: str, schema: str, size: int
    ) -> None:
        self._target = target
        self._inbox = Inbox(consumer_name, schema=schema)
        self._schema = schema
        self._name = f"outbox-consumer {consumer_name}"
        self._used = False
        self._pool: asyncpg.Pool[asyncpg.Record] = asyncpg.create_pool(
            min_size=0,
            max_size=size,
            max_inactive_connection_lifetime=_IDLE_SECONDS,
            connect=self._connect,
        )

    @property
    def address(self) -> str:
        """`host:port/database`, for messages."""
        return self._target.address

    async def check(self) -> None:
        """See that the table is there and may be read.

        Raises:
            PostgresError: The database is away, or the table does not exist (StatementFailed).
            AccessDeniedError: The role may not read it.
            CredentialsError: The login was refused.
        """
        connection = await self._acquire()
        try:
            with errors(self._target):
                await connection.execute(f'SELECT FROM "{self._schema}"."{tables.INBOX}" LIMIT 0')
        finally:
            await self._pool.release(connection)

    async def process(
        self, record: Record, handle: Callable[[Borrowed], Awaitable[bool]]
    ) -> Result:
        """Call `handle` in a transaction that holds the record, unless it was handled before.

        Args:
            record: The event.
            handle: Gets the connection; True commits its writes and the record, False rolls both
                back.

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
                result = await self._process(connection, record, handle)
                if result == "committed":
                    await self._commit(connection, transaction)
            finally:
                # After a commit there is nothing left to undo.
                if not _is_lost(connection) and connection.is_in_transaction():
                    await _undo(connection, transaction)
            return result
        finally:
            await self._pool.release(connection)

    async def close(self) -> None:
        """Close all connections; open transactions are rolled back."""
        if self._used:  # the pool of a process that stops at once was never opened
            self._pool.terminate()

    async def _process(
        self,
        connection: Borrowed,
        record: Record,
        handle: Callable[[Borrowed], Awaitable[bool]],
    ) -> Result:
        with errors(self._target):
            new = await self._inbox.claim(
                connection,
                record.event_id,
                source_topic=record.source_topic,
                event_type=record.event_type,
                payload=record.payload,
            )
        if not new:
            return "duplicate"
        started = time.perf_counter()
        keep = await handle(connection)
        if _is_lost(connection):
            raise PostgresError(
                f"PostgreSQL at {self.address}: the connection was lost while the handler ran"
            )
        if not keep:
            return "rolled back"
        # Also the proof that the handler left the transaction whole: a COMMIT after a failed
        # statement would roll back without a word.
        with self._refusals(connection):
            await self._inbox.finish(connection, record.event_id, time.perf_counter() - started)
        return "committed"

    async def _commit(self, connection: Borrowed, transaction: Transaction) -> None:
        with self._refusals(connection):
            await transaction.commit()

    @contextmanager
    def _refusals(self, connection: Borrowed) -> Iterator[None]:
        """Tell a database that refuses the handler's writes from one that is away."""
        try:
            yield
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OutboxError, OSError) as error:
            if _is_lost(connection) or isinstance(error, OSError):
                raise postgres.translate(error, self._target) from error
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


async def _undo(connection: Borrowed, transaction: Transaction) -> None:
    """Roll back, or throw the connection away if that is not possible in time."""
    try:
        await asyncio.wait_for(transaction.rollback(), _CLEANUP_SECONDS)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        connection.terminate()
    except asyncio.CancelledError:
        connection.terminate()
        raise


def _is_lost(connection: Borrowed) -> bool:
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:
        return True  # the pool takes a connection back in the moment it breaks
