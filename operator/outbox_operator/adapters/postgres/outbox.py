"""The outbox tables as the relay uses them: cursor, rows, dead letters.

Called by the relay. The only place with SQL over `events` and `cursors` in the data plane; the
statements are in `sql/relay_*.sql` beside it, each with its reasons. Makes no decision about
what to read next or what to publish, and must not import `plan` or `api`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import astuple, fields
from typing import Any, Final, cast

import asyncpg

from outbox_operator.adapters.postgres import connection as postgres
from outbox_operator.adapters.postgres.dead_letter_copies import DeadLetterCopies
from outbox_operator.adapters.postgres.errors import UnreadableRowsError, rows_at_fault
from outbox_operator.adapters.postgres.queries import statement
from outbox_operator.adapters.postgres.relay_queries import PayloadType, relay_statement
from outbox_operator.adapters.postgres.rows import (
    Bound,
    Candidate,
    Candidates,
    Cursor,
    NewDeadLetter,
    Polled,
    Rows,
    Share,
    StoredCursor,
    Way,
)
from outbox_operator.adapters.postgres.session import Session
from outbox_operator.adapters.postgres.url import PostgresTarget
from outbox_operator.adapters.postgres.wakeup import OutboxWakeup
from outbox_operator.adapters.postgres.windows import Windows
from outbox_operator.errors import ConflictError, PostgresError
from outbox_operator.reasons import Reason

_LOOKED_AT: Final = 2_000_000
"""Rows that may have been published are looked for among so many."""
_PLAIN_SECONDS: Final = 5.0
"""A page takes milliseconds, unless its rows unfold to something huge."""
_MEASURED_SECONDS: Final = 70.0


class OutboxStore(Session):
    """The tables of one schema over one connection, for one shard.

    Every method may raise the errors of `adapters.postgres.errors`.

    Args:
        connection: From `adapters.postgres.connection.connect`; used by nobody else.
        target: For messages.

    Attributes:
        windows: Where the rows of a window are.
    """

    def __init__(
        self,
        connection: postgres.Connection,
        target: PostgresTarget,
        *,
        schema: str,
        payload_type: PayloadType,
        shard: int,
    ) -> None:
        super().__init__(connection, target)
        self._schema = schema
        self._payload_type: PayloadType = payload_type
        self._shard = shard
        self._epoch = 0
        self._commit_times = False
        self._turn = asyncio.Lock()
        """A connection does one thing at a time, and a page may be read ahead meanwhile."""
        self.windows = Windows(connection, shard, self._sql, self._statement)

    @property
    def epoch(self) -> int:
        """Of our ownership; 0 before `claim`."""
        return self._epoch

    @property
    def address(self) -> str:
        """Where the tables are, safe to show."""
        return f"{self._target.address} schema {self._schema}"

    def wakeup(self) -> OutboxWakeup:
        """What the trigger of the table needs to know of us, on this connection."""
        return OutboxWakeup(
            self._connection, self._statement, schema=self._schema, shard=self._shard
        )

    async def prepare(self, idle_seconds: float) -> None:
        """Let the server end this session when a frozen process leaves it idle.

        And let it plan each statement once, as a walk along an index: that is what they are
        written for, at any table size and however old the statistics are.
        """
        async with self._statement():
            await postgres.end_when_idle(self._connection, idle_seconds)
            await self._plan_as_walks()

    async def read_cursor(self) -> StoredCursor:
        """The stored cursor.

        Raises:
            PostgresError: The shard has no cursor, or one of a version before (reason
                MigrationsMissing).
        """
        try:
            async with self._statement():
                row = await self._connection.fetchrow(self._sql("relay_read_cursor"), self._shard)
        except PostgresError as error:
            if isinstance(error.__cause__, asyncpg.UndefinedTableError):
                raise self._unmigrated("there is none") from error
            if isinstance(error.__cause__, asyncpg.UndefinedColumnError):
                raise self._unmigrated("of a version before this relay's") from error
            raise
        if row is None:
            raise self._unmigrated(f"no row for shard {self._shard}")
        self._commit_times = row["commit_times"]
        return StoredCursor(
            cursor=Cursor(**{each.name: row[each.name] for each in fields(Cursor)}),
            checkpoints=row["checkpoints"],
            resent_to=row["resent_to"],
            resent_epoch=row["resent_epoch"],
            cursor_system=row["cursor_system"],
            server_system=row["server_system"],
            server_snapshot=row["server_snapshot"],
            newest_xid=row["newest_xid"],
            commit_times=self._commit_times,
        )

    async def claim(self, owner: str, server_system: str) -> int:
        """Take ownership and return our epoch; call with the shard's lock held."""
        async with self._statement():
            self._epoch = await self._connection.fetchval(
                self._sql("relay_claim"), self._shard, owner, server_system
            )
        return self._epoch

    async def confirm_ownership(self) -> None:
        """Check that the shard is still ours, during a long wait.

        Raises:
            ConflictError: Somebody else owns the shard (reason OwnershipLost).
        """
        async with self._statement():
            done = await self._connection.fetchval(
                self._sql("relay_confirm"), self._shard, self._epoch
            )
        self._check_owner(done)

    async def poll(self, unseen: Bound, share: Share, *, between: bool) -> Polled:
        """What became visible since S1, at most a share of it.

        Args:
            between: Pass over what transactions have written that are under way; without it,
                each of these rows is visited if the transaction began after S1.

        Raises:
            UnreadableRowsError: It cannot be read like that.
            ConflictError: Somebody else owns the shard (reason OwnershipLost), and may have made
                rows new.
        """
        late = (unseen.open_xids,) if unseen.open_xids else ()
        records = await self._read(
            self._sql("relay_poll", late=bool(late), between=between, way=share.way), share.way,
            self._shard, unseen.from_xid, share.rows + 1, share.size, share.largest, *late,
        )  # fmt: skip
        snapshot, found = self._ours(records[0]), records[0]["found"]
        if found is None:
            return Polled(snapshot, (), complete=True)
        # With more rows than asked for, these are not the first ones; only their number counts.
        complete = found <= share.rows and found == len(records)
        return Polled(snapshot, cast("Rows", records) if complete else (), complete)

    async def snapshot(self) -> str:
        """A snapshot of now.

        Raises:
            ConflictError: As `poll`.
        """
        async with self._statement():
            (record,) = await self._connection.fetch(self._sql("relay_snapshot"), self._shard)
        return self._ours(record)

    async def page(
        self,
        unseen: Bound,
        upper: Bound,
        share: Share,
        *,
        after: int,
        last: int,
    ) -> Rows:
        """The next rows of a window behind position `after`: a share of it.

        At least one row comes back if there is one up to position `last`.

        Raises:
            UnreadableRowsError: They cannot be read like that.
        """
        records = await self._read(
            self._sql("relay_page", way=share.way), share.way,
            self._shard, unseen.from_xid, unseen.open_xids, upper.from_xid, upper.open_xids,
            after, last, share.rows, share.size, share.largest,
        )  # fmt: skip
        return cast("Rows", records)

    async def next_position(self, after: int, last: int) -> int | None:
        """The first position behind `after` that any row has; None: none up to `last`."""
        async with self._statement():
            found: int | None = await self._connection.fetchval(
                self._sql("relay_next_position"), after, last
            )
        return found

    async def page_at(self, positions: Sequence[int], share: Share) -> Rows:
        """Rows at `positions`, in order: a share of them, but at least one.

        Args:
            positions: In order; not more than the share has rows.

        Raises:
            UnreadableRowsError: They cannot be read like that.
        """
        records = await self._read(
            self._sql("relay_page_at", way=share.way), share.way,
            positions, share.size, share.largest,
        )  # fmt: skip
        return cast("Rows", records)

    async def candidates(
        self,
        unseen: Bound,
        upper: Bound | None,
        *,
        done: int,
        last: int,
        most: int,
        looked_at: int = _LOOKED_AT,
    ) -> Candidates:
        """Rows up to position `last` that the cursor does not account for.

        Args:
            upper: S2 of an open window, of which rows up to position `done` are dealt with.
            most: How many at most, among `looked_at`.
        """
        bound = upper or Bound("", ())
        async with self._statement():
            records = await self._connection.fetch(
                self._sql("relay_candidates"),
                self._shard, unseen.from_xid, unseen.open_xids, bound.from_xid or None,
                bound.open_xids, done, last, most, looked_at,
            )  # fmt: skip
        found = [Candidate(*record[:3]) for record in records if record["position"] is not None]
        return Candidates(found, len(found) < most and not records[0]["cut"])

    async def waiting(
        self, unseen: Bound, upper: Bound | None, *, done: int, positions: Sequence[int]
    ) -> set[int]:
        """Which of these rows the cursor does not account for; arguments as `candidates` takes."""
        bound = upper or Bound("", ())
        async with self._statement():
            records = await self._connection.fetch(
                self._sql("relay_waiting"),
                self._shard, unseen.from_xid, unseen.open_xids, bound.from_xid or None,
                bound.open_xids, done, positions,
            )  # fmt: skip
        return {record[0] for record in records}

    async def _read(self, sql: str, way: Way, *arguments: object) -> list[asyncpg.Record]:
        """Read rows; a page that takes long is given up early where there is a surer way."""
        async with self._statement():
            if way in ("even", "plain"):
                try:
                    with rows_at_fault(self._target):
                        return await self._connection.fetch(sql, *arguments, timeout=_PLAIN_SECONDS)
                except TimeoutError as error:
                    raise UnreadableRowsError(
                        f"a page took more than {_PLAIN_SECONDS:g} s", blames_rows=False
                    ) from error
            # The driver waits for a page it has given up, and a frozen server never ends that.
            async with asyncio.timeout(_MEASURED_SECONDS):
                with rows_at_fault(self._target):
                    return await self._connection.fetch(sql, *arguments)

    async def save(
        self,
        cursor: Cursor,
        dead_letters: Sequence[NewDeadLetter] = (),
        checkpoints: str | None = None,
        *,
        settled: bool = False,
    ) -> None:
        """Store how far we are, if the shard is still ours.

        Dead letters are written in the same transaction, and durably; else a crash of the server
        may take the last saves back, which costs nothing but reading a longer tail.

        Args:
            checkpoints: Earlier points; None leaves them as they are.
            settled: Whether the cursor is before the dead letters, which nobody is to read again.

        Raises:
            ConflictError: Somebody else owns the shard (reason OwnershipLost).
        """
        arguments = (self._shard, self._epoch, *astuple(cursor), checkpoints)
        async with self._statement():
            if not dead_letters:
                done = await self._connection.fetchval(self._sql("relay_save"), *arguments, False)
                self._check_owner(done)
                return
            letters = DeadLetterCopies(self._connection, self._target, self._sql)
            try:
                await self._bury(arguments, dead_letters, letters.together, settled)
            except UnreadableRowsError:
                await self._bury(arguments, dead_letters, letters.one_by_one, settled)

    async def _bury(
        self,
        arguments: tuple[object, ...],
        dead_letters: Sequence[NewDeadLetter],
        copy: Callable[[Sequence[NewDeadLetter]], Awaitable[None]],
        settled: bool,
    ) -> None:
        async with self._connection.transaction():
            done = await self._connection.fetchval(self._sql("relay_save"), *arguments, True)
            self._check_owner(done)
            await copy(dead_letters)
            if settled:
                positions = [letter.position for letter in dead_letters]
                await self._connection.execute(self._sql("relay_settle_rows"), positions)

    async def settle_letters(self, snapshot: str) -> None:
        """Have no relay read dead letters again that lie behind a point, nor former ones.

        What was released is another row, and what was given up is not sent; so whoever loses the
        shard meanwhile has done no harm.
        """
        async with self._statement():
            known = await self._connection.fetchval(
                statement("session_former_known", schema=self._schema)
            )
            former = statement("relay_settle_former", schema=self._schema) if known else ""
            sql = statement("relay_settle_letters", schema=self._schema, former=former)
            await self._connection.execute(sql, self._shard, snapshot)

    async def blocked_keys(self) -> frozenset[str]:
        """Keys with an unresolved dead letter."""
        async with self._statement():
            records = await self._connection.fetch(self._sql("relay_blocked_keys"), self._shard)
        return frozenset(record[0] for record in records)

    async def still_blocked(self, keys: Sequence[str]) -> frozenset[str]:
        """Those of `keys` that have an unresolved dead letter now."""
        async with self._statement():
            records = await self._connection.fetch(self._sql("relay_blocked_of"), self._shard, keys)
        return frozenset(record[0] for record in records)

    @asynccontextmanager
    async def _statement(self) -> AsyncIterator[None]:
        async with self._turn:
            with self._asking():
                yield

    def _ours(self, now: asyncpg.Record) -> str:
        """A snapshot in which the shard is ours."""
        self._check_owner(now["owner_epoch"] if now["owner_epoch"] == self._epoch else None)
        snapshot: str = now["snapshot"]
        return snapshot

    def _check_owner(self, done: Any) -> None:
        if done is None:
            raise ConflictError(
                f"cursor of shard {self._shard} in {self.address}: another relay took it over "
                f"(our epoch was {self._epoch})",
                reason=Reason.OWNERSHIP_LOST,
            )

    def _unmigrated(self, found: str) -> PostgresError:
        return PostgresError(
            f"table cursors in {self.address}: {found}; "
            "the migrations of the pipeline have not run yet",
            reason=Reason.MIGRATIONS_MISSING,
        )

    def _sql(
        self, name: str, *, late: bool = False, between: bool = False, way: Way = "plain"
    ) -> str:
        modern = self._connection.get_server_version().major >= 14
        return relay_statement(
            name, self._schema, self._payload_type, modern, late=late, between=between, way=way,
            commit_times=self._commit_times,
        )  # fmt: skip
