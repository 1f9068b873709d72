"""A connection that is lent to a handler, and notices what of it no statement can undo."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import socket
from collections.abc import Awaitable, Iterator
from contextvars import ContextVar
from typing import Any, Final, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy
from asyncpg.transaction import Transaction

Borrowed: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"
"""An open connection, to be given back; has all methods of an asyncpg Connection."""

_CLEANUP_SECONDS: Final = 5.0

_LENDER: Final = ContextVar("_LENDER", default=False)
"""Whether it is the lender who uses a connection, or what he has begun since he took it back."""


_BEGIN: Final = (
    b"P\0\0\0\x0d\0BEGIN\0\0\0"  # Parse
    b"B\0\0\0\x0c\0\0\0\0\0\0\0\0"  # Bind
    b"E\0\0\0\x09\0\0\0\0\0"  # Execute, and no Sync: that of the next statement is for both
)
_MORE: Final = getattr(socket, "MSG_MORE", 0)
"""Where systems know it, the kernel waits for more to send."""


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
    _commit = ""

    def itself(self) -> LentConnection:
        """Return this; see `lent`."""
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
        """As the driver's, which begins and commits its transactions so."""
        if self.opening and query == "BEGIN;":
            # What it is answered the driver takes for a part of the next answer.
            self._send_with_next(_BEGIN)
            return "BEGIN"
        if self._commit and query == "COMMIT;":
            query = self._commit
        status: str = await super().execute(query, *args, timeout=timeout)
        return status

    def _send_with_next(self, data: bytes) -> None:
        """Send in one packet with what the driver writes next; after its own, where that waits."""
        transport: asyncio.Transport = self._transport  # type: ignore[attr-defined]
        shared: Any = transport.get_extra_info("socket")
        sent = 0
        if (
            shared.family != socket.AF_UNIX
            and transport.get_extra_info("ssl_object") is None
            and not transport.get_write_buffer_size()
        ):
            # The loop has no way to say so, and would wake the server's process twice.
            own = socket.socket(shared.family, shared.type, shared.proto, shared.fileno())
            try:
                sent = own.send(data, _MORE)
            except OSError:
                pass  # full, or lost: the loop's business
            finally:
                own.detach()  # it stays the loop's
        if sent < len(data):
            transport.write(data[sent:])

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
