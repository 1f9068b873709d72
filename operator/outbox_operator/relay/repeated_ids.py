"""Rows that have the event id of an earlier row. Pure.

Used by `relay.loop`. A stream drops a message whose id it knows, and acknowledges it. That is
wanted for a second copy of a row, not for another row: each of these gets a message id of its own,
where messages have any.
The copies that a replay writes have one already, and are compared among themselves.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Final

from outbox_operator.adapters.postgres.rows import COPY_MARK, EVENT_ID, HEADERS, POSITION, Rows

REMEMBERED: Final = 10_000
"""Ids that are kept at least, of pages that are not large: there, minutes lie between rows."""
LARGE_PAGE: Final = 100
"""Rows from which on a page is looked at by itself only."""


class RepeatedIds:
    """Remembers the ids of the rows that were read last, of all shards of a process.

    And those that several rows were seen to have, longer: their page may be read again from
    between these, after a refusal.
    """

    def __init__(self) -> None:
        self._newest: dict[str, int] = {}
        self._older: dict[str, int] = {}
        self._shared: dict[str, int] = {}

    def find(self, rows: Rows) -> frozenset[int]:
        """Return the positions of the rows whose id another row came with first."""
        ids = _ids(rows)
        if len(self._shared) >= REMEMBERED:
            self._shared = {}
        if len(ids) >= LARGE_PAGE:
            unique = set(ids)
            if len(unique) == len(ids) and unique.isdisjoint(self._shared):
                return frozenset()
            return self._find(rows, ids, {}, {})
        if len(self._newest) >= REMEMBERED:
            self._older, self._newest = self._newest, {}
        return self._find(rows, ids, self._newest, self._older)

    def forget(self, rows: Rows, positions: Set[int]) -> None:
        """Forget the rows at these positions: the stream has none of them.

        A dead letter that is taken back comes with its id.
        """
        for row, event_id in zip(rows, _ids(rows), strict=True):
            if row[POSITION] in positions:
                for known in (self._newest, self._older, self._shared):
                    if known.get(event_id) == row[POSITION]:
                        del known[event_id]

    def _find(
        self, rows: Rows, ids: Sequence[str], newest: dict[str, int], older: dict[str, int]
    ) -> frozenset[int]:
        shared, found = self._shared, set()
        for row, event_id in zip(rows, ids, strict=True):
            position = row[POSITION]
            first = (
                shared.get(event_id) or older.get(event_id) or newest.setdefault(event_id, position)
            )
            if first != position:
                shared[event_id] = first
                found.add(position)
        return frozenset(found)


def _ids(rows: Rows) -> list[str]:
    """Return what is to be unique of each row: its event id, and of a copy that of its replay."""
    return [
        row[EVENT_ID]
        if (own := row[HEADERS]) is None or not own.startswith(COPY_MARK)
        else f"{row[EVENT_ID]}:{own.split(' ', 2)[1]}"
        for row in rows
    ]
