"""PostgreSQL as the keeper of an archive uses it: observe, migrate, keep partitions up.

Decides nothing about the schema: `plan.postgres.archive_migrations` and `archive_partitions` do.
The process that writes the archive must not import this module.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import asyncpg

from outbox_operator.adapters.postgres import catalog
from outbox_operator.adapters.postgres.archive_seals import Sealer, Sealing
from outbox_operator.adapters.postgres.archive_verify import SealVerifier
from outbox_operator.adapters.postgres.connection import STANDSTILL_MILLISECONDS, Connection
from outbox_operator.adapters.postgres.errors import errors, translate
from outbox_operator.adapters.postgres.migration_steps import MigrationSteps
from outbox_operator.adapters.postgres.queries import statement
from outbox_operator.adapters.postgres.schema_locks import holding
from outbox_operator.adapters.postgres.url import PostgresTarget
from outbox_operator.errors import OutboxError, PostgresError
from outbox_operator.plan.ownership import Claim
from outbox_operator.plan.postgres import archive_partitions as partitions
from outbox_operator.plan.postgres.archive_migrations import plan_archive
from outbox_operator.plan.postgres.archive_numbers import MOST_GAPS, ArchiveNumbers, Gap
from outbox_operator.plan.postgres.archive_partitions import Stretch
from outbox_operator.plan.postgres.archive_schema import (
    ClassTable,
    DesiredArchive,
    Leaf,
    ObservedArchive,
    class_table,
)
from outbox_operator.plan.postgres.archive_seals import Head, Verify
from outbox_operator.plan.postgres.schema import literal
from outbox_operator.plan.postgres.state import MigrationPlan
from outbox_operator.wire.advisory_locks import schema_lock
from outbox_operator.wire.tables import quoted

_LOCK_MILLISECONDS: Final = 500
"""The writer, readers and a running export queue behind us for that long."""
_STATEMENT_SECONDS: Final = 600.0
"""Moving the rows of a stretch may take minutes, and building its indexes."""
_STRETCHES: Final = 100
"""Of rows in a default partition that one round moves; the next one goes on."""
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
        head: The last of all seals.
        lacks_key: Whether nothing was sealed and dropped because the seals are signed, and there is
            no key to sign more of them with.
    """

    created: list[str] = field(default_factory=list)
    moved: int = 0
    dropped: list[str] = field(default_factory=list)
    deferred: list[str] = field(default_factory=list)
    sealed: int = 0
    head: Head | None = None
    lacks_key: bool = False


class ArchiveAdmin:
    """Administration of an archive over one connection. Raises only errors of ours.

    Args:
        connection: Of the role that owns the tables, or is to.
        target: Where it leads, for messages.
    """

    def __init__(self, connection: Connection, target: PostgresTarget) -> None:
        self._connection = connection
        self._target = target
        self._steps = MigrationSteps(connection, target)

    async def observe(self, desired: DesiredArchive) -> ObservedArchive:
        """What is there of what is wanted."""
        with errors(self._target):
            return await catalog.observe_archive(self._connection, desired)

    async def apply(
        self,
        plan: MigrationPlan,
        desired: DesiredArchive,
        claim: Claim,
        *,
        lock_timeout: float,
        version: str,
    ) -> bool:
        """Run a plan, if it still is the right one.

        Args:
            plan: As `plan_archive` made it, perhaps a while ago.
            desired: What it was made for.
            claim: Of whom the archive is.
            lock_timeout: Seconds to wait for another migration, and for each table's lock.
            version: Of this program.

        Returns:
            Whether something was done; False: another one has done it meanwhile.

        Raises:
            PostgresError: See `MigrationSteps.apply`.
            OutboxError: As `plan_archive`.
        """

        async def replan() -> MigrationPlan:
            return plan_archive(desired, await self.observe(desired), claim)

        return await self._steps.apply(plan, desired.schema, replan, lock_timeout, version)

    async def numbers(self, schema: str) -> ArchiveNumbers:
        """How much it holds, since when, and what is missing."""
        with errors(self._target):
            [row] = await self._connection.fetch(
                statement("archive_numbers", schema=schema), schema
            )
            found = await self._connection.fetch(
                statement("archive_gaps", schema=schema), MOST_GAPS
            )
        return ArchiveNumbers(**dict(row), first_gaps=tuple(Gap(**dict(one)) for one in found))

    def verifier(
        self, schema: str, *, keys: Mapping[str, Verify], known: Sequence[Head], overdue: timedelta
    ) -> SealVerifier:
        """What checks an archive against its seals; see there."""
        return SealVerifier(
            self._connection, self._target, schema, keys=keys, known=known, overdue=overdue
        )

    async def maintain(self, schema: str, sealing: Sealing | None = None) -> UpkeepResult:
        """One round of upkeep: partitions ahead, default partitions emptied, old ones dropped.

        How long a class is kept, the comment on its table says, which `apply` writes. Never waits
        long for a lock, and never fails because somebody reads.

        Args:
            schema: Of the archive.
            sealing: How it is sealed; None: it is not.

        Raises:
            ConflictError: The chain of seals is not the one that was there (reason SealBroken).
            PostgresError: What could not be done, once all the rest is.
        """
        result = UpkeepResult()
        with errors(self._target):
            async with holding(self._connection, schema_lock("upkeep", schema)) as held:
                if not held:
                    result.deferred.append("another one is at it")
                    return result
                await _Upkeep(self._connection, self._target, schema, result, sealing).run()
        return result


class _Upkeep:
    def __init__(
        self,
        connection: Connection,
        target: PostgresTarget,
        schema: str,
        result: UpkeepResult,
        sealing: Sealing | None,
    ) -> None:
        self._connection = connection
        self._target = target
        self._schema = schema
        self._result = result
        self._sealing = sealing
        self._failures: list[tuple[str, asyncpg.PostgresError]] = []

    async def run(self) -> None:
        """Do all that can be done; then raise what could not, but for a busy table.

        Raises:
            PostgresError: Names the first step that failed, and what to do.
        """
        for one in await catalog.class_tables(self._connection, self._schema):
            keep = one.keep_seconds
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
            self._result.deferred.append(
                "seal what was archived, and drop what is over: the seals are signed, and there is "
                "no key to sign with; another one will do"
            )
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
            self._result.head = None if sealer is None else sealer.head
        now = await self._connection.fetchval(statement("upkeep_clock"))
        for one in await catalog.class_tables(self._connection, self._schema):
            for leaf in partitions.expired(one, now, one.keep_seconds or float("inf")):
                async with self._brief(f"drop partition {leaf.name}"):
                    await self._execute("archive_drop_leaf", leaf=quoted(leaf.name))
                    if sealer is not None:
                        await sealer.dropped(one.name, leaf)
                    self._result.dropped.append(leaf.name)

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
            statement("archive_default_moments", schema=self._schema, leaf=quoted(default.name)),
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
            async with self._connection.transaction():
                await self._connection.execute(
                    statement(
                        "session_limit_transaction",
                        lock=_LOCK_MILLISECONDS,
                        whole=round(_STATEMENT_SECONDS * 1000),
                        idle=STANDSTILL_MILLISECONDS,
                    )
                )
                yield
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
            self._result.deferred.append(doing)
        except asyncpg.PostgresError as error:
            if self._connection.is_closed():
                raise
            # Of one table: it keeps no other from its upkeep.
            self._failures.append((doing, error))
