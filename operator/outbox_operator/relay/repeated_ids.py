"""Rows that have the event id of an earlier row. Pure.

Used by `relay.loop`. A stream drops a message whose id it knows, and acknowledges it. That is
wanted for a second copy of a row, not for another row: each of these gets a message id of its own.
"""

from __future__ import annotations

from typing import Final

from outbox_operator.adapters.postgres.rows import EVENT_ID, POSITION, Rows

REMEMBERED: Final = 10_000
"""Ids that are kept at least, of pages that are not large: there, minutes lie between rows."""
LARGE_PAGE: Final = 100
"""Rows from which on a page is looked at by itself only."""


class RepeatedIds:
    """Remembers the ids of the rows of a shard that were read last."""

    def __init__(self) -> None:
        self._newest: dict[str, int] = {}
        self._older: dict[str, int] = {}

    def find(self, rows: Rows) -> frozenset[int]:
        """Return the positions of the rows whose id another row came with first."""
        ids = [row[EVENT_ID] for row in rows]
        if len(ids) >= LARGE_PAGE:
            return frozenset() if len(set(ids)) == len(ids) else self._find(rows, {}, {})
        if len(self._newest) >= REMEMBERED:
            self._older, self._newest = self._newest, {}
        return self._find(rows, self._newest, self._older)

    @staticmethod
    def _find(rows: Rows, newest: dict[str, int], older: dict[str, int]) -> frozenset[int]:
        found = set()
        for row in rows:
            position = row[POSITION]
            first = older.get(row[EVENT_ID]) or newest.setdefault(row[EVENT_ID], position)
            if first != position:
                found.add(position)
        return frozenset(found)
