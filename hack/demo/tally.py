"""What the shop did, and whether every event arrived. Pure; the numbers come from `demo.shop`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from demo.screen import table


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers for the live line."""

    committed: int
    declined: int
    handled: Mapping[str, int]

    def line(self, seconds: float) -> str:
        """One line of the live part."""
        handled = "   ".join(f"{name} handled {count}" for name, count in self.handled.items())
        return (
            f"{seconds:4.0f} s   orders committed {self.committed}   "
            f"rolled back {self.declined}   |   {handled}"
        )

    @property
    def settled(self) -> bool:
        """Whether no consumer is behind."""
        return all(count >= self.committed for count in self.handled.values())


@dataclass(frozen=True, slots=True)
class Ledger:
    """Every order by id: what the order service did and what each consumer handled.

    Attributes:
        again: Orders whose events a replay of history has sent again, once for each time.
        gaps: Stretches of events that the archive lacks, by their numbers.
    """

    committed: frozenset[str]
    declined: frozenset[str]
    handled: Mapping[str, Sequence[str]]
    again: Sequence[str] = ()
    gaps: int = 0

    def problems(self) -> list[str]:
        """Everything that must not be; empty: the promise held."""
        found = []
        if not self.committed:
            found.append("no order was committed, so nothing was shown")
        if not self.declined:
            found.append("no order was rolled back, so nothing was shown of that")
        if self.gaps:
            found.append(f"audit: {self.gaps} gaps in the numbers of events")
        again = Counter(self.again)
        for name, ids in self.handled.items():
            times = Counter(ids)
            missing = self.committed - times.keys()
            ghosts = times.keys() & self.declined
            strangers = times.keys() - self.committed - self.declined
            twice = [one for one, count in times.items() if count > 1 + again[one]]
            for what, ones in (
                ("committed orders never arrived", missing),
                ("rolled back orders arrived", ghosts),
                ("orders arrived that nobody placed", strangers),
                ("orders took effect more than once", twice),
            ):
                if ones:
                    found.append(f"{name}: {len(ones)} {what}, for example {min(ones)}")
        return found

    def archived(self) -> str:
        """What the archive has of all that was committed, and whether it is whole; '': none is."""
        if "audit" not in self.handled:
            return ""
        there = len(self.committed.intersection(self.handled["audit"]))
        whole = "NOT complete" if self.gaps else "complete: no number of an event is missing"
        return f"archived {there} of {len(self.committed)}, {whole}"

    def summary(self) -> str:
        """The table at the end."""
        rows: list[list[object]] = [["", "handled", "repeated", "of committed", "of rolled back"]]
        for name, ids in self.handled.items():
            rows.append(
                [
                    name,
                    len(set(ids)),
                    len(ids) - len(set(ids)),
                    f"{len(self.committed.intersection(ids))} of {len(self.committed)}",
                    f"{len(self.declined.intersection(ids))} of {len(self.declined)}",
                ]
            )
        return table(rows)
