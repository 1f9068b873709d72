"""Connections to PostgreSQL: read a URL, connect, and turn every failure into one of our errors.

Used by the relay, the consumer runtime and the controller, and by nobody else: this is where
asyncpg is configured. Holds no knowledge of our tables and must not import `plan` or `api`.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Literal, TypeAlias, get_args
from urllib.parse import parse_qsl, unquote, urlsplit

import asyncpg
from asyncpg import exceptions as pg
from asyncpg.connect_utils import SessionAttribute

from outbox_operator.errors import (
    AccessDeniedError,
    CredentialsError,
    OutboxError,
    PostgresError,
    UnsupportedServerError,
)

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

MINIMUM_VERSION: Final = 13
"""xid8 and the pg_snapshot functions came with 13."""
CONNECT_SECONDS: Final = 10.0
STATEMENT_SECONDS: Final = 30.0
_ANSWER_SECONDS: Final = 5.0
"""Beyond the statement timeout: the server did not even report that; the network is gone."""
_POOLER_ATTEMPTS: Final = 20
"""Questions to a pooler whether it keeps sessions together; less than a millisecond each."""
_DEAD_PEER_MILLISECONDS: Final = 15_000
_KEEPALIVE: Final = {"idle": 10, "interval": 5, "count": 3}
"""Seconds of silence, seconds between probes, probes; to notice a peer that is gone, both ways."""

_SCHEMES: Final = ("postgresql", "postgres")
SslMode: TypeAlias = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]
_SSL_MODES: Final[tuple[SslMode, ...]] = get_args(SslMode)
_FILES: Final = ("sslrootcert", "sslcert", "sslkey")
_WITHOUT_EFFECT: Final = ("application_name", "connect_timeout")
"""Ours are better; harmless to find in a URL."""
_EXAMPLE: Final = "postgresql://user:password@host:5432/database?sslmode=verify-full"


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresTarget:
    """Where a database is and how to log in. Its `repr` is safe to print.

    Attributes:
        hosts: Host and port, tried in order until one is a primary.
        sslmode: As in libpq.
        sslrootcert: File of authorities; None trusts the system's.
        sslcert: File of a client certificate; with `sslkey`.
    """

    hosts: tuple[tuple[str, int], ...]
    database: str
    user: str
    password: str | None = field(default=None, repr=False)
    sslmode: SslMode = "prefer"
    sslrootcert: str | None = None
    sslcert: str | None = None
    sslkey: str | None = None

    @property
    def address(self) -> str:
        """`host:port/database`: for messages and logs."""
        hosts = ",".join(f"{f'[{h}]' if ':' in h else h}:{port}" for h, port in self.hosts)
        return f"{hosts}/{self.database}"


def parse_url(text: str) -> PostgresTarget:
    """Read a connection URL.

    Raises:
        CredentialsError: Says what is wrong with it, and shows nothing of it.
    """
    try:
        parts = urlsplit(text.strip())
        query = dict(
            parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        )
        login, _, places = parts.netloc.rpartition("@")
        hosts = tuple(_host(place) for place in places.split(","))
    except ValueError:
        # The message of a ValueError may quote the URL, password and all.
        raise _malformed("it cannot be parsed") from None
    if parts.scheme not in _SCHEMES:
        raise _malformed("it must start with postgresql://")
    user, has_password, password = login.partition(":")
    database = unquote(parts.path.removeprefix("/"))
    for value, what in ((user, "user"), (database, "database"), (hosts[0][0], "host")):
        if not value:
            raise _malformed(f"it names no {what}")
    unknown = sorted(query.keys() - {"sslmode", *_FILES, *_WITHOUT_EFFECT})
    if unknown:
        raise _malformed(f"parameter {', '.join(unknown)} is not supported; remove it")
    wanted = query.get("sslmode", "prefer")
    sslmode = next((mode for mode in _SSL_MODES if mode == wanted), None)
    if sslmode is None:
        raise _malformed(f"sslmode must be one of {', '.join(_SSL_MODES)}")
    return PostgresTarget(
        hosts=hosts,
        database=database,
        user=unquote(user),
        password=unquote(password) if has_password else None,
        sslmode=sslmode,
        **{name: query[name] for name in _FILES if query.get(name)},
    )


def _host(place: str) -> tuple[str, int]:
    if place.startswith("["):
        host, bracket, rest = place[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError("bracket")
        port = rest[1:]
    else:
        host, _, port = place.partition(":")
    number = int(port) if port else 5432
    if not 0 < number < 65536:
        raise ValueError("port")
    return unquote(host), number


def _malformed(problem: str) -> CredentialsError:
    return CredentialsError(
        f"the connection URL is malformed: {problem}; wanted for example {_EXAMPLE}"
    )


async def connect(
    target: PostgresTarget,
    *,
    application_name: str,
    timeout: float = CONNECT_SECONDS,
    statement_timeout: float = STATEMENT_SECONDS,
) -> Connection:
    """Connect straight to a primary.

    Args:
        target: Where and how.
        application_name: Shown in `pg_stat_activity`.
        timeout: Seconds to connect and log in.
        statement_timeout: Seconds a statement may take before the server cancels it.

    Raises:
        PostgresError: Not reachable, or a standby (reason ReadOnlyServer).
        CredentialsError: Login refused, or no such database (reason DatabaseMissing).
        UnsupportedServerError: Too old, or a pooler in between hands the statements of a session
            to changing servers (reason TransactionPooler).
    """
    open_one = partial(
        _open, target, application_name, timeout, statement_timeout + _ANSWER_SECONDS
    )
    with errors(target, timeout=timeout):
        connection = await open_one()
        try:
            _notice_dead_server(connection)
            await _check(connection, target, open_one)
            # Not at login: a pooler refuses settings that it does not know.
            await set_in_session(connection, _settings(statement_timeout))
        except BaseException:
            connection.terminate()
            raise
    return connection


async def _open(
    target: PostgresTarget, application_name: str, timeout: float, command_timeout: float
) -> Connection:
    connection: Connection = await asyncpg.connect(
        host=[host for host, _ in target.hosts],
        port=[port for _, port in target.hosts],
        user=target.user,
        password=target.password,
        database=target.database,
        ssl=_tls(target),
        timeout=timeout,
        command_timeout=command_timeout,
        target_session_attrs=(
            SessionAttribute.any if len(target.hosts) == 1 else SessionAttribute.read_write
        ),
        server_settings={"application_name": application_name},
    )
    return connection


def _settings(statement_timeout: float) -> dict[str, int]:
    return {
        "statement_timeout": round(statement_timeout * 1000),
        # So that the server lets go of our locks soon after our machine has died.
        **{f"tcp_keepalives_{name}": value for name, value in _KEEPALIVE.items()},
        "tcp_user_timeout": _DEAD_PEER_MILLISECONDS,
    }


async def reset(connection: Connection, *, statement_timeout: float = STATEMENT_SECONDS) -> None:
    """Undo what its last user did to a session, and leave it as `connect` makes it.

    Raises the driver's errors.
    """
    settings = _settings(statement_timeout).items()
    await connection.execute(
        connection.get_reset_query() + "".join(f"SET {name} = {value};" for name, value in settings)
    )


async def set_in_session(connection: Connection, settings: Mapping[str, int]) -> None:
    """Change settings for as long as the session lives; those the server lacks are left out.

    Raises the driver's errors.
    """
    await connection.execute(
        "SELECT set_config(s.name, s.value, false) FROM unnest($1::text[], $2::text[]) "
        "AS s (name, value) WHERE s.name IN (SELECT name FROM pg_catalog.pg_settings)",
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
    row = await connection.fetchrow("SELECT pg_backend_pid(), pg_is_in_recovery()")
    if row is None or row[1]:
        raise _read_only(target)
    if row[0] != connection.get_server_pid():
        # A pooler makes up the process id that it announces.
        await _check_pooler(connection, target, row[0], open_another)


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
                taken = await other.fetchval("SELECT pg_backend_pid()")
                ours = await connection.fetchval("SELECT pg_backend_pid()")
            if ours != backend or taken == backend:
                raise transaction_pooler(target)
    finally:
        other.terminate()


def _tls(target: PostgresTarget) -> ssl.SSLContext | SslMode:
    if target.sslmode in ("disable", "allow", "prefer") and not target.sslcert:
        return target.sslmode
    try:
        if target.sslmode.startswith("verify") or target.sslrootcert:
            context = ssl.create_default_context(cafile=target.sslrootcert)
            context.check_hostname = target.sslmode == "verify-full"
        else:
            # `require` asks for encryption, not for proof of who is there; so says libpq too.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if target.sslcert:
            context.load_cert_chain(target.sslcert, target.sslkey)
    except OSError as error:
        names = ", ".join(name for name in _FILES if getattr(target, name))
        raise CredentialsError(
            f"PostgreSQL at {target.address}: the files of {names} in the connection URL "
            f"cannot be used: {error.strerror or type(error).__name__}"
        ) from error
    return context


@contextmanager
def errors(target: PostgresTarget, *, timeout: float | None = None) -> Iterator[None]:
    """Translate what the driver raises inside the block; ours pass through.

    Args:
        target: Named in messages.
        timeout: Seconds that a TimeoutError stands for, if known.
    """
    try:
        yield
    except (pg.PostgresError, pg.InterfaceError, pg.InternalClientError, OSError) as error:
        raise translate(error, target, timeout=timeout) from error


def translate(
    error: BaseException, target: PostgresTarget, *, timeout: float | None = None
) -> OutboxError:
    """What went wrong, in our terms: by SQLSTATE and type, never by text where a code exists."""
    if isinstance(error, OutboxError):
        return error
    where = f"PostgreSQL at {target.address}"
    if isinstance(error, pg.PostgresError):
        return _server_error(error, target, where)
    if isinstance(error, pg.TargetServerAttributeNotMatched):
        return _read_only(target)
    if isinstance(error, TimeoutError):
        return PostgresError(f"{where}: no answer" + (f" within {timeout:g} s" if timeout else ""))
    return PostgresError(f"{where}: {_describe(error)}")


def _server_error(error: pg.PostgresError, target: PostgresTarget, where: str) -> OutboxError:
    code = error.sqlstate or ""
    said = f"{where}: {getattr(error, 'message', None) or error} (SQLSTATE {code})"
    if code.startswith("28"):
        return CredentialsError(said)
    match code:
        case "3D000":
            return CredentialsError(said, reason="DatabaseMissing")
        case "42501":
            return AccessDeniedError(f"{said}; logged in as role {target.user}")
        case "25006":
            return _read_only(target)
        case "55P03":
            return PostgresError(
                f"{said}: another session holds the lock; see pg_locks", reason="LockTimeout"
            )
        case "57014":
            return PostgresError(said, reason="StatementTimeout")
        case "53300":
            return PostgresError(said, reason="TooManyConnections")
        case "26000" | "42P05":
            # A statement that this session prepared is gone, or another session's is in its place.
            return transaction_pooler(target)
    if code[:2] in ("08", "57"):
        return PostgresError(said)
    return PostgresError(said, reason="StatementFailed")


def transaction_pooler(target: PostgresTarget) -> UnsupportedServerError:
    """What to say when the statements of one session reach changing server processes."""
    return UnsupportedServerError(
        f"PostgreSQL at {target.address}: a connection pooler in transaction or statement mode "
        "answers there; locks and settings of a session do not survive it: use the address of "
        "the server itself, or a pool in session mode (PgBouncer: pool_mode = session)",
        reason="TransactionPooler",
    )


def _read_only(target: PostgresTarget) -> PostgresError:
    return PostgresError(
        f"PostgreSQL at {target.address}: this server is a standby; use the primary's address",
        reason="ReadOnlyServer",
    )


def _describe(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate is not trusted: {error.verify_message}"
    if isinstance(error, socket.gaierror):
        return "no such host"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
