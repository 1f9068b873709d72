"""Lengths of time and sizes in words."""

from __future__ import annotations

import pytest

from outbox_operator.plan.amounts import size, span


@pytest.mark.parametrize(
    ("seconds", "wanted"),
    [(-5, "0 s"), (0.04, "0.0 s"), (0.4, "0.4 s"), (7, "7 s"), (9.99, "10.0 s"), (45.9, "45 s"),
     (119, "119 s"), (120, "2 min"), (7199, "119 min"), (10_800, "3 h"), (172_799, "47 h"),
     (172_800, "2 d"), (9e8, "10416 d")],
)  # fmt: skip
def test_lengths_of_time(seconds: float, wanted: str) -> None:
    assert span(seconds) == wanted


@pytest.mark.parametrize(
    ("number", "wanted"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (1024**2, "1.0 MiB"),
     (3 * 1024**4, "3.0 TiB"),
     (5e3 * 1024**4, "5000.0 TiB")],
)  # fmt: skip
def test_sizes(number: float, wanted: str) -> None:
    assert size(number) == wanted
