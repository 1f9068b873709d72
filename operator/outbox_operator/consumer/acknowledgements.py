"""Count acknowledgements that the server accepted. Pure.

The server does not answer an acknowledgement, but it complains of each one that it refuses, in
the order they were sent in. So those sent before a question, and not complained of before its
answer, were accepted. Until then they are not counted.
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
        """Put all that was sent until now in question; False: nothing is."""
        self._in_question |= self.sent
        self.sent = {}
        return bool(self._in_question)

    def refused(self, sequence: int, *, with_earlier: bool) -> bool:
        """Forget one that the server refused; return whether it was not counted yet.

        Args:
            with_earlier: It stood for all earlier messages too.
        """
        found = False
        for waiting in (self.sent, self._in_question):
            gone = [n for n in waiting if n <= sequence] if with_earlier else [sequence]
            for number in gone:
                found = waiting.pop(number, None) is not None or found
        return found

    def accepted(self) -> Mapping[str, int]:
        """Take out those in question that are left, the accepted ones: how many of each type."""
        accepted, self._in_question = self._in_question, {}
        return Counter(accepted.values())
