"""Whether handler and dead letters get anywhere, for readiness. Pure; the caller brings the time.

A failing event is not a failing handler. The handler counts as failing when it cannot be reached,
or when different events failed with no success between them, for a while. Readiness then says so,
because the pod's readiness is what the operator and `kubectl` see; nothing routes traffic by it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from outbox_operator.counted import counted

FAILING_AFTER_SECONDS: Final = 10.0
"""Failures must span this long, so that a restarting endpoint is not reported."""
FORGOTTEN_AFTER_SECONDS: Final = 4000.0
"""Longer than the longest back-off: a handler that still fails would have failed again."""
_EVENTS_NEEDED: Final = 2
_MOST_TEXTS: Final = 20
"""Different reasons that are logged before a letter is stored again."""


@dataclass(slots=True)
class Progress:
    """Remembers the failures since the last success.

    Args:
        handler: Name of the handler, for the sentence.
    """

    handler: str
    _failures: int = 0
    _first: float = 0.0
    _last: float = 0.0
    _error: str = ""
    _event: int = -1
    _events: int = 0
    _unavailable: bool = False

    def succeeded(self) -> None:
        """Record that the handler acknowledged an event."""
        self._failures = self._events = 0
        self._event = -1
        self._unavailable = False

    def failed(self, sequence: int, error: str, now: float, *, unavailable: bool = False) -> None:
        """Record that the handler failed.

        Args:
            sequence: Stream sequence of the event.
            error: One sentence.
            now: Seconds of a clock that only goes forward.
            unavailable: The handler could not be reached at all.
        """
        if self._failures == 0 or now - self._last > FORGOTTEN_AFTER_SECONDS:
            self.succeeded()
            self._first = now
        self._failures += 1
        if sequence != self._event:
            self._events += 1
            self._event = sequence
        self._last = now
        self._error = error
        self._unavailable = unavailable

    def check(self, now: float) -> tuple[bool, str]:
        """Return whether the handler works as far as we know, and a sentence that says why."""
        if self._failures == 0 or now - self._last > FORGOTTEN_AFTER_SECONDS:
            return True, f"handler {self.handler}: no failures"
        sentence = (
            f"handler {self.handler} failed {counted(self._failures, 'time')} in a row "
            f"for {now - self._first:.0f} s, last: {self._error}"
        )
        long_enough = now - self._first >= FAILING_AFTER_SECONDS
        convincing = self._unavailable or self._events >= _EVENTS_NEEDED
        return not (long_enough and convincing), sentence


@dataclass(slots=True)
class Letters:
    """Remembers the dead letters that could not be stored since the last one that was.

    Events that are handled say nothing about it: their letters are needed by others.

    Args:
        subject: Where they are stored, for the sentence.
    """

    subject: str
    _failures: int = 0
    _first: float = 0.0
    _last: float = 0.0
    _error: str = ""
    _said: set[str] = field(default_factory=set)

    def stored(self) -> bool:
        """Record that one is stored; return whether the one before was not."""
        failing = self._failures > 0
        if failing:
            self._failures = 0
            self._said.clear()
        return failing

    def failed(self, error: str, now: float) -> bool:
        """Record that one could not be stored; return whether that is to be logged.

        Args:
            error: One sentence, the same for all events.
            now: Seconds of a clock that only goes forward.
        """
        if self._failures == 0 or now - self._last > FORGOTTEN_AFTER_SECONDS:
            self._failures = 0
            self._said.clear()
            self._first = now
        self._failures += 1
        self._last = now
        self._error = error
        if error in self._said or len(self._said) >= _MOST_TEXTS:
            return False
        self._said.add(error)
        return True

    def check(self, now: float) -> tuple[bool, str]:
        """Return whether they are stored as far as we know, and a sentence that says why."""
        if self._failures == 0 or now - self._last > FORGOTTEN_AFTER_SECONDS:
            return True, f"dead letters go to {self.subject}"
        sentence = (
            f"dead letters not stored, {self._failures} tries in {now - self._first:.0f} s, "
            f"last: {self._error}"
        )
        return now - self._first < FAILING_AFTER_SECONDS, sentence
