"""How many events at once a handler is given that says "not now". Pure.

One such answer concerns its event alone: limits may be a tenant's. Several in a row, with none
handled between them, mean that the handler as a whole is asked too much: then it gets a pause,
and fewer at once; more again as it copes.
"""

from __future__ import annotations

from typing import Final

LONGEST_PAUSE_SECONDS: Final = 15.0
"""Recovery within this time, whatever delay was asked for; each event itself waits for that."""
_IN_A_ROW: Final = 3
_IN_A_ROW_SLOWED: Final = 2
_ROUNDS: Final = 2
"""So many times the limit must be handled before it is raised by a quarter."""


class Pace:
    """The limit of one handler.

    Args:
        most: Events at once, if nothing is wrong.

    Attributes:
        limit: Events at once, now.
        slowed: Whether that is less than could be.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.limit = most
        self.slowed = False
        self._refused = 0
        self._handled = 0
        self._until = 0.0

    def refused(self, seconds: float, now: float) -> bool:
        """Record "not now, in so many seconds"; return whether the pace slows down with it."""
        self._refused += 1
        if self._refused < (_IN_A_ROW_SLOWED if self.slowed else _IN_A_ROW):
            return False
        began, self.slowed = not self.slowed, True
        self.limit = max(1, self.limit // 2)
        self._handled = 0
        self._until = max(self._until, now + min(seconds, LONGEST_PAUSE_SECONDS))
        return began

    def succeeded(self) -> bool:
        """Record that an event was handled; return whether the pace is what it was, with it."""
        self._refused = 0
        if not self.slowed:
            return False
        self._handled += 1
        if self._handled >= self.limit * _ROUNDS:
            self._handled = 0
            self.limit = min(self._most, self.limit + max(1, self.limit // 4))
            self.slowed = self.limit < self._most
        return not self.slowed

    def allows(self, handling: int, now: float) -> bool:
        """Whether one more may be handled besides `handling` others."""
        return not self.slowed or (handling < self.limit and now >= self._until)

    def wait(self, now: float) -> float:
        """Return the seconds until something is to be done here."""
        return max(0.0, self._until - now) if self.slowed else 3600.0
