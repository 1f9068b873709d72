"""Connections to PostgreSQL.

Used by the relay, the consumer runtime and the controller, and by nobody else: this is where
asyncpg is configured. Holds no knowledge of our tables and must not import `plan` or `api`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, TypeAlias

import asyncpg
from asyncpg.connect_utils import SessionAttribute

from outbox_operator.adapters.postgres.answer_guard import GuardedLoop
from outbox_operator.adapters.postgres.errors import (
    errors,
    read_only,
    transaction_pooler,
    understood,
)
from outbox_operator.adapters.postgres.known_types import TypeKnowing
from outbox_operator.adapters.postgres.queries import statement
from outbox_operator.adapters.postgres.url import PostgresTarget, tls
from outbox_operator.errors import (
    UnsupportedServerError,
)

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

MINIMUM_VERSION: Final = 13
"""xid8 and the pg_snapshot functions came with 13."""
CONNECT_SECONDS: Final = 10.0
STATEMENT_SECONDS: Final = 30.0
_ANSWER_SECONDS: Final = 5.0
"""Beyond the statement timeout: the server did not even report that; the network is gone."""
STANDSTILL_MILLISECONDS: Final = 2000
"""So long others wait at most for what a transaction has locked whose process stands still."""
_CLOSE_SECONDS: Final = 2.0
_POOLER_ATTEMPTS: Final = 20
"""Questions to a pooler whether it keeps sessions together; less than a millisecond each."""
_DEAD_PEER_MILLISECONDS: Final = 15_000
_OURS: Final = {"jit": 0}
"""Of sessions that nobody else uses: on a table that was never analysed, compiling a statement of
ours costs a hundred times what running it does."""
_OWN_NAMES: Final = {"search_path": "pg_catalog"}
"""An operator such as `numeric / integer` is not PostgreSQL's, and so anybody's to make."""
_KEEPALIVE: Final = {"idle": 10, "interval": 5, "count": 3}
"""Seconds of silence, seconds between probes, probes; to notice a peer that is gone, both ways."""


async def connect(
    target: PostgresTarget,
    *,
    application_name: str,
    timeout: float = CONNECT_SECONDS,
    statement_timeout: float = STATEMENT_SECONDS,
    guarded: bool = False,
    statements_of_others: bool = False,
    connection_class: type[Connection] = TypeKnowing,
) -> Connection:
    """Connect straight to a primary.

    Args:
        target: Where and how.
        application_name: Shown in `pg_stat_activity`.
        timeout: Seconds to connect and log in.
        statement_timeout: Seconds a statement may take before the server cancels it.
        guarded: The server is named by somebody whom this process is not to suffer from: what it
            answers is bounded. Needs the loop of the standard library.
        statements_of_others: Handlers or triggers of an application work in the session, too, and
            look names up as its login has it. Else only PostgreSQL's own are found: who may
            create in a schema of that path could have us call their functions with our rights.
        connection_class: What to make.

    Raises:
        PostgresError: Not reachable, or a standby (reason ReadOnlyServer).
        CredentialsError: Login refused, or no such database (reason DatabaseMissing).
        UnsupportedServerError: Too old, or a pooler in between hands the statements of a session
            to changing servers (reason TransactionPooler).
    """
    open_one = partial(
        _open, target, application_name, timeout, statement_timeout + _ANSWER_SECONDS, guarded,
        connection_class,
    )  # fmt: skip
    with errors(target, timeout=timeout):
        with understood(target):
            connection = await open_one()
        try:
            _notice_dead_server(connection)
            with understood(target):
                await _check(connection, target, open_one)
            # Not at login: a pooler refuses settings that it does not know.
            names = {} if statements_of_others else _OWN_NAMES
            await set_in_session(connection, {**_settings(statement_timeout), **_OURS, **names})
        except BaseException:
            connection.terminate()
            raise
    return connection


async def _open(
    target: PostgresTarget,
    application_name: str,
    timeout: float,
    command_timeout: float,
    guarded: bool,
    connection_class: type[Connection],
) -> Connection:
    loop: Any = GuardedLoop(asyncio.get_running_loop()) if guarded else None
    connection: Connection = await asyncpg.connect(
        loop=loop,
        connection_class=connection_class,
        host=[host for host, _ in target.hosts],
        port=[port for _, port in target.hosts],
        user=target.user,
        # Never None: the driver would look for one in PGPASSWORD and ~/.pgpass of this process.
        password=target.password or "",
        database=target.database,
        ssl=tls(target),
        timeout=timeout,
        command_timeout=command_timeout,
        target_session_attrs=(
            SessionAttribute.any if len(target.hosts) == 1 else SessionAttribute.read_write
        ),
        server_settings={**dict(target.settings), "application_name": application_name},
    )
    return connection


def _settings(statement_timeout: float) -> dict[str, int]:
    return {
        "statement_timeout": round(statement_timeout * 1000),
        # So that the server lets go of our locks soon after our machine has died.
        **{f"tcp_keepalives_{name}": value for name, value in _KEEPALIVE.items()},
        "tcp_user_timeout": _DEAD_PEER_MILLISECONDS,
    }


def undoing(connection: Connection, *, statement_timeout: float) -> str:
    """Statements that undo what its user did to a session, and leave it as `connect` makes it."""
    settings = _settings(statement_timeout).items()
    again = ", ".join(f"set_config('{name}', '{value}', false)" for name, value in settings)
    return statement("session_reset", reset=connection.get_reset_query(), settings=again)


async def set_in_session(connection: Connection, settings: Mapping[str, int | str]) -> None:
    """Change settings for as long as the session lives; those the server lacks are left out.

    Raises the driver's errors.
    """
    await connection.execute(
        statement("session_set_known"),
        list(settings),
        [str(value) for value in settings.values()],
    )


async def end_when_idle(connection: Connection, seconds: float) -> None:
    """Let the server end the session when a frozen process leaves it idle (PostgreSQL 14 on).

    Raises the driver's errors.
    """
    names = ("idle_session_timeout", "idle_in_transaction_session_timeout")
    await set_in_session(connection, dict.fromkeys(names, round(seconds * 1000)))


def _notice_dead_server(connection: Connection) -> None:
    """Let the connection end soon after the server's machine, or the way to it, has died."""
    # The driver sets none of this and hands out no socket.
    sock: socket.socket = connection._transport.get_extra_info("socket")  # type: ignore[attr-defined]
    if sock.family == socket.AF_UNIX:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE["idle"])
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE["interval"])
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _KEEPALIVE["count"])
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _DEAD_PEER_MILLISECONDS)


