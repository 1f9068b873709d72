"""Pages on their way to the stream, and what acknowledgements say of them. Pure.

Used by `relay.loop`, for one run at a time. Rows of a page are messages, dead letters to be, or
in the stream already; a page is dealt with when its last message is stored.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from outbox_operator.adapters.postgres.rows import NewDeadLetter
from outbox_operator.relay.poison import Plan
from outbox_operator.relay.reading import Mark, Page


@dataclass(frozen=True, slots=True)
class Landed:
    """Rows that are dealt with.

    Attributes:
        mark: The point behind them.
        rows: How many.
        messages: How many of them were published.
        size: Bytes of these.
    """

    mark: Mark
    rows: int
    messages: int
    size: int


@dataclass(slots=True)
class _Flight:
    """A page on its way; not its rows themselves, for the memory they take.

    Attributes:
        end: Number of messages of the run up to the page's last.
        rows: Positions of all rows; with policy Halt, of those before the poison.
        messages: Positions of those that are published.
        size: Bytes of the messages.
        inside: A point inside the page, whatever its position.
        after: The point behind these rows.
    """

    end: int
    rows: Sequence[int]
    messages: Sequence[int]
    size: int
    inside: Mark
    after: Mark
    dead_letters: list[NewDeadLetter]


class Flights:
    """The pages of a run.

    Attributes:
        sent: Messages in all pages so far.
    """

    def __init__(self) -> None:
        self.sent = 0
        self._under_way: deque[_Flight] = deque()

    def add(self, page: Page, plan: Plan) -> None:
        """A page departs."""
        rows = [row[0] for row in page.rows]
        after = page.mark(rows[-1])
        inside = replace(after, lower=page.lower, upper=page.upper)
        if plan.halted is not None:
            rows = [position for position in rows if position < plan.halted[0].position]
            after = replace(inside, position=rows[-1]) if rows else page.before
        size = sum([len(message[1]) + len(message[2]) for message in plan.messages])
        self.sent += len(plan.messages)
        self._under_way.append(
            _Flight(self.sent, rows, plan.positions, size, inside, after, plan.dead_letters)
        )

    def landed(self, count: int) -> Iterator[Landed]:
        """What is dealt with once the first `count` messages of the run are stored; tells nothing
        twice."""
        under_way = self._under_way
        while under_way and under_way[0].end <= count:
            flight = under_way.popleft()
            yield Landed(flight.after, len(flight.rows), len(flight.messages), flight.size)
        if not under_way:
            return
        flight = under_way[0]
        stored = count - (flight.end - len(flight.messages))
        if stored > 0:
            failed = flight.messages[stored]
            done = [position for position in flight.rows if position < failed]
            size = flight.size * stored // len(flight.messages)
            flight.rows, flight.messages = flight.rows[len(done) :], flight.messages[stored:]
            flight.size -= size
            yield Landed(replace(flight.inside, position=done[-1]), len(done), stored, size)

    def first_left(self) -> int | None:
        """Position of the first message that has not landed; None when all have."""
        return self._under_way[0].messages[0] if self._under_way else None

    def dead_letters(self) -> list[NewDeadLetter]:
        """Dead letters to be, of all pages that have not landed."""
        return [letter for flight in self._under_way for letter in flight.dead_letters]
