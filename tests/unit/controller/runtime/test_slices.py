"""Which slice a process takes, asks for and gives up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pytest

from outbox_operator.controller.runtime.slices import (
    Holdings,
    layout,
    lease_of,
    may_give,
    slice_of,
    to_ask_for,
    to_take,
)


def seen(
    holders: Mapping[int, str] | None = None,
    free: Mapping[int, float] | None = None,
    *,
    me: str = "a",
    may_lead: frozenset[int] = frozenset(range(3)),
    former: frozenset[int] = frozenset(),
    asked_by: Mapping[int, str] | None = None,
) -> Holdings:
    holders = holders or {}
    return Holdings(
        me=me,
        mine=frozenset(at for at, holder in holders.items() if holder == me),
        may_lead=may_lead,
        holders=holders,
        free_rounds=free or {},
        former=former,
        asked_by=asked_by or {},
    )


def test_each_release_finds_the_same_slice_of_a_namespace() -> None:
    assert [slice_of(name, 2) for name in ("shop", "bank", "blue", "red")] == [1, 0, 1, 1]
    assert [slice_of(name, 3) for name in ("shop", "bank", "blue", "red")] == [1, 1, 1, 0]
    assert slice_of("shop", 1) == 0


def test_namespaces_spread() -> None:
    counts = Counter(slice_of(f"team-{number}", 3) for number in range(3000))
    assert min(counts.values()) > 900


def test_names() -> None:
    assert lease_of("outbox-operator", 2) == "outbox-operator-slice-2"
    assert layout(3) == "3 slices"


@pytest.mark.parametrize(
    ("what", "holdings", "wanted"),
    [
        ("the first begins with one", seen(free={0: 0, 1: 0, 2: 0}), 1),
        ("who leads one leaves others the time to come", seen({0: "a"}, {1: 0.5, 2: 0.5}), 0),
        ("alone it takes all the others", seen({0: "a"}, {1: 1, 2: 1}), 2),
        ("with another one half of them", seen({0: "a", 3: "b"}, {1: 1, 2: 1}), 1),
        ("what is free for long goes to whoever leads most", seen({0: "a", 1: "a"}, {2: 2}), 1),
        ("another one may have it first", seen({}, {2: 1}, asked_by={2: "b"}), 0),
        ("who was given it takes it", seen({}, {2: 0}, asked_by={2: "a"}), 1),
        ("the other one has gone meanwhile", seen({}, {2: 3}, asked_by={2: "b"}), 1),
        ("not what it may not lead", seen({}, {2: 9}, may_lead=frozenset({0, 1})), 0),
        (
            "restarted in its pod it has what it had, at once",
            seen({}, {0: 0, 2: 0}, former=frozenset({0, 2})),
            2,
        ),
    ],
)
def test_to_take(what: str, holdings: Holdings, wanted: int) -> None:
    assert len(to_take(holdings)) == wanted, what


@pytest.mark.parametrize(
    ("what", "holdings", "wanted"),
    [
        ("of who has two more", seen({0: "b", 1: "b", 2: "c"}), 1),
        ("nobody has", seen({0: "b", 1: "c", 2: "d"}), None),
        ("only one more", seen({0: "b", 1: "b", 2: "a"}), None),
        ("one is free", seen({0: "b", 1: "b"}, {2: 0}), None),
        ("it has asked already", seen({0: "b", 1: "b", 2: "b"}, asked_by={2: "a"}), None),
        ("another one asked for that", seen({0: "b", 1: "b", 2: "b"}, asked_by={2: "c"}), 1),
        ("it may not lead that", seen({0: "b", 1: "b"}, may_lead=frozenset({2})), None),
    ],
)
def test_to_ask_for(what: str, holdings: Holdings, wanted: int | None) -> None:
    assert to_ask_for(holdings) == wanted, what


def test_to_give() -> None:
    assert may_give(seen({0: "a", 1: "a", 2: "c"}), "b")
    assert not may_give(seen({0: "a", 1: "a", 2: "b"}), "b")
    assert not may_give(seen({0: "a", 1: "b"}), "c")
    assert not may_give(seen({0: "a", 1: "a"}), "a")


def test_all_have_equally_many_in_the_end() -> None:
    """Whoever begins when: asks and gifts come to an end, with a difference of one at most."""
    processes = ("a", "b", "c")
    holders = dict.fromkeys(range(7), "a")
    for _ in range(20):
        for me in processes:
            everything = frozenset(range(7))
            asked = to_ask_for(seen(holders, me=me, may_lead=everything))
            if asked is not None and may_give(seen(holders, me=holders[asked]), me):
                holders[asked] = me
    assert sorted(Counter(holders.values()).values()) == [2, 2, 3]
