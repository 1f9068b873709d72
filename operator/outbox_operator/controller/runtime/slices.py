"""Which process leads which part of the namespaces: the decisions. Pure; times are arguments.

The namespaces are divided into a number of slices by a hash of their names, and each slice has a
Lease. Processes take what is free, those with fewer slices first, and ask for one of somebody who
has two more than they have. What keeps one owner of each namespace while the *number* changes is
in `leadership`.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_MOST_PATIENCE: Final = 3
"""Rounds that one who leads already leaves a free slice to those who lead less."""
_PROMISED_ROUNDS: Final = 3
"""Rounds that a slice which was given up for somebody is left to that one."""


@functools.lru_cache(maxsize=65_536)
def slice_of(namespace: str, count: int) -> int:
    """The slice of a namespace: the same in every process and release."""
    digest = hashlib.sha256(namespace.encode()).digest()
    return int.from_bytes(digest[:8], "big") % count


def lease_of(name: str, index: int) -> str:
    """Name of a slice's Lease, beside the Lease `name` of the whole operator."""
    return f"{name}-slice-{index}"


def layout(count: int) -> str:
    """Who holds the operator's Lease on behalf of all that divide the namespaces alike.

    With a space, which no name of a pod has.
    """
    return f"{count} slices"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """What a process sees of the slices at one moment.

    Attributes:
        me: Its identity.
        mine: What it leads.
        may_lead: What it may lead.
        holders: Who holds a slice and is alive, as far as can be seen; a slice that is free is
            left out.
        free_rounds: For how many rounds a free slice has been seen to be free.
        former: Free ones whose Lease still names this process: it was here before.
        asked_by: Who asked for a slice, or was given it.
    """

    me: str
    mine: frozenset[int]
    may_lead: frozenset[int]
    holders: Mapping[int, str]
    free_rounds: Mapping[int, float]
    former: frozenset[int] = frozenset()
    asked_by: Mapping[int, str]

    def counts(self) -> Counter[str]:
        """How many each process leads."""
        others = Counter(holder for holder in self.holders.values() if holder != self.me)
        return others + Counter({self.me: len(self.mine)})


def to_take(seen: Holdings) -> list[int]:
    """Free slices to take now, in this order."""
    ripe = [
        index
        for index in sorted(seen.free_rounds)
        if index in seen.may_lead and index not in seen.former and _is_ripe(seen, index)
    ]
    counts = seen.counts()
    others = len([holder for holder in counts if holder != seen.me])
    most = math.ceil(len(ripe) / (others + 1)) if seen.mine else 1
    # Two that begin together do not try the same one.
    start = slice_of(seen.me, len(ripe)) if ripe else 0
    wanted = [index for index in ripe if seen.asked_by.get(index) == seen.me]
    wanted += [index for index in ripe[start:] + ripe[:start] if index not in wanted]
    return sorted(seen.former & seen.may_lead) + wanted[:most]


def _is_ripe(seen: Holdings, index: int) -> bool:
    patience = min(len(seen.mine), _MOST_PATIENCE)
    if seen.asked_by.get(index, "") not in ("", seen.me):
        patience += _PROMISED_ROUNDS
    return seen.free_rounds[index] >= patience


def to_ask_for(seen: Holdings) -> int | None:
    """A slice to ask its holder for, who leads two more than this process or more."""
    if seen.free_rounds.keys() & seen.may_lead or seen.me in seen.asked_by.values():
        return None
    counts = seen.counts()
    offers = [
        (counts[holder], index)
        for index, holder in seen.holders.items()
        if index in seen.may_lead and not seen.asked_by.get(index) and holder != seen.me
    ]
    most, index = max(offers, default=(0, 0))
    return index if most >= counts[seen.me] + 2 else None


def may_give(seen: Holdings, asker: str) -> bool:
    """Whether to give up a slice for somebody: they are nearer to each other afterwards."""
    counts = seen.counts()
    return asker != seen.me and counts[seen.me] >= counts[asker] + 2
