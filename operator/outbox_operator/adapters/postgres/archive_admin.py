"""PostgreSQL as the keeper of an archive uses it: observe, migrate, keep partitions up.

Decides nothing about the schema: `plan.postgres.archive_migrations` and `archive_partitions` do.
The process that writes the archive must not import this module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from outbox_operator.adapters.postgres import catalog
from outbox_operator.adapters.postgres.archive_seals import Sealing
from outbox_operator.adapters.postgres.archive_upkeep import Upkeep, UpkeepResult
from outbox_operator.adapters.postgres.archive_verify import SealVerifier
from outbox_operator.adapters.postgres.connection import Connection
from outbox_operator.adapters.postgres.errors import errors
from outbox_operator.adapters.postgres.migration_steps import MigrationSteps
from outbox_operator.adapters.postgres.queries import statement
from outbox_operator.adapters.postgres.schema_locks import holding
from outbox_operator.adapters.postgres.url import PostgresTarget
from outbox_operator.plan.ownership import Claim
from outbox_operator.plan.postgres.archive_migrations import plan_archive
from outbox_operator.plan.postgres.archive_numbers import (
    MOST_GAPS,
    ArchiveNumbers,
    BackfillNumbers,
    Gap,
)
from outbox_operator.plan.postgres.archive_schema import (
    BACKFILLS,
    DesiredArchive,
    ObservedArchive,
)
from outbox_operator.plan.postgres.archive_seals import Head, Verify
from outbox_operator.plan.postgres.schema import qualify
from outbox_operator.plan.postgres.state import MigrationPlan
from outbox_operator.wire.advisory_locks import schema_lock


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
            backfill = None
            if await self._connection.fetchval(
                statement("archive_has_table"), qualify(schema, BACKFILLS)
            ):
                backfill = await self._connection.fetchrow(
                    statement("archive_backfills", schema=schema)
                )
        return ArchiveNumbers(
            **dict(row),
            first_gaps=tuple(Gap(**dict(one)) for one in found),
            backfill=None if backfill is None else BackfillNumbers(**dict(backfill)),
        )

    def verifier(
        self,
        schema: str,
        *,
        keys: Mapping[str, Verify],
        known: Sequence[Head],
        overdue: timedelta,
        keep: Mapping[str, float],
    ) -> SealVerifier:
        """What checks an archive against its seals; see there."""
        return SealVerifier(
            self._connection, self._target, schema, keys=keys, known=known, overdue=overdue,
            keep=keep,
        )  # fmt: skip

    async def maintain(
        self, desired: DesiredArchive, sealing: Sealing | None = None
    ) -> UpkeepResult:
        """One round of upkeep: partitions ahead, default partitions emptied, old ones dropped, and
        what the API noted long ago.

        How long a class is kept that is no longer wanted, the comment on its table says, which
        `apply` wrote. Never waits long for a lock, and never fails because somebody reads.

        Args:
            desired: The archive as wanted.
            sealing: How it is sealed; None: it is not.

        Raises:
            ConflictError: The chain of seals is not the one that was there (reason SealBroken).
            PostgresError: What could not be done, once all the rest is.
        """
        result = UpkeepResult()
        with errors(self._target):
            async with holding(self._connection, schema_lock("upkeep", desired.schema)) as held:
                if not held:
                    result.deferred.append("another one is at it")
                    return result
                await Upkeep(self._connection, self._target, desired, result, sealing).run()
        return result
