"""Carries out the steps of a migration that `plan.postgres` decided on: alone, under bounded locks.

Used by the administration of outbox, inbox and archive.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from outbox_operator.adapters.postgres.connection import Connection, bounded_transaction
from outbox_operator.adapters.postgres.errors import errors, translate
from outbox_operator.adapters.postgres.queries import statement
from outbox_operator.adapters.postgres.schema_locks import holding
from outbox_operator.adapters.postgres.url import PostgresTarget
from outbox_operator.errors import PostgresError
from outbox_operator.plan.postgres.state import MigrationPlan, Statement
from outbox_operator.reasons import Reason
from outbox_operator.wire.advisory_locks import schema_lock

_MIGRATION_SECONDS: Final = 600.0
"""A statement of a migration may have to build an index."""
_BUILD_SECONDS: Final = 6 * 3600.0
"""One that builds it beside those who write, of a partition of any size."""


class MigrationSteps:
    """What a migration does over one connection.

    Args:
        connection: Of the role that owns the tables, or is to.
        target: Where it leads, for messages.
    """

    def __init__(self, connection: Connection, target: PostgresTarget) -> None:
        self._connection = connection
        self._target = target

    async def apply(
        self,
        plan: MigrationPlan,
        schema: str,
        replan: Callable[[], Awaitable[MigrationPlan]],
        lock_timeout: float,
        version: str,
    ) -> bool:
        """Run a plan, if it still is the right one: in one transaction, but for index builds.

        Args:
            plan: As it was made, perhaps a while ago.
            schema: Of the tables.
            replan: Looks again and makes the plan anew.
            lock_timeout: Seconds to wait for another migration, and for each table's lock.
            version: Of this program, written down with the schema version.

        Returns:
            Whether something was done; False: another one has done it meanwhile.

        Raises:
            PostgresError: The database has changed since (reason PlanOutdated: look again), a lock
                was not to be had (LockTimeout), or a statement failed; nothing has changed.
            OutboxError: As `replan`.
        """
        async with self.alone(schema, lock_timeout):
            now = await replan()
            if now.empty:
                return False
            if now.hash != plan.hash:
                raise PostgresError(
                    f"schema {schema} of {self._target.address}: changed since plan "
                    f"{plan.hash} was made; the plan is now {now.hash}",
                    reason=Reason.PLAN_OUTDATED,
                )
            await self._run_concurrent([s for s in now.statements if s.concurrent], lock_timeout)
            async with self.transaction(lock_timeout):
                await self.run([s for s in now.statements if not s.concurrent])
                if now.records_version:
                    await self._connection.execute(
                        statement("admin_record_version", schema=schema),
                        now.version, now.hash, version,
                    )  # fmt: skip
        return True

    @asynccontextmanager
    async def alone(self, schema: str, lock_timeout: float) -> AsyncIterator[None]:
        """Hold the migration lock of a schema."""
        key = schema_lock("migrations", schema)
        with errors(self._target):
            async with holding(self._connection, key, patience=lock_timeout) as held:
                if not held:
                    raise PostgresError(
                        f"schema {schema} of {self._target.address}: another migration has been "
                        f"running for more than {lock_timeout:g} s",
                        reason=Reason.LOCK_TIMEOUT,
                    )
                yield

    @asynccontextmanager
    async def transaction(self, lock_timeout: float) -> AsyncIterator[None]:
        """A transaction that waits so many seconds for each lock."""
        async with bounded_transaction(
            self._connection,
            lock_milliseconds=_milliseconds(lock_timeout),
            milliseconds=_milliseconds(_MIGRATION_SECONDS),
        ):
            yield

    async def _run_concurrent(self, statements: Sequence[Statement], lock_timeout: float) -> None:
        """Steps that cannot be in a transaction; each is whole by itself and can be repeated."""
        if not statements:
            return
        (before,) = await self._connection.fetch(statement("session_limits"))
        try:
            for step in statements:
                # CONCURRENTLY waits for others without keeping anybody waiting: let it.
                beside = "CONCURRENTLY" in step.sql
                patience = 0 if beside else _milliseconds(lock_timeout)
                seconds = _BUILD_SECONDS if beside else _MIGRATION_SECONDS
                await self._connection.execute(
                    statement("session_limit", lock=patience, whole=_milliseconds(seconds))
                )
                await self.run([step], seconds)
        finally:
            if not self._connection.is_closed():
                await self._connection.execute(statement("session_limits_back"), *before)

    async def run(
        self, statements: Sequence[Statement], seconds: float = _MIGRATION_SECONDS
    ) -> None:
        """Run statements in order, each of which may take so many seconds.

        Raises:
            OutboxError: One failed; says what it was for.
        """
        for step in statements:
            try:
                await self._connection.execute(step.sql, timeout=seconds + 5)
            except asyncpg.PostgresError as error:
                translated = translate(error, self._target)
                translated.message = f"{step.reason}: {translated.message}"
                translated.args = (translated.message,)
                raise translated from error


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
