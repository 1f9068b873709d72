"""When which object is due: the decisions of the work queue. Pure; time and jitter are arguments.

Each object has at most one pass running and one waiting. Wake-ups that find a pass waiting are
merged into it; those that find one running make it run once more afterwards.

    urgent wake      what a person did (new generation, deletion, annotation): at once, and the
                     back-off starts anew
    ordinary wake    a child or a referenced object changed, or a child was written by its owner:
                     at once, but not within `settle_seconds` of the last pass, and during a
                     back-off not within its first step, so that objects that change all the time
                     cannot cause a hot loop
    background wake  what was there when this process began and nobody has touched since, and
                     passes that are due by the clock: as ordinary, behind the others when workers
                     are short

When workers are short, namespaces take turns: the next is of the one with the fewest passes under
way, so that what one tenant's slow servers hold up does not hold up the next tenant. And a
namespace holds no more workers than it leaves free: there is one for the next who comes, though all
its servers hang. A pass that waits for a server too long lets its worker go. A background pass that
has waited for long takes its turn like the others, and one turn in four whatever else is due: who
makes hundreds of objects, and what changes all the time, must not keep the rest from being looked
at, in other namespaces or in the same.
"""

from __future__ import annotations

import enum
import heapq
import itertools
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from outbox_operator.aio import pause_after
from outbox_operator.controller.runtime.due import Due, Pass
from outbox_operator.controller.runtime.reconciler import ObjectKey, ReconcileResult

MOST_WORKERS: Final = 1000
BACKOFF_MIN_SECONDS: Final = 1.0
BACKOFF_MAX_SECONDS: Final = 300.0
SETTLE_SECONDS: Final = 0.1
BACKGROUND_SECONDS: Final = 5.0
"""So long a background pass stands behind those that are not."""
TURNS_BEFORE: Final = 3
"""Of others, before a background pass that has waited so long has its own."""

EARLIEST: Final = 0.9
"""Of a periodic pause: the share that has passed when the next pass comes, at the earliest."""


class Urgency(enum.IntEnum):
    """How a wake-up is treated; lower goes first."""

    URGENT = 0
    ORDINARY = 1
    BACKGROUND = 2


@dataclass(slots=True)
class _Entry:
    due: float | None = None
    trigger: str = ""
    urgency: Urgency = Urgency.BACKGROUND
    running: bool = False
    holds: bool = False
    """Whether its pass holds a worker."""
    again: tuple[str, Urgency] | None = None
    failures: int = 0
    finished: float = float("-inf")
    ticket: int = 0


@dataclass(frozen=True, slots=True)
class Turn:
    """One pass to run now."""

    key: ObjectKey
    trigger: str
    failures: int
    waited_seconds: float


