"""Which of the messages in hand may be handled now. Pure.

A lane is what must be handled in order: a key, or a shard. The first message of each lane is
ready, the others wait until it is done. Messages without a lane are ready at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from outbox_operator.adapters.nats.pull_consumer import Delivery
from outbox_operator.consumer.handlers.types import ReceivedEvent


@dataclass(slots=True, eq=False)
class Item:
    """One message in hand.

    Attributes:
        delivery: What is to be answered.
        event: What the handler sees.
        lane: What must be handled in order with it; None: nothing.
        retries: How often it failed in this process, beyond its deliveries.
        alone: It was in a batch that failed; it is handled by itself now.
        done: Whether it is settled.
    """

    delivery: Delivery
    event: ReceivedEvent
    lane: Hashable = None
    retries: int = 0
    alone: bool = False
    done: bool = False

    @property
    def attempts(self) -> int:
        """How often a handler was given it, this time included; at least 1."""
        return self.delivery.deliveries + self.retries


class Lanes:
    """Messages that are not with a handler at the moment."""

    def __init__(self) -> None:
        self.ready: deque[Item] = deque()
        self._waiting: dict[Hashable, deque[Item]] = {}

    def add(self, item: Item) -> None:
        """A message arrived; in the order of the stream."""
        if item.lane is None:
            self.ready.append(item)
            return
        waiting = self._waiting.get(item.lane)
        if waiting is None:
            self._waiting[item.lane] = deque()
            self.ready.append(item)
        else:
            waiting.append(item)

    def take(self) -> Item | None:
        """The next message to handle."""
        return self.ready.popleft() if self.ready else None

    def take_ready(self, most: int, fits: Callable[[Item], bool]) -> list[Item]:
        """Up to `most` messages that come next and fit."""
        taken: list[Item] = []
        while self.ready and len(taken) < most and fits(self.ready[0]):
            taken.append(self.ready.popleft())
        return taken

    def take_behind(self, item: Item, most: int, fits: Callable[[Item], bool]) -> list[Item]:
        """Up to `most` messages that follow `item` in its lane and fit."""
        waiting = self._waiting.get(item.lane, deque())
        taken: list[Item] = []
        while waiting and len(taken) < most and fits(waiting[0]):
            taken.append(waiting.popleft())
        return taken

    def put_back(self, items: list[Item]) -> None:
        """Messages taken together are to be handled again, before all others."""
        last = None
        ready: list[Item] = []
        behind: list[Item] = []
        for item in items:
            if item.lane is not None and item.lane == last:
                behind.append(item)
            else:
                ready.append(item)
            last = item.lane
        self.ready.extendleft(reversed(ready))
        self.behind(behind)

    def behind(self, items: list[Item]) -> None:
        """Messages of one lane wait for an earlier one that is being retried."""
        if items:
            self._waiting[items[0].lane].extendleft(reversed(items))

    def release(self, item: Item) -> None:
        """The message in front of a lane is settled: the next one is ready."""
        if item.lane is None:
            return
        waiting = self._waiting[item.lane]
        if waiting:
            self.ready.append(waiting.popleft())
        else:
            del self._waiting[item.lane]

    def clear(self) -> list[Item]:
        """Take all messages out."""
        rest = [*self.ready, *(item for lane in self._waiting.values() for item in lane)]
        self.ready.clear()
        self._waiting.clear()
        return rest
