"""A connection that is lent to a handler, and notices what of it no statement can undo."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import Awaitable, Coroutine, Iterator
from contextvars import ContextVar
from typing import Any, Final, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy
from asyncpg.transaction import Transaction

from outbox_operator.adapters.postgres.noted import (
    NotedCursorFactory,
    NotedStatement,
    NotedTransaction,
)
from outbox_operator.adapters.postgres.pipelined_begin import PipelinedBegin
from outbox_operator.adapters.postgres.unawaited import Statements, noting

Borrowed: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"
"""An open connection, to be given back; has all methods of an asyncpg Connection."""

_CLEANUP_SECONDS: Final = 5.0

_LENDER: Final = ContextVar("_LENDER", default=False)
"""Whether it is the lender who uses a connection, or what he has begun since he took it back."""


@contextlib.contextmanager
def lending() -> Iterator[None]:
    """In this block the task lends connections; what it takes back is its own to the end of it."""
    before = _LENDER.set(False)
    try:
        yield
    finally:
        _LENDER.reset(before)


@noting
class LentConnection(PipelinedBegin):
    """The driver's, which remembers whether its user changed how it works, and left out an `await`.

    Attributes:
        altered: It must not be handed on: codecs or observers of its user are in it.
        server_started: When its server was started.
        lent: Whether handlers may use it. What one of them left running would else write between
            the end of its transaction and the pool, in a transaction of its own.
        used: A handler had it since it was reset.
        undoing: Statements that reset it.
    """

    altered = False
    server_started: dt.datetime | None = None
    lent = True
    used = False
    undoing = ""
    _commit = ""
    _statements: Statements | None = None

    def itself(self) -> LentConnection:
        """Return this; see `lent`."""
        return self

    def lend(self) -> None:
        """Let anybody use it who has it."""
        self.lent, self._statements = True, Statements()

    def take_back(self) -> str:
        """Let nobody use it any more but who lends. See `lending`.

        Returns:
            What its user did not wait for, and where, for an error; empty: nothing.
        """
        self.lent, made, self._statements = False, self._statements, None
        _LENDER.set(True)
        return "" if made is None else made.left_out()

    def outbox_note_statement(self, statement: Coroutine[Any, Any, Any]) -> None:
        """Remember a statement of its user's; the library's `Outbox` and `Inbox` tell it theirs."""
        if self._statements is not None and not _LENDER.get():
            self._statements.note(statement)

    def _check_open(self) -> None:
        if not self.lent and not _LENDER.get():
            raise asyncpg.InterfaceError(
                "context.connection is lent for the time of a call, and this one has ended; await "
                "what uses it before the handler returns"
            )
        super()._check_open()  # type: ignore[misc] # the driver's, before each statement

    async def commit(self, transaction: Transaction, *, before: str, behind: str) -> None:
        """Commit, with statements before and behind it, in one round trip.

        None of them runs after an error.
        """
        self._commit = f"{before}COMMIT;{behind}"
        try:
            await transaction.commit()
        except asyncpg.PostgresError as error:
            # What was prepared is gone: its user has thrown it away.
            self.altered = self.altered or isinstance(error, asyncpg.InvalidSQLStatementNameError)
            if self.is_in_transaction():
                await _rolled_back(self, self.execute("ROLLBACK;"))
            raise
        finally:
            self._commit = ""

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
        """As the driver's, which commits its transactions so."""
        if self._commit and query == "COMMIT;":
            query = self._commit
        return await super().execute(query, *args, timeout=timeout)

    def transaction(self, *args: Any, **options: Any) -> Transaction:
        """As the driver's."""
        made: Any = super().transaction(*args, **options)
        made.__class__ = NotedTransaction
        return made  # type: ignore[no-any-return] # which it still is

    def cursor(self, *args: Any, **options: Any) -> Any:
        """As the driver's."""
        made: Any = super().cursor(*args, **options)
        made.__class__ = NotedCursorFactory
        return made

    async def prepare(self, *args: Any, **options: Any) -> Any:
        """As the driver's."""
        made: Any = await super().prepare(*args, **options)
        made.__class__ = NotedStatement
        return made

    async def _do_execute(self, *args: Any, **options: Any) -> Any:
        try:
            return await super()._do_execute(*args, **options)  # type: ignore[misc] # the driver's
        except asyncpg.InvalidSQLStatementNameError:
            # What was prepared is gone: a user of this session, or one before, has thrown it away.
            self.altered = True
            raise

    async def set_type_codec(self, *args: Any, **options: Any) -> None:
        """As the driver's."""
        self.altered = True
        await super().set_type_codec(*args, **options)

    async def reset_type_codec(self, *args: Any, **options: Any) -> None:
        """As the driver's."""
        self.altered = True
        await super().reset_type_codec(*args, **options)

    async def set_builtin_type_codec(self, *args: Any, **options: Any) -> None:
        """As the driver's."""
        self.altered = True
        await super().set_builtin_type_codec(*args, **options)

    def add_query_logger(self, callback: Any) -> None:
        """As the driver's."""
        self.altered = True
        super().add_query_logger(callback)

    def add_termination_listener(self, callback: Any) -> None:
        """As the driver's."""
        self.altered = True
        super().add_termination_listener(callback)


def in_transaction(connection: Borrowed) -> bool:
    """Return whether a transaction is open on a connection: ours, unless a handler ended it."""
    return not is_lost(connection) and connection.is_in_transaction()


def is_lost(connection: Borrowed) -> bool:
    """Return whether a connection is there no more."""
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:
        return True  # the pool takes a connection back in the moment it breaks


def lent(connection: Any) -> LentConnection:
    """Return what stands behind what a pool has given out."""
    return connection.itself()  # type: ignore[no-any-return] # a stand-in keeps nothing set on it


async def reset_used(connection: Any) -> None:
    """Undo what a handler did to a session, unless that was done with its commit."""
    itself = lent(connection)
    if itself.used:
        await itself.execute(itself.undoing)
        itself.used = False


async def undo(connection: Borrowed, transaction: Transaction) -> None:
    """Roll back, or throw the connection away if that is not possible in time."""
    await _rolled_back(connection, transaction.rollback())


async def _rolled_back(connection: Any, rollback: Awaitable[object]) -> None:
    try:
        async with asyncio.timeout(_CLEANUP_SECONDS):
            await rollback
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError):
        connection.terminate()
    except asyncio.CancelledError:
        connection.terminate()
        raise
