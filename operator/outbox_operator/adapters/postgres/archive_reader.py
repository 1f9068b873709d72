"""Reads an archive for those who ask over HTTP, and writes down who asked for what.

Used by the process that answers, and by who exports with a login of their own. Every read is in a
transaction that may not write, sees what the caller's tenant may see, and ends in time. Must not
import `plan` or `api`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from outbox_operator.adapters.postgres.archive_select import Place, Selection, select
from outbox_operator.adapters.postgres.connection import Connection, connect, set_in_session
from outbox_operator.adapters.postgres.errors import errors
from outbox_operator.adapters.postgres.pipelined_begin import PipelinedBegin
from outbox_operator.adapters.postgres.queries import statement
from outbox_operator.adapters.postgres.url import PostgresTarget
from outbox_operator.errors import AccessDeniedError, PostgresError, SpecError
from outbox_operator.reasons import Reason
from outbox_operator.wire.archive_api import SEARCHED
from outbox_operator.wire.tables import quoted

_SETTINGS: Final = {
    "plan_cache_mode": "force_custom_plan",  # leaves out the partitions of other times
    "TimeZone": "UTC",
    "idle_in_transaction_session_timeout": "60s",
}
_ADMISSION_SECONDS: Final = 5.0
_LOG_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Viewer:
    """Whose events may be seen.

    Attributes:
        tenant: Those of this one; None: of all.
    """

    tenant: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """An entry of the log of who asked for what.

    Attributes:
        subject: Who, as the token says it.
        tenant: Of the token.
        token_id: The token's `jti`.
        client: Address that the question came from.
        action: What was asked, for example `events`.
        question: The parameters, as JSON.
        outcome: `ok`, or why there was no answer.
        events: How many were returned.
        bytes: Of the answer.
        seconds: That it took.
    """

    subject: str
    tenant: str | None
    token_id: str | None
    client: str | None
    action: str
    question: str
    outcome: str
    events: int = 0
    bytes: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Found:
    """Events, and where to go on.

    Attributes:
        lines: A JSON object each.
        last: Place of the last one, if there may be more behind it.
        size: Bytes of the lines.
    """

    lines: Sequence[str]
    last: Place | None
    size: int


class QuestionTooCostlyError(PostgresError):
    """A question took longer than it may; a narrower one might not."""

    reason = Reason.STATEMENT_TIMEOUT


class TooManyQuestionsError(PostgresError):
    """All connections have been in use for a while."""

    reason = Reason.TOO_MANY_CONNECTIONS


class ArchiveReader:
    """A few connections to an archive, made when they are needed.

    Args:
        login: Says where the database is and how to log in; asked for each connection.
        schema: Schema of the archive.
        columns: That it has to have.
        tenants: Whether the table has to hide events of other tenants.
        searches: Whether there has to be a view to find events by words.
        own_login: Whether who asks has the login, and may do by it what else it may; nothing is
            written down then.
        size: Most connections.
        application_name: Shown in `pg_stat_activity`.
    """

    def __init__(
        self,
        login: Callable[[], PostgresTarget],
        *,
        schema: str,
        columns: Sequence[str],
        tenants: bool,
        searches: bool = False,
        own_login: bool = False,
        size: int,
        application_name: str,
    ) -> None:
        self._login = login
        self._target: PostgresTarget | None = None
        self._schema = schema
        self._columns = tuple(columns)
        self._tenants = tenants
        self._searches = searches
        self._own_login = own_login
        self._name = application_name
        self._room = asyncio.Semaphore(size)
        self._idle: list[PipelinedBegin] = []

    @property
    def address(self) -> str:
        """`host:port/database`, for messages."""
        return "" if self._target is None else self._target.address

    async def close(self) -> None:
        """End the connections that nobody uses."""
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.terminate()

    async def check(self) -> None:
        """See that the archive is there, and that the login may do what it must and no more.

        Raises:
            OutboxError: Says what is wrong, and what to do.
        """
        async with self._connection() as connection:
            await self._verify(connection)

    async def events(
        self, selection: Selection, viewer: Viewer, *, seconds: float, most_bytes: int
    ) -> Found:
        """Events as asked; fewer, if these are large.

        Args:
            selection: Which; it has a limit.
            viewer: Whose events may be seen.
            seconds: That it may take.
            most_bytes: At least one event is returned, and none beyond so many bytes.

        Raises:
            QuestionTooCostlyError: It took too long.
            OutboxError: The database is away, or refuses.
        """
        text, values = select(self._schema, selection, most_bytes)
        async with self.reading(viewer, seconds) as connection:
            rows = await connection.fetch(text, *values)
        lines: list[str] = []
        size = 0
        for row in rows:
            if lines and size + len(row["line"]) > most_bytes:
                break
            lines.append(row["line"])
            size += len(row["line"])
        if len(lines) == len(rows) < (selection.limit or 0) and not _is_cut(rows, most_bytes):
            return Found(lines, None, size)
        row = rows[len(lines) - 1]
        return Found(lines, Place(row["stored_at"], row["sequence"], row["id"]), size)

    async def log(self, access: Access) -> None:
        """Write down who asked for what.

        Raises:
            OutboxError: It cannot be written.
        """
        async with self._connection() as connection:
            await connection.execute(
                statement("archive_log_access", schema=self._schema),
                access.subject, access.tenant, access.token_id, access.client, access.action,
                access.question, access.outcome, access.events, access.bytes, access.seconds,
                timeout=_LOG_SECONDS,
            )  # fmt: skip

    @asynccontextmanager
    async def reading(
        self, viewer: Viewer, seconds: float, *, held: bool = False
    ) -> AsyncIterator[Connection]:
        """A connection in a transaction that sees what the viewer may see.

        Args:
            viewer: Whose events may be seen.
            seconds: That a statement may take.
            held: Whether partitions are kept as they are from its beginning on.

        Raises:
            QuestionTooCostlyError: A statement took longer than `seconds`.
            OutboxError: The database is away, or refuses.
        """
        everything = "on" if viewer.tenant is None else "off"
        milliseconds = str(round(seconds * 1000))
        settings = (statement("archive_as_tenant"), viewer.tenant or "", everything, milliseconds)
        first: tuple[str, ...] = settings
        if held:
            first = (statement("archive_hold", schema=self._schema),)
        async with self._connection() as connection:
            try:
                async with connection.begun_with(
                    *first, readonly=True, isolation="repeatable_read"
                ):
                    if held:
                        await connection.execute(*settings)
                    yield connection
            except (asyncpg.QueryCanceledError, TimeoutError) as error:
                raise QuestionTooCostlyError(
                    f"it took longer than {seconds:g} s, and was given up"
                ) from error

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Connection]:
        """A connection for one statement about who asked for what.

        Raises:
            OutboxError: The database is away, or refuses.
        """
        async with self._connection() as connection:
            yield connection

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[PipelinedBegin]:
        """A connection for oneself; what failed in a way that leaves doubt is not used again."""
        try:
            async with asyncio.timeout(_ADMISSION_SECONDS):
                await self._room.acquire()
        except TimeoutError as error:
            raise TooManyQuestionsError(
                f"all connections to the archive were in use for {_ADMISSION_SECONDS:g} s"
            ) from error
        try:
            connection = await self._open()
            keep = False
            try:
                with errors(self._known()):
                    yield connection
                keep = True
            except QuestionTooCostlyError:
                keep = True
                raise
            finally:
                if keep and not connection.is_closed():
                    self._idle.append(connection)
                else:
                    connection.terminate()
        finally:
            self._room.release()

    async def _open(self) -> PipelinedBegin:
        while self._idle:
            idle = self._idle.pop()
            if not idle.is_closed():
                return idle
        self._target = self._login()
        connection = await connect(
            self._target, application_name=self._name, connection_class=PipelinedBegin
        )
        assert isinstance(connection, PipelinedBegin)  # noqa: S101 - as asked for
        try:
            with errors(self._target):
                await set_in_session(connection, _SETTINGS)
                await self._verify(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection

    def _known(self) -> PostgresTarget:
        assert self._target is not None  # noqa: S101 - `_open` has set it
        return self._target

    async def _verify(self, connection: Connection) -> None:
        names = ("events", "access_log", SEARCHED)
        tables = (f"{quoted(self._schema)}.{name}" for name in names)
        [facts] = await connection.fetch(statement("archive_reader_facts"), self._schema, *tables)
        _refuse_unfit(
            facts, self._known(), self._schema, self._columns, tenants=self._tenants,
            searches=self._searches, own_login=self._own_login,
        )  # fmt: skip


def _is_cut(rows: Sequence[asyncpg.Record], most_bytes: int) -> bool:
    """Whether there may have been more, for which there was no room."""
    return bool(rows) and rows[-1]["so_far"] >= most_bytes


def _refuse_unfit(
    facts: Any,
    target: PostgresTarget,
    schema: str,
    columns: Sequence[str],
    *,
    tenants: bool,
    searches: bool,
    own_login: bool,
) -> None:
    """Refuse an archive that is not there, and a login that may do too much or too little."""
    where = f"archive in schema {schema} of {target.address}"
    remedy = f"run: outbox archive migrate, with api_role {target.user!r} in its configuration"
    if own_login:
        remedy = (
            "name the login of a role that may with --login-file, or run: outbox archive migrate"
        )
    lacking = [name for name in columns if name not in facts["columns"]]
    if lacking:
        what = "there is no table events" if not facts["columns"] else f"no {', '.join(lacking)}"
        raise PostgresError(f"{where}: {what}; {remedy}", reason=Reason.MIGRATIONS_MISSING)
    if not own_login and (facts["sees_everything"] or facts["writes"]):
        raise SpecError(
            f"{where}: role {target.user} may change events, or sees what policies hide; wanted "
            "one that reads and nothing else, no superuser and without BYPASSRLS"
        )
    if not (facts["reads"] and (facts["logs"] or own_login)):
        raise AccessDeniedError(f"{where}: role {target.user} may not read it yet; {remedy}")
    if tenants and not facts["by_tenant"]:
        raise PostgresError(
            f"{where}: no policy hides the events of other tenants; {remedy} and the same "
            "tenant_column",
            reason=Reason.MIGRATIONS_MISSING,
        )
    if searches and not (facts["searches"] and (facts["searches_by_tenant"] or not tenants)):
        raise PostgresError(
            f"{where}: there is no view {SEARCHED} to find words by; {remedy} and text_search",
            reason=Reason.MIGRATIONS_MISSING,
        )
