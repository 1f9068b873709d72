"""What a consumer that a person runs by hand says of its work: sums, every few seconds.

They are read from its metrics, beside the work. A pod says nothing of it: who runs many looks
at their metrics, and a line for each event would cost more than most handlers.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from outbox_operator.consumer.metrics import Answered, ConsumerMetrics
from outbox_operator.counted import counted

log = logging.getLogger(__name__)

_LOOK_SECONDS: Final = 0.5
_EVERY_SECONDS: Final = 10.0
"""Between two sums, unless there is something that was in none before."""
_MOST_TYPES: Final = 5
_WORDS: Final[Mapping[str, str]] = {
    "ack": "handled", "duplicate": "in the inbox already", "retry": "to be tried again",
    "put_off": "put off", "dead_letter": "given up", "unhandled": "taken by no handler",
}  # fmt: skip
"""By outcome, in the order in which they are said."""


class Work:
    """What was said, and when. Pure; the caller brings the time."""

    def __init__(self) -> None:
        self._said: Counter[Answered] = Counter()
        self._at = -math.inf

    def news(self, answered: Counter[Answered], now: float) -> str | None:
        """What came since the last sum, if it is to be said now: the first event of a type is.

        Args:
            answered: Events since the start.
            now: Seconds of a clock that only goes forward.
        """
        since = answered - self._said
        is_new = any(one not in self._said for one in since)
        if not since or (not is_new and now - self._at < _EVERY_SECONDS):
            return None
        self._said, self._at = answered, now
        return told(since)


def told(answered: Counter[Answered]) -> str:
    """Sums of events as a sentence."""
    parts = []
    for outcome, word in _WORDS.items():
        types = Counter({kind: n for (found, kind), n in answered.items() if found == outcome})
        if types:
            parts.append(f"{word}: {counted(types.total(), 'event')} ({_listed(types)})")
    return "; ".join(parts) or "no event came"


def _listed(types: Counter[str]) -> str:
    first, more = types.most_common(_MOST_TYPES), len(types) - _MOST_TYPES
    names = [f"{n} {kind}" for kind, n in first] if len(types) > 1 else list(types)
    return ", ".join(names) + (f" and {counted(more, 'other type')}" if more > 0 else "")


@asynccontextmanager
async def telling(metrics: ConsumerMetrics) -> AsyncIterator[None]:
    """Say it for the length of a block, and at its end all of it."""
    work = Work()

    async def look() -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if (said := work.news(metrics.answered(), time.monotonic())) is not None:
                log.info("%s", said)

    looking = asyncio.create_task(look())
    try:
        yield
    finally:
        looking.cancel()
        log.info("since the start: %s", told(metrics.answered()))
