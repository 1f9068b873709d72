"""Somebody who changes a resource of ours again and again, and how often it is put back then. Pure.

Two controllers that each know better would write for ever, as fast as they hear of each other: an
autoscaler beside a number of replicas, a tool that adds a sidecar to every Deployment. What is ours
is put back, but no faster than people can look at it, and who it is is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

MANY: Final = 5
WITHIN_SECONDS: Final = 600.0
"""So many repairs of a resource within this time are a contest."""
REST_SECONDS: Final = 60.0
"""From then on it is left for so long between two repairs."""
_SHOWN_MANAGERS: Final = 3
_LONGEST_MANAGER: Final = 60


def recent(repairs: Sequence[float], now: float) -> list[float]:
    """The repairs that still count, of those at these monotonic seconds."""
    return [at for at in repairs if at > now - WITHIN_SECONDS][-MANY:]


def is_contested(repairs: Sequence[float], now: float) -> bool:
    """Whether somebody is at a resource again and again: one repair more is too many."""
    return len(recent(repairs, now)) >= MANY - 1


def rests(repairs: Sequence[float], now: float) -> bool:
    """Whether a resource is to be left as it is for now."""
    return len(recent(repairs, now)) >= MANY and now - repairs[-1] < REST_SECONDS


def managers(entries: Sequence[Mapping[str, Any]]) -> str:
    """Who set fields of a resource, for people.

    Args:
        entries: Managed fields of others.
    """
    names = dict.fromkeys(str(one.get("manager"))[:_LONGEST_MANAGER] for one in entries)
    return ", ".join(list(names)[:_SHOWN_MANAGERS]) or "somebody"
