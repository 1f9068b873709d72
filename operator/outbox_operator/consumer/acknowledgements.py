"""Count acknowledgements that the server took. Pure.

The server does not answer an acknowledgement, but it complains of each one that it refuses, in
the order they were sent in. So those sent before a question, and not complained of before its
answer, were taken. Until then they are not counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping


class Acknowledgements:
    """What was sent and is not counted yet."""

    def __init__(self) -> None:
        self.sent: dict[int, str] = {}
        """Event types by sequence. Callers add to it."""
        self._in_question: dict[int, str] = {}

    def ask(self) -> bool:
        """All that was sent until now is in question; False: nothing is."""
        self._in_question |= self.sent
        self.sent = {}
        return bool(self._in_question)

    def refused(self, sequence: int, *, with_earlier: bool) -> bool:
        """The server did not take one. Returns whether it was one that is not counted.

        Args:
            with_earlier: It stood for all earlier messages too.
        """
        found = False
        for waiting in (self.sent, self._in_question):
            gone = [n for n in waiting if n <= sequence] if with_earlier else [sequence]
            for number in gone:
                found = waiting.pop(number, None) is not None or found
        return found

    def taken(self) -> Mapping[str, int]:
        """The server took what is left of those in question: how many of each type."""
        taken, self._in_question = self._in_question, {}
        return Counter(taken.values())
