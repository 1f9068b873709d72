"""The stored cursors of an outbox, as administration sees them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

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
    return _cursors(dict(row) for row in rows)


def foreign_problem(rows: Iterable[Mapping[str, Any]]) -> str | None:
    """Why the cursors in rows of `admin_cursors.sql` are another server's; None: they are not."""
    problems = (cursor.origin.problem() for cursor in _cursors(rows))
    return next((problem for problem in problems if problem is not None), None)


def _cursors(rows: Iterable[Mapping[str, Any]]) -> list[ObservedCursor]:
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