@dataclass
class Schedule:
    """All objects and when they are due.

    Args:
        workers: How many passes may hold a worker at once.
        settle_seconds: Least time between two passes over one object, unless a person did
            something.
        backoff_min_seconds: First pause after a failure.
        backoff_max_seconds: Longest pause, unless the result says otherwise.
    """

    workers: int = MOST_WORKERS
    settle_seconds: float = SETTLE_SECONDS
    backoff_min_seconds: float = BACKOFF_MIN_SECONDS
    backoff_max_seconds: float = BACKOFF_MAX_SECONDS
    _entries: dict[ObjectKey, _Entry] = field(default_factory=dict)
    # All heaps hold (…, ticket, key); an entry whose ticket moved on is stale and skipped.
    _later: list[tuple[float, int, ObjectKey]] = field(default_factory=list)
    _prompt: Due = field(init=False)
    _background: Due = field(init=False)
    _passed: int = 0
    """Turns of others since a background pass has waited for long."""
    _running: Counter[str] = field(default_factory=Counter)
    """Passes under way, by namespace."""
    _holding: Counter[str] = field(default_factory=Counter)
    """Those of them that hold a worker."""
    _tickets: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        self._prompt = Due(self._is_live, self._running)
        self._background = Due(self._is_live, self._running)

    def __len__(self) -> int:
        return len(self._entries)

    def wake(self, key: ObjectKey, trigger: str, urgency: Urgency, now: float) -> None:
        """Something happened to an object."""
        entry = self._entries.setdefault(key, _Entry())
        if urgency is Urgency.URGENT:
            entry.failures = 0
        if entry.running:
            if entry.again is None or urgency < entry.again[1]:
                entry.again = (trigger, urgency)
            return
        self._advance(key, entry, trigger, urgency, now)

    def take(self, now: float) -> Turn | None:
        """The next pass to run, if one is due and may; its object then counts as running."""
        self._promote(now)
        prompt, background = self._first(self._prompt, now), self._first(self._background, now)
        found = self._next(prompt, background, now)
        if found is None:
            return None
        if found is background:
            self._passed = 0
        elif background is not None and not _stands_back(background, now):
            self._passed += 1
        _, due, _, key = found
        namespace = key.namespace
        (self._background if found is background else self._prompt).pop(namespace)
        entry = self._entries[key]
        entry.running = True
        entry.due = None
        self._running[namespace] += 1
        entry.holds = True
        self._holding[namespace] += 1
        return Turn(key, entry.trigger, entry.failures, max(0.0, now - due))

    def let_go(self, key: ObjectKey) -> bool:
        """A pass under way takes long: it holds no worker any more.

        Returns:
            Whether it did until now.
        """
        entry = self._entries.get(key)
        if entry is None or not entry.holds:
            return False
        self._give_back(key, entry)
        return True

    def _give_back(self, key: ObjectKey, entry: _Entry) -> None:
        entry.holds = False
        self._holding[key.namespace] -= 1
        if not self._holding[key.namespace]:
            del self._holding[key.namespace]

    def _first(self, due: Due, now: float) -> Pass | None:
        """Of one class the pass that is next, of namespaces that may have one more worker."""
        free = self.workers - self._holding.total()
        admitted = (one for one in due.firsts() if self._holding[one[3].namespace] < free)

        def precedence(one: Pass) -> tuple[bool, int, Pass]:
            return _stands_back(one, now), self._running[one[3].namespace], one

        return min(admitted, key=precedence, default=None)

    def _next(self, prompt: Pass | None, background: Pass | None, now: float) -> Pass | None:
        """Which of the first ones of both classes is next."""
        if prompt is None or background is None:
            return prompt or background
        if _stands_back(background, now):
            return prompt
        under_way = [self._running[one[3].namespace] for one in (prompt, background)]
        its_turn = self._passed >= TURNS_BEFORE or under_way[1] < under_way[0]
        return background if its_turn else prompt

    def finish(
        self, key: ObjectKey, result: ReconcileResult, now: float, jitter: float
    ) -> float | None:
        """A pass ended.

        Args:
            key: The object.
            result: How.
            now: Seconds of a monotonic clock.
            jitter: 0 to 1; spreads the next pass.

        Returns:
            Seconds until the next pass, or None when only a wake-up brings one.
        """
        entry = self._entries[key]
        again, entry.again = entry.again, None
        entry.running = False
        entry.finished = now
        if entry.holds:
            self._give_back(key, entry)
        self._ended(key.namespace)
        entry.urgency = Urgency.BACKGROUND
        if result.failed and not (again and again[1] is Urgency.URGENT):
            entry.failures += 1
            cap = result.requeue_after or self.backoff_max_seconds
            delay: float | None = backoff_seconds(
                entry.failures, self.backoff_min_seconds, cap, jitter
            )
        else:
            entry.failures = 0
            delay = jittered_seconds(result.requeue_after, jitter)
        if delay is not None:
            trigger = "retry" if result.failed else "periodic"
            self._put(key, entry, trigger, Urgency.BACKGROUND, now + delay)
        if again is not None:
            self._advance(key, entry, *again, now)
        return None if entry.due is None else max(0.0, entry.due - now)

    def forget(self, key: ObjectKey) -> None:
        """The object is gone for good. One that was woken meanwhile stays."""
        entry = self._entries.get(key)
        if entry is not None and not entry.running and entry.due is None:
            del self._entries[key]

    def known(self) -> list[ObjectKey]:
        """All objects."""
        return list(self._entries)

    def drop(self, key: ObjectKey) -> None:
        """An object is no longer looked after here; if a pass runs, it was cut."""
        entry = self._entries.pop(key, None)
        if entry is not None and entry.running:
            if entry.holds:
                self._give_back(key, entry)
            self._ended(key.namespace)

    def _ended(self, namespace: str) -> None:
        self._running[namespace] -= 1
        if not self._running[namespace]:
            del self._running[namespace]
            self._prompt.calm(namespace)
            self._background.calm(namespace)

    def wait_seconds(self, now: float) -> float | None:
        """Seconds until something is due; 0 when something may be taken, None when nothing ever
        will be. What waits for a worker waits for the end of a pass.
        """
        self._promote(now)
        if self._first(self._prompt, now) or self._first(self._background, now):
            return 0.0
        return max(0.0, self._later[0][0] - now) if self._later else None

    def ready(self, now: float) -> int:
        """How many passes are due and wait for a worker."""
        self._promote(now)
        return sum(1 for due in (self._prompt, self._background) for _ in due)

    def failing(self) -> int:
        """How many objects are in a back-off."""
        return sum(1 for entry in self._entries.values() if entry.failures)

    def _advance(
        self, key: ObjectKey, entry: _Entry, trigger: str, urgency: Urgency, now: float
    ) -> None:
        """Bring the next pass forward as far as `urgency` allows; never put it back."""
        pause = self.backoff_min_seconds if entry.failures else self.settle_seconds
        due = now if urgency is Urgency.URGENT else max(now, entry.finished + pause)
        if entry.due is None or due < entry.due or urgency < entry.urgency:
            earlier = due if entry.due is None else min(due, entry.due)
            self._put(key, entry, trigger, urgency, earlier)

    def _put(
        self, key: ObjectKey, entry: _Entry, trigger: str, urgency: Urgency, due: float
    ) -> None:
        entry.trigger, entry.urgency, entry.due = trigger, urgency, due
        entry.ticket = next(self._tickets)
        heapq.heappush(self._later, (due, entry.ticket, key))

    def _promote(self, now: float) -> None:
        while self._later and (
            self._later[0][0] <= now or not self._is_live(self._later[0][1], self._later[0][2])
        ):
            due, ticket, key = heapq.heappop(self._later)
            if self._is_live(ticket, key):
                urgency = self._entries[key].urgency
                found = self._background if urgency is Urgency.BACKGROUND else self._prompt
                found.push((urgency, due, ticket, key))

    def _is_live(self, ticket: int, key: ObjectKey) -> bool:
        entry = self._entries.get(key)
        return entry is not None and entry.ticket == ticket and not entry.running


def _stands_back(one: Pass, now: float) -> bool:
    return one[0] == Urgency.BACKGROUND and now - one[1] < BACKGROUND_SECONDS


def backoff_seconds(
    failures: int, first_seconds: float, cap_seconds: float, jitter: float
) -> float:
    """Pause after the n-th failure in a row: doubles up to the cap, spread by ±20 %."""
    return pause_after(failures, first_seconds, cap_seconds) * (0.8 + 0.4 * jitter)


def jittered_seconds(after_seconds: float | None, jitter: float) -> float | None:
    """A periodic pause, spread by ±10 % so that objects made together do not stay together."""
    if after_seconds is None:
        return None
    return after_seconds * (EARLIEST + 2 * (1 - EARLIEST) * jitter)
