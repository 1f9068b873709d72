"""How many rows one statement takes."""

from __future__ import annotations

from outbox_operator.client.rows import Row
from outbox_operator.client.statements import chunks, keys_of


def row(number: int, payload: str = "{}", key: str = "") -> Row:
    return Row(str(number), "order.created", key, None, payload, "{}")


def test_statements_are_cut_by_rows_and_keep_the_order() -> None:
    rows = [row(number) for number in range(2001)]
    found = list(chunks(rows))
    assert [len(arrays[0]) for arrays in found] == [1000, 1000, 1]
    assert [event_id for arrays in found for event_id in arrays[0]] == [
        one.event_id for one in rows
    ]
    assert {len(arrays) for arrays in found} == {6}


def test_statements_are_cut_by_bytes_but_hold_a_row_at_least() -> None:
    large = "x" * 3_000_000
    rows = [row(0), row(1, large), row(2, large), row(3, large * 2), row(4)]
    assert [arrays[0] for arrays in chunks(rows)] == [["0", "1"], ["2"], ["3"], ["4"]]


def test_everybody_takes_keys_in_one_order() -> None:
    rows = [row(0, key="b"), row(1, key="a"), row(2), row(3, key="b")]
    assert keys_of(rows) == ["a", "b"]
