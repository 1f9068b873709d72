"""What the drivers of all kinds share: which connection is whose, and what is refused.

Used by `client.drivers`, which is for asynchronous connections, and by `client.sync_drivers`,
which is generated from it. Knows connections by the names of their classes, so that importing
this needs no driver at all.
"""

from __future__ import annotations

import concurrent.futures
import functools
import inspect
import types
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, TypeVar

from outbox_operator.client.statements import Statement
from outbox_operator.errors import TransactionError

IDLE: Final = 0
"""psycopg's status of a connection without a transaction, and of one without a pipeline."""

_FAILED: Final = 3
"""psycopg's status of a transaction in which a statement has failed; that of psycopg2 too."""

ASYNC_CONNECTIONS: Final = (
    "an open asyncpg Connection, psycopg AsyncConnection, or SQLAlchemy AsyncConnection or "
    "AsyncSession; synchronous connections go to SyncOutbox or SyncInbox"
)
SYNC_CONNECTIONS: Final = (
    "an open psycopg Connection, SQLAlchemy Connection or Session, or Django connection; "
    "asynchronous connections go to Outbox or Inbox"
)

_TO_BE_RUN: Final = (
    types.GeneratorType, types.AsyncGeneratorType, types.FunctionType, types.MethodType,
    types.BuiltinFunctionType, functools.partial, concurrent.futures.Future,
)  # fmt: skip

D = TypeVar("D")


def known(connection: object, drivers: Mapping[tuple[str, str], D], wanted: str) -> tuple[D, Any]:
    """The entry for a connection's class, found by the names of package and class.

    Returns:
        The entry, and the connection: that behind a proxy, which stands for another one in each
        thread or task.

    Raises:
        TypeError: There is none.
    """
    for kind in type(connection).__mro__:
        name = (kind.__module__.partition(".")[0], kind.__name__)
        found = drivers.get(name)
        if found is not None:
            return found, connection
        behind = _PROXIES.get(name)
        if behind is not None:
            return known(behind(connection), drivers, wanted)
    if connection is None:
        raise TypeError(
            f"there is no connection, only None; pass {wanted}. A handler has context.connection "
            "where its consumer has an inbox, and if it is async"
        )
    kind = type(connection)
    raise TypeError(
        f"{kind.__module__}.{kind.__qualname__} is not a connection this library can write "
        f"through; pass {wanted}"
    )


def _behind_django(proxy: Any) -> Any:
    from django.db import connections

    return connections[proxy.alias]


_PROXIES: Final[dict[tuple[str, str], Callable[[Any], Any]]] = {
    ("django", "ConnectionProxy"): _behind_django,
    ("sqlalchemy", "scoped_session"): lambda proxy: proxy(),
    ("sqlalchemy", "async_scoped_session"): lambda proxy: proxy(),
}


def check_sqlalchemy(raw: Any, how: str) -> None:
    """Refuse a connection of SQLAlchemy's that commits every statement by itself.

    Raises:
        TransactionError: It does.
    """
    # Else it opens its transaction with the first statement.
    if getattr(raw.dbapi_connection, "autocommit", False):
        raise no_transaction("SQLAlchemy (AUTOCOMMIT)", how)


def failed(raw: Any) -> bool | None:
    """Whether the transaction of a driver's own connection has failed; None: it does not know."""
    status = getattr(getattr(raw, "info", None), "transaction_status", None)
    return None if status is None else bool(status == _FAILED)


def no_transaction(what: str, how: str) -> TransactionError:
    """The error for a connection without a transaction."""
    return TransactionError(
        f"no transaction is open on this {what} connection, so the row would not be part of "
        f"anything; open one first: {how}"
    )


@lru_cache(maxsize=64)
def clause(statement: Statement) -> Any:
    """A statement as SQLAlchemy takes it; parsed once."""
    from sqlalchemy import text

    return text(statement.colon)


def not_async(result: object) -> None:
    """Refuse what a handler returned that is still to be run: nothing of it has.

    Raises:
        TypeError: It is such a result.
    """
    if inspect.isawaitable(result):
        if isinstance(result, Coroutine):
            result.close()
        raise TypeError(
            "the handler is async, so that nothing of it ran; pass a function that is not, or use "
            "Inbox with an asynchronous connection"
        )
    has_run(result)


def awaitable(result: object) -> Awaitable[object]:
    """What an async handler returned.

    Raises:
        TypeError: It is not to be awaited: the handler is not async.
    """
    if not inspect.isawaitable(result):
        raise TypeError(
            f"the handler is not async: it returned {type(result).__name__}; write async def, or "
            "use SyncInbox with a synchronous connection"
        )
    return result


def has_run(result: object) -> None:
    """Refuse what came of a handler and is still to be run.

    Raises:
        TypeError: It is such a result.
    """
    if isinstance(result, _TO_BE_RUN) or inspect.isawaitable(result):
        raise TypeError(
            f"the handler returned {type(result).__name__}, of which nothing ran: it has to do its "
            "work, not to return it"
        )


def named(values: Sequence[object]) -> dict[str, object]:
    """Values by the names of their placeholders."""
    return {f"p{number}": value for number, value in enumerate(values, 1)}
