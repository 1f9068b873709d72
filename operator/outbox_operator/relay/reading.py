"""Rows in the order in which they are to be published, page by page, one page ahead.

Called by `relay.loop`. A poll answers with everything that became visible since snapshot S1 and
with the snapshot it was taken in, S2. If that is more than a page, S1 and S2 make a window, which
is read in order of position. Afterwards S2 takes the place of S1.
"""

from __future__ import annotations

import asyncio
import math
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from outbox_operator.adapters.postgres.outbox import OutboxStore
from outbox_operator.adapters.postgres.rows import POSITION, Bound, Rows, Share, Span
from outbox_operator.counted import counted
from outbox_operator.errors import PostgresError
from outbox_operator.reasons import Reason
from outbox_operator.relay.paging import Snapshot
from outbox_operator.relay.row_reading import RowReader
from outbox_operator.relay.stretches import LISTED, next_stretch

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
    """What is left of a window.

    Attributes:
        span: Its extent when it was opened.
        after: Rows up to here are read, or are among those `listed`.
        stop: To walk up to before it is decided how to go on.
        listed: Positions to read next.
        waiting: Rows that are left.
    """

    unseen: Bound
    bound: Bound
    upper: str
    span: Span
    after: int
    stop: int
    listed: Sequence[int]
    waiting: int


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

    @property
    def left(self) -> float:
        """Rows that are known to wait and were not read; of a window that was not opened, all."""
        if self._window is not None:
            return self._window.waiting
        return 0 if self._point.upper is None else math.inf

    @property
    def is_ahead(self) -> bool:
        """Whether a page is there, or on its way, that nobody has asked for."""
        return self._ahead is not None

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
        span = await self._store.windows.span(unseen, bound, after)
        if span is None:
            self._point = Point(upper, None, position)
            return None
        self._point = Point(lower, upper, position)
        after = max(after, span.first - 1)
        self._window = _Window(
            unseen, bound, upper, span, after, stop=after, listed=span.late, waiting=span.rows
        )
        return self._window

    async def _page(self, window: _Window) -> Page:
        end = window.span.last
        rows = await self._more(window)
        last = rows[-1][POSITION] if rows else end
        closes = last == end
        if closes and len(rows) != window.waiting:
            raise PostgresError(
                f"events in {self._store.address}: {counted(window.waiting, 'row')} "
                f"up to position {end} "
                f"were waiting, found {len(rows)}: some vanished before they were published",
                reason=Reason.EVENTS_VANISHED,
            )
        page = Page(rows, window.waiting, self._point.lower, window.upper, closes, self._point)
        window.waiting -= len(rows)
        self._point = page.point(last)
        if closes:
            self._window = None
        return page

    async def _more(self, window: _Window) -> Rows:
        rows: Rows = ()
        while not rows:
            if window.listed:
                rows = await self._at_listed(window)
            elif window.after < window.stop:
                rows = await self._walk(window)
            elif window.after < window.span.last:
                await self._enter_stretch(window)
            else:
                break
        return rows

    async def _enter_stretch(self, window: _Window) -> None:
        stretch = next_stretch(window.span, window.after)
        window.stop, window.listed = stretch.last, stretch.listed
        if stretch.wrote is not None:
            window.listed = await self._store.windows.positions(
                window.unseen, window.bound, stretch.wrote,
                after=window.after, last=stretch.last, most=LISTED,
            )  # fmt: skip
            if len(window.listed) == LISTED:
                window.stop = window.listed[-1]
        if stretch.wrote is not None or window.listed:
            window.after = window.stop

    async def _at_listed(self, window: _Window) -> Rows:
        wanted = window.listed

        async def ask(share: Share) -> Rows:
            nonlocal wanted
            wanted = window.listed[: share.rows]
            return await self._store.page_at(wanted, share)

        rows = await self._rows.read(ask)
        done = rows[-1][POSITION] if rows else wanted[-1]
        window.listed = window.listed[bisect_right(window.listed, done) :]
        return rows

    async def _walk(self, window: _Window) -> Rows:
        stop = min(window.stop, window.after + STRIDE)
        rows = await self._rows.read(
            partial(self._store.page, window.unseen, window.bound, after=window.after, last=stop)
        )
        window.after = rows[-1][POSITION] if rows else await self._skip_gap(window, stop)
        return rows

    async def _skip_gap(self, window: _Window, stop: int) -> int:
        """Go on behind positions without a row, however many a rotation or `setval` left out."""
        last = window.span.last
        if stop == last:
            return stop
        found = await self._store.next_position(stop, last)
        return last if found is None else found - 1
