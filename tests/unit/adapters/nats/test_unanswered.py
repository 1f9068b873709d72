"""What is under way elsewhere, by what the server said and what is in hand."""

from __future__ import annotations

import pytest

from outbox_operator.adapters.source import Unanswered


@pytest.mark.parametrize(
    ("count", "after", "in_hand", "elsewhere"),
    [
        (0, 0, [], 0),
        (3, 0, [], 3),
        (3, 0, [1, 2, 3], 0),
        (3, 0, [4], 2),
        (2, 7, [6, 7, 8], 1),  # two were answered by another reader
        (2, 7, [5, 6, 7], 2),
    ],
)
def test_only_what_surely_counted_is_subtracted(
    count: int, after: int, in_hand: list[int], elsewhere: int
) -> None:
    assert Unanswered(count=count, after=after).elsewhere(in_hand) == elsewhere
