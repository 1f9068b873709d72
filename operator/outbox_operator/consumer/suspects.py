"""Messages that came again without an answer that we know of: one of them may end the process.

The server counts deliveries; whether a handler was called it cannot know. So its count is no
count of attempts: what was in hand when a process died was delivered, and mostly not handled.
Only what a handler answered, or what was handled alone, has had an attempt.

A process that has just started, while others have messages in hand or left them, is *careful*: it
fetches one message at a time, and handles what was delivered before by itself, with nothing else
in hand. What was left comes before anything new. One that runs for longer takes what comes again
for the failures of other pods, which it mostly is, except beyond the deliveries that are allowed:
an answered message would be no more there.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Final

from outbox_operator.consumer import delays
from outbox_operator.consumer.disposition import Policy, ToDeadLetters
from outbox_operator.consumer.handlers.retry import Retry
from outbox_operator.consumer.key_queues import Item
from outbox_operator.consumer.trials import Trials
from outbox_operator.counted import counted
from outbox_operator.reasons import Reason

MOST_DEATHS: Final = 3
"""Processes that an event may end, handled alone, whatever `max_deliver` says: each is a restart
of a pod, and others wait for it."""
COUNT_ALLOWANCE: Final = 8
"""Deliveries beyond `max_deliver` after which a message becomes a dead letter unhandled, if no
earlier process left a note. Generous: what stopping pods give back counts on the server too."""
_MARGIN_SECONDS: Final = 5.0
_LONGEST: Final = 10
"""A process is careful for this many times its period at most, however many suspects come."""
_REMEMBERED: Final = 20_000
"""Messages whose failures here are remembered until they come again."""


class Suspects:
    """Tells suspects, and knows what there is to know of attempts.

    Args:
        policy: How failed deliveries are repeated.
        ack_wait: Seconds after which a message comes again that nobody answered.
        trials: What earlier processes left.
        ordered: Only one process at a time reads, and failures stay in the pod: whatever comes
            again was left by another.
        retry_of: How the handler has failures of an event type repeated, if it has its own way.
    """

    def __init__(
        self,
        policy: Policy,
        ack_wait: float,
        trials: Trials,
        *,
        ordered: bool,
        retry_of: Callable[[str], Retry | None],
    ) -> None:
        self._policy = policy
        self._retry_of = retry_of
        self._most = policy.max_deliver
        self._period = ack_wait + _MARGIN_SECONDS
        self._trials = trials
        self._ordered = ordered
        self._answered: dict[int, tuple[int, int]] = {}
        self._until = 0.0
        self._latest = 0.0
        self._began = 0.0
        self._count_tells = not trials.found

    def beware(self, now: float) -> None:
        """Be careful from now on, as long as what others left may come."""
        self._until = now + self._period
        self._latest = now + self._period * _LONGEST

    def all_clear(self) -> None:
        """End that: nothing is left that could come."""
        self._until = 0.0

    def careful(self, now: float) -> bool:
        """Whether what comes again is handled alone."""
        return now < self._until

    @property
    def waiting(self) -> bool:
        """Whether messages that failed here may be waiting for another try."""
        return bool(self._answered)

    def answered(self, item: Item) -> None:
        """Remember a message that goes back to the server because its handler said so."""
        if len(self._answered) >= _REMEMBERED:
            del self._answered[next(iter(self._answered))]
        # Tries here that the server does not know of need not be taken off its count.
        uncounted = max(0, item.uncounted - item.retries)
        self._answered[item.delivery.sequence] = item.delivery.deliveries, uncounted

    def judge(self, item: Item, now: float) -> None:
        """Say how a message that was delivered before is to be handled."""
        item.alone = True
        deliveries = item.delivery.deliveries
        last, item.uncounted = self._answered.pop(item.delivery.sequence, (0, 0))
        if last == deliveries - 1:
            return
        event, today = item.event, dt.datetime.now(dt.UTC)
        own = self._retry_of(event.type)
        pauses = (own.delays if own else ()) or self._policy.backoff
        item.rested = delays.given_back(event.headers, event.time, today, deliveries, pauses)
        if self._ordered or self.careful(now):
            item.suspect = True
            # Nobody knows what became of the others, so this is the first.
            item.uncounted = deliveries - 1
        elif self.exhausted(item):
            item.suspect = True
            item.uncounted = max(item.uncounted, deliveries - self._most)
        else:
            item.uncounted = max(item.uncounted, item.rested)

    def verdict(self, item: Item) -> ToDeadLetters | None:
        """Decide whether a suspect becomes a dead letter without another call of the handler."""
        if self._most < 1:
            return None
        deaths = self._trials.deaths(_key(item))
        if deaths >= min(self._most, MOST_DEATHS):
            return ToDeadLetters(
                Reason.MAX_DELIVER,
                f"the process ended {counted(deaths, 'time')} while it handled this "
                "event and no other",
            )
        deliveries = item.delivery.deliveries
        if (
            self._count_tells
            and self.careful(self._began)
            and deliveries - item.rested > self._most + COUNT_ALLOWANCE
        ):
            return ToDeadLetters(
                Reason.MAX_DELIVER,
                f"delivered {counted(deliveries - 1, 'time')} without an answer from the handler: "
                "the process may end while it handles this event",
            )
        return None

    def begin(self, item: Item, now: float) -> None:
        """Note that a suspect is handled alone from now on."""
        self._began = now
        self._trials.begin(_key(item))

    def ended(self, item: Item, now: float, *, survived: bool) -> None:
        """Note that the process is still there. The time it took does not count as careful.

        Args:
            survived: The handler got to an end, and the message is a suspect no more.
        """
        self._trials.ended(_key(item), survived=survived)
        item.suspect = not survived
        if self._ordered:
            # The first one in the order of the stream is what the last process was at. The
            # others came as often, and had no turn.
            self._count_tells = False
        if self._until:
            self._until = min(self._until + now - self._began, self._latest)

    def exhausted(self, item: Item) -> bool:
        """Whether it came more often than is allowed, which an answer would have ended."""
        return 0 < self._most < item.delivery.deliveries - item.rested


def _key(item: Item) -> str:
    """A message, for as long as its stream lives and after."""
    return f"{item.delivery.sequence}:{item.delivery.when_stored().timestamp():.6f}"
