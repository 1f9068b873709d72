"""Stores batches of events in an archive, each in one transaction, and what they account for.

Used by the process that writes an archive, and by nobody else. Must not import `plan` or `api`.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from outbox_operator.adapters.postgres.connection import (
    Connection,
    close,
    connect,
    set_in_session,
)
from outbox_operator.adapters.postgres.errors import (
    UnreadableRowsError,
    errors,
    rows_at_fault,
)
from outbox_operator.adapters.postgres.queries import statement
from outbox_operator.adapters.postgres.url import PostgresTarget
from outbox_operator.errors import AccessDeniedError, ConflictError, PostgresError
from outbox_operator.reasons import Reason
from outbox_operator.wire import schema_mark
from outbox_operator.wire.advisory_locks import schema_lock
from outbox_operator.wire.archive import COLUMNS, EXTRACTED_TYPE
from outbox_operator.wire.tables import quoted

_STAGING: Final = "outbox_archive_batch"
_STATEMENT_SECONDS: Final = 120.0
"""Upkeep may keep us waiting while it moves the rows of a stretch."""
_STANDSTILL_SECONDS: Final = 10
"""So long other writers wait at most for one that stands still in the middle of a batch."""
_SETTINGS: Final = {
    "idle_in_transaction_session_timeout": f"{_STANDSTILL_SECONDS}s",
    "plan_cache_mode": "force_custom_plan",  # leaves out the partitions of other times
    # The batch was never analysed: it must not be taken for a reason to read the whole archive.
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "max_parallel_workers_per_gather": "0",
}
_LATER: Final = dt.timedelta(microseconds=1)
_MOST_LATER: Final = dt.timedelta(seconds=1)
"""So much later than it was taken an event of version 1 may be stored, for another's sake, and be
known."""
_LONG_AGO: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_FAR_AHEAD: Final = dt.datetime(9999, 1, 1, tzinfo=dt.UTC)
_UNENCODABLE: Final = (asyncpg.DataError, ValueError, TypeError, OverflowError)


@dataclass(frozen=True, slots=True)
class Move:
    """From where to where a batch brings what is archived of an outbox's table.

    Attributes:
        source: Of its events.
        before: Position so far.
        after: And from now on.
        rows: That were looked at.
        last: Whether these are the last.
    """

    source: str
    before: int
    after: int
    rows: int
    last: bool


class MovedOnError(PostgresError):
    """Another process has gone on with the rows of an outbox's table meanwhile."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows to store together.

    Attributes:
        rows: Values of the columns.
        first: When the stream stored the earliest of them.
        last: When it stored the latest.
        everywhere: Whether one may have been stored at any time before.
        accounts: Numbers that are accounted for: source, shard, first, last, when the stream stored
            these two, their sequences.
        moves: How far that brings the rows of an outbox's table; None: the rows are of a stream.
        again: Rows that may have been stored at any time, whatever the others are: a replay sent
            them. Apart, since whoever publishes may send one with each batch.
    """

    rows: Sequence[tuple[Any, ...]]
    first: dt.datetime
    last: dt.datetime
    everywhere: bool
    accounts: Sequence[tuple[Any, ...]]
    moves: Move | None = None
    again: Sequence[tuple[Any, ...]] = ()


@dataclass(frozen=True, slots=True)
class Missing:
    """What the ledger says.

    Attributes:
        gaps: How many.
        numbers: How many numbers are in them.
    """

    gaps: int
    numbers: float


class ArchiveStore:
    """One connection to an archive; `open` it again after an error.

    Args:
        login: Says where the database is and how to log in; each `open` asks, because it may be
            another one by then.
        schema: Schema of the archive.
        columns: What rows have values for.
        classes: Classes that rows may be of.
        owner_uid: In the mark of the schema.
        duplicate_window: An event that comes again within so long is not stored twice.
        application_name: Shown in `pg_stat_activity`.
    """

    def __init__(
        self,
        login: Callable[[], PostgresTarget],
        *,
        schema: str,
        columns: Sequence[str],
        classes: Sequence[str],
        owner_uid: str,
        duplicate_window: dt.timedelta,
        application_name: str,
    ) -> None:
        self._login = login
        self._target: PostgresTarget
        self._schema = schema
        self._columns = tuple(columns)
        self._classes = tuple(classes)
        self._owner_uid = owner_uid
        self._window = duplicate_window
        self._name = application_name
        self._connection: Connection | None = None
        self._tells_sources_apart = False
        listed = ", ".join(map(quoted, self._columns))
        look = statement("archive_look", schema=schema)
        self._insert = statement("archive_insert", schema=schema, columns=listed, look=look)
        self._later = statement("archive_later", look=look)
        types = (f"{quoted(name)} {COLUMNS.get(name, EXTRACTED_TYPE)}" for name in columns)
        self._stage = statement("archive_staging", columns=", ".join(types))

    @property
    def address(self) -> str:
        """`host:port/database`, for messages; once it was opened."""
        return self._target.address

    async def open(self) -> None:
        """Connect, and see that the archive is there, ours, and as the rules need it.

        Raises:
            OutboxError: It is not, or the database is away; says what to do.
        """
        await self.close()
        self._target = self._login()
        connection = await connect(
            self._target, application_name=self._name, statement_timeout=_STATEMENT_SECONDS
        )
        try:
            with errors(self._target):
                [facts] = await connection.fetch(statement("archive_facts"), self._schema)
                self._check(facts)
                if not facts["may_stage"]:
                    raise self._may_not_stage(facts["database"])
                self._tells_sources_apart = facts["tells_sources_apart"]
                await set_in_session(connection, _SETTINGS)
                await connection.execute(self._stage)
        except BaseException:
            connection.terminate()
            raise
        self._connection = connection

    async def close(self) -> None:
        """End the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await close(connection)

    async def store(self, batch: Batch) -> dict[str, int]:
        """Store what is not there yet, and account for it, in one transaction.

        Returns:
            How many rows are new, by class.

        Raises:
            UnreadableRowsError: A row cannot be stored; nothing of the batch is.
            OutboxError: The database is away, or refuses; nothing is known of the batch.
        """
        connection = await self._connected()
        with errors(self._target), self._rows_at_fault():
            async with connection.transaction():
                await self._stage_rows(connection, batch.rows)
                await connection.execute(
                    statement("archive_alone"), schema_lock("archive", self._schema)
                )
                start, end = batch.first - self._window, batch.last + self._window
                if batch.moves is not None:
                    end = _FAR_AHEAD  # the stream may have brought it, whenever it did
                if batch.everywhere or await self._may_be_older(connection):
                    start = _LONG_AGO
                end += _MOST_LATER
                new = await self._insert_new(connection, len(batch.rows), start, end)
                if batch.again:
                    await connection.execute(statement("archive_unstage"))
                    await self._stage_rows(connection, batch.again)
                    new += await self._insert_new(connection, len(batch.again), _LONG_AGO, end)
                if batch.accounts:
                    await connection.execute(
                        statement("archive_account", schema=self._schema),
                        *map(list, zip(*batch.accounts, strict=True)),
                    )
                if batch.moves is not None:
                    await self._move(connection, batch.moves, new.total())
        return new

    async def _stage_rows(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        await connection.copy_records_to_table(
            _STAGING, records=rows, columns=self._columns, schema_name="pg_temp",
            timeout=_STATEMENT_SECONDS,
        )  # fmt: skip

    async def _insert_new(
        self, connection: Connection, rows: int, start: dt.datetime, end: dt.datetime
    ) -> Counter[str]:
        """Make rows of what is not there yet; how many, by class.

        Two sources may use one id, and a stream may take both of their events in one microsecond:
        one key in an archive of version 1. What that kept out is tried again with a later moment,
        which is twice as late each time: who sends one id without pause fills moment after moment.
        """
        new: Counter[str] = Counter()
        later = _LATER
        while True:
            when = (start, end, start + (end - start) / 2)
            found = await connection.fetch(self._insert, *when, timeout=_STATEMENT_SECONDS)
            new.update({row["class"]: row["events"] for row in found})
            if self._tells_sources_apart or new.total() == rows:
                return new
            moved = await connection.execute(self._later, *when, later, timeout=_STATEMENT_SECONDS)
            if moved.endswith(" 0"):
                return new  # the others were there
            end += later
            later *= 2

    async def missing(self) -> Missing:
        """What is missing, as far as the ledger says.

        Raises:
            OutboxError: The database is away.
        """
        connection = await self._connected()
        with errors(self._target):
            [row] = await connection.fetch(statement("archive_missing", schema=self._schema))
        return Missing(row["gaps"], row["numbers"])

    async def begin_backfill(self, source: str, began_at: dt.datetime, up_to: int) -> None:
        """Remember that the rows of an outbox's table are archived, unless that is known.

        Args:
            source: Of its events.
            began_at: Its server's time.
            up_to: Position of its last row.

        Raises:
            OutboxError: The database is away.
        """
        await self._write("archive_backfill_begin", source, began_at, up_to)

    async def backfill(self, source: str) -> tuple[int, int, bool] | None:
        """Last position, position so far, whether all is archived; None: it has not begun.

        Raises:
            OutboxError: The database is away.
        """
        connection = await self._connected()
        text = statement("archive_backfill_read", schema=self._schema)
        with errors(self._target):
            row = await connection.fetchrow(text, source)
        return None if row is None else (row["up_to"], row["position"], row["ended"])

    async def note_backfill(self, source: str, problem: str) -> None:
        """Remember what is in the way of an outbox's rows. Raises OutboxError."""
        await self._write("archive_backfill_problem", source, problem)

    async def _write(self, name: str, *values: object) -> None:
        connection = await self._connected()
        with errors(self._target):
            await connection.execute(statement(name, schema=self._schema), *values)

    async def _may_be_older(self, connection: Connection) -> bool:
        """Whether one of the rows may have been archived from an outbox's table."""
        found: bool = await connection.fetchval(
            statement("archive_backfilled", schema=self._schema)
        )
        return found

    async def _move(self, connection: Connection, moves: Move, stored: int) -> None:
        done = await connection.execute(
            statement("archive_backfill_move", schema=self._schema),
            moves.source, moves.before, moves.after, moves.rows, stored, moves.last,
        )  # fmt: skip
        if int(done.rpartition(" ")[2]) != 1:  # rows
            raise MovedOnError("another process archives the rows of this outbox")

    async def _connected(self) -> Connection:
        if self._connection is None or self._connection.is_closed():
            await self.open()
        assert self._connection is not None  # noqa: S101 - `open` has set it
        return self._connection

    @contextmanager
    def _rows_at_fault(self) -> Iterator[None]:
        """Say of what no column takes that it is the rows' fault."""
        try:
            with rows_at_fault(self._target):
                yield
        except UnreadableRowsError as error:
            if not error.blames_rows:
                raise PostgresError(error.message, reason=Reason.STATEMENT_TIMEOUT) from error
            raise
        except _UNENCODABLE as error:
            said = f"PostgreSQL at {self._target.address}: a value that no column takes"
            raise UnreadableRowsError(said, blames_rows=True) from error

    def _may_not_stage(self, database: str) -> AccessDeniedError:
        role = self._target.user
        return AccessDeniedError(
            f"role {role} may not make temporary tables in database {database} of "
            f"{self._target.address}, which each batch begins with; run: GRANT TEMPORARY ON "
            f"DATABASE {quoted(database)} TO {quoted(role)}"
        )

    def _check(self, facts: asyncpg.Record) -> None:
        where = f"archive in schema {self._schema} of {self._target.address}"
        remedy = "run: outbox archive migrate"
        if not facts["columns"]:
            raise PostgresError(
                f"{where}: there is no table events; {remedy}", reason=Reason.MIGRATIONS_MISSING
            )
        if schema_mark.owner_uid(facts["comment"]) != self._owner_uid:
            raise ConflictError(
                f"{where}: the schema carries the mark of another archive; nothing is written "
                "there; use another schema, or run: outbox archive migrate --adoption-policy Adopt",
                reason=Reason.TAKEN_OVER,
            )
        for what, wanted, found in (
            ("column", self._columns, facts["columns"]),
            ("class", self._classes, facts["classes"]),
        ):
            lacking = [name for name in wanted if name not in found]
            if lacking:
                raise PostgresError(
                    f"{where}: {what} {', '.join(lacking)} is not there yet; {remedy}",
                    reason=Reason.MIGRATIONS_MISSING,
                )
