"""A connection that is lent to a handler, and notices what of it no statement can undo."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, Final

import asyncpg
from asyncpg.transaction import Transaction

_LENDER: Final = ContextVar("_LENDER", default=False)
"""Whether it is the lender who uses a connection, or what he has begun since he took it back."""


_BEGIN: Final = (
    b"P\0\0\0\x0d\0BEGIN\0\0\0"  # Parse
    b"B\0\0\0\x0c\0\0\0\0\0\0\0\0"  # Bind
    b"E\0\0\0\x09\0\0\0\0\0"  # Execute, and no Sync: that of the next statement is for both
)


@contextlib.contextmanager
def lending() -> Iterator[None]:
    """In this block the task lends connections; what it takes back is its own to the end of it."""
    before = _LENDER.set(False)
    try:
        yield
    finally:
        _LENDER.reset(before)


class LentConnection(asyncpg.Connection):
    """The driver's, which remembers whether its user changed how it works.

    Attributes:
        altered: It must not be handed on: codecs or observers of its user are in it.
        server_started: When its server was started.
        lent: Whether handlers may use it. What one of them left running would else write between
            the end of its transaction and the pool, in a transaction of its own.
        opening: A transaction begins with the next statement.
        used: A handler had it since it was reset.
        undoing: Statements that reset it.
    """

    altered = False
    server_started: dt.datetime | None = None
    lent = True
    opening = False
    used = False
    undoing = ""
    _behind_commit = ""

    def itself(self) -> LentConnection:
        """Return this, also of a pool's stand-in for it, which keeps nothing that is set on it."""
        return self

    def lend(self) -> None:
        """Let anybody use it who has it."""
        self.lent = True

    def take_back(self) -> None:
        """Let nobody use it any more but who lends. See `lending`."""
        self.lent = False
        _LENDER.set(True)

    def _check_open(self) -> None:
        if not self.lent and not _LENDER.get():
            raise asyncpg.InterfaceError(
                "context.connection is lent for the time of a call, and this one has ended; await "
                "what uses it before the handler returns"
            )
        super()._check_open()  # type: ignore[misc] # the driver's, before each statement

    async def begin(self) -> Transaction:
        """Begin a transaction with the next statement, in one round trip with it.

        Should BEGIN fail, the server passes over that statement and its error is the answer to it.
        Until that is there, set `opening` to False.
        """
        transaction = self.transaction()
        self.opening = True
        await transaction.start()
        return transaction

    async def commit(self, transaction: Transaction, behind: str) -> None:
        """Commit, and then run statements, in one round trip."""
        self._behind_commit = behind
        try:
            await transaction.commit()
        finally:
            self._behind_commit = ""

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
        """As the driver's, which begins and ends its transactions so."""
        if self.opening and query == "BEGIN;":
            # What it answers to is what the driver takes for a part of the next answer.
            self._transport.write(_BEGIN)
            return "BEGIN"
        if self._behind_commit and query == "COMMIT;":
            query += self._behind_commit
        status: str = await super().execute(query, *args, timeout=timeout)
        return status

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
