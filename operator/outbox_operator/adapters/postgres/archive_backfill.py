"""Reads the rows that an outbox's table has kept, a page at a time, for an archive.

Used by the process that writes an archive, with a login that may read them and nothing else. Must
not import `plan` or `api`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from outbox_operator.adapters.postgres.connection import Connection, close, connect
from outbox_operator.adapters.postgres.errors import errors
from outbox_operator.adapters.postgres.queries import statement
from outbox_operator.adapters.postgres.url import PostgresTarget
from outbox_operator.errors import AccessDeniedError, PostgresError
from outbox_operator.reasons import Reason
from outbox_operator.wire import schema_mark
from outbox_operator.wire.message import CONTENT_TYPES
from outbox_operator.wire.tables import DEAD_LETTERS, EVENTS, FORMER_DEAD_LETTERS, quoted

LARGEST: Final = 64 * 1024 * 1024
"""Bytes of an event; NATS takes no more for a message, so what is larger was never published."""
_PAYLOAD: Final = {"jsonb": "convert_to(payload::text, 'UTF8')", "bytea": "payload"}
_TABLES: Final = (EVENTS, DEAD_LETTERS, FORMER_DEAD_LETTERS)
_STATEMENT_SECONDS: Final = 60.0
_PIPELINE: Final = "OutboxPipeline/"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRow:
    """A row of the table.

    Attributes:
        position: Of it.
        event_id: The event's.
        event_type: Its type.
        partition_key: Its key; empty: it has none.
        routing_key: What stands in for the type in its subject.
        headers: JSON text.
        created_at: When it was made, as it says: microseconds since 1970.
        written_at: The same, as far as that can be: not before 1970, nor later than now.
        payload: None: it is not to be archived.
    """

    position: int
    event_id: str
    event_type: str
    partition_key: str
    routing_key: str | None
    headers: str | None
    created_at: int
    written_at: int
    payload: bytes | None


class KeptRows:
    """One connection to an outbox.

    Args:
        login: Says where the database is and how to log in.
        schema: Of the outbox.
        application_name: Shown in `pg_stat_activity`.

    Attributes:
        source: `/<namespace>/<pipeline>`, as its events say; once it was opened.
        content_type: Of its payloads.
    """

    def __init__(
        self, login: Callable[[], PostgresTarget], *, schema: str, application_name: str
    ) -> None:
        self._login = login
        self._schema = schema
        self._name = application_name
        self._target: PostgresTarget
        self._connection: Connection | None = None
        self._page = ""
        self.source = self.content_type = ""

    async def open(self) -> None:
        """Connect, and see that there is an outbox that may be read.

        Raises:
            OutboxError: There is none, or the database is away; says what to do.
        """
        await self.close()
        self._target = self._login()
        connection = await connect(
            self._target, application_name=self._name, statement_timeout=_STATEMENT_SECONDS
        )
        try:
            names = [f"{quoted(self._schema)}.{quoted(name)}" for name in _TABLES]
            with errors(self._target):
                [facts] = await connection.fetch(
                    statement("archive_backfill_facts"), self._schema, names
                )
            self.source = self._checked(facts)
            self.content_type = CONTENT_TYPES[facts["payload"]]
            self._page = statement(
                "archive_backfill_page",
                schema=self._schema,
                payload=_PAYLOAD[facts["payload"]],
                first_time="-62135596800e6",
                last_time="253402300799e6",
            )
        except BaseException:
            connection.terminate()
            raise
        self._connection = connection

    async def close(self) -> None:
        """End the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await close(connection)

    async def end(self) -> tuple[int, dt.datetime]:
        """Position of the last row of now, and when that is. Raises OutboxError."""
        connection = self._connected()
        with errors(self._target):
            [row] = await connection.fetch(statement("archive_backfill_end", schema=self._schema))
        return row["up_to"], row["now"]

    async def page(self, after: int, up_to: int, rows: int, most_bytes: int) -> Sequence[KeptRow]:
        """The next rows; none: that were all.

        Args:
            after: Position that was read last.
            up_to: Last position to be read.
            rows: At most.
            most_bytes: Of payloads and headers, but for the last row.

        Raises:
            OutboxError: The database is away.
        """
        connection = self._connected()
        with errors(self._target):
            found = await connection.fetch(self._page, after, up_to, rows, most_bytes, LARGEST)
        return [KeptRow(**dict(row)) for row in found]

    def _connected(self) -> Connection:
        if self._connection is None:
            raise PostgresError(
                "the connection to the outbox is closed", reason=Reason.POSTGRES_UNREACHABLE
            )
        return self._connection

    def _checked(self, facts: asyncpg.Record) -> str:
        """The source of its events."""
        where = f"outbox in schema {self._schema} of {self._target.address}"
        role, schema = quoted(self._target.user), quoted(self._schema)
        if facts["payload"] not in _PAYLOAD or not facts["current"]:
            raise PostgresError(
                f"{where}: there is no table events of this version's outbox; backfill.schema says "
                "where it is, and the operator brings it up to date",
                reason=Reason.MIGRATIONS_MISSING,
            )
        if not facts["reads"]:
            tables = ", ".join(f"{schema}.{name}" for name in _TABLES)
            raise AccessDeniedError(
                f"{where}: role {self._target.user} may not read it; run: GRANT USAGE ON SCHEMA "
                f"{schema} TO {role}; GRANT SELECT ON {tables} TO {role}"
            )
        key = schema_mark.owner_key(facts["comment"]) or ""
        namespace, _, name = key.removeprefix(_PIPELINE).partition("/")
        if not key.startswith(_PIPELINE) or not namespace or not name:
            raise PostgresError(
                f"{where}: the schema carries the mark of no pipeline, so nobody knows what its "
                "events are called from",
                reason=Reason.MIGRATIONS_MISSING,
            )
        return f"/{namespace}/{name}"
