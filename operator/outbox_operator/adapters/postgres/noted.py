"""What a connection that notes statements makes: these note theirs with it.

The driver makes them of its own classes, and has no way to be told others; they are of the same
layout, so that an object can be given another class when it was made.
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from typing import Any

from asyncpg.cursor import Cursor, CursorFactory
from asyncpg.prepared_stmt import PreparedStatement
from asyncpg.transaction import Transaction

from outbox_operator.adapters.postgres.unawaited import noting


class _OfConnection:
    __slots__ = ()
    _connection: Any

    def outbox_note_statement(self, statement: Coroutine[Any, Any, Any]) -> None:
        """Remember a statement of its user's."""
        self._connection.outbox_note_statement(statement)


@noting
class NotedTransaction(_OfConnection, Transaction):
    """The driver's."""

    __slots__ = ()


@noting
class NotedCursor(_OfConnection, Cursor):
    """The driver's."""

    __slots__ = ()


class NotedCursorFactory(CursorFactory):
    """The driver's."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, Any]:
        cursor = yield from super().__await__()
        cursor.__class__ = NotedCursor
        return cursor


@noting
class NotedStatement(_OfConnection, PreparedStatement):
    """The driver's."""

    __slots__ = ()

    def cursor(self, *args: Any, **options: Any) -> Any:
        """As the driver's."""
        made: Any = super().cursor(*args, **options)
        made.__class__ = NotedCursorFactory
        return made
