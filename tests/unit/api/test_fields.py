"""Durations and sizes: text to numbers."""

from __future__ import annotations

import pytest

from outbox_operator.api import fields
from outbox_operator.errors import SpecError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("30s", 30),
        ("500ms", 0.5),
        ("1.5h", 5400),
        ("1h30m", 5400),
        ("7d", 604800),
        ("2m0s", 120),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert fields.seconds(text) == seconds
    assert fields.nanoseconds(text) == round(seconds * 1e9)


@pytest.mark.parametrize("text", ["", "30", "s", "-1s", "1 s", "1S", "1w", "1s,", "ten", "1s\n"])
def test_bad_durations_are_refused(text: str) -> None:
    with pytest.raises(SpecError) as caught:
        fields.seconds(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("-1", -1),
        ("0", 0),
        ("512", 512),
        ("1k", 1000),
        ("1Ki", 1024),
        ("1.5Mi", 1572864),
        ("10G", 10_000_000_000),
        ("1Ti", 2**40),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert fields.size_bytes(text) == size


@pytest.mark.parametrize("text", ["", "-2", "1 Gi", "1GB", "Gi", "1gi", "0x10", "1Mi\n"])
def test_bad_sizes_are_refused(text: str) -> None:
    with pytest.raises(SpecError) as caught:
        fields.size_bytes(text)
    assert repr(text) in str(caught.value)
