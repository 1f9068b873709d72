"""Rows and messages compared: the delivery checker's words, asked of production."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from outbox_operator.plan.doctor import delivery
from outbox_operator.plan.doctor.delivery import Comparison, Copy, LeftRow
from outbox_operator.plan.doctor.memory import Memory
from outbox_operator.plan.doctor.positions import PositionSet
from outbox_operator.plan.doctor.verdict import EXAMPLES, FINE, WRONG, Verdict

SOURCE = "/shop/orders"
HELD = datetime(2026, 11, 29, tzinfo=UTC)
FAR = 7_000_000_000
"""The sequence jumps by thousands of millions when partitions are rotated."""


def message(position: int | None, *, key: str = "", number: int | None = None, **more: str) -> Any:
    """Headers of a message."""
    found = {"Ce-Source": SOURCE, "Ce-Id": f"id-{position}", "Outbox-Shard": "0"}
    if position is not None:
        found["Outbox-Position"] = str(position)
        found["Outbox-Emission"] = str(position if number is None else number)
    if key:
        found["Ce-Partitionkey"] = key
    return found | {name.replace("_", "-"): text for name, text in more.items()}


def compared(
    rows: Sequence[int],
    messages: Sequence[dict[str, str]],
    *,
    waiting: Sequence[int] = (),
    dead: Sequence[int] = (),
    renewed: Sequence[int] = (),
    given_up: Sequence[int] = (),
    expired: Sequence[int] = (),
    old: Sequence[int] = (),
    purged: Sequence[int] = (),
    others: Sequence[int] = (),
    drops: bool = False,
    ordered: bool = True,
    late: Sequence[int] = (),
    copies: Mapping[int, Sequence[Copy]] = {},
    of: Mapping[int, int] = {},
) -> Verdict:
    """What comes of it."""
    comparison = Comparison(1, 2**60, SOURCE, ordered=ordered)
    for position in rows:
        comparison.row(
            position, due=position not in waiting, wanted=position not in others,
            expired=position in expired,
        )  # fmt: skip
    for sequence, headers in enumerate(messages, 1):
        comparison.message(sequence, headers)
    comparison.settle(late)
    comparison.explain(
        [
            LeftRow(
                position=p,
                shard=0,
                event_id=f"id-{p}",
                dead=p in dead,
                renewed=p in renewed,
                given_up=p in given_up,
                copies=tuple(copies.get(p, ())),
                of=of.get(p),
                created_at=HELD - timedelta(days=2 * (p in old), hours=p in purged),
            )
            for p in comparison.unexplained(drops=drops)
        ],
        Memory(HELD, HELD - timedelta(days=1)),
    )
    return comparison.verdict


def counts(verdict: Verdict) -> dict[str, int]:
    """What was counted."""
    return {word: number for word, number in verdict.counts.items() if number}


APPLICATION = {"Ce-Source": SOURCE, "Ce-Id": "id-2"}
CASES: dict[str, tuple[list[int], list[Any], dict[str, Any], dict[str, int]]] = {
    "all is well": ([1, 2, FAR], [message(1), message(2), message(FAR)], {}, {}),
    "a row without a message": ([1, 2, 3], [message(1), message(3)], {}, {"lost": 1}),
    "not published yet": ([1, 2], [message(1)], {"waiting": [2]}, {"waiting": 1}),
    "published beyond the cursor": ([1, 2], [message(1), message(2)], {"waiting": [2]}, {}),
    "a dead letter": ([1, 2], [message(1)], {"dead": [2]}, {"deadLettered": 1}),
    "a dead letter written anew": ([1, 2], [message(1)], {"renewed": [2]}, {"replayed": 1}),
    "a dead letter given up": ([1, 2], [message(1)], {"given_up": [2]}, {"givenUp": 1}),
    "older than the stream": (
        [1, 2, 3], [message(3)], {"expired": [1], "old": [2]}, {"expired": 2},
    ),
    "older than the stream, but younger than what its limits can have taken": (
        [1, 2, 3], [message(3)], {"purged": [1], "old": [2]}, {"expired": 1, "lost": 1},
    ),
    "rows of another time": (
        [1, 2, 3], [message(2), message(2), message(3)], {"others": [1, 2]}, {},
    ),
    "a stream that drops": ([1, 2], [message(2)], {"drops": True}, {"expired": 1}),
    "a second message": (
        [1, 2], [message(1), message(2), message(1)], {}, {"duplicate": 1},
    ),
    "a second message with a new number": (
        [1, 2], [message(1), message(2), message(1, number=9)], {}, {"duplicate": 1},
    ),
    "a third": ([1], [message(1)] * 3, {}, {"duplicate": 2}),
    "a replay": (
        [1, 2, 3], [message(1), message(2), message(3, Outbox_Replay="again")], {},
        {"replayed": 1},
    ),
    "a replay twice": (
        [1, 2], [message(1), *[message(2, Outbox_Replay="again")] * 2], {},
        {"replayed": 2, "duplicate": 1},
    ),
    "a replay of what the application has sent": (
        [1, 2, 3],
        [message(1), APPLICATION, {**message(3, Outbox_Replay="again"), "Ce-Id": "id-2"}],
        {}, {"sent": 1, "replayed": 1},
    ),
    "an event that was open while copies of its key were written": (
        [1, 2, 3],
        [message(1, key="a", number=1), message(3, key="a", number=2, Outbox_Replay="again"),
         message(2, key="a", number=3)],
        {}, {"replayed": 1},
    ),
    "copies swapped within a key": (
        [1, 2], [message(2, key="a", number=1, Outbox_Replay="again"),
                 message(1, key="a", number=2, Outbox_Replay="again")],
        {}, {"replayed": 2, "reordered": 1},
    ),
    "a copy of a replay without a message": ([1, 2], [message(1)], {}, {"lost": 1}),
    "lost, and sent again": (
        [1, 2, 3], [message(1), message(3, Outbox_Replay="again")], {"copies": {2: [Copy(3)]}},
        {"replayed": 2},
    ),
    "lost, sent again, and lost again": (
        [1, 2, 3, 4], [message(1), message(4, Outbox_Replay="more")],
        {"copies": {2: [Copy(3), Copy(4)], 3: [Copy(4)]}, "of": {3: 2, 4: 2}}, {"replayed": 3},
    ),
    "lost, and sent again behind what is compared": (
        [1, 2], [message(1), message(2**61, Outbox_Replay="again")],
        {"copies": {2: [Copy(2**61)]}}, {"replayed": 1},
    ),
    "lost, and sent again after the time that is compared": (
        [1, 2, 3], [message(1), message(3, Outbox_Replay="again")],
        {"copies": {2: [Copy(3)]}, "others": [3]}, {"replayed": 1},
    ),
    "a message of the copy's position that is no copy": (
        [1, 2, 3], [message(1), message(3)], {"copies": {2: [Copy(3)]}}, {"lost": 1},
    ),
    "lost, and a copy that is lost": (
        [1, 2, 3], [message(1)], {"copies": {2: [Copy(3)]}}, {"lost": 2},
    ),
    "lost, and sent again to one": (
        [1, 2, 3], [message(1), message(3, Outbox_Replay="again")],
        {"copies": {2: [Copy(3, "billing")]}}, {"replayed": 1, "lost": 1},
    ),
    "no such row": ([1], [message(1), message(5)], {}, {"phantom": 1}),
    "a row that was committed meanwhile": (
        [1], [message(1), message(5)], {"late": [5]}, {},
    ),
    "rows of a partition that was pruned": ([1], [message(1), message(FAR)], {}, {}),
    "another pipeline's": (
        [1], [message(1), {**message(7), "Ce-Source": "/shop/other"}], {}, {"foreign": 1},
    ),
    "somebody else's": ([1], [message(1), {}], {}, {"foreign": 1}),
    "sent by the application": ([1, 2], [message(1), APPLICATION], {}, {"sent": 1}),
    "sent by the application and the relay": (
        [1, 2], [message(1), APPLICATION, message(2)], {}, {"duplicate": 1},
    ),
    "sent by the application twice": (
        [1, 2], [message(1), APPLICATION, APPLICATION], {}, {"sent": 1, "duplicate": 1},
    ),
    "swapped within a key": (
        [1, 2], [message(2, key="a", number=1), message(1, key="a", number=2)], {},
        {"reordered": 1},
    ),
    "swapped between keys": (
        [1, 2], [message(2, key="a", number=1), message(1, key="b", number=2)], {}, {},
    ),
    "swapped without a key": ([1, 2], [message(2, number=1), message(1, number=2)], {}, {}),
    "swapped where no order is promised": (
        [1, 2], [message(2, key="a", number=1), message(1, key="a", number=2)],
        {"ordered": False}, {},
    ),
    "late, but not for its key": (
        [1, 2, 3],
        [message(1, key="a", number=1), message(3, key="b", number=2),
         message(2, key="a", number=3)],
        {}, {},
    ),
    "numbers that go back": (
        [1, 2], [message(1, number=8), message(2, number=7)], {}, {"misnumbered": 1},
    ),
    "numbers with a gap": ([1, 2], [message(1, number=8), message(2, number=80)], {}, {}),
    "shards count apart": (
        [1, 2], [message(1, number=8), {**message(2, number=7), "Outbox-Shard": "1"}], {}, {},
    ),
    "nonsense in headers": (
        [1], [message(1), {**message(1), "Outbox-Position": "9" * 40, "Ce-Id": ""}], {},
        {"foreign": 1},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_rows_and_messages(case: str) -> None:
    rows, messages, settings, wanted = CASES[case]

    verdict = compared(rows, messages, **settings)

    assert counts(verdict) == wanted
    assert verdict.clean is not bool(set(wanted) & set(WRONG))
    assert set(wanted) <= {*WRONG, *FINE}


def test_examples_name_the_event_and_are_few() -> None:
    verdict = compared(range(1, 1000), [])

    assert verdict.counts["lost"] == 999
    assert verdict.examples["lost"][0] == "event id-1 position 1 shard 0"
    assert len(verdict.examples["lost"]) == EXAMPLES


def test_who_was_left_out_of_a_replay_is_said() -> None:
    verdict = compared(
        [1, 2], [message(2, Outbox_Replay="again")], copies={1: [Copy(2, "billing")]}
    )

    assert verdict.examples["lost"][0].endswith(", sent again to billing alone")


@pytest.mark.parametrize(
    ("rows", "there", "of", "stretches", "more"),
    [
        ([*range(1, 9)], [1, 3, 5, 6], {}, [(2, 2), (4, 4), (7, 8)], False),
        ([1, 2, 5, 6], [1], {}, [(2, 6)], False),  # there are no rows between
        ([1, 2, FAR], [1], {}, [(2, 2), (FAR, FAR)], False),
        ([1, 2, 9], [1], {9: 2}, [(2, 2)], False),  # a replay sends what it is a copy of
        ([*range(1, 99)], [*range(1, 99, 2)], {}, [(p, p) for p in range(2, 42, 2)], True),
    ],
)
def test_what_a_replay_would_send_again(
    rows: list[int], there: list[int], of: dict[int, int], stretches: list[Any], more: bool
) -> None:
    verdict = compared(rows, [message(p) for p in there], of=of)

    assert (verdict.lost, verdict.more_lost) == (stretches, more)
    assert Verdict().merged(verdict).merged(verdict).lost == stretches


FULL: Final = [(position, position) for position in range(0, 40, 2)]


@pytest.mark.parametrize(
    ("found", "stretches"),
    [
        ([(1, 3), (2, 5)], [(1, 5)]),
        ([(2, 5), (1, 3)], [(1, 5)]),
        ([(1, 9), (3, 4)], [(1, 9)]),
        ([(3, 4), (8, 9), (1, 12)], [(1, 12)]),
        ([(1, 3), (20, 21), (4, 5)], [(1, 5), (20, 21)]),
        ([(1, 3), (5, 6)], [(1, 3), (5, 6)]),
        (
            [*((p, p) for p in range(0, 80, 2)), (1, 30)],
            [(0, 30), *((p, p) for p in range(32, 40, 2))],
        ),
    ],
)
def test_a_replay_sends_nothing_twice(found: list[Any], stretches: list[Any]) -> None:
    """Each stretch becomes a replay of its own."""
    verdict = Verdict()
    for stretch in found:
        verdict.lose(*stretch)
    assert verdict.lost == stretches


def test_stretches_of_two_windows_that_meet_are_one() -> None:
    first, second = Verdict(lost=[(1, 5)]), Verdict(lost=[(4, 9), (20, 20)])
    assert first.merged(second).lost == [(1, 9), (20, 20)]


def test_positions_from_anywhere_take_bounded_memory() -> None:
    some = PositionSet(2)

    assert [some.add(p) for p in (1, FAR, 5 * FAR, 2)] == [True, True, False, True]
    assert (some.left_out, len(some)) == (True, 3)


def test_messages_of_other_windows_are_theirs() -> None:
    comparison = Comparison(1, 100, SOURCE, ordered=True)
    comparison.row(1, due=True)
    comparison.end(2)

    comparison.message(1, message(1))
    comparison.message(2, message(50))

    assert comparison.verdict.clean


def test_windows_add_up() -> None:
    one, other = compared([1, 2], [message(1)]), compared([5], [message(5), message(5)])
    one.cannot("because")
    other.cannot("because")

    both = one.merged(other)

    assert (both.rows, counts(both)) == (3, {"lost": 1, "duplicate": 1})
    assert both.unproven == ["because"]
    assert str(both) == "lost 1, duplicate 1, reordered 0, misnumbered 0, phantom 0"


def test_what_is_not_remembered_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "MOST_KEYS", 2)
    rows = [1, 2, 3, 4, 5]
    late = [message(p, key=f"k{p}", number=p) for p in (2, 3, 4, 5)]

    verdict = compared(rows, [*late, message(1, key="k2", number=6)])

    assert verdict.clean
    assert "more than 2 keys" in verdict.unproven[0]


def test_positions_take_a_bit_each() -> None:
    some, others = PositionSet(), PositionSet()
    wanted = [1, 2, 32_767, 32_768, FAR, FAR + 1]

    assert [some.add(p) for p in [*wanted, FAR]] == [*[True] * len(wanted), False]
    for position in (2, FAR, 40_000):
        others.add(position)

    assert len(some) == len(wanted)
    assert FAR in some
    assert 3 not in some
    assert list(some.minus(others)) == [1, 32_767, 32_768, FAR + 1]
    assert list(some.minus()) == wanted
