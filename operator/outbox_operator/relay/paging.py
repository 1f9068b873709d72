"""What to read next: snapshots and page sizes. Pure.

Called by `relay.reading`. A row is unpublished exactly when its transaction is visible in the new
snapshot S2 and was not in the old one, S1. The set between two snapshots never changes, so a
window that was cut short is read again identically.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from outbox_operator.adapters.postgres.rows import Bound, StoredCursor
from outbox_operator.errors import ConflictError, PostgresError
from outbox_operator.reasons import Reason
from outbox_operator.wire.cursors import CursorOrigin, foreign_cursor_text

PAGE_ROWS: Final = 1000
"""What is read stays in the processor's cache until it is sent; more rows cost more each."""
PAGE_BYTES: Final = 4 * 1024 * 1024
_MIN_ROWS: Final = 8
_FIRST_ROWS: Final = 250
"""Until their size is known."""
_BINARY_FACTOR: Final = 8
_EVEN: Final = 2


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A PostgreSQL snapshot: `xmin:xmax:xip,…`; full (64-bit) transaction ids."""

    xmin: int
    xmax: int
    open_xids: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> Snapshot:
        """Read the text form.

        Raises:
            PostgresError: It is none (reason CursorInvalid).
        """
        try:
            low, high, rest = text.split(":")
            xids = tuple(int(xid) for xid in rest.split(",") if xid)
            return cls(int(low), int(high), xids)
        except ValueError as error:
            raise PostgresError(
                f"cursor: {text!r} is not a snapshot (wanted xmin:xmax:xip,…)",
                reason=Reason.CURSOR_INVALID,
            ) from error

    def bound(self) -> Bound:
        """Return the transactions this snapshot does not see, as two ranges an index can answer."""
        return Bound(str(self.xmax), tuple(str(xid) for xid in self.open_xids))


def check_cursor(stored: StoredCursor, address: str) -> None:
    """Refuse a cursor whose snapshots were not taken on this server.

    Transaction ids of another server mean nothing here: going on would skip or repeat events.

    Raises:
        ConflictError: Reason CursorFromOtherServer; says what to do.
    """
    newest = Snapshot.parse(stored.cursor.snapshot_to or stored.cursor.snapshot_from)
    problem = CursorOrigin(
        cursor_system=stored.cursor_system,
        server_system=stored.server_system,
        seen_xid=newest.xmax,
        server_xid=Snapshot.parse(stored.server_snapshot).xmax,
        newest_xid=None if stored.newest_xid is None else int(stored.newest_xid),
    ).problem()
    if problem is not None:
        raise ConflictError(
            f"{foreign_cursor_text(address, problem)}; run: outbox rebase",
            reason=Reason.CURSOR_FROM_OTHER_SERVER,
        )


def largest_row(max_message_bytes: int) -> int:
    """Return the bytes of a row in the table above which no message can hold it.

    What the table takes for a jsonb value can be several times its text (numbers and empty
    containers), so a row is left unread only when even that cannot make it fit.
    """
    return _BINARY_FACTOR * max_message_bytes


@dataclass(slots=True)
class PageSizer:
    """Adapts the number of rows asked for to their size.

    Sizes are summed on the server before rows are sent, which costs it work for each row asked
    for; asking for twice as many as fit keeps that in proportion with large payloads.

    Attributes:
        parts: Tells what part of a whole page is wanted: 1 of so many.
    """

    parts: Callable[[], int] = lambda: 1
    _rows: int = _FIRST_ROWS
    _mean: int = PAGE_BYTES

    @property
    def rows(self) -> int:
        """Rows to ask for."""
        return max(1, min(self._rows, PAGE_ROWS // self.parts()))

    @property
    def size(self) -> int:
        """Bytes to ask for."""
        return PAGE_BYTES // self.parts()

    @property
    def even(self) -> bool:
        """Whether rows are so small that each most likely fits into its share of a page."""
        return _EVEN * self._mean * self.rows <= self.size

    def learn(self, rows: int, size: int) -> None:
        """Learn from a page: number of rows and their bytes."""
        if not rows:
            return
        self._mean = size // rows
        fitting = 2 * self.size * rows // max(size, 1)
        wanted = max(_MIN_ROWS, min(PAGE_ROWS, fitting))
        # Shrink at once, grow gently: large payloads tend to come in runs.
        self._rows = min(wanted, self._rows * 2)
