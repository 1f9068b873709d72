"""Where the rows of a window are: its extent, and their positions, by the shard's own index.

An `OutboxStore` has one. No statement here reads rows of other shards.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

from outbox_operator.adapters.postgres.connection import Connection
from outbox_operator.adapters.postgres.rows import Bound, Part, Span

_PART_ROWS: Final = 25_000
"""Few enough to list their positions, and for a statement to end soon."""
_LATE_POSITIONS: Final = 100_000
_BEYOND: Final = 2**63 - 1


class Windows:
    """The statements about the windows of one shard.

    Every method may raise the errors of `adapters.postgres.errors`.

    Args:
        sql: Gives the text of a statement by its name.
        turn: Entered for each statement.
    """

    def __init__(
        self,
        connection: Connection,
        shard: int,
        sql: Callable[[str], str],
        turn: Callable[[], AbstractAsyncContextManager[None]],
    ) -> None:
        self._connection = connection
        self._shard = shard
        self._sql = sql
        self._turn = turn

    async def span(self, unseen: Bound, upper: Bound, after: int) -> Span | None:
        """Extent of the window from S1 to S2 (`upper`) behind position `after`; None: empty."""
        parts, positions = await self._parts(unseen, upper, after)
        rows = sum(part.rows for part in parts)
        first = min((part.first for part in parts), default=_BEYOND)
        last = max((part.last for part in parts), default=-_BEYOND)
        late, behind = array("q"), None
        if unseen.open_xids:
            async with self._turn():
                found = await self._connection.fetchrow(
                    self._sql("relay_span_late"),
                    self._shard, unseen.open_xids, upper.open_xids, after, first, _LATE_POSITIONS,
                )  # fmt: skip
            if found is not None and found["rows"]:
                late = array("q", found["positions"] or ())
                if len(late) < found["rows"]:
                    behind = Part(unseen.from_xid, unseen.from_xid, *found[:3])
                if found["positions"] is None:
                    first = min(first, found["first"])
                last = max(last, found["last"])
                rows += found["rows"]
        return Span(first, last, rows, late, behind, parts, positions) if rows else None

    async def _parts(
        self, unseen: Bound, upper: Bound, after: int
    ) -> tuple[tuple[Part, ...], array[int] | None]:
        """Where the rows are of what began after S1, and their positions, if it is one part."""
        async with self._turn():
            positions = await self._connection.fetchval(
                self._sql("relay_span_whole"),
                self._shard, unseen.from_xid, upper.from_xid, upper.open_xids, after, _PART_ROWS,
            )  # fmt: skip
        if positions is not None:
            found = array("q", sorted(positions))
            if not found:
                return (), None
            whole = Part(unseen.from_xid, upper.from_xid, found[0], found[-1], len(found))
            return (whole,), found
        parts = []
        begin: str | None = unseen.from_xid
        while begin is not None:
            async with self._turn():
                end = await self._connection.fetchval(
                    self._sql("relay_span_end"),
                    self._shard, begin, upper.from_xid, upper.open_xids, _PART_ROWS,
                )  # fmt: skip
            if end == begin:  # a single transaction with as many rows
                end = str(int(begin) + 1)
            until = end or upper.from_xid
            async with self._turn():
                (counted,) = await self._connection.fetch(
                    self._sql("relay_span"), self._shard, begin, until, upper.open_xids, after
                )
            if counted["rows"]:
                parts.append(Part(begin, until, *counted))
            begin = end
        return tuple(parts), None

    async def positions(
        self,
        unseen: Bound,
        upper: Bound,
        wrote: tuple[str, str],
        *,
        after: int,
        last: int,
        most: int,
    ) -> array[int]:
        """Where the next rows of a window are, behind position `after` and up to `last`.

        Args:
            wrote: Transactions since S1 that wrote there: from the first on, before the second.
            most: How many at most; then there may be more.
        """
        async with self._turn():
            found = await self._connection.fetchval(
                self._sql("relay_positions"),
                self._shard, *wrote, upper.open_xids, unseen.open_xids, after, last, most,
            )  # fmt: skip
        return array("q", found)
