"""Which messages may be handled: a key keeps its order, everything else flows."""

from __future__ import annotations

import datetime as dt
from collections.abc import Hashable
from typing import Any

import pytest

from outbox_operator.consumer.handlers.types import ReceivedEvent
from outbox_operator.consumer.key_queues import Item, KeyQueues


def item(number: int, key: Hashable = None) -> Item:
    event = ReceivedEvent(
        id=str(number), type="t", source="/s", key="", subject="s", content_type="", headers={},
        time=dt.datetime(2026, 11, 21, tzinfo=dt.UTC), data=b"",
    )  # fmt: skip
    delivery: Any = None
    return Item(delivery, event, key)


def numbers(items: list[Item]) -> list[int]:
    return [int(one.event.id) for one in items]


def everything(_: Item) -> bool:
    return True


def filled(*keys: Hashable) -> KeyQueues:
    queues = KeyQueues()
    for number, key in enumerate(keys):
        queues.add(item(number, key))
    return queues


def test_only_the_first_of_a_key_is_ready() -> None:
    queues = filled("a", "a", "b", None, "a", None)
    assert numbers(list(queues.ready)) == [0, 2, 3, 5]


def test_a_key_goes_on_when_its_first_is_settled_and_ends_with_its_last() -> None:
    queues = filled("a", "a")
    first = queues.take()
    assert first is not None
    assert queues.take() is None
    queues.release(first)
    second = queues.take()
    assert second is not None
    assert numbers([second]) == [1]
    queues.release(second)
    queues.add(item(2, "a"))
    assert numbers(list(queues.ready)) == [2]


def test_a_batch_of_a_key_is_put_back_in_order() -> None:
    queues = filled("a", "a", "a", "b")
    first = queues.take()
    assert first is not None
    batch = [first, *queues.take_behind(first, 1, everything)]
    assert numbers(batch) == [0, 1]
    queues.put_back(batch)
    assert numbers(list(queues.ready)) == [0, 3]
    again = queues.take()
    assert again is not None
    assert numbers(queues.take_behind(again, 9, everything)) == [1, 2]


def test_a_batch_over_keys_is_put_back_in_front() -> None:
    queues = filled("a", "b", None, None, "a")
    batch = queues.take_ready(3, everything)
    assert numbers(batch) == [0, 1, 2]
    queues.put_back(batch)
    assert numbers(list(queues.ready)) == [0, 1, 2, 3]


@pytest.mark.parametrize("most", [0, 1, 2])
def test_a_batch_passes_over_what_does_not_fit(most: int) -> None:
    queues = filled(None, None, None)
    queues.ready[1].alone = True
    assert numbers(queues.take_ready(most, lambda one: not one.alone)) == [0, 2][:most]
    assert numbers(list(queues.ready)) == [n for n in range(3) if n not in [0, 2][:most]]


def test_nobody_looks_far_to_fill_a_batch() -> None:
    queues = filled(*[None] * 1000)
    looked_at: list[Item] = []

    def fits(one: Item) -> bool:
        looked_at.append(one)
        return False

    assert queues.take_ready(5, fits) == []
    assert len(looked_at) == 20
    assert numbers(list(queues.ready)) == list(range(1000))
