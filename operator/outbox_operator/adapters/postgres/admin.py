"""PostgreSQL as the controller uses it: observe, migrate, sample, keep up, drop.

Decides nothing about the schema: `plan.postgres` does, here and again under the lock. Relay and
consumer must not import this module. Every method raises only errors of `outbox_operator.errors`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, Literal

import asyncpg

from outbox_operator.adapters.postgres import catalog, maintenance, numbers, positions
from outbox_operator.adapters.postgres.archive_admin import ArchiveAdmin
from outbox_operator.adapters.postgres.connection import Connection
from outbox_operator.adapters.postgres.dead_letters import DeadLetterStore
from outbox_operator.adapters.postgres.diagnose import PostgresLook
from outbox_operator.adapters.postgres.errors import errors
from outbox_operator.adapters.postgres.maintenance import MaintenanceResult
from outbox_operator.adapters.postgres.migration_steps import MigrationSteps
from outbox_operator.adapters.postgres.numbers import Reading
from outbox_operator.adapters.postgres.queries import statement
from outbox_operator.adapters.postgres.replays import ReplayStore, Selection
from outbox_operator.adapters.postgres.rows_range import RowsRange
from outbox_operator.adapters.postgres.url import PostgresTarget
from outbox_operator.plan.ownership import Claim
from outbox_operator.plan.postgres.drop import drop_statements, release_statements
from outbox_operator.plan.postgres.migrations import plan_inbox, plan_migrations
from outbox_operator.plan.postgres.state import (
    BACKLOG_CAP,
    DesiredDatabase,
    DesiredInbox,
    MigrationPlan,
    ObservedDatabase,
    OutboxNumbers,
)
from outbox_operator.plan.state import Owner
from outbox_operator.wire import schema_mark

__all__ = ["MaintenanceResult", "PostgresAdmin"]

_DROP_LOCK_SECONDS: Final = 5.0
_INBOX_BATCH: Final = 1000
_INBOX_BATCHES: Final = 20


class PostgresAdmin:
    """Administration over one connection, used by one pass at a time.

    Args:
        connection: Of the role that owns the tables.
        target: Where it leads, for messages.
    """

    def __init__(self, connection: Connection, target: PostgresTarget) -> None:
        self._connection = connection
        self._target = target
        self._steps = MigrationSteps(connection, target)

    async def observe(self, desired: DesiredDatabase | DesiredInbox) -> ObservedDatabase:
        """What is there of what is wanted."""
        with errors(self._target):
            return await catalog.observe(self._connection, desired)

    @property
    def look(self) -> PostgresLook:
        """What can be found out about the server and the tables."""
        return PostgresLook(self._connection, self._target)

    @property
    def archive(self) -> ArchiveAdmin:
        """The tables of an archive in this database."""
        return ArchiveAdmin(self._connection, self._target)

    def rows(self, schema: str) -> RowsRange:
        """The rows of an outbox by position."""
        return RowsRange(self._connection, self._target, schema)

    async def ping(self) -> None:
        """Wait until the server has answered."""
        with errors(self._target):
            await self._connection.fetchval(statement("session_backend"))

    async def still_ours(self, desired: DesiredDatabase, uid: str) -> bool:
        """Whether a schema that was as wanted has nobody else's mark, and all have their rights.

        A quick look for each pass: who may not write any more is the first thing to mend.
        """
        with errors(self._target):
            comment = await self._connection.fetchval(statement("session_mark"), desired.schema)
            if schema_mark.owner_uid(comment) not in (None, uid):
                return False
            _, (held,) = await catalog.have_rights(self._connection, [desired])
            return held

    async def apply(
        self,
        plan: MigrationPlan,
        desired: DesiredDatabase,
        claim: Claim,
        *,
        lock_timeout: float,
        operator_version: str,
    ) -> bool:
        """Run a plan, if it still is the right one: in one transaction, but for index builds.

        Args:
            plan: As `plan_migrations` made it, perhaps a while ago.
            desired: What it was made for.
            claim: Of the pipeline.
            lock_timeout: Seconds to wait for another migration, and for each table's lock.
            operator_version: Written down with the schema version.

        Returns:
            Whether something was done; False: another one has done it meanwhile.

        Raises:
            PostgresError: The database has changed since (reason PlanOutdated: look again), a lock
                was not to be had (LockTimeout), or a statement failed; nothing has changed.
            OutboxError: As `plan_migrations`.
        """

        async def replan() -> MigrationPlan:
            return plan_migrations(desired, await catalog.observe(self._connection, desired), claim)

        return await self._steps.apply(plan, desired.schema, replan, lock_timeout, operator_version)

    async def apply_inbox(
        self, plan: MigrationPlan, desired: DesiredInbox, *, lock_timeout: float
    ) -> bool:
        """Like `apply`, for the plan of an inbox."""

        async def replan() -> MigrationPlan:
            return plan_inbox(desired, await catalog.observe(self._connection, desired))

        return await self._steps.apply(plan, desired.schema, replan, lock_timeout, "")

    async def sample(self, schema: str, *, cap: int = BACKLOG_CAP) -> OutboxNumbers:
        """Live numbers in one query: a millisecond when idle, bounded by `cap` when not."""
        with errors(self._target):
            return await numbers.sample(self._connection, schema, cap)

    async def read(self, schema: str) -> Reading:
        """As `numbers.read`."""
        with errors(self._target):
            return await numbers.read(self._connection, schema)

    async def glances(
        self, wanted: Sequence[tuple[DesiredDatabase, str]], identity: str
    ) -> list[OutboxNumbers | None]:
        """As `numbers.glances`."""
        with errors(self._target):
            return await numbers.glances(self._connection, wanted, identity)

    async def fingerprints(self, several: Sequence[DesiredDatabase]) -> list[str]:
        """What stands for the catalog of each outbox, as of those that were observed."""
        with errors(self._target):
            return await catalog.fingerprints(self._connection, several)

    async def identity(self) -> str:
        """Which database this is; as `ObservedDatabase.identity`."""
        return await catalog.identity(self._connection)

    async def sample_at(self, schema: str, identity: str) -> OutboxNumbers | None:
        """Live numbers, if this is the database of that identity; None: it is another one."""
        with errors(self._target):
            here = await catalog.identity(self._connection)
        return await self.sample(schema) if here == identity else None

    async def maintain(self, schema: str, retention: float) -> MaintenanceResult:
        """Partitions ahead, rotation by time, and pruning of what is published and old.

        Never waits long for a lock and never fails because a table is busy: what could not be
        done now is in `deferred` and is tried again at the next call, a minute later or so.

        Args:
            schema: Of the tables.
            retention: Seconds for which published rows are kept.
        """
        with errors(self._target):
            return await maintenance.maintain(self._connection, schema, retention)

    async def marked_uid(self, schema: str) -> str | None:
        """UID of the resource whose mark a schema carries; None: it carries none."""
        with errors(self._target):
            comment = await self._connection.fetchval(statement("session_mark"), schema)
        return schema_mark.owner_uid(comment)

    def dead_letters(
        self, schema: str, payload_type: Literal["jsonb", "bytea"] = "jsonb"
    ) -> DeadLetterStore:
        """The dead letters of the outbox in a schema."""
        return DeadLetterStore(self._connection, self._target, schema, payload_type)

    def replay(self, schema: str, name: str, selection: Selection, to: str | None) -> ReplayStore:
        """A replay of what an outbox still has.

        Raises:
            SpecError: No replay may have this name, or no durable consumer that.
        """
        return ReplayStore(
            self._connection, self._target, schema, name=name, selection=selection, to=to
        )

    async def mend_positions(self, schema: str) -> str | None:
        """Move the sequence of positions behind all that are in use, if it is not there.

        Returns:
            What was found and done, after its reason and a colon; None: nothing.
        """
        with errors(self._target):
            return await positions.mend_positions(self._connection, schema)

    async def knows_consumer(self, schema: str, tables: Iterable[str], consumer_name: str) -> bool:
        """Whether one of these tables of an inbox has anything of a consumer."""
        with errors(self._target):
            for table in tables:
                text = statement("admin_knows_consumer", schema=schema, table=table)
                if await self._connection.fetchval(text, consumer_name):
                    return True
        return False

    async def prune_inbox(self, schema: str, consumer_name: str, retention: float) -> int:
        """Delete a bounded number of handled events older than `retention` seconds."""
        total = 0
        with errors(self._target):
            for _ in range(_INBOX_BATCHES):
                deleted: int = await self._connection.fetchval(
                    statement("admin_prune_inbox", schema=schema),
                    consumer_name, retention, _INBOX_BATCH,
                )  # fmt: skip
                total += deleted
                if deleted < _INBOX_BATCH:
                    break
        return total

    async def forget_handled(self, schema: str, consumer_name: str, since: datetime | None) -> int:
        """Let a bounded number of events be new again to a consumer; 0: there are no more.

        Args:
            since: Those that it has handled since then; None: all.
        """
        with errors(self._target):
            await self._connection.execute(
                statement("admin_forget_positions", schema=schema), consumer_name
            )
            gone: int = await self._connection.fetchval(
                statement("admin_forget_handled", schema=schema),
                consumer_name, since, _INBOX_BATCH,
            )  # fmt: skip
        return gone

    async def part_positions(self, schema: str, consumer_name: str, stream: str) -> None:
        """Have no shard of a consumer be handled beyond where it is, whatever it is given next."""
        with errors(self._target):
            await self._connection.execute(
                statement("admin_part_positions", schema=schema), consumer_name, stream
            )

    async def drop(self, schema: str, owner: Owner) -> bool:
        """Drop our tables with all events, and the schema if nothing else is in it.

        A schema that our role could not create again stays, without our mark.

        Returns:
            Whether it was done; False: the tables are not this owner's, or are not there.
        """
        steps, patience = self._steps, _DROP_LOCK_SECONDS
        async with steps.alone(schema, patience), steps.transaction(patience):
            observed = await catalog.observe(self._connection, DesiredDatabase(schema=schema))
            statements = drop_statements(schema, observed, owner)
            if not statements:
                return False
            await steps.run(statements)
            if not (observed.may_create_schema and await self._drop_empty_schema(schema)):
                await steps.run(release_statements(schema, observed, owner))
        return True

    async def _drop_empty_schema(self, schema: str) -> bool:
        try:
            async with self._connection.transaction():
                await self._connection.execute(statement("admin_drop_schema", schema=schema))
        except asyncpg.DependentObjectsStillExistError:
            return False
        return True
