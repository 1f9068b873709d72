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


@dataclass(frozen=True, slots=True, kw_only=True)
class MeantEvent:
    """The event that is meant, as its row would hold it."""

    id: uuid.UUID
    type: str
    key: str
    routing_key: str | None
    payload: str | bytes


@dataclass(frozen=True, slots=True)
class WrittenEvent:
    """A row that is there.

    Attributes:
        published: Whether the relay says so.
        dead_letter: Reason because of which it is a dead letter; None: it is none.
        given_up: Whether it was one, and somebody gave it up: it is never published.
        differs: What of it is not as it is meant, by commas; empty: nothing.
    """

    published: bool
    dead_letter: str | None
    given_up: bool = False
    differs: str = ""


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

    async def find(self, meant: MeantEvent) -> WrittenEvent | None:
        """The newest row of an event; None: there is none, or it was pruned."""
        schema = self._schema
        with errors(self._target):
            known = await self._connection.fetchval(
                statement("session_former_known", schema=schema)
            )
            given_up = statement("event_given_up", schema=schema) if known else "false"
            row = await self._connection.fetchrow(
                statement("event_written", schema=schema, given_up=given_up),
                meant.id, meant.type, meant.key, meant.routing_key, meant.payload,
            )  # fmt: skip
        return None if row is None else WrittenEvent(**row)
