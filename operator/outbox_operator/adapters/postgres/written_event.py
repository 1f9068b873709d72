"""Whether an event was written already, for who writes one by hand and may not have seen the end.

Ids of events are in no index, so the whole table is read: not for what applications do.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from outbox_operator.adapters.postgres.connection import Connection
from outbox_operator.adapters.postgres.errors import errors
from outbox_operator.adapters.postgres.queries import statement
from outbox_operator.adapters.postgres.url import PostgresTarget
from outbox_operator.wire.advisory_locks import event_lock


@dataclass(frozen=True, slots=True)
class WrittenEvent:
    """A row that is there.

    Attributes:
        published: Whether the relay says so.
        dead_letter: Reason because of which it is a dead letter; None: it is none.
    """

    published: bool
    dead_letter: str | None


class WrittenEvents:
    """Rows of one outbox by the id of their event.

    Every method may raise the errors of `adapters.postgres.errors`.

    Args:
        connection: Of the role that owns the tables; to lock, of any.
        target: For messages.
        schema: Of the tables.
    """

    def __init__(self, connection: Connection, target: PostgresTarget, schema: str) -> None:
        self._connection = connection
        self._target = target
        self._schema = schema

    async def lock(self, event_id: uuid.UUID) -> None:
        """Wait for another transaction with this event, and have the next one wait for this."""
        with errors(self._target):
            key = event_lock(self._schema, str(event_id))
            await self._connection.execute(statement("event_lock"), key)

    async def find(self, event_id: uuid.UUID) -> WrittenEvent | None:
        """The newest row of an event; None: there is none, or it was pruned."""
        with errors(self._target):
            sql = statement("event_written", schema=self._schema)
            row = await self._connection.fetchrow(sql, event_id)
        return None if row is None else WrittenEvent(row["published"], row["reason"])
