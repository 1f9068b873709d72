"""Lengths of time and numbers of bytes for people, in one form wherever they are told. Pure."""

from __future__ import annotations

from typing import Final

_FEW_SECONDS: Final = 10
_UNITS: Final = ((1, "s", 120), (60, "min", 7200), (3600, "h", 172_800))
_DAY: Final = 86_400


def span(seconds: float) -> str:
    """A length of time, no longer than it is: `0.4 s`, `45 s`, `12 min`, `3 h`, `12 d`."""
    seconds = max(0.0, seconds)
    if seconds < _FEW_SECONDS and seconds != int(seconds):
        return f"{seconds:.1f} s"
    for length, unit, most in _UNITS:
        if seconds < most:
            return f"{int(seconds) // length} {unit}"
    return f"{int(seconds) // _DAY} d"


def size(number: float) -> str:
    """A number of bytes: `512 B`, `1.4 GiB`."""
    if number < 1024:
        return f"{number:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        number /= 1024
        if number < 1024:
            return f"{number:.1f} {unit}"
    return f"{number / 1024:.1f} TiB"
