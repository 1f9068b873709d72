"""Run a handler in the transaction that also remembers the event.

Called by the consumer runtime when the consumer has an inbox. Events are remembered by a row each,
or by one row for each shard of an outbox that holds how far it was handled. Several events may
share a transaction.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final, Literal

import asyncpg
from asyncpg.transaction import Transaction

from outbox_operator.adapters.postgres import connection as postgres
from outbox_operator.adapters.postgres.connection import Connection
from outbox_operator.adapters.postgres.errors import errors, translate
from outbox_operator.adapters.postgres.inbox_errors import (
    CommitRefusedError,
    HandledInVainError,
    unrecordable,
)
from outbox_operator.adapters.postgres.inbox_records import (
    Claim,
    InboxRecords,
    Record,
    is_committed_before,
    is_rolled_back,
)
from outbox_operator.adapters.postgres.lent_connection import (
    Borrowed,
    LentConnection,
    in_transaction,
    is_lost,
    lending,
    lent,
    reset_used,
    undo,
)
from outbox_operator.adapters.postgres.queries import statement
from outbox_operator.adapters.postgres.url import PostgresTarget
from outbox_operator.errors import HandlerUnavailableError, OutboxError, PostgresError

__all__ = ["Borrowed", "InboxStore", "Record", "in_transaction"]

log = logging.getLogger(__name__)

_STATEMENT_SECONDS: Final = 300.0
"""The handler's own statements run on these connections; its time is bounded elsewhere."""
_IDLE_SECONDS: Final = 300.0

_REMEDY: Final = (
    "leave COMMIT, ROLLBACK and BEGIN on context.connection to the runtime; savepoints "
    "(connection.transaction()) are fine"
)

Handle = Callable[[Borrowed, Sequence[int]], Awaitable[bool]]
"""Gets the connection and the numbers of the events that are new; True commits."""


