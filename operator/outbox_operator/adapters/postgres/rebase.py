"""Sets the cursors of an outbox anew, for the server that it is on now.

Called by `outbox rebase` and by tasks; `plan.postgres.rebase` decides. Needs the rights of the
relay's role only.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Literal

from outbox_operator.adapters.postgres.connection import Connection
from outbox_operator.adapters.postgres.cursors import ObservedCursor, read_cursors
from outbox_operator.adapters.postgres.errors import errors
from outbox_operator.adapters.postgres.queries import statement
from outbox_operator.adapters.postgres.url import PostgresTarget
from outbox_operator.errors import PostgresError
from outbox_operator.plan.postgres.rebase import Choice, ShardFacts, StreamEnd
from outbox_operator.reasons import Reason
from outbox_operator.wire import schema_mark

IDLE_MILLISECONDS: Final = 15_000
"""So long relays wait for a process that stands still; what it has done is undone then. Time enough
to ask JetStream and the API server something."""

Became = Literal["in progress", "committed", "aborted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """A transaction that is about to be committed, so that it can be asked for after a crash.

    Attributes:
        transaction: Its id, 64 bits.
        system: System identifier of the server.
    """

    transaction: str
    system: str


async def became(
    connection: Connection, target: PostgresTarget, announced: Announced
) -> Became | None:
    """What became of a transaction; None: nobody knows any more."""
    with errors(target):
        found: Became | None = await connection.fetchval(
            statement("rebase_became"), announced.transaction, announced.system
        )
    return found


class PostgresRebase:
    """One rebase over one connection: preview, then perhaps apply, in one transaction.

    Use `open`. Applications go on writing meanwhile; relays have to wait for what is to be applied,
    and have lost the shard afterwards.
    """

    def __init__(
        self,
        connection: Connection,
        target: PostgresTarget,
        schema: str,
        snapshot: str,
        cursors: Sequence[ObservedCursor],
        no_former: str,
    ) -> None:
        self._connection = connection
        self._target = target
        self._schema = schema
        self._snapshot = snapshot
        self._cursors = cursors
        self._no_former = no_former

    @classmethod
    @asynccontextmanager
    async def open(
        cls, connection: Connection, target: PostgresTarget, schema: str, *, looks: bool = False
    ) -> AsyncIterator[PostgresRebase]:
        """Begin the transaction; it is committed at the end of the block.

        Args:
            connection: Of a role with the rights of the relay's.
            target: For messages.
            schema: Of the tables.
            looks: Nothing is to be applied: nobody waits for it.

        Raises:
            PostgresError: The schema has no cursors (reason MigrationsMissing), or the server
                failed.
        """
        with errors(target):
            async with connection.transaction(isolation="repeatable_read"):
                await connection.execute(statement("session_idle", idle=IDLE_MILLISECONDS))
                if not looks:
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
                known = await connection.fetchval(statement("session_former_known", schema=schema))
                no_former = statement("rebase_former", schema=schema) if known else ""
                yield cls(connection, target, schema, snapshot, cursors, no_former)

    @property
    def shards(self) -> list[int]:
        """Numbers of the shards."""
        return [cursor.shard for cursor in self._cursors]

    async def owner_uid(self) -> str | None:
        """UID of the pipeline whose mark the schema has; None: it has none of ours."""
        with errors(self._target):
            comment = await self._connection.fetchval(statement("session_mark"), self._schema)
        return schema_mark.owner_uid(comment)

    async def announce(self) -> Announced:
        """The transaction that is committed at the end of the block."""
        with errors(self._target):
            row = await self._connection.fetchrow(statement("rebase_announce"))
        assert row is not None  # noqa: S101  (it selects constants)
        return Announced(transaction=row["transaction"], system=row["system"])

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
        chosen = statement("rebase_chosen", schema=self._schema, no_former=self._no_former)
        return statement(name, schema=self._schema, chosen=chosen)
