"""Passes that are due, by namespace: which of them is next where namespaces take turns. Pure.

There may be thousands of namespaces, and something due in each, as after a start; in few of them a
pass is under way. So those are compared one by one, and of all others a heap knows the first one.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from outbox_operator.controller.runtime.reconciler import ObjectKey

Pass: TypeAlias = tuple[int, float, int, ObjectKey]
"""Urgency, when it is due, ticket, object: in this order within a namespace."""
_LEAST_ENTRIES: Final = 64


class Due:
    """Passes that are due, of one class: within it the more urgent goes first, then the older.

    Args:
        is_live: Whether a ticket is still the one of its object.
        running: Passes under way, by namespace.
    """

    def __init__(self, is_live: Callable[[int, ObjectKey], bool], running: Counter[str]) -> None:
        self._is_live = is_live
        self._running = running
        self._lines: defaultdict[str, list[Pass]] = defaultdict(list)
        self._calm: list[Pass] = []
        """Of each namespace where no pass is under way its first, or one that came before it, and
        what was; a heap."""

    def __iter__(self) -> Iterator[Pass]:
        """All of them, in no order."""
        for line in self._lines.values():
            for one in line:
                if self._is_live(one[2], one[3]):
                    yield one

    def push(self, one: Pass) -> None:
        """A pass is due."""
        namespace = one[3].namespace
        heapq.heappush(self._lines[namespace], one)
        if not self._running[namespace]:
            heapq.heappush(self._calm, one)

    def calm(self, namespace: str) -> None:
        """No pass is under way any more in a namespace."""
        first = self.first(namespace)
        if first is None:
            return
        if len(self._calm) > _LEAST_ENTRIES + 2 * len(self._lines):
            calm = (self.first(one) for one in list(self._lines) if not self._running[one])
            self._calm = [one for one in calm if one is not None]
            heapq.heapify(self._calm)
        else:
            heapq.heappush(self._calm, first)

    def first(self, namespace: str) -> Pass | None:
        """The next of a namespace; None: there is none."""
        line = self._lines.get(namespace, [])
        while line and not self._is_live(line[0][2], line[0][3]):
            heapq.heappop(line)
        if not line:
            self._lines.pop(namespace, None)
            return None
        return line[0]

    def firsts(self) -> Iterator[Pass]:
        """The next one of each namespace in which passes are under way, and of all others."""
        for namespace in self._running:
            if namespace in self._lines and (first := self.first(namespace)) is not None:
                yield first
        if (first := self._first_calm()) is not None:
            yield first

    def pop(self, namespace: str) -> Pass:
        """Take out the next one of a namespace that has one."""
        return heapq.heappop(self._lines[namespace])

    def _first_calm(self) -> Pass | None:
        while self._calm:
            first = self._calm[0]
            namespace = first[3].namespace
            if not self._running[namespace] and self.first(namespace) == first:
                return first
            heapq.heappop(self._calm)
            if not self._running[namespace]:  # else `calm` comes
                there = self.first(namespace)
                if there is not None:
                    heapq.heappush(self._calm, there)
        return None
