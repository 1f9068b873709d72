"""Shards are shared fairly, by the fewest moves, from whatever state, and then stay."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest

from outbox_operator.relay.balance import Moves, decide, quotas


@pytest.mark.parametrize(
    ("shards", "members", "held", "due"),
    [
        (1, {7}, {}, {7: 1}),
        (1, {3, 7}, {7: 1}, {3: 0, 7: 1}),
        (4, {1, 2, 3}, {}, {1: 2, 2: 1, 3: 1}),
        (4, {1, 2, 3}, {3: 2}, {1: 1, 2: 1, 3: 2}),
        (4, {1, 2, 3, 4}, {3: 4}, {1: 1, 2: 1, 3: 1, 4: 1}),
        (2, {1, 2, 3}, {2: 1, 3: 1}, {1: 0, 2: 1, 3: 1}),
        (64, {1, 2, 3}, {1: 10, 2: 30, 3: 24}, {1: 21, 2: 22, 3: 21}),
        (4, set(), {}, {}),
    ],
)
def test_everybody_is_due_the_same_or_one_more(
    shards: int, members: set[int], held: Mapping[int, int], due: Mapping[int, int]
) -> None:
    assert quotas(shards, members, held) == due


@pytest.mark.parametrize(
    ("shards", "members", "holders", "moves"),
    [
        (1, {1}, {}, Moves((), (0,))),
        (1, {1, 2}, {0: 2}, Moves((), ())),
        (1, {1, 2}, {0: 1}, Moves((), ())),
        # Somebody who is leaving still holds it; it is not free before the lock is.
        (1, {1}, {0: None}, Moves((), ())),
        (4, {1}, {}, Moves((), (0, 1, 2, 3))),
        (4, {1, 2}, {0: 1, 1: 1, 2: 1, 3: 1}, Moves((2, 3), ())),
        (4, {1, 2}, {0: 2, 1: 2, 2: 2, 3: 2}, Moves((), ())),
        # Everybody reaches for others.
        (4, {1, 2}, {}, Moves((), (0, 1))),
        (4, {0, 1}, {}, Moves((), (2, 3))),
        (5, {1, 2}, {0: 1, 1: 1, 2: 2}, Moves((), (3,))),
        # The one more goes to whoever has it.
        (3, {0, 1}, {0: 1, 1: 1, 2: 0}, Moves((), ())),
        (3, {1, 2}, {0: 2, 1: 2}, Moves((), (2,))),
    ],
)
def test_moves_of_member_1(
    shards: int, members: set[int], holders: Mapping[int, int | None], moves: Moves
) -> None:
    assert decide(shards=shards, me=1, members=members, holders=holders) == moves


def test_what_is_leaving_already_counts_as_let_go() -> None:
    holders = dict.fromkeys(range(4), 1)
    moves = decide(shards=4, me=1, members={1, 2}, holders=holders, leaving={0})
    assert moves.release == (0, 3)


class World:
    """Relays that look one after the other, each at its own moment, and act on what they saw."""

    def __init__(self, shards: int, random_: random.Random) -> None:
        self.shards = shards
        self.random = random_
        self.members: set[int] = set()
        self.holders: dict[int, int | None] = {}
        self.moves = 0

    def join(self) -> None:
        self.members.add(self.random.randrange(1, 2**31))

    def leave(self) -> None:
        gone = self.random.choice(sorted(self.members))
        self.members.remove(gone)
        self.holders = {s: m for s, m in self.holders.items() if m != gone}

    def round(self) -> bool:
        """Everybody looks at the same state, then acts in any order; True when nothing moved."""
        seen = dict(self.holders)
        plans = {
            me: decide(shards=self.shards, me=me, members=self.members, holders=seen)
            for me in self.members
        }
        before = dict(self.holders)
        for me in self.random.sample(sorted(plans), len(plans)):
            for shard in plans[me].release:
                assert self.holders.pop(shard) == me, "only what is mine is let go"
                self.moves += 1
            for shard in plans[me].take:
                self.holders.setdefault(shard, me)  # the lock decides
        return before == self.holders

    def settle(self) -> int:
        for rounds in range(10):
            if self.round():
                return rounds
        raise AssertionError(f"not settled: {self.holders}")

    def sizes(self) -> list[int]:
        held = list(self.holders.values())
        return [held.count(member) for member in self.members]


@pytest.mark.parametrize("seed", range(60))
def test_any_joins_and_leaves_settle_in_three_looks_with_the_fewest_moves(seed: int) -> None:
    dice = random.Random(seed)
    world = World(dice.choice([1, 2, 3, 4, 7, 16, 64]), dice)
    for _ in range(12):
        if world.members and dice.random() < 0.4:
            world.leave()
        for _ in range(dice.randrange(3)):
            world.join()
        if not world.members:
            continue
        before = world.sizes()
        share, rest = divmod(world.shards, len(world.members))
        # Nobody can keep more than the share, or one more as long as there are some.
        kept = sum(min(size, share) for size in before)
        kept += min(rest, sum(size > share for size in before))
        world.moves = 0
        assert world.settle() <= 3
        assert world.moves == sum(before) - kept
        assert sorted(world.holders) == list(range(world.shards))
        assert max(world.sizes()) - min(world.sizes()) <= 1
        assert world.round(), "and stays"


def test_looks_at_different_moments_never_swing_back_and_forth() -> None:
    """Each relay sees what the one before it did: no round of talks, no common clock."""
    world = World(8, random.Random(1))
    for _ in range(3):
        world.join()
    for _ in range(4):
        for me in sorted(world.members):
            moves = decide(shards=8, me=me, members=world.members, holders=world.holders)
            for shard in moves.release:
                del world.holders[shard]
                world.moves += 1
            world.holders.update(dict.fromkeys(moves.take, me))
    assert sorted(world.sizes()) == [2, 3, 3]
    assert world.moves == 0
