"""Pages in flight to the stream, and what acknowledgements settle of them. Pure.

Used by `relay.loop`, for one run at a time. Rows of a page are messages, dead letters to be, or
in the stream already; a page is settled when its last message is stored.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter

from outbox_operator.adapters.postgres.rows import CREATED_AT, POSITION, NewDeadLetter, Row
from outbox_operator.relay.poison import PagePlan
from outbox_operator.relay.reading import Page, Point


@dataclass(frozen=True, slots=True)
class Settled:
    """Rows that are dealt with.

    Attributes:
        point: The point behind them.
        rows: Their positions.
        messages: How many of them were published.
        size: Bytes of these.
        born: When their events were created, or committed, in microseconds since 1970.
    """

    point: Point
    rows: Sequence[int]
    messages: int
    size: int
    born: Sequence[int]


@dataclass(slots=True)
class PageInFlight:
    """What is kept of a page until it is settled; not its rows, for the memory they take.

    Attributes:
        end: Number of messages of the run up to the page's last.
        rows: Positions of all rows; with policy Halt, of those before the poison.
        messages: Positions of those that are published.
        size: Bytes of the messages.
        born: When their events were created, or committed, in microseconds since 1970.
        inside: A point inside the page, whatever its position.
        after: The point behind these rows.
        dead_letters: To be written with the cursor that moves past them.
    """

    end: int
    rows: Sequence[int]
    messages: Sequence[int]
    size: int
    born: Sequence[int]
    inside: Point
    after: Point
    dead_letters: Sequence[NewDeadLetter]


class PagesInFlight:
    """The pages of a run that are not settled.

    Args:
        since: Index of the column of rows from which the age of events counts.

    Attributes:
        sent: Messages in all pages so far.
    """

    def __init__(self, since: int = CREATED_AT) -> None:
        self.sent = 0
        self._birth: Callable[[Row], int] = itemgetter(since)
        self._pages: deque[PageInFlight] = deque()

    def add(self, page: Page, plan: PagePlan) -> None:
        """Remember a page whose messages are being sent."""
        published, rows = page.rows, plan.positions
        if len(rows) < len(published):
            some = frozenset(plan.positions)
            rows = [row[POSITION] for row in page.rows]
            published = [row for row in published if row[POSITION] in some]
        after = page.point(rows[-1])
        inside = replace(after, lower=page.lower, upper=page.upper)
        if plan.halted is not None:
            rows = [position for position in rows if position < plan.halted[0].position]
            after = replace(inside, position=rows[-1]) if rows else page.before
        size = sum([len(message[1]) + len(message[2]) for message in plan.messages])
        born = list(map(self._birth, published))
        self.sent += len(plan.messages)
        self._pages.append(
            PageInFlight(
                self.sent, rows, plan.positions, size, born, inside, after, plan.dead_letters
            )
        )

    def settle(self, count: int) -> Iterator[Settled]:
        """Take out what is dealt with once the first `count` messages of the run are stored."""
        pages = self._pages
        while pages and pages[0].end <= count:
            page = pages.popleft()
            yield Settled(page.after, page.rows, len(page.messages), page.size, page.born)
        if not pages:
            return
        page = pages[0]
        stored = count - (page.end - len(page.messages))
        if stored > 0:
            failed = page.messages[stored]
            done = [position for position in page.rows if position < failed]
            size = page.size * stored // len(page.messages)
            page.rows, page.messages = page.rows[len(done) :], page.messages[stored:]
            born, page.born = page.born[:stored], page.born[stored:]
            page.size -= size
            yield Settled(replace(page.inside, position=done[-1]), done, stored, size, born)

    def first_unsettled(self) -> int | None:
        """Return the position of the first message that is not settled; None when all are."""
        return self._pages[0].messages[0] if self._pages else None

    def dead_letters(self) -> list[NewDeadLetter]:
        """Return the dead letters to be, of all pages that are not settled."""
        return [letter for page in self._pages for letter in page.dead_letters]
