# Generated from client/drivers.py by `make generate`. Do not edit.
"""Run statements on whatever connection the application has open: synchronous drivers.

Used by `client.sync_outbox` and `client.sync_inbox`. Never opens a connection, commits only in
`Driver.transaction`, and lets every error of the driver through untouched.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cache
from typing import Any, Final, Protocol

from outbox_operator.client import django_driver, sending, sqlalchemy_hooks
from outbox_operator.client.connections import (
    IDLE,
    SYNC_CONNECTIONS,
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

    def run(self, connection: Any, statement: Statement, values: Sequence[object]) -> int:
        """Run a statement in the open transaction; returns how many rows it wrote.

        Raises:
            TransactionError: No transaction is open.
        """

    def value(self, connection: Any, statement: Statement) -> object:
        """The one value that a statement without parameters gives."""

    def copy(self, connection: Any, sql: str, rows: Sequence[Sequence[object]]) -> bool:
        """COPY rows, in the open transaction; False when that is not the better way here."""

    def in_transaction(self, connection: Any) -> bool:
        """Whether a transaction is open."""

    def transaction(self, connection: Any) -> AbstractContextManager[object]:
        """Open a transaction; the end of the block commits or rolls back."""

    def failed(self, connection: Any) -> bool:
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
    return known(connection, _DRIVERS, SYNC_CONNECTIONS)


class _Psycopg:
    def run(self, connection: Any, statement: Statement, values: Sequence[object]) -> int:
        self._check(connection)
        cursor = self._cursor(connection).execute(statement.percent, values)
        return int(cursor.rowcount)

    def value(self, connection: Any, statement: Statement) -> object:
        cursor = self._cursor(connection).execute(statement.percent)
        row = cursor.fetchone()
        return row[0]

    def copy(self, connection: Any, sql: str, rows: Sequence[Sequence[object]]) -> bool:
        self._check(connection)
        if connection.info.pipeline_status != IDLE:
            return False  # a pipeline cannot carry COPY
        with self._cursor(connection) as cursor, cursor.copy(sql) as copy:
            for row in rows:
                copy.write_row(row)
        return True

    def in_transaction(self, connection: Any) -> bool:
        return bool(connection.info.transaction_status != IDLE)

    def transaction(self, connection: Any) -> AbstractContextManager[object]:
        opened: AbstractContextManager[object] = connection.transaction()
        return opened

    def failed(self, connection: Any) -> bool:
        return failed(connection) or False

    def _cursor(self, connection: Any) -> Any:
        # Of the plain kind: applications set cursors and row factories of their own.
        kind, rows = _plain_cursor()
        return kind(connection, row_factory=rows)

    def _check(self, connection: Any) -> None:
        """Refuse a connection that commits every statement by itself."""
        if not connection.autocommit:
            return  # its first statement opens the transaction
        if connection.info.pipeline_status != IDLE:
            # What was sent and is not answered yet may have opened a transaction, or not.
            with connection.pipeline():
                pass
        if connection.info.transaction_status == IDLE:
            raise no_transaction("psycopg (autocommit)", "with connection.transaction(): ...")

    def pending(self, connection: Any) -> Pending:
        return sending.pending_of(connection)


@cache
def _plain_cursor() -> tuple[Any, Any]:
    """Class and row factory of psycopg's plain cursor; looked up once, since every event asks."""
    from psycopg import Cursor
    from psycopg.rows import tuple_row

    return Cursor, tuple_row


class _Sqlalchemy:
    def run(self, connection: Any, statement: Statement, values: Sequence[object]) -> int:
        raw = connection.connection
        check_sqlalchemy(raw, "with engine.begin() as connection")
        result = connection.execute(clause(statement), named(values))
        return int(result.rowcount)

    def value(self, connection: Any, statement: Statement) -> object:
        result = connection.execute(clause(statement))
        found: object = result.scalar()
        return found

    def copy(self, connection: Any, sql: str, rows: Sequence[Sequence[object]]) -> bool:
        return False

    def in_transaction(self, connection: Any) -> bool:
        return bool(connection.in_transaction())

    def transaction(self, connection: Any) -> AbstractContextManager[object]:
        opened: AbstractContextManager[object] = connection.begin()
        return opened

    def failed(self, connection: Any) -> bool:
        raw = connection.connection
        known_here = failed(raw.driver_connection)
        if known_here is None:
            connection.execute(clause(PROBE))
        return known_here or False

    def pending(self, connection: Any) -> Pending:
        return sending.pending_of(connection)


class _SqlalchemySession(_Sqlalchemy):
    def run(self, connection: Any, statement: Statement, values: Sequence[object]) -> int:
        return super().run(self._connection(connection), statement, values)

    def value(self, connection: Any, statement: Statement) -> object:
        return super().value(self._connection(connection), statement)

    def failed(self, connection: Any) -> bool:
        return super().failed(self._connection(connection))

    def _connection(self, session: Any) -> Any:
        return session.connection(bind_arguments=sqlalchemy_hooks.bind_arguments(session))

    def pending(self, connection: Any) -> Pending:
        return sqlalchemy_hooks.pending_of(connection)


_DRIVERS: Final[dict[tuple[str, str], Driver]] = {
    ("psycopg", "Connection"): _Psycopg(),
    ("sqlalchemy", "Connection"): _Sqlalchemy(),
    ("sqlalchemy", "Session"): _SqlalchemySession(),
    **django_driver.DRIVERS,
}
