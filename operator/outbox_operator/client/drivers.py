"""Run statements on whatever connection the application has open: asynchronous drivers.

Used by `client.outbox` and `client.inbox`. Never opens a connection, commits only in
`Driver.transaction`, and lets every error of the driver through untouched.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from functools import cache
from typing import Any, Final, Protocol

from outbox_operator.client import asyncpg_driver, sending, sqlalchemy_hooks
from outbox_operator.client.connections import (
    ASYNC_CONNECTIONS,
    IDLE,
    check_sqlalchemy,
    clause,
    failed,
    known,
    named,
    no_transaction,
)
from outbox_operator.client.sending import Pending
from outbox_operator.client.statements import PROBE, Statement


class Driver(Protocol):
    """What the library needs of a connection. Each method raises what the driver raises."""

    async def run(self, connection: Any, statement: Statement, values: Sequence[object]) -> int:
        """Run a statement in the open transaction; returns how many rows it wrote.

        Raises:
            TransactionError: No transaction is open.
        """

    async def value(self, connection: Any, statement: Statement) -> object:
        """The one value that a statement without parameters gives."""

    async def copy(self, connection: Any, sql: str, rows: Sequence[Sequence[object]]) -> bool:
        """COPY rows, in the open transaction; False when that is not the better way here."""

    def in_transaction(self, connection: Any) -> bool:
        """Whether a transaction is open."""

    def transaction(self, connection: Any) -> AbstractAsyncContextManager[object]:
        """Open a transaction; the end of the block commits or rolls back."""

    async def failed(self, connection: Any) -> bool:
        """Whether a statement has failed, so that COMMIT would roll back.

        Raises:
            Exception: It has, and only the server knows: see `sending.failed_transaction`.
        """

    def pending(self, connection: Any) -> Pending:
        """The events that wait for the commit of the open transaction.

        Raises:
            TransactionError: Nobody would tell us of it.
        """


def driver_of(connection: object) -> tuple[Driver, Any]:
    """Who can talk to a connection, and the connection itself if it came by a proxy.

    Raises:
        TypeError: Nobody; says what is wanted.
    """
    return known(connection, _DRIVERS, ASYNC_CONNECTIONS)


class _Psycopg:
    async def run(self, connection: Any, statement: Statement, values: Sequence[object]) -> int:
        await self._check(connection)
        cursor = await self._cursor(connection).execute(statement.percent, values)
        return int(cursor.rowcount)

    async def value(self, connection: Any, statement: Statement) -> object:
        cursor = await self._cursor(connection).execute(statement.percent)
        row = await cursor.fetchone()
        return row[0]

    async def copy(self, connection: Any, sql: str, rows: Sequence[Sequence[object]]) -> bool:
        await self._check(connection)
        if connection.info.pipeline_status != IDLE:
            return False  # a pipeline cannot carry COPY
        async with self._cursor(connection) as cursor, cursor.copy(sql) as copy:
            for row in rows:
                await copy.write_row(row)
        return True

    def in_transaction(self, connection: Any) -> bool:
        return bool(connection.info.transaction_status != IDLE)

    def transaction(self, connection: Any) -> AbstractAsyncContextManager[object]:
        opened: AbstractAsyncContextManager[object] = connection.transaction()
        return opened

    async def failed(self, connection: Any) -> bool:
        return failed(connection) or False

    def _cursor(self, connection: Any) -> Any:
        # Of the plain kind: applications set cursors and row factories of their own.
        kind, rows = _plain_cursor()
        return kind(connection, row_factory=rows)

    async def _check(self, connection: Any) -> None:
        """Refuse a connection that commits every statement by itself."""
        if not connection.autocommit:
            return  # its first statement opens the transaction
        if connection.info.pipeline_status != IDLE:
            # What was sent and is not answered yet may have opened a transaction, or not.
            async with connection.pipeline():
                pass
        if connection.info.transaction_status == IDLE:
            raise no_transaction("psycopg (autocommit)", "async with connection.transaction(): ...")

    def pending(self, connection: Any) -> Pending:
        return sending.pending_of(connection)


@cache
def _plain_cursor() -> tuple[Any, Any]:
    """Class and row factory of psycopg's plain cursor; looked up once, since every event asks."""
    from psycopg import AsyncCursor
    from psycopg.rows import tuple_row

    return AsyncCursor, tuple_row


class _Sqlalchemy:
    async def run(self, connection: Any, statement: Statement, values: Sequence[object]) -> int:
        raw = await connection.get_raw_connection()
        check_sqlalchemy(raw, "async with engine.begin() as connection")
        result = await connection.execute(clause(statement), named(values))
        return int(result.rowcount)

    async def value(self, connection: Any, statement: Statement) -> object:
        result = await connection.execute(clause(statement))
        found: object = result.scalar()
        return found

    async def copy(self, connection: Any, sql: str, rows: Sequence[Sequence[object]]) -> bool:
        return False

    def in_transaction(self, connection: Any) -> bool:
        return bool(connection.in_transaction())

    def transaction(self, connection: Any) -> AbstractAsyncContextManager[object]:
        opened: AbstractAsyncContextManager[object] = connection.begin()
        return opened

    async def failed(self, connection: Any) -> bool:
        raw = await connection.get_raw_connection()
        known_here = failed(raw.driver_connection)
        if known_here is None:
            await connection.execute(clause(PROBE))
        return known_here or False

    def pending(self, connection: Any) -> Pending:
        return sending.pending_of(connection)


class _SqlalchemySession(_Sqlalchemy):
    async def run(self, connection: Any, statement: Statement, values: Sequence[object]) -> int:
        return await super().run(await self._connection(connection), statement, values)

    async def value(self, connection: Any, statement: Statement) -> object:
        return await super().value(await self._connection(connection), statement)

    async def failed(self, connection: Any) -> bool:
        return await super().failed(await self._connection(connection))

    async def _connection(self, session: Any) -> Any:
        return await session.connection(bind_arguments=sqlalchemy_hooks.bind_arguments(session))

    def pending(self, connection: Any) -> Pending:
        return sqlalchemy_hooks.pending_of(connection)


_DRIVERS: Final[dict[tuple[str, str], Driver]] = {
    ("psycopg", "AsyncConnection"): _Psycopg(),
    ("sqlalchemy", "AsyncConnection"): _Sqlalchemy(),
    ("sqlalchemy", "AsyncSession"): _SqlalchemySession(),
    **asyncpg_driver.DRIVERS,
}
