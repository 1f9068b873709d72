"""How many events a slice may have, and how long to wait after it: the rate limit. Pure."""

from __future__ import annotations

from typing import Final

MOST_IN_A_SLICE: Final = 100


def most(events_per_second: int | None) -> int:
    """Events of the next slice: those of a second, and never many."""
    return min(MOST_IN_A_SLICE, events_per_second or MOST_IN_A_SLICE)


def pause_seconds(events_per_second: int | None, handled: int, took_seconds: float) -> float:
    """Seconds from the end of a slice to the next one.

    Args:
        events_per_second: The limit; None: there is none.
        handled: Events of the slice.
        took_seconds: How long it took.
    """
    if events_per_second is None:
        return 0.0
    return max(0.0, handled / events_per_second - took_seconds)
