"""What goes wrong between us and PostgreSQL, as one of our errors."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from asyncpg import exceptions as pg

from outbox_operator.adapters.network import network_problem
from outbox_operator.adapters.postgres.url import PostgresTarget
from outbox_operator.errors import (
    AccessDeniedError,
    CredentialsError,
    OutboxError,
    PostgresError,
    UnsupportedServerError,
)
from outbox_operator.reasons import Reason

log = logging.getLogger(__name__)

_MOST_CHARACTERS: Final = 600
_STUMBLED: Final = (
    ValueError, LookupError, TypeError, ArithmeticError, AttributeError, AssertionError,
    RecursionError, struct.error,
)  # fmt: skip
_OF_ROWS: Final = ("22", "54", "XX001")
"""How SQLSTATEs begin: data exceptions, limits of the program, what is damaged on disk."""


class UnreadableRowsError(PostgresError):
    """A statement failed because of what is in the rows it reads or copies.

    Attributes:
        blames_rows: Whether it is surely these; that it took too long may be the server's fault.
    """

    reason = Reason.STATEMENT_FAILED

    def __init__(self, message: str, *, blames_rows: bool) -> None:
        super().__init__(message)
        self.blames_rows = blames_rows


@contextmanager
def rows_at_fault(target: PostgresTarget) -> Iterator[None]:
    """Raise UnreadableRowsError for what the rows of the statement inside may be to blame for."""
    try:
        yield
    except pg.PostgresError as error:
        code = error.sqlstate or ""
        if code.startswith((*_OF_ROWS, "57014")):
            raise UnreadableRowsError(
                translate(error, target).message, blames_rows=code != "57014"
            ) from error
        raise
    except UnicodeError as error:
        said = f"PostgreSQL at {target.address}: a text that is not UTF-8"
        raise UnreadableRowsError(said, blames_rows=True) from error


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


@contextmanager
def understood(target: PostgresTarget) -> Iterator[None]:
    """Whatever else the driver, or we, stumble over in an answer is the server's doing.

    For servers that a tenant names. In case it is ours, the log says where.
    """
    try:
        yield
    except _STUMBLED as error:
        if isinstance(error, OSError):
            raise  # a certificate that is not trusted is a ValueError as well
        log.warning("PostgreSQL at %s is not understood", target.address, exc_info=True)
        raise PostgresError(
            f"PostgreSQL at {target.address}: what answers there is no PostgreSQL that is "
            f"understood here ({type(error).__name__})"
        ) from error


def translate(
    error: BaseException, target: PostgresTarget, *, timeout: float | None = None
) -> OutboxError:
    """What went wrong, in our terms: by SQLSTATE and type, never by text where a code exists."""
    if isinstance(error, OutboxError):
        return error
    where = f"PostgreSQL at {target.address}"
    if isinstance(error, pg.TargetServerAttributeNotMatched):
        return read_only(target)
    if _of_the_driver(error):
        # Its words are of the driver's inner state; what it comes from is that somebody hung up.
        return PostgresError(f"{where}: {_cause(error) or 'the connection was lost'}")
    if isinstance(error, pg.PostgresError):
        return _server_error(error, target, where)
    if isinstance(error, TimeoutError):
        return PostgresError(f"{where}: no answer" + (f" within {timeout:g} s" if timeout else ""))
    return PostgresError(f"{where}: {_describe(error)}")


def _of_the_driver(error: BaseException) -> bool:
    """Whether the driver says something of itself; with a code, too, that no server has sent."""
    if isinstance(error, pg.ConnectionDoesNotExistError):
        return error.severity is None
    return isinstance(error, pg.InterfaceError | pg.InternalClientError) and not _of_login(error)


def _of_login(error: BaseException) -> bool:
    """Whether the driver tells what a server asks for and it cannot do."""
    return "auth" in str(error).lower() or "SSL" in str(error)


def _cause(error: BaseException) -> str | None:
    cause = error.__cause__ or error.__context__
    return None if cause is None else network_problem(cause)


def _server_error(error: pg.PostgresError, target: PostgresTarget, where: str) -> OutboxError:
    code = error.sqlstate or ""
    said = f"{where}: {_plain(getattr(error, 'message', None) or str(error))} (SQLSTATE {code})"
    if code.startswith("28"):
        return CredentialsError(said)
    match code:
        case "3D000":
            return CredentialsError(said, reason=Reason.DATABASE_MISSING)
        case "42501":
            return AccessDeniedError(f"{said}; logged in as role {target.user}")
        case "25006":
            return read_only(target)
        case "55P03":
            return PostgresError(
                f"{said}: another session holds the lock; see pg_locks", reason=Reason.LOCK_TIMEOUT
            )
        case "57014":
            return PostgresError(said, reason=Reason.STATEMENT_TIMEOUT)
        case "53300":
            return PostgresError(said, reason=Reason.TOO_MANY_CONNECTIONS)
        case "26000" | "42P05":
            # A statement that this session prepared is gone, or another session's is in its place.
            return transaction_pooler(target)
    if code[:2] in ("08", "57") or code == "25P03":  # we stood still, and the server hung up
        return PostgresError(said)
    return PostgresError(said, reason=Reason.STATEMENT_FAILED)


def transaction_pooler(target: PostgresTarget) -> UnsupportedServerError:
    """What to say when the statements of one session reach changing server processes."""
    return UnsupportedServerError(
        f"PostgreSQL at {target.address}: a connection pooler in transaction or statement mode "
        "answers there; locks and settings of a session do not survive it: use the address of "
        "the server itself, or a pool in session mode (PgBouncer: pool_mode = session)",
        reason=Reason.TRANSACTION_POOLER,
    )


def read_only(target: PostgresTarget) -> PostgresError:
    """What to say of a standby."""
    return PostgresError(
        f"PostgreSQL at {target.address}: this server is a standby; use the primary's address",
        reason=Reason.READ_ONLY_SERVER,
    )


def _plain(text: str) -> str:
    """What a server says, which may be anything, on one line that fits a status."""
    line = " ".join(text[: 2 * _MOST_CHARACTERS].split())
    return line if len(line) <= _MOST_CHARACTERS else f"{line[:_MOST_CHARACTERS]}…"


def _describe(error: BaseException) -> str:
    if (problem := network_problem(error)) is not None:
        return problem
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return _plain(str(error)) or type(error).__name__
