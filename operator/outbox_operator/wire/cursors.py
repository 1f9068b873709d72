"""Whether a cursor and the server it was found on belong together. Pure.

Snapshots are made of transaction ids, and those count for one server only. A database that was
restored from a dump, or moved by `pg_upgrade`, brings a cursor with the ids of another. The relay
asks before it reads, the operator before it prunes, `outbox rebase` before it changes anything.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CursorOrigin:
    """What tells where a cursor comes from.

    Attributes:
        cursor_system: System identifier written down with it; None: never owned by a relay.
        server_system: System identifier of this server.
        seen_xid: First transaction that the cursor has not seen.
        server_xid: First transaction that this server has not assigned yet.
        newest_xid: The latest transaction that wrote an event, if any did.
    """

    cursor_system: str | None
    server_system: str
    seen_xid: int
    server_xid: int
    newest_xid: int | None

    def problem(self) -> str | None:
        """Why they do not belong together; None: they do."""
        if self.cursor_system is not None and self.cursor_system != self.server_system:
            return (
                f"its system identifier is {self.cursor_system}, "
                f"this server's is {self.server_system}"
            )
        if self.seen_xid > self.server_xid:
            return f"it has seen transaction {self.seen_xid - 1}, this server is at {self._last}"
        if self.newest_xid is not None and self.newest_xid >= self.server_xid:
            return f"transaction {self.newest_xid} wrote an event, this server is at {self._last}"
        return None

    @property
    def _last(self) -> int:
        return self.server_xid - 1


def foreign_cursor_text(place: str, problem: str) -> str:
    """The sentence for people.

    Args:
        place: Of the tables.
        problem: As `CursorOrigin.problem` says.
    """
    return (
        f"cursor or events in {place} belong to another PostgreSQL server: {problem} (restored "
        "from a dump, or upgraded?); nothing is published until the cursor is set anew, because "
        "going on would skip or repeat events"
    )


def stream_made_anew_text(stream: str, created: str) -> str:
    """The sentence for people.

    Args:
        stream: Its name.
        created: When, as JetStream says it.
    """
    return (
        f"stream {stream} was made anew at {created[:19]}Z: events that were published before are "
        "not in it"
    )
