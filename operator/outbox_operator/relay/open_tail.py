"""Rows that are in the stream and will be read once more, since the cursor is behind them. Pure.

Used by `relay.stream`. A relay that died had published more than it saved; the next one finds that
in the stream, and passes it without sending it. Each row is taken out as the cursor moves behind
it: with the last one the cursor accounts for the whole stream again, however much of the window is
left. What is in here and behind the cursor no more will never be met; it has to be left out, or it
would be waited for until everything that was visible has been read.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class OpenTail:
    """Rows still to be met.

    Attributes:
        published: Event id by position.
        guessed: Positions of those that no message shows.
        dealt_to: Sequence up to which all messages on our subjects are ours, and their rows are
            behind the cursor unless they are in here.
    """

    published: dict[int, str] = field(default_factory=dict)
    guessed: set[int] = field(default_factory=set)
    dealt_to: int = 0
    _sequences: dict[int, int] = field(default_factory=dict)
    """Of the message of ours before each, by position; 0: it is the first one. Rows whose messages
    are gone have none."""

    def __len__(self) -> int:
        return len(self.published)

    def add(self, published: Mapping[int, str], sequences: Mapping[int, int]) -> None:
        """Add what the stream holds, and what it held.

        Args:
            published: Event id by position.
            sequences: Of the message of ours before each that it holds, 0 for the first, in order.
        """
        self.published.update(published)
        self.guessed.update(published.keys() - sequences.keys() - self._sequences.keys())
        self._sequences.update(
            (position, sequence)
            for position, sequence in sequences.items()
            if position in published
        )

    def met(self, positions: Iterable[int]) -> bool:
        """Take out rows that the cursor has moved behind; returns whether none are left."""
        for position in positions:
            if self.published.pop(position, None) is not None:
                self._sequences.pop(position, None)
                self.guessed.discard(position)
        return not self.published

    def keep(self, waiting: Container[int]) -> int:
        """Take out all but rows at these positions; returns how many."""
        gone = [position for position in self.published if position not in waiting]
        self.met(gone)
        return len(gone)

    def clear(self) -> None:
        """Take out every row."""
        self.published.clear()
        self.guessed.clear()
        self._sequences.clear()

    def found_end(self, last: int) -> None:
        """Record where our messages end now; before what we know of means: not as we know it."""
        if last < self.dealt_to:
            self.made_anew()

    def made_anew(self) -> None:
        """Record that sequences up to now were of another stream."""
        self._sequences.clear()
        self.dealt_to = 0

    def accounted(self, known: int | None) -> int | None:
        """Return the sequence up to which the cursor accounts for all messages.

        Args:
            known: Up to which it did before these rows were found.
        """
        before = min(self._sequences.values(), default=0)
        if not before or len(self._sequences) < len(self.published):
            return known  # what no message shows is found again by what is missing behind that
        # A message of ours, as that one is: if ours end before it some day, it is looked up.
        return max(before, known or 0)
