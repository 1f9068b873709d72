"""Sets the cursors of an outbox anew, for the server that it is on now.

Called by `outbox rebase`; `plan.postgres.rebase` decides. Needs the rights of the relay's role
only.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from outbox_operator.adapters.postgres.connection import Connection
from outbox_operator.adapters.postgres.cursors import ObservedCursor, read_cursors
from outbox_operator.adapters.postgres.errors import errors
from outbox_operator.adapters.postgres.queries import statement
from outbox_operator.adapters.postgres.url import PostgresTarget
from outbox_operator.errors import PostgresError
from outbox_operator.plan.postgres.rebase import Choice, ShardFacts, StreamEnd
from outbox_operator.reasons import Reason


class PostgresRebase:
    """One rebase over one connection: preview, then perhaps apply, in one transaction.

    Use `open`. Applications go on writing meanwhile; relays have to wait, and have lost the shard
    afterwards.
    """

    def __init__(
        self,
        connection: Connection,
        target: PostgresTarget,
        schema: str,
        snapshot: str,
        cursors: Sequence[ObservedCursor],
    ) -> None:
        self._connection = connection
        self._target = target
        self._schema = schema
        self._snapshot = snapshot
        self._cursors = cursors

    @classmethod
    @asynccontextmanager
    async def open(
        cls, connection: Connection, target: PostgresTarget, schema: str
    ) -> AsyncIterator[PostgresRebase]:
        """Begin the transaction; it is committed at the end of the block.

        Raises:
            PostgresError: The schema has no cursors (reason MigrationsMissing), or the server
                failed.
        """
        with errors(target):
            async with connection.transaction(isolation="repeatable_read"):
                # Before the snapshot is taken: a relay must not write its cursor in between.
                await connection.execute(statement("rebase_lock", schema=schema))
                # And the snapshot before we have a transaction id, so that it does not see that.
                snapshot = await connection.fetchval(statement("rebase_snapshot"))
                cursors = await read_cursors(connection, schema)
                if not cursors:
                    raise PostgresError(
                        f"table cursors in {target.address} schema {schema}: no rows; the "
                        "migrations of the pipeline have not run yet",
                        reason=Reason.MIGRATIONS_MISSING,
                    )
                yield cls(connection, target, schema, snapshot, cursors)

    @property
    def shards(self) -> list[int]:
        """Numbers of the shards."""
        return [cursor.shard for cursor in self._cursors]

    async def preview(self, choice: Choice) -> list[ShardFacts]:
        """What would be done to each shard."""
        found = []
        for cursor in self._cursors:
            with errors(self._target):
                (row,) = await self._connection.fetch(
                    self._sql("rebase_count"), *self._arguments(cursor, choice)
                )
            found.append(
                ShardFacts(shard=cursor.shard, problem=cursor.origin.problem(), **dict(row))
            )
        return found

    async def apply(self, choice: Choice, ends: Sequence[StreamEnd] | None) -> None:
        """Do it.

        Args:
            ends: Per shard the end of the stream: what is chosen is sent again though it is there.
        """
        for number, cursor in enumerate(self._cursors):
            end = ends[number] if ends is not None and choice.repeats else None
            with errors(self._target):
                await self._connection.execute(
                    self._sql("rebase_rows"), *self._arguments(cursor, choice), self._snapshot
                )
                await self._connection.execute(
                    statement("rebase_cursor", schema=self._schema),
                    cursor.shard,
                    self._snapshot,
                    end.sequence if end else None,
                    end.emission if end else 0,
                    end is not None,
                )

    def _arguments(self, cursor: ObservedCursor, choice: Choice) -> tuple[object, ...]:
        foreign = cursor.origin.problem() is not None
        return cursor.shard, choice.which, choice.position, choice.created_after, foreign

    def _sql(self, name: str) -> str:
        chosen = statement("rebase_chosen", schema=self._schema)
        return statement(name, schema=self._schema, chosen=chosen)
