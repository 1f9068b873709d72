"""How many messages to have in hand: enough that handlers never wait, and no more. Pure.

Messages in hand cannot be handled by another pod, and cost memory; messages that are not there
when a handler is free cost a round trip.
"""

from __future__ import annotations

from typing import Final

AHEAD_SECONDS: Final = 0.1
"""Messages for this time are fetched ahead."""
MOST_AHEAD: Final = 4096
MOST_BYTES: Final = 32 * 1024 * 1024
MOST_SET_ASIDE: Final = 1000
"""Messages that wait for a later try and take up no room."""
_MEASURE_SECONDS: Final = 0.02
_WEIGHT: Final = 0.3


class PrefetchWindow:
    """Follows the rate at which messages are settled.

    Args:
        least: Messages that can be handled at the same time.
    """

    def __init__(self, least: int) -> None:
        self._least = least
        self._rate = 0.0
        self._mean_bytes = 0.0
        self._settled = 0
        self._since = 0.0

    def arrived(self, size: int) -> None:
        """Record a message of `size` bytes that came."""
        self._mean_bytes += (size - self._mean_bytes) * 0.01 if self._mean_bytes else size

    def settled(self) -> None:
        """Record a message that is done."""
        self._settled += 1

    def set_aside(self, waiting: int) -> int:
        """Return how many of the messages that wait for a later try take up no room."""
        most = MOST_SET_ASIDE
        if self._mean_bytes * most > MOST_BYTES:
            most = int(MOST_BYTES / self._mean_bytes)
        return min(waiting, most)

    def size(self, now: float, most: int) -> int:
        """Return how many messages to have in hand.

        Args:
            now: Seconds of a clock that only goes forward.
            most: What the server allows; -1: anything.
        """
        passed = now - self._since
        if passed > _MEASURE_SECONDS:
            rate = self._settled / passed
            self._rate += (rate - self._rate) * (_WEIGHT if rate < self._rate else 1.0)
            self._settled, self._since = 0, now
        ahead = min(int(self._rate * AHEAD_SECONDS), MOST_AHEAD)
        if self._mean_bytes * (self._least + ahead) > MOST_BYTES:
            ahead = max(0, int(MOST_BYTES / self._mean_bytes) - self._least)
        wanted = self._least + ahead
        return min(wanted, most) if most > 0 else wanted
