"""Which shards a relay takes and which it lets go of: a fair share, by the fewest moves. Pure.

Called by `relay.ownership` once per look at the lock table. Every relay decides for itself, from
what it sees; they need not see the same. A shard never has two owners, because taking one means
getting its lock; what is decided here is only who tries.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import NamedTuple


class Moves(NamedTuple):
    """What to do now: shards to hand over, and shards to try to take."""

    release: tuple[int, ...]
    take: tuple[int, ...]


def quotas(shards: int, members: Collection[int], held: Mapping[int, int]) -> dict[int, int]:
    """Return how many shards each member is due: all the same, or one more.

    Those who hold most get the one more, so that nobody hands over without need.

    Args:
        members: Numbers of the relays that are there.
        held: How many shards a member holds now.
    """
    if not members:
        return {}
    share, rest = divmod(shards, len(members))
    ranked = sorted(members, key=lambda member: (-held.get(member, 0), member))
    return {member: share + (place < rest) for place, member in enumerate(ranked)}


def decide(
    *,
    shards: int,
    me: int,
    members: Collection[int],
    holders: Mapping[int, int | None],
    leaving: Collection[int] = (),
) -> Moves:
    """Decide the next moves of member `me`.

    Args:
        shards: How many there are, numbered from 0.
        members: Numbers of the relays that are there, `me` among them.
        holders: Who holds a shard; None: somebody who is no member any more. Free ones are absent.
        leaving: Shards of mine that are being handed over already.
    """
    held = Counter(member for member in holders.values() if member is not None)
    due = quotas(shards, members, held)
    mine = [shard for shard, member in holders.items() if member == me]
    surplus = len(mine) - due[me]
    if surplus > 0:
        ranked = sorted(mine, key=lambda shard: (shard not in leaving, -shard))
        return Moves(release=tuple(sorted(ranked[:surplus])), take=())
    # Everybody deals the free shards out in the same way, so that few reach for the same one.
    free = [shard for shard in range(shards) if shard not in holders]
    for member in sorted(members):
        wanted = max(0, due[member] - held[member])
        dealt, free = free[:wanted], free[wanted:]
        if member == me:
            return Moves(release=(), take=tuple(dealt))
    return Moves(release=(), take=())
