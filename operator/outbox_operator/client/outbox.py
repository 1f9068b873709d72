"""Write events into the outbox table, inside the transaction the application has open.

Imported by applications. Never commits, never opens a connection, never swallows an error: if
`add` raises, the caller's transaction is to be rolled back like after any failed statement.
"""

from __future__ import annotations

import uuid
from typing import Final, Literal

from outbox_operator.client import drivers, encoding
from outbox_operator.errors import EventError
from outbox_operator.wire import tables
from outbox_operator.wire.event import Event

DEFAULT_MAX_BYTES: Final = 1_000_000
"""A little under the 1 MiB that nats-server takes by default, headers included."""

_CASTS: Final = {
    "event_id": "CAST(CAST({%d} AS text) AS uuid)",
    "headers": "CAST(CAST({%d} AS text) AS jsonb)",
    "jsonb": "CAST(CAST({%d} AS text) AS jsonb)",
    "bytea": "CAST({%d} AS bytea)",
}


class Outbox:
    """The outbox table of one pipeline.

    Args:
        schema: `database.schema` of the OutboxPipeline.
        payload_type: Its `outbox.payloadType`.
        max_bytes: Payload and headers of an event may be this large together; larger ones are
            refused before they are written, because NATS would refuse them later.

    Raises:
        SpecError: `schema` is not a plain lower-case identifier.
    """

    def __init__(
        self,
        *,
        schema: str = "outbox",
        payload_type: Literal["jsonb", "bytea"] = "jsonb",
        max_bytes: int = DEFAULT_MAX_BYTES,
    ) -> None:
        self._payload_type = payload_type
        self._max_bytes = max_bytes
        values = (
            _CASTS.get(payload_type if column == "payload" else column, "CAST({%d} AS text)")
            % number
            for number, column in enumerate(tables.WRITABLE_COLUMNS, 1)
        )
        self._insert = drivers.Statement.of(
            f"INSERT INTO {drivers.table(schema, tables.EVENTS)} "  # noqa: S608 - checked identifier
            f"({', '.join(tables.WRITABLE_COLUMNS)}) VALUES ({', '.join(values)})"
        )

    async def add(self, connection: object, event: Event) -> uuid.UUID:
        """Write one event. It is published if, and only if, the caller's transaction commits.

        Args:
            connection: An asyncpg Connection with an open transaction, a psycopg
                AsyncConnection, or a SQLAlchemy AsyncConnection or AsyncSession.
            event: What happened.

        Returns:
            The event's id.

        Raises:
            EventError: The event cannot be stored or published; nothing was sent.
            TransactionError: No transaction is open on the connection; nothing was sent.
            TypeError: Not a connection this library knows; nothing was sent.
            Exception: Whatever the driver raises.
        """
        where = f"event {event.id} ({event.type})"
        headers = encoding.to_json(where, "headers", dict(event.headers))
        payload = self._payload(where, event.payload)
        size = len(payload.encode() if isinstance(payload, str) else payload) + len(headers)
        if size > self._max_bytes:
            raise EventError(
                f"{where}: payload and headers are {size} bytes, at most {self._max_bytes} are "
                "allowed; store the data elsewhere and send a reference"
            )
        row: dict[str, object] = {
            "event_id": str(event.id),
            "event_type": event.type,
            "partition_key": _text(where, "key", event.key),
            "routing_key": _routing_key(where, event.routing_key),
            "payload": payload,
            "headers": headers,
        }
        values = [row[column] for column in tables.WRITABLE_COLUMNS]
        await drivers.run(connection, self._insert, values)
        return event.id

    def _payload(self, where: str, payload: object) -> str | bytes:
        if self._payload_type == "jsonb":
            return encoding.to_json(where, "payload", payload)
        if isinstance(payload, bytes | bytearray | memoryview):
            return bytes(payload)
        raise EventError(
            f"{where}: payload is {type(payload).__name__}, wanted bytes because payload_type is "
            "bytea"
        )


def _text(where: str, field: str, value: object) -> str:
    if not isinstance(value, str):
        raise EventError(f"{where}: {field} is {type(value).__name__}, wanted text")
    encoding.to_json(where, field, value)  # refuses what a text column cannot hold
    return value


def _routing_key(where: str, value: str | None) -> str | None:
    if value == "":
        raise EventError(f"{where}: routing_key is empty; leave it out to use the event type")
    return None if value is None else _text(where, "routing_key", value)
