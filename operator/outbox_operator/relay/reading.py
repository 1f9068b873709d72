"""Rows in the order in which they are to be published, page by page, one page ahead.

Called by `relay.loop`. A poll answers with everything that became visible since snapshot S1 and
with the snapshot it was taken in, S2. If that is more than a page, S1 and S2 make a window, which
is read in order of position. Afterwards S2 takes the place of S1.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from outbox_operator.adapters.postgres.outbox import OutboxStore
from outbox_operator.adapters.postgres.rows import POSITION, Bound, Rows, Share
from outbox_operator.errors import PostgresError
from outbox_operator.reasons import Reason
from outbox_operator.relay.paging import Snapshot
from outbox_operator.relay.row_reading import RowReader

_BEFORE_ALL: Final = -(2**63)
STRIDE: Final = 250_000
"""Positions that one statement walks over at most, so that none takes long, whatever lies
between two rows of a window."""
LONG_SECONDS: Final = 0.05
"""What a transaction can write in less is read in no time, even if it is not to be seen."""


@dataclass(frozen=True, slots=True)
class Point:
    """A point in the order of publishing.

    Attributes:
        lower: S1: everything visible in it is before this point.
        upper: S2 when the point is inside a window.
        position: Rows of that window up to here are before it too.
    """

    lower: str
    upper: str | None
    position: int


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows.

    Attributes:
        rows: At least one, in order of position.
        waiting: Rows known to wait, these included.
        lower: S1.
        upper: S2.
        closes: Whether the window ends with these.
        before: The point before them.
    """

    rows: Rows
    waiting: int
    lower: str
    upper: str
    closes: bool
    before: Point

    def point(self, position: int) -> Point:
        """Return the point behind the row at `position`."""
        if self.closes and position == self.rows[-1][POSITION]:
            return Point(self.upper, None, position)
        return Point(self.lower, self.upper, position)


@dataclass(slots=True)
class _Window:
    """What is left of a window: late rows first, then those from behind `after` to `last`."""

    unseen: Bound
    bound: Bound
    upper: str
    after: int
    last: int
    waiting: int
    late: tuple[int, ...]


class Reader:
    """Reads one shard from a point on.

    Args:
        largest: Bytes above which a row is not read whole.
        on_poll: Called before each poll.
        page_parts: Tells what part of a whole page to read: 1 of so many.
    """

    def __init__(
        self,
        store: OutboxStore,
        start: Point,
        *,
        largest: Callable[[], int],
        on_poll: Callable[[], None],
        page_parts: Callable[[], int],
    ) -> None:
        self._store = store
        self._point = start
        self._rows = RowReader(store, largest, page_parts)
        self._on_poll = on_poll
        self._window: _Window | None = None
        self._ahead: asyncio.Task[Page | None] | None = None
        self._moved_at = -LONG_SECONDS
        """When transactions were last seen to have ended, those of S1 among them."""

    async def next(self) -> Page | None:
        """Return the next page; None when a poll found nothing.

        Raises:
            PostgresError: Rows of the window are gone (reason EventsVanished).
        """
        if self._ahead is None:
            return await self._read()
        ahead, self._ahead = self._ahead, None
        return await ahead

    def read_ahead(self) -> None:
        """Begin to read the next page."""
        if self._ahead is None:
            self._ahead = asyncio.create_task(self._read())

    async def rewind(self, to: Point) -> None:
        """Go on from another point, and forget what was read ahead."""
        await self.close()
        self._point, self._window = to, None
        self._moved_at = -LONG_SECONDS

    async def close(self) -> None:
        """End what goes on in the background."""
        if self._ahead is not None:
            ahead, self._ahead = self._ahead, None
            # A statement is let run to its end: to cancel it takes a connection of its own.
            await asyncio.gather(ahead, return_exceptions=True)

    async def _read(self) -> Page | None:
        window = self._window
        if window is None and self._point.upper is not None:
            window = await self._open(self._point.lower, self._point.upper, self._point.position)
        if window is not None:
            return await self._page(window)
        self._on_poll()
        lower, now = self._point.lower, time.monotonic()
        polled = await self._rows.poll(
            Snapshot.parse(lower).bound(),
            # Whatever is under way and not known to S1 has had that long to write.
            between=now - self._moved_at > LONG_SECONDS,
        )
        if polled.snapshot != lower:
            self._moved_at = now
        if not polled.complete:
            window = await self._open(lower, polled.snapshot, 0)
            if window is not None:
                return await self._page(window)
        if not polled.rows:
            # Nothing between the two, so the newer serves as well.
            self._point = Point(polled.snapshot, None, self._point.position)
            return None
        page = Page(polled.rows, len(polled.rows), lower, polled.snapshot, True, self._point)
        self._point = page.point(polled.rows[-1][POSITION])
        return page

    async def _open(self, lower: str, upper: str, position: int) -> _Window | None:
        """Begin a window, or what is left of it; an empty one is over at once."""
        unseen, bound = Snapshot.parse(lower).bound(), Snapshot.parse(upper).bound()
        # Position 0 is none, and whoever writes positions by hand may write smaller ones.
        after = position or _BEFORE_ALL
        span = await self._store.span(unseen, bound, after)
        if span is None:
            self._point = Point(upper, None, position)
            return None
        self._point = Point(lower, upper, position)
        self._window = _Window(
            unseen, bound, upper, max(after, span.first - 1), span.last, span.rows, span.late
        )
        return self._window

    async def _page(self, window: _Window) -> Page:
        rows = await (self._late(window) if window.late else self._walk(window))
        last = rows[-1][POSITION] if rows else window.last
        closes = last == window.last
        if closes and len(rows) != window.waiting:
            raise PostgresError(
                f"events in {self._store.address}: {window.waiting} rows up to position "
                f"{window.last} were waiting, found {len(rows)}: some vanished before they were "
                "published",
                reason=Reason.EVENTS_VANISHED,
            )
        page = Page(rows, window.waiting, self._point.lower, window.upper, closes, self._point)
        window.waiting -= len(rows)
        self._point = page.point(last)
        if closes:
            self._window = None
        return page

    async def _late(self, window: _Window) -> Rows:
        wanted = window.late

        async def ask(share: Share) -> Rows:
            nonlocal wanted
            wanted = window.late[: share.rows]
            return await self._store.late_page(wanted, share)

        rows = await self._rows.read(ask)
        done = rows[-1][POSITION] if rows else wanted[-1]
        window.late = tuple(position for position in window.late if position > done)
        return rows if rows or not window.late else await self._late(window)

    async def _walk(self, window: _Window) -> Rows:
        rows: Rows = ()
        while not rows and window.after < window.last:
            stop = min(window.last, window.after + STRIDE)
            rows = await self._rows.read(
                partial(
                    self._store.page, window.unseen, window.bound, after=window.after, last=stop
                )
            )
            window.after = rows[-1][POSITION] if rows else await self._skip_gap(window, stop)
        return rows

    async def _skip_gap(self, window: _Window, stop: int) -> int:
        """Go on behind positions without a row, however many a rotation or `setval` left out."""
        if stop == window.last:
            return stop
        found = await self._store.next_position(stop, window.last)
        return window.last if found is None else found - 1
