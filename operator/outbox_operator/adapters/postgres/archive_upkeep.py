"""One round of upkeep of an archive: partitions ahead, seals, retention, and the logs beside it.

Used by `archive_admin`. Every step is a short transaction of its own; what one of them cannot do
keeps no other from its work.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import asyncpg

from outbox_operator.adapters.postgres import catalog
from outbox_operator.adapters.postgres.archive_seals import Sealer, Sealing
from outbox_operator.adapters.postgres.connection import Connection, bounded_transaction
from outbox_operator.adapters.postgres.errors import translate
from outbox_operator.adapters.postgres.queries import statement
from outbox_operator.adapters.postgres.url import PostgresTarget
from outbox_operator.errors import OutboxError, PostgresError
from outbox_operator.plan.postgres import archive_partitions as partitions
from outbox_operator.plan.postgres.archive_access import ACCESS_LOG, EXPORTS
from outbox_operator.plan.postgres.archive_partitions import Stretch
from outbox_operator.plan.postgres.archive_schema import (
    ClassTable,
    DesiredArchive,
    Leaf,
    class_table,
)
from outbox_operator.plan.postgres.archive_seals import IN_TIME, Head
from outbox_operator.plan.postgres.schema import literal, qualify
from outbox_operator.wire.advisory_locks import schema_lock
from outbox_operator.wire.tables import quoted

_LOCK_MILLISECONDS: Final = 500
"""The writer, readers and a running export queue behind us for that long."""
_STATEMENT_SECONDS: Final = 600.0
"""Moving the rows of a stretch may take minutes, and building its indexes."""
_STRETCHES: Final = 100
"""Of rows in a default partition that one round moves; the next one goes on."""
_FORGET_ROWS: Final = 5000
"""Entries of a log that one statement deletes."""
_FORGET_BATCHES: Final = 20
"""Of these, in a round."""
_REMEDIES: Final = {
    "42P07": "a table of that name is no partition of its class, one that was detached by hand for "
    "example: rename it (ALTER TABLE … RENAME TO …) or attach it again; the rows of that time stay "
    "in the default partition until then",
    "42P17": "its time overlaps that of a partition that was attached by hand: detach that one",
    "2BP01": "something was made by hand that needs it: drop that, a view for example, yourself",
    "53100": "the server's disk is full: give it room, or keep a class for a shorter time",
    "53200": "raise max_locks_per_transaction of the server, and start it anew: a statement over "
    "the archive locks every partition with its indexes",
}
"""What to do, by SQLSTATE."""


@dataclass(kw_only=True)
class UpkeepResult:
    """What one round of upkeep did.

    Attributes:
        created: Partitions added.
        moved: Rows moved into them out of default partitions.
        dropped: Partitions of which every row was older than it has to be kept.
        deferred: What could not be done now, and is tried again by the next round.
        sealed: Seals added.
        head: The last of all seals, of a chain that has the one that is known; None: nobody looked.
        lacks_key: Whether nothing was sealed and dropped because the seals are signed, and there is
            no key to sign more of them with.
        short: What was found to be missing of sealed rows that retention took.
        forgotten: Entries of the API's logs that were kept long enough.
    """

    created: list[str] = field(default_factory=list)
    moved: int = 0
    dropped: list[str] = field(default_factory=list)
    deferred: list[str] = field(default_factory=list)
    sealed: int = 0
    head: Head | None = None
    lacks_key: bool = False
    short: list[str] = field(default_factory=list)
    forgotten: int = 0


class Upkeep:
    """One round.

    Args:
        connection: Of the role that owns the tables, in no transaction.
        target: Where it leads, for messages.
        desired: The archive as wanted.
        result: Told what is done.
        sealing: How it is sealed; None: it is not.
    """

    def __init__(
        self,
        connection: Connection,
        target: PostgresTarget,
        desired: DesiredArchive,
        result: UpkeepResult,
        sealing: Sealing | None,
    ) -> None:
        self._connection = connection
        self._target = target
        self._schema = desired.schema
        self._keep = dict(desired.keep)
        self._log_keep = desired.log_keep
        self._result = result
        self._sealing = sealing
        self._failures: list[tuple[str, asyncpg.PostgresError]] = []

    async def run(self) -> None:
        """Do all that can be done; then raise what could not, but for a busy table.

        Raises:
            ConflictError: The chain of seals is not the one that was there (reason SealBroken).
            PostgresError: Names the first step that failed, and what to do.
        """
        await self._forget_old_entries()
        for one in await catalog.class_tables(self._connection, self._schema):
            keep = self._keep_seconds(one)
            if keep is None or one.default is None:
                self._result.deferred.append(
                    f"class {one.name}: its table was changed by hand; outbox archive migrate "
                    "puts it right"
                )
                continue
            await self._add(one, keep)
        await self._seal_and_drop()
        if self._failures:
            raise self._failed() from self._failures[0][1]

    async def _seal_and_drop(self) -> None:
        sealer = await self._sealer()
        if sealer is not None and not sealer.may_go_on:
            self._result.lacks_key = True
            return
        if sealer is not None and self._sealing is not None:
            try:
                self._result.sealed = await sealer.seal()
            except asyncpg.LockNotAvailableError:
                self._result.deferred.append("seal what was archived")
            except asyncpg.PostgresError as error:
                if self._connection.is_closed():
                    raise
                self._failures.append(("seal what was archived", error))
                sealer = await self._sealer()
        now = await self._connection.fetchval(statement("upkeep_clock"))
        for one in await catalog.class_tables(self._connection, self._schema):
            keep = self._keep_seconds(one) or float("inf")
            for leaf in partitions.expired(one, now, keep):
                async with self._brief(f"drop partition {leaf.name}"):
                    held = 0 if sealer is None else await sealer.held(leaf)
                    await self._execute("archive_drop_leaf", leaf=quoted(leaf.name))
                    if sealer is not None:
                        short = await sealer.dropped(one.name, leaf, keep, held)
                        self._result.short += [] if short is None else [short]
                    self._result.dropped.append(leaf.name)
        if sealer is not None and self._sealing is not None:
            self._result.head = sealer.head

    def _keep_seconds(self, one: ClassTable) -> float | None:
        """How long a class is kept: as declared. Who owns the table may write any comment on it,
        which is believed of classes alone that nobody declares any more."""
        return self._keep.get(one.name, one.keep_seconds)

    async def _forget_old_entries(self) -> None:
        """Delete what the API noted long ago, some of it: the next round goes on."""
        for name, moment, key in ((ACCESS_LOG, "at", "at, entry"), (EXPORTS, "ended_at", "id")):
            table = qualify(self._schema, name)
            if not await self._connection.fetchval(statement("archive_has_table"), table):
                continue
            for _ in range(_FORGET_BATCHES):
                gone = 0
                async with self._brief(f"forget old entries of {name}"):
                    done = await self._connection.execute(
                        statement(
                            "archive_forget", schema=self._schema, table=name, moment=moment,
                            key=key,
                        ),
                        self._log_keep, _FORGET_ROWS,
                        timeout=_STATEMENT_SECONDS,
                    )  # fmt: skip
                    gone = int(done.rpartition(" ")[2])
                self._result.forgotten += gone
                if gone < _FORGET_ROWS:
                    break

    async def _sealer(self) -> Sealer | None:
        """Who seals, or at least writes down what goes; None: nothing was ever sealed."""
        if not await self._connection.fetchval(statement("archive_has_seals"), self._schema):
            return None  # tables of before
        sealer = Sealer(self._connection, self._schema, self._sealing or Sealing())
        await sealer.begin()
        return sealer

    def _failed(self) -> OutboxError:
        doing, cause = self._failures[0]
        failed = translate(cause, self._target)
        remedy = _REMEDIES.get(cause.sqlstate or "", "what else was to be done is done")
        others = len(self._failures) - 1
        also = f"; {others} more steps failed" if others else ""
        said = f"archive {self._schema}: could not {doing}: {failed.message}; {remedy}{also}"
        return PostgresError(said, reason=failed.reason)

    async def _add(self, one: ClassTable, keep: float) -> None:
        """Add the partitions that a class needs for what is there and what comes."""
        default = one.default
        assert default is not None  # noqa: S101 - the caller has looked
        moments = await self._connection.fetch(
            statement(
                "archive_default_moments", schema=self._schema, leaf=quoted(default.name),
                in_time=IN_TIME,
            ),
            partitions.width(keep), _STRETCHES, timeout=_STATEMENT_SECONDS,
        )  # fmt: skip
        now = await self._connection.fetchval(statement("upkeep_clock"))
        occupied = partitions.for_rows(one, [row["moment"] for row in moments], keep)
        wanted = {
            stretch.name: stretch for stretch in (*occupied, *partitions.ahead(one, now, keep))
        }
        for stretch in wanted.values():
            await self._add_one(one, default, stretch)
        if occupied and len(moments) < _STRETCHES:
            async with self._brief(f"empty {default.name}"):
                await self._execute("archive_lock_default", leaf=quoted(default.name))
                left = await self._connection.fetchval(
                    statement("upkeep_has_rows", schema=self._schema, table=default.name)
                )
                if not left:  # what was moved is still in its file
                    await self._execute("archive_empty_default", leaf=quoted(default.name))

    async def _add_one(self, one: ClassTable, default: Leaf, stretch: Stretch) -> None:
        names = {
            "leaf": quoted(stretch.name),
            "parent": quoted(class_table(one.name)),
            "default": quoted(default.name),
            "low": literal(stretch.low.isoformat()),
            "high": literal(stretch.high.isoformat()),
        }
        async with self._brief(f"add partition {stretch.name}"):
            # Not while a batch is stored: it looks for copies of its events in the partitions that
            # it has found, and would go on without those that move into a new one meanwhile.
            await self._connection.execute(
                statement("archive_alone"), schema_lock("archive", self._schema)
            )
            await self._execute("archive_add_leaf", **names)
            await self._execute("archive_lock_default", **{**names, "leaf": names["default"]})
            done = await self._execute("archive_move_rows", **names)
            await self._execute("archive_attach_leaf", **names)
            self._result.created.append(stretch.name)
            self._result.moved += int(done.rpartition(" ")[2])

    async def _execute(self, name: str, **parts: str) -> str:
        text = statement(name, schema=self._schema, **parts)
        done: str = await self._connection.execute(text, timeout=_STATEMENT_SECONDS + 5)
        return done

    @asynccontextmanager
    async def _brief(self, doing: str) -> AsyncIterator[None]:
        """A transaction that waits for no lock for long; what it could not do is deferred.

        What fails is kept for the end, with what was being done.
        """
        try:
            async with bounded_transaction(
                self._connection,
                lock_milliseconds=_LOCK_MILLISECONDS,
                milliseconds=round(_STATEMENT_SECONDS * 1000),
            ):
                yield
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
            self._result.deferred.append(doing)
        except asyncpg.PostgresError as error:
            if self._connection.is_closed():
                raise
            # Of one table: it keeps no other from its upkeep.
            self._failures.append((doing, error))
