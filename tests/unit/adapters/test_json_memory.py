"""What JSON takes is told before it is decoded."""

from __future__ import annotations

import json
import tracemalloc

import pytest

from outbox_operator.adapters.json_memory import decoded_within, memory_of


@pytest.mark.parametrize(
    "text",
    [
        f"[{'[],' * 100_000}[]]",
        f"[{'{},' * 100_000}0]",
        f"[{'1000,' * 100_000}1]",
        json.dumps([{f"k{number}": [number]} for number in range(20_000)], separators=(",", ":")),
        f'["{"x" * 1_000_000}"]',
    ],
    ids=["lists", "objects", "numbers", "names", "text"],
)
def test_no_text_takes_more_than_is_told(text: str) -> None:
    told = memory_of(text.encode())
    raw = text.encode()
    tracemalloc.start()
    try:
        value = decoded_within(raw, told)
        assert tracemalloc.get_traced_memory()[0] < 4 * told
    finally:
        tracemalloc.stop()
    assert value
    with pytest.raises(ValueError, match="takes more than"):
        decoded_within(text, told - 1)
