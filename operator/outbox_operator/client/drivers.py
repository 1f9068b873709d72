"""Run one statement on whatever connection the application has open.

Used by `client.outbox` and `client.inbox`. Knows asyncpg, psycopg 3 and SQLAlchemy by their
looks, so that importing it needs none of them. Never commits, never opens a connection, and lets
every error of the driver through untouched.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from outbox_operator.errors import SpecError, TransactionError
from outbox_operator.wire.tables import quote_identifier

_IDENTIFIER: Final = re.compile(r"^[a-z_][a-z0-9_]{0,62}$")
_PLACEHOLDER: Final = re.compile(r"\{(\d+)\}")

Run = Callable[[Any, "Statement", Sequence[object]], Awaitable[int]]


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


async def run(connection: object, statement: Statement, values: Sequence[object]) -> int:
    """Run a statement inside the transaction that is open on `connection`.

    Returns:
        How many rows it wrote.

    Raises:
        TypeError: Not a connection we know.
        TransactionError: No transaction is open on it.
        Exception: Whatever the driver raises.
    """
    return await _driver(connection)(connection, statement, values)


def _driver(connection: object) -> Run:
    for kind in type(connection).__mro__:
        found = _DRIVERS.get((kind.__module__.partition(".")[0], kind.__name__))
        if found is not None:
            return found
    kind = type(connection)
    raise TypeError(
        f"{kind.__module__}.{kind.__qualname__} is not a connection this library can write "
        "through; pass an open asyncpg Connection, psycopg AsyncConnection, or SQLAlchemy "
        "AsyncConnection or AsyncSession"
    )


async def _asyncpg(connection: Any, statement: Statement, values: Sequence[object]) -> int:
    if not connection.is_in_transaction():
        raise _no_transaction("asyncpg", "async with connection.transaction(): ...")
    status: str = await connection.execute(statement.dollar, *values)
    return int(status.rpartition(" ")[2])


async def _psycopg(connection: Any, statement: Statement, values: Sequence[object]) -> int:
    # Without autocommit the first statement opens the transaction by itself.
    if connection.autocommit and connection.info.transaction_status == 0:
        raise _no_transaction("psycopg (autocommit)", "async with connection.transaction(): ...")
    cursor = await connection.execute(statement.percent, values)
    return int(cursor.rowcount)


async def _sqlalchemy(connection: Any, statement: Statement, values: Sequence[object]) -> int:
    from sqlalchemy import text

    # A session or connection opens its transaction with the first statement; only in
    # autocommit mode is there none.
    raw = await connection.get_raw_connection()
    if getattr(raw.dbapi_connection, "autocommit", False):
        raise _no_transaction("SQLAlchemy (AUTOCOMMIT)", "async with engine.begin() as connection")
    named = {f"p{number}": value for number, value in enumerate(values, 1)}
    result = await connection.execute(text(statement.colon), named)
    return int(result.rowcount)


async def _sqlalchemy_session(session: Any, statement: Statement, values: Sequence[object]) -> int:
    return await _sqlalchemy(await session.connection(), statement, values)


def _no_transaction(what: str, how: str) -> TransactionError:
    return TransactionError(
        f"no transaction is open on this {what} connection, so the row would not be part of "
        f"anything; open one first: {how}"
    )


_DRIVERS: Final[dict[tuple[str, str], Run]] = {
    ("asyncpg", "Connection"): _asyncpg,
    ("asyncpg", "PoolConnectionProxy"): _asyncpg,
    ("psycopg", "AsyncConnection"): _psycopg,
    ("sqlalchemy", "AsyncConnection"): _sqlalchemy,
    ("sqlalchemy", "AsyncSession"): _sqlalchemy_session,
    ("sqlalchemy", "async_scoped_session"): _sqlalchemy_session,
}
