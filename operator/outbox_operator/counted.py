"""Numbers with what they count, as sentences have them. Standard library only.

A layer below all that speaks to people: whatever prints a number of things takes it from here, so
that one thing is not said to be several.
"""

from __future__ import annotations


def counted(number: int, one: str, several: str | None = None, *, more: str = "") -> str:
    """A number and its words: `1 event`, `3 events`, `1 event waits`.

    Args:
        number: How many.
        one: Words behind 1.
        several: Words behind any other number; None: those behind 1, with an s.
        more: Behind the number, where there may be more than that.
    """
    words = one if number == 1 and not more else f"{one}s" if several is None else several
    return f"{number}{more} {words}"
