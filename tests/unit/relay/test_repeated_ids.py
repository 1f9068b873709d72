"""Rows with the id of an earlier row are found, and a row that is read again is not one."""

from __future__ import annotations

from outbox_operator.adapters.postgres.rows import Row
from outbox_operator.relay.repeated_ids import LARGE_PAGE, REMEMBERED, RepeatedIds


def rows(ids: list[str], first: int = 1) -> list[Row]:
    return [
        Row(position, event_id, "created", "k", None, b"", None, 0)
        for position, event_id in enumerate(ids, first)
    ]


def test_the_later_rows_are_found() -> None:
    ids = RepeatedIds()
    assert ids.find(rows(["a", "b", "a", "a"])) == {3, 4}
    assert ids.find(rows(["c", "b"], 5)) == {6}


def test_a_row_that_is_read_again_is_none() -> None:
    ids = RepeatedIds()
    page = rows(["a", "b", "a"])
    assert ids.find(page) == ids.find(page) == {3}


def test_a_large_page_is_looked_at_by_itself() -> None:
    ids = RepeatedIds()
    many = [str(number) for number in range(LARGE_PAGE)]
    assert ids.find(rows(many)) == frozenset()
    assert ids.find(rows([*many, "7"], 1000)) == {1000 + LARGE_PAGE}


def test_a_page_that_is_read_again_from_between_them() -> None:
    """A refusal ended the run behind the first of them."""
    ids = RepeatedIds()
    many = [str(number) for number in range(LARGE_PAGE)]
    page = rows(["a", *many, "a", *many[1:], "a"])
    again = {position for position in ids.find(page) if position > 1}
    assert ids.find(page[1:]) == again
    assert ids.find(page[-5:]) == {position for position in again if position > len(page) - 5}
    assert ids.find(rows(["b", *many[1:]], 10**6)) == set(range(10**6 + 1, 10**6 + LARGE_PAGE))


def test_what_was_forgotten_may_come_again() -> None:
    ids = RepeatedIds()
    page = rows(["a", "b", "b", "c"])
    assert ids.find(page) == {3}
    ids.forget(page, {1, 2, 3})
    assert ids.find(rows(["a", "b", "c"], 5)) == {7}


def test_what_is_remembered_is_bounded() -> None:
    ids = RepeatedIds()
    for number in range(5 * REMEMBERED // 10):
        ids.find(rows([f"{number}-{n}" for n in range(10)], number * 10 + 1))
    assert ids.find(rows(["0-0"], 10**6)) == frozenset()
    assert ids.find(rows([f"{5 * REMEMBERED // 10 - 1}-0"], 10**6 + 1)) == {10**6 + 1}


def test_copies_of_a_replay_are_compared_among_themselves() -> None:
    ids = RepeatedIds()
    first = rows(["a", "b"])
    again = [row._replace(headers='replay r1 [{"name": "r1"}, {}]') for row in rows(["a", "b"], 3)]
    other = [row._replace(headers='replay r2 [{"name": "r2"}, {}]') for row in rows(["a", "a"], 5)]
    assert ids.find([*first, *again, *other]) == {6}
    assert ids.find(again) == frozenset()
