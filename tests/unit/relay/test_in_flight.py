"""What is dealt with when so many messages of a run are stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from outbox_operator.adapters.postgres.rows import NewDeadLetter, Row
from outbox_operator.adapters.sink import Message
from outbox_operator.reasons import Reason
from outbox_operator.relay.in_flight import PagesInFlight, Settled
from outbox_operator.relay.poison import PagePlan, Poison
from outbox_operator.relay.reading import Page, Point

BEFORE = Point("1:1:", "9:9:", 0)


def row(position: int) -> Row:
    return Row(position, f"id-{position}", "created", "k", None, b"12345", None, 100 + position)


def page(*positions: int, closes: bool = False) -> Page:
    rows = [row(position) for position in positions]
    return Page(rows, len(rows), "1:1:", "9:9:", closes, BEFORE)


def plan(published: Sequence[int], **more: Any) -> PagePlan:
    messages = [Message("s", "head.", b"12345") for _ in published]
    return PagePlan(messages, published, **more)


def inside(position: int) -> Point:
    return Point("1:1:", "9:9:", position)


def test_a_page_is_settled_with_its_last_message() -> None:
    in_flight = PagesInFlight()
    in_flight.add(page(1, 2), plan([1, 2]))
    in_flight.add(page(5, 7, closes=True), plan([5, 7]))
    assert in_flight.sent == 4
    assert list(in_flight.settle(2)) == [Settled(inside(2), [1, 2], 2, 20, [101, 102])]
    assert in_flight.first_unsettled() == 5
    assert list(in_flight.settle(4)) == [Settled(Point("9:9:", None, 7), [5, 7], 2, 20, [105, 107])]
    assert list(in_flight.settle(4)) == []
    assert in_flight.first_unsettled() is None


def test_a_page_is_settled_bit_by_bit_and_nothing_twice() -> None:
    in_flight = PagesInFlight()
    in_flight.add(page(1, 2, 3, 4), plan([1, 2, 3, 4]))
    assert list(in_flight.settle(1)) == [Settled(inside(1), [1], 1, 10, [101])]
    assert list(in_flight.settle(1)) == []
    assert list(in_flight.settle(3)) == [Settled(inside(3), [2, 3], 2, 20, [102, 103])]
    assert in_flight.first_unsettled() == 4


def test_rows_without_a_message_are_settled_with_the_one_before_them() -> None:
    """Row 2 is in the stream already, and row 4 becomes a dead letter."""
    letter = NewDeadLetter(4, "k", Reason.MESSAGE_TOO_LARGE, "too large", blocked=False)
    in_flight = PagesInFlight()
    in_flight.add(page(1, 2, 3, 4, 5), plan([1, 3, 5], dead_letters=[letter]))
    assert in_flight.dead_letters() == [letter]
    assert list(in_flight.settle(1)) == [Settled(inside(2), [1, 2], 1, 10, [101])]
    assert list(in_flight.settle(2)) == [Settled(inside(4), [3, 4], 1, 10, [103])]
    assert list(in_flight.settle(3)) == [Settled(inside(5), [5], 1, 10, [105])]
    assert in_flight.dead_letters() == []


def test_a_page_without_messages_lands_at_once() -> None:
    in_flight = PagesInFlight()
    in_flight.add(page(1, 2, closes=True), plan([]))
    assert list(in_flight.settle(0)) == [Settled(Point("9:9:", None, 2), [1, 2], 0, 0, [])]


def test_nothing_behind_a_poison_event_that_halts_is_dealt_with() -> None:
    stop = (row(2), Poison(Reason.INVALID_SUBJECT, "no"))
    in_flight = PagesInFlight()
    in_flight.add(page(1, 2, 3, closes=True), plan([1], halted=stop))
    assert list(in_flight.settle(1)) == [Settled(inside(1), [1], 1, 10, [101])]
    first = PagesInFlight()
    first.add(page(2, 3, closes=True), plan([], halted=stop))
    assert list(first.settle(0)) == [Settled(BEFORE, [], 0, 0, [])]
