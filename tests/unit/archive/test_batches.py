"""When a batch is due, and what is in it."""

from __future__ import annotations

import pytest

from outbox_operator.archive.batches import Waiting, batch_of
from outbox_operator.archive.records import Message, Record, Recorder
from support.archiving import RULES, relayed

RECORDER = Recorder(RULES, "audit")


@pytest.mark.parametrize(
    ("sizes", "now", "due"),
    [
        ([], 9.0, False),
        ([1], 0.5, False),
        ([1], 1.0, True),
        ([1, 1, 1], 0.0, True),
        ([50, 50], 0.0, True),
        ([5000], 0.0, True),
    ],
)
def test_a_batch_is_due_when_it_is_full_or_its_first_has_waited(
    sizes: list[int], now: float, due: bool
) -> None:
    waiting: Waiting[int] = Waiting(most=3, most_bytes=100, seconds=1.0)
    for size in sizes:
        waiting.add(size, size, 0.0)
    assert waiting.due(now) is due
    assert waiting.take() == sizes
    assert (waiting.items, waiting.bytes, waiting.due(now)) == ([], 0, False)


def records(*numbers: int, **headers: str) -> list[Record]:
    return [
        RECORDER.record(Message("x", relayed(number) | headers, b"{}", "S", at, at * 1000))
        for at, number in enumerate(numbers, 1)
    ]


def test_an_event_that_is_there_twice_is_stored_once_and_all_count() -> None:
    batch = batch_of(records(3, 1, 2, 3, 7), accounts=True)
    assert len(batch.rows) == 4
    assert (batch.first.microsecond, batch.last.microsecond) == (1, 5)
    assert [account[:4] for account in batch.accounts] == [
        ("/shop/orders", 0, 1, 3), ("/shop/orders", 0, 7, 7)
    ]  # fmt: skip
    assert batch_of(records(1), accounts=False).accounts == []


def test_only_a_replay_is_looked_for_everywhere() -> None:
    replay = {"Outbox-Replay": "r"}
    one, again = records(1), records(2, **replay)
    alone = batch_of(one, accounts=True)
    assert (len(alone.rows), alone.again, alone.everywhere) == (1, [], False)
    both = batch_of([*one, *again], accounts=True)
    assert (both.rows, both.again, both.everywhere) == (
        [one[0].values], [again[0].values], False
    )  # fmt: skip
    assert len(both.accounts) == 1
    others = batch_of(
        records(1, **replay, **{"Outbox-Replay-To": "b"}),
        accounts=True,
    )
    assert (others.rows, others.again, len(others.accounts)) == ([], [], 1)
