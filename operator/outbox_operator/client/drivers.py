"""Run statements on whatever connection the application has open: asynchronous drivers.

Used by `client.outbox` and `client.inbox`. Knows asyncpg, psycopg 3 and SQLAlchemy by their
looks, so that importing it needs none of them. Never opens a connection, commits only in
`Driver.transaction`, and lets every error of the driver through untouched.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Protocol, TypeVar

from outbox_operator.errors import SpecError, TransactionError
from outbox_operator.wire.tables import quote_identifier

_IDENTIFIER: Final = re.compile(r"^[a-z_][a-z0-9_]{0,62}$")
_PLACEHOLDER: Final = re.compile(r"\{(\d+)\}")
_IDLE: Final = 0
"""psycopg's status of a connection without a transaction, and of one without a pipeline."""

D = TypeVar("D")


def table(schema: str, name: str) -> str:
    """The quoted name of a table.

    Raises:
        SpecError: `schema` is not a plain lower-case identifier.
    """
    if not _IDENTIFIER.fullmatch(schema):
        raise SpecError(
            f"schema {schema!r}: wanted lower-case letters, digits and _, at most 63 characters"
        )
    return f"{quote_identifier(schema)}.{quote_identifier(name)}"


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL in the spelling of each driver.

    Values are always cast in the SQL (`CAST({1} AS text)`), because drivers guess the types of
    parameters differently and applications register codecs of their own.
    """

    dollar: str
    percent: str
    colon: str

    @classmethod
    def of(cls, template: str) -> Statement:
        """From SQL with `{1}`, `{2}`, … in order, each once, for the values."""
        return cls(
            dollar=_PLACEHOLDER.sub(r"$\1", template),
            percent=_PLACEHOLDER.sub("%s", template),
            colon=_PLACEHOLDER.sub(r":p\1", template),
        )


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
        """Opens a transaction; the end of the block commits or rolls back."""


async def run(connection: object, statement: Statement, values: Sequence[object]) -> int:
    """Run a statement inside the transaction that is open on `connection`.

    Returns:
        How many rows it wrote.

    Raises:
        TypeError: Not a connection we know.
        TransactionError: No transaction is open on it.
        Exception: Whatever the driver raises.
    """
    return await driver_of(connection).run(connection, statement, values)


def driver_of(connection: object) -> Driver:
    """Who can talk to a connection.

    Raises:
        TypeError: Nobody; says what is wanted.
    """
    return known(
        connection,
        _DRIVERS,
        "an open asyncpg Connection, psycopg AsyncConnection, or SQLAlchemy AsyncConnection or "
        "AsyncSession; synchronous connections go to SyncOutbox",
    )


def known(connection: object, drivers: Mapping[tuple[str, str], D], wanted: str) -> D:
    """The entry for a connection's class, found by the names of package and class.

    Raises:
        TypeError: There is none.
    """
    for kind in type(connection).__mro__:
        found = drivers.get((kind.__module__.partition(".")[0], kind.__name__))
        if found is not None:
            return found
    kind = type(connection)
    raise TypeError(
        f"{kind.__module__}.{kind.__qualname__} is not a connection this library can write "
        f"through; pass {wanted}"
    )


class _Asyncpg:
    async def run(self, connection: Any, statement: Statement, values: Sequence[object]) -> int:
        if not connection.is_in_transaction():
            raise no_transaction("asyncpg", "async with connection.transaction(): ...")
        status: str = await connection.execute(statement.dollar, *values)
        return int(status.rpartition(" ")[2])

    async def value(self, connection: Any, statement: Statement) -> object:
        return await connection.fetchval(statement.dollar)

    async def copy(self, connection: Any, sql: str, rows: Sequence[Sequence[object]]) -> bool:
        # Binary only, through whatever codecs the application has set. Arrays are as fast.
        return False

    def in_transaction(self, connection: Any) -> bool:
        return bool(connection.is_in_transaction())

    def transaction(self, connection: Any) -> AbstractAsyncContextManager[object]:
        opened: AbstractAsyncContextManager[object] = connection.transaction()
        return opened


class _Psycopg:
    async def run(self, connection: Any, statement: Statement, values: Sequence[object]) -> int:
        check_psycopg(connection, "async with connection.transaction(): ...")
        cursor = await connection.execute(statement.percent, values)
        return int(cursor.rowcount)

    async def value(self, connection: Any, statement: Statement) -> object:
        # A cursor of the plain kind: applications set row factories of their own.
        row = await (await _plain_cursor(connection).execute(statement.percent)).fetchone()
        return row[0]

    async def copy(self, connection: Any, sql: str, rows: Sequence[Sequence[object]]) -> bool:
        check_psycopg(connection, "async with connection.transaction(): ...")
        if connection.info.pipeline_status != _IDLE:
            return False  # a pipeline cannot carry COPY
        async with _plain_cursor(connection) as cursor, cursor.copy(sql) as copy:
            for row in rows:
                await copy.write_row(row)
        return True

    def in_transaction(self, connection: Any) -> bool:
        return bool(connection.info.transaction_status != _IDLE)

    def transaction(self, connection: Any) -> AbstractAsyncContextManager[object]:
        opened: AbstractAsyncContextManager[object] = connection.transaction()
        return opened


def _plain_cursor(connection: Any) -> Any:
    from psycopg.rows import tuple_row

    return connection.cursor(row_factory=tuple_row)


def check_psycopg(connection: Any, how: str) -> None:
    """Refuse a psycopg connection that commits every statement by itself."""
    # Without autocommit the first statement opens the transaction.
    if connection.autocommit and connection.info.transaction_status == _IDLE:
        raise no_transaction("psycopg (autocommit)", how)


class _Sqlalchemy:
    async def run(self, connection: Any, statement: Statement, values: Sequence[object]) -> int:
        # A connection opens its transaction with the first statement; only in autocommit mode is
        # there none.
        raw = await connection.get_raw_connection()
        check_sqlalchemy(raw, "async with engine.begin() as connection")
        result = await connection.execute(clause(statement), named(values))
        return int(result.rowcount)

    async def value(self, connection: Any, statement: Statement) -> object:
        return (await connection.execute(clause(statement))).scalar()

    async def copy(self, connection: Any, sql: str, rows: Sequence[Sequence[object]]) -> bool:
        return False

    def in_transaction(self, connection: Any) -> bool:
        return bool(connection.in_transaction())

    def transaction(self, connection: Any) -> AbstractAsyncContextManager[object]:
        opened: AbstractAsyncContextManager[object] = connection.begin()
        return opened


class _SqlalchemySession(_Sqlalchemy):
    async def run(self, connection: Any, statement: Statement, values: Sequence[object]) -> int:
        return await super().run(await connection.connection(), statement, values)


@lru_cache(maxsize=64)
def clause(statement: Statement) -> Any:
    """A statement as SQLAlchemy takes it; parsed once."""
    from sqlalchemy import text

    return text(statement.colon)


def named(values: Sequence[object]) -> dict[str, object]:
    """Values by the names of their placeholders."""
    return {f"p{number}": value for number, value in enumerate(values, 1)}


def check_sqlalchemy(raw: Any, how: str) -> None:
    """Refuse a connection of SQLAlchemy's that commits every statement by itself."""
    if getattr(raw.dbapi_connection, "autocommit", False):
        raise no_transaction("SQLAlchemy (AUTOCOMMIT)", how)


def no_transaction(what: str, how: str) -> TransactionError:
    """The error for a connection without a transaction."""
    return TransactionError(
        f"no transaction is open on this {what} connection, so the row would not be part of "
        f"anything; open one first: {how}"
    )


_DRIVERS: Final[dict[tuple[str, str], Driver]] = {
    ("asyncpg", "Connection"): _Asyncpg(),
    ("asyncpg", "PoolConnectionProxy"): _Asyncpg(),
    ("psycopg", "AsyncConnection"): _Psycopg(),
    ("sqlalchemy", "AsyncConnection"): _Sqlalchemy(),
    ("sqlalchemy", "AsyncSession"): _SqlalchemySession(),
    ("sqlalchemy", "async_scoped_session"): _SqlalchemySession(),
}
