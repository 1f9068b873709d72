"""What a comparison of an outbox with its stream came to, in the words of the checker. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

EXAMPLES: Final = 5
MOST_STRETCHES: Final = 20
"""Stretches of lost positions that are named."""
_MOST_UNPROVEN: Final = 20
_MORE_UNPROVEN: Final = "there are further parts of the range that cannot be proved"

WRONG: Final = ("lost", "duplicate", "reordered", "misnumbered", "phantom")
"""What is wrong, in the words of the delivery checker:

lost: a row that is published, by the relay's word, and neither in the stream, itself or as a copy
    of a replay for all, nor a dead letter.
duplicate: a further message of a row that has one.
reordered: a message of a row that was written before one of its key whose message comes earlier.
misnumbered: numbers of a shard that do not grow in the order of the stream.
phantom: a message of this outbox of which there is no row.
"""
UNCOMPARED: Final = ("expired", "unknown")
"""Rows of which nobody can say whether they were in the stream."""
FINE: Final = (
    "waiting", "deadLettered", "givenUp", "replayed", *UNCOMPARED, "sent", "foreign",
)  # fmt: skip
"""What explains why a row has no message, or a message no row of its own:

waiting: not published yet, by the relay's word; of what was written long ago, ask why.
deadLettered: set aside; see `outbox dlq`.
givenUp: was a dead letter, and somebody gave it up.
replayed: messages of rows that a task has written once more, and rows without a message of their
    own that were: dead letters, and what was lost and sent again.
expired: the stream holds nothing of that time any more, which its limits can have brought about,
    or drops messages from between.
unknown: there were too many to look at them one by one.
sent: by the application itself, right after its commit.
foreign: messages on the same subjects that are none of this outbox.
"""


@dataclass(slots=True)
class Verdict:
    """Numbers and the first examples by word, and what cannot be proved.

    Attributes:
        rows: That were compared.
        messages: That were read.
        unproven: Sentences: why what part of the question has no answer.
        lost: Stretches of positions, first and last, that a replay would send again. They have
            none in common: each becomes a replay of its own.
        more_lost: Whether there are further ones.
        before: So many of the lost rows are older than all that the stream holds.
        begins: Since when it holds all that was stored; None: not known, or it holds nothing.
    """

    rows: int = 0
    messages: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    unproven: list[str] = field(default_factory=list)
    lost: list[tuple[int, int]] = field(default_factory=list)
    more_lost: bool = False
    before: int = 0
    begins: datetime | None = None

    def lose(self, first: int, last: int) -> None:
        """Take note of a stretch of positions that a replay would send again, in their order."""
        apart = [(low, high) for low, high in self.lost if high + 1 < first or last + 1 < low]
        joined = [one for one in self.lost if one not in apart]
        if not joined and len(self.lost) == MOST_STRETCHES:
            self.more_lost = True
            return
        ends = [(first, last), *joined]
        whole = min(low for low, _ in ends), max(high for _, high in ends)
        self.lost[:] = sorted([*apart, whole])

    def add(self, word: str, example: str = "", count: int = 1) -> None:
        """Take note of something."""
        self.counts[word] += count
        if example:
            found = self.examples.setdefault(word, [])
            if len(found) < EXAMPLES:
                found.append(example)

    def cannot(self, why: str) -> None:
        """Say that something has no answer."""
        if len(self.unproven) >= _MOST_UNPROVEN:
            why = _MORE_UNPROVEN
        if why not in self.unproven:
            self.unproven.append(why)

    @property
    def uncompared(self) -> int:
        """Rows of which nobody can say whether they were in the stream."""
        return sum(self.counts[word] for word in UNCOMPARED)

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong; what is unproven may be."""
        return not any(self.counts[word] for word in WRONG)

    def __str__(self) -> str:
        return ", ".join(f"{word} {self.counts[word]}" for word in WRONG)

    def merged(self, other: Verdict) -> Verdict:
        """Both together: those of two windows."""
        both = Verdict(
            rows=self.rows + other.rows,
            messages=max(self.messages, other.messages),
            counts=self.counts + other.counts,
            examples={word: list(found) for word, found in self.examples.items()},
            unproven=[*self.unproven],
            lost=[*self.lost],
            more_lost=self.more_lost or other.more_lost,
            before=self.before + other.before,
            begins=max(filter(None, (self.begins, other.begins)), default=None),
        )
        for stretch in other.lost:
            both.lose(*stretch)
        for word, found in other.examples.items():
            both.examples[word] = [*both.examples.get(word, []), *found][:EXAMPLES]
        for why in other.unproven:
            both.cannot(why)
        return both
