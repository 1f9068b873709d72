"""Replays of history: rows that are still kept are written anew, for the relay to publish.

Called by the controller, one step after another. Everything that a replay has done is a row of the
table `replays`, written in the transaction that does it: whoever goes on after a crash copies each
row once. Needs the rights of the role that owns the tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from outbox_operator.adapters.postgres.connection import STANDSTILL_MILLISECONDS, Connection
from outbox_operator.adapters.postgres.cursors import read_cursors
from outbox_operator.adapters.postgres.errors import errors
from outbox_operator.adapters.postgres.queries import statement
from outbox_operator.adapters.postgres.url import PostgresTarget
from outbox_operator.errors import ConflictError, PostgresError
from outbox_operator.plan.postgres.schema import PARTITION_WIDTH
from outbox_operator.reasons import Reason
from outbox_operator.wire.replay import FIRST_TIME, LAST_TIME, check_name, check_target
from outbox_operator.wire.tables import MAX_NAME_BYTES

BATCH_ROWS: Final = 500
BATCH_BYTES: Final = 8 * 1024 * 1024
"""Of a transaction: the relay publishes what one has written before what was committed after it."""
LOOKED_AT: Final = 20_000
"""Rows that one statement looks at, at most."""
_LEAST_LOOKED_AT: Final = 2 * BATCH_ROWS
KEPT_SECONDS: Final = 3600
"""Upkeep empties no partition that a replay needs which has moved within this time."""
_FIRST: Final = -(2**63)
_OLDEST_AMONG: Final = 1000
"""Rows are about in order of time; the oldest one is among so many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which rows of the past; None takes all. Dead letters and copies never are.

    Attributes:
        event_types: Exact types.
        keys: Partition keys.
        since: Not before this time, as events say it.
        until: Before this one.
        first: From this position on.
        last: Up to this one.
    """

    event_types: tuple[str, ...] | None = None
    keys: tuple[str, ...] | None = None
    since: datetime | None = None
    until: datetime | None = None
    first: int | None = None
    last: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What the table still has.

    Attributes:
        oldest: When its oldest event happened; None: it has none.
        first: Position of its first row.
        emptied: Whether there may have been rows before that retention has taken away.
    """

    oldest: datetime | None
    first: int | None
    emptied: bool

    def lacks(self, wanted: Selection) -> bool:
        """Whether rows that are wanted may be gone already."""
        if not self.emptied or (wanted.since is None and wanted.first is None):
            return False
        if self.oldest is None or self.first is None:
            return True
        by_time = wanted.since is None or wanted.since < self.oldest
        by_position = wanted.first is None or wanted.first < self.first
        return by_time and by_position


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What is settled at the start of a replay.

    Attributes:
        snapshot: Rows that it does not see are not meant.
        up_to: Nor are rows behind this position.
        first: Position of the first row that there was; None: the table was empty.
    """

    snapshot: str
    up_to: int
    first: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What was counted of the next rows.

    Attributes:
        chosen: Of these so many are selected.
        unfit: And so many from before the table refused long names; they cannot be copied.
        moved: So many the snapshot does not see, and will never see: a rebase has given them a
            transaction of its own. Settle anew, or what it saw of them is left out.
        up_to: Position up to which was looked; None: to the end.
    """

    chosen: int
    unfit: int
    moved: int
    up_to: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """How far a replay is.

    Attributes:
        rows: So many are copied.
        up_to: All selected rows up to this position.
        all: Whether no others are left.
    """

    rows: int
    up_to: int
    all: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedCopy:
    """A copy that the relay could not publish."""

    position: int
    event_id: str
    reason: str
    error: str


