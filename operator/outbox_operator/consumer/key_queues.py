"""Which of the messages in hand may be handled now. Pure.

What must be handled in order, a key or a shard, has a queue: its first message is ready, the
others wait until that one is done. Messages without an order are ready at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final

from outbox_operator.adapters.source import Delivery
from outbox_operator.consumer.handlers.types import ReceivedEvent
from outbox_operator.wire.headers import SHARD
from outbox_operator.wire.trace_context import trace_id_of

_LOOK_BEHIND: Final = 4
"""Messages that may be passed over to fill a batch, for each of its size: a bound of the cost."""


@dataclass(slots=True, eq=False)
class Item:
    """One message in hand.

    Attributes:
        delivery: What is to be answered.
        event: What the handler sees.
        order_key: What it must be handled in order with: all messages of the same one. None:
            nothing.
        retries: How often it failed in this process, beyond its deliveries.
        uncounted: Deliveries among all that were no attempts.
        rested: Deliveries among all that pods gave back before it was due, as far as time tells.
        alone: It was in a batch that failed, or came again; it is handled in a call of its own.
        due: When it is to be handled again, as `time.monotonic()` counts, while it is put off.
        put_off: When the handler said "not now" of it for the first time; 0: never.
        unanswered: How often nobody knows who failed.
        suspect: It may have ended a process; it is handled while nothing else is.
        done: Whether it is settled.
        handled: Whether it is settled because the handler did it.
    """

    delivery: Delivery
    event: ReceivedEvent
    order_key: Hashable = None
    retries: int = 0
    uncounted: int = 0
    rested: int = 0
    alone: bool = False
    suspect: bool = False
    due: float = 0.0
    put_off: float = 0.0
    unanswered: int = 0
    done: bool = False
    handled: bool = False

    @property
    def deliveries(self) -> int:
        """How often it was delivered or tried again here, this time included; at least 1."""
        return self.delivery.deliveries + self.retries

    @property
    def attempts(self) -> int:
        """How often a handler was given it as far as we know, this time included; at least 1."""
        return self.delivery.deliveries + self.retries - self.uncounted

    def facts(self) -> dict[str, object]:
        """Return which message it is, for a line of the log."""
        event = self.event
        facts: dict[str, object] = {
            "event_id": event.id,
            "event_type": event.type,
            "stream_sequence": self.delivery.number,
            "deliveries": self.deliveries,
        }
        if SHARD in event.headers:  # of an outbox, whose relay names the pipeline so
            facts["pipeline"] = event.source.removeprefix("/")
        if (trace_id := trace_id_of(event.headers)) is not None:
            facts["trace_id"] = trace_id
        return facts


class KeyQueues:
    """The messages in hand that are not with a handler at the moment."""

    def __init__(self) -> None:
        self.ready: deque[Item] = deque()
        self.suspects: deque[Item] = deque()
        """What would be ready, but has to wait until nothing else is handled."""
        self._waiting: dict[Hashable, deque[Item]] = {}

    def add(self, item: Item) -> None:
        """Add a message that arrived; call in the order of the stream."""
        if item.order_key is None:
            self.ready.append(item)
            return
        waiting = self._waiting.get(item.order_key)
        if waiting is None:
            self._waiting[item.order_key] = deque()
            self.make_ready(item)
        else:
            waiting.append(item)

    def make_ready(self, item: Item) -> None:
        """Let a message come next that waits for no other of its queue."""
        (self.suspects if item.suspect else self.ready).append(item)

    def clear_suspects(self, keep: Callable[[Item], bool]) -> None:
        """Treat suspects like all others, but for some."""
        for item in self.waiting():
            item.suspect = item.suspect and keep(item)
        found, self.suspects = self.suspects, deque()
        for item in found:
            self.make_ready(item)

    def clear(self) -> None:
        """Forget all of them."""
        self.ready.clear()
        self.suspects.clear()
        self._waiting.clear()

    def waiting(self) -> list[Item]:
        """All of them."""
        return [
            *self.ready,
            *self.suspects,
            *(item for queue in self._waiting.values() for item in queue),
        ]

    def take(self) -> Item | None:
        """Take out the next message to handle."""
        return self.ready.popleft() if self.ready else None

    def take_ready(self, most: int, fits: Callable[[Item], bool]) -> list[Item]:
        """Take out up to `most` messages that are ready and fit, from the first on.

        What is in between keeps its place; far behind such messages nobody looks.
        """
        taken: list[Item] = []
        passed: list[Item] = []
        while self.ready and len(taken) < most and len(passed) < _LOOK_BEHIND * most:
            item = self.ready.popleft()
            (taken if fits(item) else passed).append(item)
        self.ready.extendleft(reversed(passed))
        return taken

    def take_behind(self, item: Item, most: int, fits: Callable[[Item], bool]) -> list[Item]:
        """Take out up to `most` messages that follow `item` in its queue and fit."""
        waiting = self._waiting.get(item.order_key, deque())
        taken: list[Item] = []
        while waiting and len(taken) < most and fits(waiting[0]):
            taken.append(waiting.popleft())
        return taken

    def put_back(self, items: list[Item]) -> None:
        """Have messages that were taken together handled again, before all others."""
        last = None
        ready: list[Item] = []
        behind: list[Item] = []
        for item in items:
            if item.order_key is not None and item.order_key == last:
                behind.append(item)
            else:
                ready.append(item)
            last = item.order_key
        for item in reversed(ready):
            (self.suspects if item.suspect else self.ready).appendleft(item)
        if behind:
            self._waiting[behind[0].order_key].extendleft(reversed(behind))

    def release(self, item: Item) -> None:
        """Make the next message of a queue ready, since its first one is settled."""
        if item.order_key is None:
            return
        waiting = self._waiting[item.order_key]
        if waiting:
            self.make_ready(waiting.popleft())
        else:
            del self._waiting[item.order_key]
