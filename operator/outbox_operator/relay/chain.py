"""What messages name as the number before theirs, where the numbers of a shard jump. Pure.

Used by `relay.stream`. Without a word a number follows the one before it, so that a reader knows
what is missing. Where it is not known what the stream has, numbers are left out, and events are
sent again under new ones; of these the stream may drop some, since it knows their ids. All that is
sent meanwhile names the last number that the stream is known to have taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from outbox_operator.relay.recovery import WINDOWS


class Naming(NamedTuple):
    """What messages name.

    Attributes:
        number: Of the last event that the stream is known to have taken.
        every: Whether each of them does; False: the first one, which those after it follow.
    """

    number: int
    every: bool


@dataclass(slots=True)
class Chain:
    """Whether the numbers of a shard are in doubt, from one acknowledged message to another.

    Attributes:
        held: Number of the last event that the stream is known to have taken; None: the last one
            that was given out, there is no doubt.
    """

    held: int | None = None
    _windows: int = WINDOWS
    _sure: bool = False

    def doubted(self, last: int) -> None:
        """Begin, or go on, to doubt.

        Args:
            last: Number of the last event that was given out, which is the last one that the
                stream has taken unless that was in doubt.
        """
        if self.held is None:
            self.held = last
        self._windows = WINDOWS

    def seen(self, number: int) -> None:
        """Record that the stream has a message of this number; 0: that it shows none."""
        if self.held is not None:
            self.held = max(self.held, number)

    def window_read(self) -> None:
        """Record that everything that was visible at some moment has been read and dealt with."""
        self._windows -= 1

    def naming(self, sent: int) -> Naming | None:
        """Return what messages name that are sent now; None: nothing.

        Args:
            sent: Messages of the run before them.
        """
        every = self._windows > 0
        if self.held is None or (sent and not every):
            return None
        return Naming(self.held, every)

    def opened(self) -> None:
        """Record the beginning of a run."""
        self._sure = self._windows <= 0

    def stored(self, messages: int) -> None:
        """Record the end of a run, with so many messages stored.

        They are all new, and not what the stream had, once everything that was visible has been
        dealt with before it began.
        """
        if messages and self._sure:
            self.held = None