class InboxStore:
    """Connections to the handler's database, and the inbox of one consumer in it.

    Args:
        target: The database.
        consumer_name: Whose inbox.
        schema: Schema of the inbox tables.
        mode: What is remembered: each event, or how far each shard is handled. The latter takes
            the events of a shard one after another, in the order of the stream.
        size: Most connections, and so most transactions at the same time.
        handler: Name of the handler, for messages.
        lends: Whether it is given the connection.
        prepare: Called with each new connection, before its first use; may raise any OutboxError.
        on_ended: Told what happened when a handler ended the transaction by itself.
    """

    def __init__(
        self,
        target: PostgresTarget,
        *,
        consumer_name: str,
        schema: str,
        mode: Literal["PerEvent", "PerShard"],
        size: int,
        handler: str = "",
        lends: bool = True,
        prepare: Callable[[Connection], Awaitable[None]] | None = None,
        on_ended: Callable[[str], None] = log.error,
    ) -> None:
        self._target = target
        self._schema = schema
        self._handler = handler
        self._lends = lends
        self._prepare = prepare
        self._on_ended = on_ended
        self._records = InboxRecords(consumer_name, schema, by_shard=mode == "PerShard")
        self._name = f"outbox-consumer {consumer_name}"
        self._used = False
        self._pool: asyncpg.Pool[asyncpg.Record] = asyncpg.create_pool(
            min_size=0,
            max_size=size,
            max_inactive_connection_lifetime=_IDLE_SECONDS,
            connect=self._connect,
            connection_class=LentConnection,
            reset=reset_used,
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
            await self._release(connection)

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
            UnrecordableError: What the inbox has to remember of an event fits in no table.
            CommitRefusedError: The database refused the commit: the handler's writes are at fault.
            HandledInVainError: The connection was lost while the handler ran, or after, although
                the database was up all the time; nothing is committed.
            Exception: Whatever `handle` raises; both are rolled back.
        """
        claim = Claim()
        try:
            with lending():
                try:
                    result = await self._attempt(records, handle, claim)
                except PostgresError as error:
                    # An earlier handler had thrown away what is prepared in its session, which is
                    # gone now.
                    lacks = isinstance(error.__cause__, asyncpg.InvalidSQLStatementNameError)
                    if not lacks or claim.new:
                        raise
                    result = await self._attempt(records, handle, claim)
        except BaseException as error:
            if not claim.committing:
                await self._take_back(claim)
            elif isinstance(error, CommitRefusedError) and await self._is_done(claim, error):
                return True
            if isinstance(error, HandledInVainError) and await self._is_committed(claim):
                return True
            raise
        if result == "rolled back":
            await self._take_back(claim)
        return result == "committed"

    async def close(self) -> None:
        """Close all connections; open transactions are rolled back."""
        if self._used:  # the pool of a process that stops at once was never opened
            self._pool.terminate()

    async def _attempt(
        self, records: Sequence[Record], handle: Handle, claim: Claim
    ) -> Literal["committed", "rolled back"]:
        connection = await self._acquire()
        itself = lent(connection)
        try:
            claim.server_started = itself.server_started
            with errors(self._target):
                transaction = await itself.begin()
            try:
                result = await self._process(connection, records, handle, claim)
                if result == "committed":
                    await self._commit(connection, transaction, claim)
            finally:
                # After a commit there is nothing left to undo.
                if in_transaction(connection):
                    await undo(connection, transaction)
            return result
        finally:
            if not is_lost(connection) and (itself.altered or itself.opening):
                connection.terminate()
            await self._release(connection)

    async def _process(
        self, connection: Borrowed, records: Sequence[Record], handle: Handle, claim: Claim
    ) -> Literal["committed", "rolled back"]:
        with errors(self._target), unrecordable(self.address):
            await self._records.claim(connection, records, claim)
            lent(connection).opening = False
        if not claim.new:
            return "committed"
        lent(connection).used = True
        started, left_out = time.perf_counter(), ""
        try:
            keep = await handle(connection, claim.new)
        finally:
            if not is_lost(connection):
                left_out = lent(connection).take_back()
        if is_lost(connection):
            raise self._lost("while the handler ran")
        if not keep:
            return "rolled back"
        if left_out:
            raise CommitRefusedError(f"handler {self._handler} {left_out}")
        claim.seconds = time.perf_counter() - started
        with self._refusals(connection, claim):
            if not await self._records.advance(connection, records, claim):
                if not await self._records.is_committed(connection, claim):
                    raise self._rolled_back_by_handler()
                self._say_committed()
        return "committed"

    def _rolled_back_by_handler(self) -> CommitRefusedError:
        return CommitRefusedError(
            f"handler {self._handler} rolled back the transaction of the inbox; {_REMEDY}"
        )

    def _say_committed(self) -> None:
        self._on_ended(f"handler {self._handler} committed the transaction of the inbox; {_REMEDY}")

    async def _is_done(self, claim: Claim, refusal: CommitRefusedError) -> bool:
        """Find out whether events are handled although something of the commit failed.

        Raises:
            PostgresError: The database is away.
        """
        with errors(self._target):
            connection = await self._acquire()
            try:
                fate = await self._records.fate(connection, claim)
            finally:
                await self._release(connection)
        if fate.committed and is_committed_before(refusal.__cause__):
            self._say_committed()
            return True
        if fate.committed and not fate.finished:
            await self._take_back(claim)
            return False
        return fate.committed  # what failed came behind it

    async def _take_back(self, claim: Claim) -> None:
        """Let events come again whose handler failed, should it have committed before that."""
        if claim.transaction is None or not self._lends:
            return
        try:
            with errors(self._target):
                connection = await self._acquire()
                try:
                    if not await self._records.is_committed(connection, claim):
                        return
                    await self._records.forget(connection, claim)
                finally:
                    await self._release(connection)
        except OutboxError as error:
            log.warning("not known whether a handler that failed has committed: %s", error.message)
            return
        self._on_ended(
            f"handler {self._handler} committed the transaction of the inbox and failed then: what "
            f"it wrote before stays, and may be written again; {_REMEDY}"
        )

    async def _commit(self, connection: Borrowed, transaction: Transaction, claim: Claim) -> None:
        claim.committing = bool(claim.new)
        before = behind = ""
        itself = lent(connection)
        if claim.new:
            # Also the proof that the handler left the transaction whole: a COMMIT after a failed
            # statement would roll back without a word.
            before, behind = self._records.endings(claim)
            behind += itself.undoing
        with self._refusals(connection, claim):
            await itself.commit(transaction, before=before, behind=behind)
        itself.used = False

    def _lost(self, when: str) -> HandledInVainError:
        return HandledInVainError(f"PostgreSQL at {self.address}: the connection was lost {when}")

    async def _is_committed(self, claim: Claim) -> bool:
        """Find out what became of a transaction whose connection was lost.

        Raises:
            PostgresError: The database is away, or was: nobody here is to blame. The event comes
                again, and is found if it was committed.
        """
        fate = None
        with errors(self._target):
            connection = await self._acquire()
            try:
                started = await connection.fetchval(statement("server_started"))
                if claim.committing:
                    fate = await self._records.fate(connection, claim)
            finally:
                await self._release(connection)
        if started != claim.server_started:
            raise PostgresError(
                f"PostgreSQL at {self.address}: the server was started anew while the handler ran"
            )
        if fate is None or not fate.committed:
            return False
        if not (fate.finished and fate.marked):
            raise PostgresError(
                f"PostgreSQL at {self.address}: it is not known whether what the handler wrote was "
                "committed: the inbox does not show it"
            )
        return True

    @contextlib.contextmanager
    def _refusals(self, connection: Borrowed, claim: Claim) -> Iterator[None]:
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
            if claim.new and is_lost(connection):
                raise self._lost("when what the handler wrote was committed") from error
            if is_lost(connection) or isinstance(error, OSError | asyncpg.InternalClientError):
                raise translate(error, self._target) from error
            if is_rolled_back(error):
                raise self._rolled_back_by_handler() from error
            raise CommitRefusedError(
                f"PostgreSQL at {self.address} refused to commit what the handler wrote: {error}"
            ) from error

    async def _connect(self, *_: Any, **__: Any) -> Connection:
        # The pool's own arguments are the driver's defaults; ours are in `target`.
        connection: Any = await postgres.connect(
            self._target,
            application_name=self._name,
            statement_timeout=_STATEMENT_SECONDS,
            statements_of_others=True,
            connection_class=LentConnection,
        )
        try:
            with errors(self._target):
                await self._records.prepare(connection)
            if self._prepare is not None:
                with lending():
                    connection.lend()
                    await self._prepare(connection)
                    left_out = connection.take_back()
                connection.lent = True
                if left_out:
                    raise HandlerUnavailableError(f"on_connect of {self._handler} {left_out}")
        except BaseException:
            connection.terminate()
            raise
        connection.altered = False
        connection.undoing = postgres.undoing(connection, statement_timeout=_STATEMENT_SECONDS)
        with errors(self._target):
            connection.server_started = await connection.fetchval(statement("server_started"))
        made: Connection = connection
        return made

    async def _acquire(self) -> Borrowed:
        with errors(self._target):
            await self._pool  # opens it the first time
            self._used = True
            connection = await self._pool.acquire()
            lent(connection).lend()
            return connection

    async def _release(self, connection: Borrowed) -> None:
        # What cannot be made as it was the pool throws away, before it says so.
        with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            await self._pool.release(connection)
