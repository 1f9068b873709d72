"""How handling events in a transaction goes wrong, other than that the database is away."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import asyncpg

from outbox_operator.errors import OutboxError
from outbox_operator.reasons import Reason


class CommitRefusedError(OutboxError):
    """The database is there, but does not take what the handler wrote."""

    reason = Reason.COMMIT_REFUSED


class UnrecordableError(OutboxError):
    """The database is there, but cannot hold what the inbox has to remember of an event.

    Attributes:
        for_ever: It never will.
    """

    reason = Reason.UNRECORDABLE

    def __init__(self, message: str, *, for_ever: bool) -> None:
        super().__init__(message)
        self.for_ever = for_ever


class HandledInVainError(OutboxError):
    """The handler ran, and the database is there, but the connection between them was lost."""

    reason = Reason.CONNECTION_LOST


@contextlib.contextmanager
def unrecordable(address: str) -> Iterator[None]:
    """Tell an event that cannot be remembered from a database that is away."""
    try:
        yield
    except (asyncpg.PostgresError, asyncpg.DataError, ValueError, OverflowError) as error:
        code = getattr(error, "sqlstate", None) or ""
        # Data, constraints (somebody's own), limits (an index row). The driver's own
        # objections to a value have no code.
        if code[:2] not in ("", "22", "23", "54"):
            raise
        raise UnrecordableError(
            f"PostgreSQL at {address}: the inbox cannot remember the event: {error}",
            for_ever=code[:2] != "23",
        ) from error
