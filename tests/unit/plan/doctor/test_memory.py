"""What a stream's limits can have taken, and what they cannot."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from outbox_operator.plan.doctor.memory import memory_of
from outbox_operator.plan.jetstream.streams import ObservedStream
from support.passes import NOW

MADE = NOW - timedelta(days=9)
HOUR, DAY = 3600 * 10**9, 24 * 3600 * 10**9


def stream(first: int, messages: int, size: int, config: dict[str, Any]) -> ObservedStream:
    return ObservedStream(
        name="ORDERS", config=config, created=MADE.isoformat(), first_sequence=first,
        messages=messages, bytes=size,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("found", "oldest", "row", "expired", "forgot"),
    [
        # Nothing has gone yet.
        (stream(1, 10, 99, {}), 8, 8, False, False),
        (stream(1, 10, 99, {}), 8, 24 * 10, False, True),  # of a stream before this one
        (stream(0, 0, 0, {}), None, 8, False, False),
        # Purged, or deleted one by one: no limit does that.
        (stream(11, 0, 0, {}), None, 8, False, True),
        (stream(11, 2, 9, {"max_age": 0, "max_msgs": -1, "max_bytes": -1}), 1, 8, False, True),
        (stream(11, 2, 9, {"max_age": DAY}), 1, 8, False, True),
        (stream(11, 0, 0, {"max_msgs": 100, "max_bytes": 10**6}), None, 8, False, True),
        (stream(11, 40, 9, {"max_msgs": 100}), 1, 8, False, True),
        (stream(11, 100, 9, {"max_msgs": 100, "discard": "new"}), 1, 8, False, True),
        # Age, number or size may have taken it.
        (stream(11, 2, 9, {"max_age": HOUR}), 1, 8, True, True),
        (stream(11, 0, 0, {"max_age": HOUR}), None, 8, True, True),
        (stream(11, 100, 9, {"max_msgs": 100, "max_age": DAY}), 1, 8, True, True),
        (stream(11, 2, 900, {"max_bytes": 1000}), 1, 8, True, True),
        # Clocks differ.
        (stream(11, 2, 9, {"max_age": HOUR}), 0.5, 0.8, True, True),
        (stream(11, 2, 9, {"max_age": HOUR}), 0.5, 0.7, False, True),
        # A hole behind what went by age.
        (stream(11, 2, 9, {"max_age": HOUR}), 0.9, 0.8, False, False),
        (stream(11, 2, 9, {"max_age": 2**63 - 1}), 1, 8, False, True),
    ],
)
def test_what_limits_can_have_taken(
    found: ObservedStream, oldest: float | None, row: float, expired: bool, forgot: bool
) -> None:
    """`oldest` and `row` in hours ago."""
    stored = None if oldest is None else NOW - timedelta(hours=oldest)
    memory = memory_of(found, stored, NOW)
    written = NOW - timedelta(hours=row)
    assert (memory.expired(written), memory.forgot(written)) == (expired, forgot)
