"""Ids of entries: two numbers of 64 bits, compared one after the other. Pure."""

from __future__ import annotations

from typing import Final

_LARGEST_PART: Final = 2**64 - 1
FIRST: Final = "0-0"


def is_before(one: str, other: str) -> bool:
    """Whether an id is smaller than another."""
    return _parts(one) < _parts(other)


def id_before(text: str) -> str:
    """The largest id that is smaller than one."""
    number, part = _parts(text)
    if part > 0:
        return f"{number}-{part - 1}"
    return f"{number - 1}-{_LARGEST_PART}" if number > 0 else FIRST


def _parts(text: str) -> tuple[int, int]:
    number, _, part = text.partition("-")
    return int(number), int(part or 0)
