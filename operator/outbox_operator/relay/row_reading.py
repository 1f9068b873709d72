"""The rows of a page, whatever is in them.

Used by `relay.reading`. A page is read as fast as can be, while rows are small without a sum of
their sizes; if that fails, takes too long, or one of its rows turns out to be larger than it
looked, rows are measured before they are rendered, for as long as such rows may follow. A page that
cannot even be measured is halved until the row at fault is known; of that row is read what can be,
and it becomes poison by policy (`relay.poison`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

from outbox_operator.adapters.postgres.errors import UnreadableRowsError
from outbox_operator.adapters.postgres.outbox import OutboxStore
from outbox_operator.adapters.postgres.rows import (
    HEADERS,
    PAYLOAD,
    Bound,
    Polled,
    Row,
    Rows,
    Share,
    Way,
)
from outbox_operator.relay.paging import PAGE_BYTES, PageSizer

log = logging.getLogger(__name__)

_WARY_SECONDS: Final = 600.0
"""Rows are measured for so long after the last one that had to be."""
_OF_POLLS: Final[tuple[Way, ...]] = ("plain", "measured")
_OF_PAGES: Final[tuple[Way, ...]] = ("even", "plain", "measured")
_UNEVEN_SECONDS: Final = 10.0
"""After one that was larger than its share of a page, pages are cut by sums for so long."""
_UNREAD_BYTES: Final = PAGE_BYTES // 8
"""What a row that was not read whole counts for: few at once are measured then."""


class RowReader:
    """Reads rows of one shard, at most a page of memory of them.

    Args:
        largest: Tells the bytes above which a row is not read whole.
        page_parts: Tells what part of a whole page to read: 1 of so many.
    """

    def __init__(
        self, store: OutboxStore, largest: Callable[[], int], page_parts: Callable[[], int]
    ) -> None:
        self._store = store
        self._largest = largest
        self._sizer = PageSizer(page_parts)
        self._wary_until = self._uneven_until = 0.0

    async def poll(self, unseen: Bound, *, between: bool) -> Polled:
        """What became visible since S1, or its being too much, with S2.

        Args:
            between: As `OutboxStore.poll` takes it.
        """
        for way in self._ways(_OF_POLLS):
            try:
                polled = await self._store.poll(unseen, self._share(way), between=between)
            except UnreadableRowsError as error:
                self._grow_wary(error.message)
                continue
            if self._learn(polled.rows, way):
                return polled
        # Page by page it will be found out which row is at fault.
        return Polled(await self._store.snapshot(), (), complete=False)

    async def read(self, ask: Callable[[Share], Awaitable[Rows]]) -> Rows:
        """The next rows of a window, as `ask` finds them; none when there are none.

        Raises:
            PostgresError: They cannot be read, and that is not their fault.
        """
        for way in self._ways(_OF_PAGES):
            if way == "plain" and self._is_wary():
                continue  # since a moment ago
            share = self._share(way)
            try:
                rows = await ask(share)
            except UnreadableRowsError as error:
                self._grow_wary(error.message)
                continue
            if self._learn(rows, way):
                return rows
        return await self._halve(ask, share)

    def _ways(self, all_: tuple[Way, ...]) -> tuple[Way, ...]:
        if self._is_wary():
            return ("measured",)
        even = self._sizer.even and time.monotonic() >= self._uneven_until
        return all_ if even else _OF_POLLS

    def _is_wary(self) -> bool:
        return time.monotonic() < self._wary_until

    def _share(self, way: Way) -> Share:
        return Share(self._sizer.rows, self._sizer.size, self._largest(), way)

    async def _halve(self, ask: Callable[[Share], Awaitable[Rows]], share: Share) -> Rows:
        rows = share.rows
        while True:
            rows //= 2
            try:
                return await ask(Share(max(rows, 1), share.size, share.largest, "measured"))
            except UnreadableRowsError as error:
                if rows <= 1:
                    return await self._one_that_cannot_be_read(ask, share, error)

    async def _one_that_cannot_be_read(
        self,
        ask: Callable[[Share], Awaitable[Rows]],
        share: Share,
        error: UnreadableRowsError,
    ) -> Rows:
        if not error.blames_rows:
            raise error
        ways: tuple[Way, ...] = ("named", "placed")
        for way in ways:
            try:
                rows = await ask(Share(1, share.size, share.largest, way))
            except UnreadableRowsError:
                if way == ways[-1]:
                    raise
                continue
            return [Row.named(row)._replace(headers=error.message) for row in rows]
        raise error

    def _learn(self, rows: Rows, way: Way) -> bool:
        """Learn from what was read; False: it has to be read in another way."""
        try:
            size = sum(map(len, [row[PAYLOAD] for row in rows]))  # type: ignore[arg-type]
        except TypeError:
            if way == "even":
                self._uneven_until = time.monotonic() + _UNEVEN_SECONDS
                return False
            if way == "plain":
                self._grow_wary("a row is far larger than what is stored of it, or than a message")
                return False
            self._wary_until = time.monotonic() + _WARY_SECONDS
            size = sum([_size(row) for row in rows])
        self._sizer.learn(len(rows), size)
        return True

    def _grow_wary(self, why: str) -> None:
        """Measure rows from now on, and few of them at first."""
        if not self._is_wary():
            log.warning("rows are measured before they are read: %s", why)
        self._wary_until = time.monotonic() + _WARY_SECONDS
        self._sizer.learn(1, PAGE_BYTES)


def _size(row: Row) -> int:
    payload, headers = row[PAYLOAD], row[HEADERS]
    return _UNREAD_BYTES if payload is None else len(payload) + len(headers or "")