async def close(connection: Connection) -> None:
    """End a session soon, whatever its server does."""
    try:
        await connection.close(timeout=_CLOSE_SECONDS)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        connection.terminate()


@asynccontextmanager
async def bounded_transaction(
    connection: Connection, *, lock_milliseconds: int, milliseconds: int
) -> AsyncIterator[None]:
    """A transaction whose statements wait so long for a lock, and take so long, at most."""
    async with connection.transaction():
        await connection.execute(
            statement(
                "session_limit_transaction",
                lock=lock_milliseconds,
                whole=milliseconds,
                idle=STANDSTILL_MILLISECONDS,
            )
        )
        yield


def server_certificate(connection: Connection) -> bytes | None:
    """The server's certificate in DER; None: the connection is not encrypted."""
    tls = connection._transport.get_extra_info("ssl_object")  # type: ignore[attr-defined]
    found: bytes | None = None if tls is None else tls.getpeercert(True)
    return found


async def _check(
    connection: Connection,
    target: PostgresTarget,
    open_another: Callable[[], Awaitable[Connection]],
) -> None:
    version = connection.get_server_version()
    if version.major < MINIMUM_VERSION:
        raise UnsupportedServerError(
            f"PostgreSQL at {target.address}: version {MINIMUM_VERSION} or newer is needed, "
            f"found {version.major}.{version.minor}"
        )
    row = await connection.fetchrow(statement("session_server"))
    if row is None or row["in_recovery"]:
        raise read_only(target)
    if row["pid"] != connection.get_server_pid():
        # A pooler makes up the process id that it announces.
        await _check_pooler(connection, target, row["pid"], open_another)


async def _check_pooler(
    connection: Connection,
    target: PostgresTarget,
    backend: int,
    open_another: Callable[[], Awaitable[Connection]],
) -> None:
    """Whether a session keeps its server process while another one is at work.

    A pooler that lends server processes for a transaction gives the one just used to the next
    who asks, here ourselves, and then us another one. With others about it may give it to one of
    them, and back to us in time: hence several attempts.
    """
    other = await open_another()
    try:
        for _ in range(_POOLER_ATTEMPTS):
            async with other.transaction():
                taken = await other.fetchval(statement("session_backend"))
                ours = await connection.fetchval(statement("session_backend"))
            if ours != backend or taken == backend:
                raise transaction_pooler(target)
    finally:
        other.terminate()
