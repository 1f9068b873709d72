"""How far rows of a shard were sent, by their positions. Pure.

Used by `relay.stream`. A row that becomes visible late is sent behind rows of larger positions. Its
message says how far these went, so that whoever reads a tail knows which rows may be in it, also
where the messages of the largest are gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from outbox_operator.relay.recovery import LEAST


@dataclass(slots=True)
class Reach:
    """The largest position that was sent.

    Attributes:
        stored: Of what the stream took, as far as its messages and its answers show.
    """

    stored: int = LEAST
    _sending: int = LEAST

    def seen(self, position: int) -> None:
        """Record what a message of the stream says."""
        self.stored = max(self.stored, position)

    def before(self, positions: Sequence[int]) -> int:
        """Return how far rows were sent before these, which are sent now, in order."""
        before = max(self.stored, self._sending)
        self._sending = max(before, positions[-1])
        return before

    def passed(self, positions: Sequence[int]) -> None:
        """Record that rows are stored, in order."""
        if positions:
            self.stored = max(self.stored, positions[-1])

    def ended(self) -> None:
        """Record the end of a run: what was stored of it is `passed`, or is found in the tail."""
        self._sending = LEAST
