"""Rows that are in the stream and will be read once more."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from outbox_operator.relay.open_tail import OpenTail


def opened(*sequences: int, known_by_rows: int = 0) -> OpenTail:
    """A tail of rows 101, 102, …, and where their messages are; of the last ones none is left."""
    tail = OpenTail()
    rows = range(101, 101 + len(sequences) + known_by_rows)
    before = dict(zip(rows, (0, *sequences), strict=False))
    tail.add({row: f"id-{row}" for row in rows}, dict([*before.items()][: len(sequences)]))
    return tail


def test_the_cursor_accounts_for_all_before_the_first_that_is_left() -> None:
    tail = opened(11, 14, 15)
    assert tail.accounted(10) == 10
    assert not tail.met([99, 101])
    assert tail.accounted(10) == 11, "the messages between are others'"
    assert not tail.met([103])
    assert tail.accounted(10) == 11
    assert tail.met([102])
    assert tail.accounted(None) is None


def test_nothing_known_is_nothing_before_the_first() -> None:
    assert opened(11).accounted(None) is None


def test_rows_without_a_message_are_known_by_what_the_cursor_said() -> None:
    tail = opened(11, 12, known_by_rows=1)
    tail.met([101])
    assert tail.accounted(10) == 10
    tail.met([103])
    assert tail.accounted(10) == 11


def test_what_no_message_shows_is_guessed_until_it_is_met() -> None:
    tail = opened(11, known_by_rows=2)
    assert tail.guessed == {102, 103}
    tail.met([102])
    assert tail.guessed == {103}
    tail.clear()
    assert tail.guessed == set()


def test_rows_that_are_not_waiting_are_left_out() -> None:
    tail = opened(11, 12, 13)
    assert tail.keep({103, 200}) == 2
    assert tail.accounted(10) == 12
    assert list(tail.published) == [103]


def test_sequences_of_another_stream_say_nothing() -> None:
    tail = opened(11, 12)
    tail.dealt_to = 12
    tail.found_end(12)
    assert (tail.accounted(10), tail.dealt_to) == (10, 12)
    tail.met([101])
    tail.found_end(3)
    assert (tail.accounted(10), tail.dealt_to) == (10, 0)
    assert list(tail.published) == [102], "it was published all the same"


@given(st.permutations(range(8)), st.integers(0, 8))
def test_no_row_that_is_left_is_accounted_for(order: list[int], met: int) -> None:
    tail = opened(*range(11, 19))
    closed = tail.met(101 + row for row in order[:met])
    assert closed == (met == 8)
    accounted = tail.accounted(10) or 0
    left = {11 + row for row in order[met:]}
    assert closed or accounted == min(left) - 1