class ReplayStore:
    """One replay of the rows of an outbox.

    Every method may raise the errors of `adapters.postgres.errors`.

    Args:
        connection: Of the role that owns the tables.
        target: For messages.
        name: Of the replay; the same one goes on where it was, and no other may have it.
        selection: Which rows.
        to: Durable consumer that is to handle them; None: all.

    Raises:
        SpecError: No replay may have this name, or no durable consumer that.
    """

    def __init__(
        self,
        connection: Connection,
        target: PostgresTarget,
        schema: str,
        *,
        name: str,
        selection: Selection,
        to: str | None = None,
    ) -> None:
        self._connection = connection
        self._target = target
        self._schema = schema
        self._name = check_name(name)
        self._selection = selection
        self._to = None if to is None else check_target(to)
        self._look = _LEAST_LOOKED_AT
        """Rows to look at for the next copies: fewer where most are selected."""

    async def kept(self) -> Kept:
        """What the table still has."""
        sql = self._sql("replay_kept", width=PARTITION_WIDTH, looked=_OLDEST_AMONG)
        with errors(self._target):
            (row,) = await self._connection.fetch(sql)
        return Kept(oldest=row["oldest"], first=row["first"], emptied=row["emptied"])

    async def noted_since(self) -> datetime | None:
        """Since when it is known which rows were dead letters; None: of all rows."""
        with errors(self._target):
            found: datetime | None = await self._connection.fetchval(
                self._sql("session_noted_since")
            )
        return found

    async def settle(self) -> Bounds:
        """Which rows there are now. Only reads.

        Raises:
            PostgresError: The schema is of a version before (reason MigrationsMissing).
            ConflictError: The transactions of its rows are another server's (reason
                CursorFromOtherServer).
        """
        with errors(self._target):
            if not await self._connection.fetchval(self._sql("upkeep_replays_known")):
                raise PostgresError(
                    f"table replays in {self._target.address} schema {self._schema}: there is "
                    "none; the migrations of the pipeline have not run yet",
                    reason=Reason.MIGRATIONS_MISSING,
                )
            await self._check_home()
            (row,) = await self._connection.fetch(self._sql("replay_freeze"))
        first = (await self.kept()).first
        return Bounds(snapshot=row["snapshot"], up_to=row["up_to"], first=first)

    async def begin(self, bounds: Bounds) -> Copied:
        """Have upkeep leave what is selected, and see how far the replay is already.

        Raises:
            ConflictError: As `settle`; or somebody deleted the note of the replay meanwhile.
        """
        with errors(self._target):
            await self._check_home()
            await self._connection.execute(self._sql("replay_forget"))
            await self._connection.execute(
                self._sql("replay_begin"),
                self._name, self._to, self._end(bounds), self._start(),
            )  # fmt: skip
        return await self._copied()

    async def lost(self, bounds: Bounds, copied: Copied) -> bool:
        """Whether rows that are still to be copied may have been emptied; after `begin`."""
        first = (await self.kept()).first
        if bounds.first is None or copied.all:
            return False
        return first is None or first > max(copied.up_to + 1, bounds.first)

    async def count(self, bounds: Bounds, after: int | None) -> Counted:
        """Count the next rows that are selected. Only reads.

        Args:
            after: Behind this position; None: from the beginning.
        """
        start = self._start() if after is None else after
        with errors(self._target):
            (found,) = await self._connection.fetch(
                self._walk_sql("replay_count"), *self._walk(bounds, start, LOOKED_AT)
            )
        ended = found["looked"] < LOOKED_AT
        return Counted(
            chosen=found["chosen"], unfit=found["unfit"], moved=found["moved"],
            up_to=None if ended else found["last"],
        )  # fmt: skip

    async def copy(self, bounds: Bounds, most: int = BATCH_ROWS) -> Copied:
        """Copy the next rows: one transaction that also notes it; call `begin` before.

        Args:
            most: Rows at most.

        Raises:
            ConflictError: Rows vanished meanwhile, or the note of the replay; nothing was copied.
        """
        with errors(self._target):
            async with self._connection.transaction():
                await self._connection.execute(
                    statement("session_idle", idle=STANDSTILL_MILLISECONDS)
                )
                row = await self._connection.fetchrow(self._sql("replay_lock"), self._name)
                if row is None:
                    raise self._unknown()
                if row["ended_at"] is None and row["copied_to"] < row["up_to"]:
                    await self._copy(bounds, row, min(most, BATCH_ROWS))
        return await self._copied()

    async def published(self) -> bool:
        """Whether the relay has dealt with all that was copied."""
        with errors(self._target):
            done: bool = await self._connection.fetchval(self._sql("replay_published"), self._name)
        return done

    async def failed(self, most: int) -> tuple[int, list[FailedCopy]]:
        """How many copies are dead letters, and the first of them."""
        with errors(self._target):
            rows = await self._connection.fetch(self._sql("replay_failed"), self._name, most)
        return (int(rows[0]["found"]) if rows else 0), [
            FailedCopy(
                position=row["position"], event_id=row["event_id"],
                reason=row["reason"], error=row["error"],
            )
            for row in rows
        ]  # fmt: skip

    async def end(self) -> None:
        """Let go of the rows that are left. What was copied is published all the same."""
        with errors(self._target):
            await self._connection.execute(self._sql("replay_end"), self._name)

    async def _copy(self, bounds: Bounds, row: Any, most: int) -> None:
        rows = await self._connection.fetch(
            self._walk_sql("replay_next"),
            *self._walk(bounds, row["copied_to"], self._look), most, BATCH_BYTES,
        )  # fmt: skip
        found = rows[0]
        positions = [each["position"] for each in rows if each["position"] is not None]
        if len(positions) < found["found"]:
            last = positions[-1]
            self._look = max(_LEAST_LOOKED_AT, self._look // 2)
        else:
            last = row["up_to"] if found["looked"] < self._look else found["last"]
            self._look = min(LOOKED_AT, self._look * 2)
        if positions:
            done = await self._connection.execute(
                self._sql("replay_copy", first_time=FIRST_TIME, last_time=LAST_TIME),
                list(map(str, positions)), positions[0], positions[-1], self._name, row["target"],
            )  # fmt: skip
            if done.rpartition(" ")[2] != str(len(positions)):
                raise ConflictError(
                    f"events in {self._target.address} schema {self._schema}: rows vanished while "
                    f"replay {self._name} copied them"
                )
        await self._connection.execute(self._sql("replay_copied"), self._name, last, len(positions))

    async def _check_home(self) -> None:
        """See that transactions in the tables are this server's; raises the driver's errors."""
        for cursor in await read_cursors(self._connection, self._schema):
            if problem := cursor.origin.problem():
                raise ConflictError(
                    f"cursors in {self._target.address} schema {self._schema}: {problem}; "
                    "run: outbox rebase",
                    reason=Reason.CURSOR_FROM_OTHER_SERVER,
                )

    async def _copied(self) -> Copied:
        with errors(self._target):
            row = await self._connection.fetchrow(self._sql("replay_read"), self._name)
        if row is None:
            raise self._unknown()
        return Copied(rows=row["copied"], up_to=row["copied_to"], all=row["all_copied"])

    def _unknown(self) -> ConflictError:
        return ConflictError(
            f"replay {self._name} in {self._target.address} schema {self._schema}: there is none; "
            "somebody deleted its row, and how far it was"
        )

    def _start(self) -> int:
        return _FIRST if self._selection.first is None else self._selection.first - 1

    def _end(self, bounds: Bounds) -> int:
        last = self._selection.last
        return bounds.up_to if last is None else min(bounds.up_to, last)

    def _walk(self, bounds: Bounds, after: int, look: int) -> tuple[object, ...]:
        wanted = self._selection
        return (
            after, self._end(bounds), bounds.snapshot, wanted.event_types, wanted.keys,
            wanted.since, wanted.until, look,
        )  # fmt: skip

    def _walk_sql(self, name: str) -> str:
        return self._sql(name, walk=self._sql("replay_walk", most_bytes=MAX_NAME_BYTES))

    def _sql(self, name: str, **parts: str | int) -> str:
        return statement(name, schema=self._schema, **parts)
