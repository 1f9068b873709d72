"""Whether to go on when a handler fails again and again. Pure; the caller brings time and chance.

Closed: everything flows. Open: nothing is handled and nothing fetched, because the next events
would fail as well and be blamed for it. After a pause one event is tried; if it succeeds the
circuit closes, else the pause doubles.
"""

from __future__ import annotations

from typing import Final

from outbox_operator.aio import jittered, pause_after

FIRST_PAUSE_SECONDS: Final = 1.0
LONGEST_PAUSE_SECONDS: Final = 15.0
"""Recovery within this time."""


class Breaker:
    """The circuit of one handler and its inbox.

    Args:
        failures: Different events that fail in a row, at the first attempt, and open it; 0: only a
            handler or database that cannot be reached does. Repeated attempts do not count: bad
            events are few among good ones, but in the end only they are left.
    """

    def __init__(self, failures: int) -> None:
        self._limit = failures
        self._failed: set[int] = set()
        self._openings = 0
        self._until = 0.0
        self._probing = False
        self.is_open = False
        self.why = ""

    def succeeded(self) -> bool:
        """Record that an event was handled; return whether that closed the circuit."""
        if not self._failed and not self.is_open:
            return False
        was_open, self.is_open = self.is_open, False
        self._failed.clear()
        self._openings = 0
        self._probing = False
        return was_open

    def failed(
        self,
        sequence: int,
        why: str,
        now: float,
        jitter: float,
        *,
        first: bool = True,
        unreachable: bool = False,
        answered: bool = False,
    ) -> bool:
        """Record that an event failed; return whether that opened the circuit.

        An answer may close it: where failures do not open it, they do not keep it open either.

        Args:
            sequence: Stream sequence of the event.
            why: One sentence.
            now: Seconds of a clock that only goes forward.
            jitter: A random number in [0, 1).
            first: It was its first attempt.
            unreachable: Handler or database could not be reached at all.
            answered: It was the handler that said so.
        """
        if first:
            self._failed.add(sequence)
        enough = self._limit > 0 and len(self._failed) >= self._limit
        if self.is_open and not self._probing:
            return False  # it was under way when the circuit opened
        if self.is_open and answered and not self._limit:
            self.succeeded()
            return False
        if not (self.is_open or unreachable or enough):
            return False
        opened, self.is_open = not self.is_open, True
        self.why = why
        self._probing = False
        self._openings += 1
        pause = pause_after(self._openings, FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
        self._until = now + jittered(pause, jitter)
        return opened

    def probe_due(self, now: float) -> bool:
        """Return whether one event is to be tried."""
        return self.is_open and not self._probing and now >= self._until

    def probe(self) -> None:
        """Record that one event is being tried."""
        self._probing = True

    def probe_ended(self) -> None:
        """Allow another try: this one said nothing about the dependency."""
        self._probing = False

    def put_off(self, seconds: float, now: float) -> None:
        """Record "not now" of the handler as a whole: it is not tried with others meanwhile.

        Args:
            seconds: The delay it asked for.
            now: Seconds of a clock that only goes forward.
        """
        self._probing = False
        pause = min(max(seconds, FIRST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
        self._until = max(self._until, now + pause)

    def wait(self, now: float) -> float:
        """Return the seconds until something is to be done here."""
        return max(0.0, self._until - now) if self.is_open and not self._probing else 3600.0
