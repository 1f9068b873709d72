"""How often one caller may ask: a bucket of tokens for each. Pure."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

_MOST_CALLERS: Final = 10_000
"""Who has not asked for longest is forgotten first, and begins with a full bucket again."""


class Pace:
    """Counts what each caller asks.

    Args:
        per_second: Questions that are allowed in the long run.
        burst: That may be asked at once.
    """

    def __init__(self, per_second: float, burst: int) -> None:
        self._per_second = per_second
        self._burst = burst
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, caller: str, now: float) -> float:
        """Count a question.

        Args:
            caller: Who asks.
            now: Time in seconds, of whatever clock never goes back.

        Returns:
            0, or seconds until it may be asked again, in which case it does not count.
        """
        left, since = self._left.pop(caller, (float(self._burst), now))
        left = min(float(self._burst), left + (now - since) * self._per_second)
        allowed = left >= 1
        self._left[caller] = (left - 1 if allowed else left, now)
        if len(self._left) > _MOST_CALLERS:
            self._left.popitem(last=False)
        return 0.0 if allowed else (1 - left) / self._per_second
