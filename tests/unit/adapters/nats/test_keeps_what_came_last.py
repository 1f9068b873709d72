"""On which streams messages need no id: what was taken is found at their end."""

from __future__ import annotations

from typing import Any, Final

import pytest

from outbox_operator.adapters.nats.messages import keeps_what_came_last

SECOND: Final = 1_000_000_000
PLAIN: Final[dict[str, Any]] = {
    "max_age": 0, "max_msgs": -1, "max_bytes": -1, "max_msgs_per_subject": -1,
    "discard": "old", "duplicate_window": 120 * SECOND,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "keeps"),
    [
        ({}, True),
        ({"max_age": 3600 * SECOND}, True),
        ({"max_age": 3599 * SECOND}, False),
        ({"max_age": 60 * SECOND, "duplicate_window": 60 * SECOND}, False),
        # Others fill these in seconds, while a shard has no owner.
        ({"max_msgs": 1_000_000}, False),
        ({"max_bytes": 2**30}, False),
        ({"max_msgs": 20_000_000, "max_bytes": 2**35}, True),
        ({"max_msgs": 19_999_999}, False),
        ({"max_bytes": 2**35 - 1}, False),
        ({"max_msgs_per_subject": 1_000_000}, False),
        ({"discard": "new"}, False),
        ({"sources": [{"name": "OTHER"}]}, False),
        ({"sources": None}, True),
        # Whoever wants another window than the usual one wants ids.
        ({"duplicate_window": 121 * SECOND}, False),
        ({"duplicate_window": SECOND // 10}, False),
    ],
)
def test_limits_that_take_what_came_last(changes: dict[str, Any], keeps: bool) -> None:
    assert keeps_what_came_last(PLAIN | changes) is keeps


def test_a_stream_that_says_no_more_than_it_has_to() -> None:
    assert keeps_what_came_last({"duplicate_window": 120 * SECOND})
