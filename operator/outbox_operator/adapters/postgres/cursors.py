"""The stored cursors of an outbox, as administration sees them."""

from __future__ import annotations

from dataclasses import dataclass

from outbox_operator.adapters.postgres.connection import Connection
from outbox_operator.adapters.postgres.queries import statement
from outbox_operator.wire.cursors import CursorOrigin


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedCursor:
    """The cursor of a shard.

    Attributes:
        snapshot: Everything visible in it is published.
        origin: Whether it belongs to this server.
    """

    shard: int
    snapshot: str
    origin: CursorOrigin


async def read_cursors(connection: Connection, schema: str) -> list[ObservedCursor]:
    """All cursors by shard. Raises the driver's errors."""
    rows = await connection.fetch(statement("admin_cursors", schema=schema))
    return [
        ObservedCursor(
            shard=row["shard"],
            snapshot=row["snapshot_from"],
            origin=CursorOrigin(
                cursor_system=row["cursor_system"],
                server_system=row["server_system"],
                seen_xid=row["seen_xid"],
                server_xid=row["server_xid"],
                newest_xid=row["newest_xid"],
            ),
        )
        for row in rows
    ]
