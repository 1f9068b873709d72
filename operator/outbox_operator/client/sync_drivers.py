"""Run statements on whatever connection the application has open: synchronous drivers.

Used by `client.sync_outbox`; the counterpart of `client.drivers`, with the same promises.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, Protocol

from outbox_operator.client.drivers import (
    Statement,
    check_psycopg,
    check_sqlalchemy,
    clause,
    known,
    named,
    no_transaction,
)
from outbox_operator.client.sending import Pending

_IDLE: Final = 0


class SyncDriver(Protocol):
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
        """Opens a transaction; the end of the block commits or rolls back."""


def driver_of(connection: object) -> SyncDriver:
    """Who can talk to a connection.

    Raises:
        TypeError: Nobody; says what is wanted.
    """
    return known(
        connection,
        _DRIVERS,
        "an open psycopg Connection, SQLAlchemy Connection or Session, or Django connection; "
        "asynchronous connections go to Outbox",
    )


class _Psycopg:
    def run(self, connection: Any, statement: Statement, values: Sequence[object]) -> int:
        check_psycopg(connection, "with connection.transaction(): ...")
        return int(connection.execute(statement.percent, values).rowcount)

    def value(self, connection: Any, statement: Statement) -> object:
        return _plain_cursor(connection).execute(statement.percent).fetchone()[0]

    def copy(self, connection: Any, sql: str, rows: Sequence[Sequence[object]]) -> bool:
        check_psycopg(connection, "with connection.transaction(): ...")
        if connection.info.pipeline_status != _IDLE:
            return False  # a pipeline cannot carry COPY
        with _plain_cursor(connection) as cursor, cursor.copy(sql) as copy:
            for row in rows:
                copy.write_row(row)
        return True

    def in_transaction(self, connection: Any) -> bool:
        return bool(connection.info.transaction_status != _IDLE)

    def transaction(self, connection: Any) -> AbstractContextManager[object]:
        opened: AbstractContextManager[object] = connection.transaction()
        return opened


def _plain_cursor(connection: Any) -> Any:
    from psycopg.rows import tuple_row

    return connection.cursor(row_factory=tuple_row)


class _Sqlalchemy:
    def run(self, connection: Any, statement: Statement, values: Sequence[object]) -> int:
        # A connection opens its transaction with the first statement; only in autocommit mode is
        # there none.
        check_sqlalchemy(connection.connection, "with engine.begin() as connection")
        return int(connection.execute(clause(statement), named(values)).rowcount)

    def value(self, connection: Any, statement: Statement) -> object:
        found: object = connection.execute(clause(statement)).scalar()
        return found

    def copy(self, connection: Any, sql: str, rows: Sequence[Sequence[object]]) -> bool:
        return False

    def in_transaction(self, connection: Any) -> bool:
        return bool(connection.in_transaction())

    def transaction(self, connection: Any) -> AbstractContextManager[object]:
        opened: AbstractContextManager[object] = connection.begin()
        return opened


class _SqlalchemySession(_Sqlalchemy):
    def run(self, connection: Any, statement: Statement, values: Sequence[object]) -> int:
        return super().run(connection.connection(), statement, values)


class _Django:
    def run(self, connection: Any, statement: Statement, values: Sequence[object]) -> int:
        if connection.vendor != "postgresql":
            raise TypeError(
                f"database {connection.alias!r} of Django is {connection.vendor}, wanted "
                "postgresql; pass django.db.connections['<alias>']"
            )
        if not connection.in_atomic_block and connection.get_autocommit():
            raise no_transaction("Django (autocommit)", "with transaction.atomic(): ...")
        with connection.cursor() as cursor:
            cursor.execute(statement.percent, values)
            return int(cursor.rowcount)

    def value(self, connection: Any, statement: Statement) -> object:
        with connection.cursor() as cursor:
            cursor.execute(statement.percent)
            return cursor.fetchone()[0]

    def copy(self, connection: Any, sql: str, rows: Sequence[Sequence[object]]) -> bool:
        return False  # its cursors are psycopg 3's or psycopg2's

    def in_transaction(self, connection: Any) -> bool:
        return bool(connection.in_atomic_block)

    def transaction(self, connection: Any) -> AbstractContextManager[object]:
        from django.db import transaction

        opened: AbstractContextManager[object]
        opened = transaction.atomic(using=connection.alias)
        return opened


_DRIVERS: Final[dict[tuple[str, str], SyncDriver]] = {
    ("psycopg", "Connection"): _Psycopg(),
    ("sqlalchemy", "Connection"): _Sqlalchemy(),
    ("sqlalchemy", "Session"): _SqlalchemySession(),
    ("sqlalchemy", "scoped_session"): _SqlalchemySession(),
    ("django", "ConnectionProxy"): _Django(),
    ("django", "BaseDatabaseWrapper"): _Django(),
}


def is_django(connection: object) -> bool:
    """Whether it is Django's, which tells of its commits itself."""
    return isinstance(driver_of(connection), _Django)


def pending_of_django(connection: Any) -> Pending:
    """Events that wait for the commit of the outermost atomic block.

    Raises:
        TransactionError: No atomic block is open.
    """
    if not connection.in_atomic_block:
        raise no_transaction("Django", "with transaction.atomic(): ...")
    # Django forgets the call when a savepoint around it is rolled back.
    pending = Pending(told_of_savepoints=True)
    connection.on_commit(pending.send, robust=True)
    return pending
