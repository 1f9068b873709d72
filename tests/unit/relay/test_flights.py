"""What is dealt with when so many messages of a run are stored."""

from __future__ import annotations

from collections.abc import Sequence

from outbox_operator.adapters.nats.publisher import Message
from outbox_operator.adapters.postgres.rows import NewDeadLetter, Row
from outbox_operator.relay.flights import Flights, Landed
from outbox_operator.relay.poison import Plan, Poison
from outbox_operator.relay.reading import Mark, Page

BEFORE = Mark("1:1:", "9:9:", 0)


def row(position: int) -> Row:
    return Row(position, f"id-{position}", "created", "k", None, b"12345", None, 0)


def page(*positions: int, closes: bool = False) -> Page:
    rows = [row(position) for position in positions]
    return Page(rows, len(rows), "1:1:", "9:9:", closes, BEFORE)


def plan(published: Sequence[int], **changes: object) -> Plan:
    made = Plan([Message("s", "head.", b"12345") for _ in published], list(published))
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def inside(position: int) -> Mark:
    return Mark("1:1:", "9:9:", position)


def test_a_page_lands_with_its_last_message() -> None:
    flights = Flights()
    flights.add(page(1, 2), plan([1, 2]))
    flights.add(page(5, 7, closes=True), plan([5, 7]))
    assert flights.sent == 4
    assert list(flights.landed(2)) == [Landed(inside(2), 2, 2, 20)]
    assert flights.first_left() == 5
    assert list(flights.landed(4)) == [Landed(Mark("9:9:", None, 7), 2, 2, 20)]
    assert list(flights.landed(4)) == []
    assert flights.first_left() is None


def test_a_page_lands_bit_by_bit_and_nothing_is_told_twice() -> None:
    flights = Flights()
    flights.add(page(1, 2, 3, 4), plan([1, 2, 3, 4]))
    assert list(flights.landed(1)) == [Landed(inside(1), 1, 1, 10)]
    assert list(flights.landed(1)) == []
    assert list(flights.landed(3)) == [Landed(inside(3), 2, 2, 20)]
    assert flights.first_left() == 4


def test_rows_without_a_message_land_with_the_one_before_them() -> None:
    """Row 2 is in the stream already, and row 4 becomes a dead letter."""
    letter = NewDeadLetter(4, "k", "MessageTooLarge", "too large", blocked=False)
    flights = Flights()
    flights.add(page(1, 2, 3, 4, 5), plan([1, 3, 5], dead_letters=[letter]))
    assert flights.dead_letters() == [letter]
    assert list(flights.landed(1)) == [Landed(inside(2), 2, 1, 10)]
    assert list(flights.landed(2)) == [Landed(inside(4), 2, 1, 10)]
    assert list(flights.landed(3)) == [Landed(inside(5), 1, 1, 10)]
    assert flights.dead_letters() == []


def test_a_page_without_messages_lands_at_once() -> None:
    flights = Flights()
    flights.add(page(1, 2, closes=True), plan([]))
    assert list(flights.landed(0)) == [Landed(Mark("9:9:", None, 2), 2, 0, 0)]


def test_nothing_behind_a_poison_event_that_halts_is_dealt_with() -> None:
    stop = (row(2), Poison("InvalidSubject", "no"))
    flights = Flights()
    flights.add(page(1, 2, 3, closes=True), plan([1], halted=stop))
    assert list(flights.landed(1)) == [Landed(inside(1), 1, 1, 10)]
    first = Flights()
    first.add(page(2, 3, closes=True), plan([], halted=stop))
    assert list(first.landed(0)) == [Landed(BEFORE, 0, 0, 0)]
