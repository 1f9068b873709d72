"""Which messages may be handled: lanes keep order, everything else flows."""

from __future__ import annotations

import datetime as dt
from collections.abc import Hashable
from typing import Any

import pytest

from outbox_operator.consumer.handlers.types import ReceivedEvent
from outbox_operator.consumer.lanes import Item, Lanes


def item(number: int, lane: Hashable = None) -> Item:
    event = ReceivedEvent(
        id=str(number), type="t", source="/s", key="", subject="s", content_type="", headers={},
        time=dt.datetime(2026, 11, 21, tzinfo=dt.UTC), data=b"",
    )  # fmt: skip
    delivery: Any = None
    return Item(delivery, event, lane)


def numbers(items: list[Item]) -> list[int]:
    return [int(one.event.id) for one in items]


def everything(_: Item) -> bool:
    return True


def filled(*lanes: Hashable) -> Lanes:
    lanes_ = Lanes()
    for number, lane in enumerate(lanes):
        lanes_.add(item(number, lane))
    return lanes_


def test_only_the_first_of_a_lane_is_ready() -> None:
    lanes = filled("a", "a", "b", None, "a", None)
    assert numbers(list(lanes.ready)) == [0, 2, 3, 5]


def test_a_lane_goes_on_when_its_first_is_settled_and_ends_with_its_last() -> None:
    lanes = filled("a", "a")
    first = lanes.take()
    assert first is not None
    assert lanes.take() is None
    lanes.release(first)
    second = lanes.take()
    assert second is not None
    assert numbers([second]) == [1]
    lanes.release(second)
    lanes.add(item(2, "a"))
    assert numbers(list(lanes.ready)) == [2]


def test_a_batch_of_a_lane_is_put_back_in_order() -> None:
    lanes = filled("a", "a", "a", "b")
    first = lanes.take()
    assert first is not None
    batch = [first, *lanes.take_behind(first, 1, everything)]
    assert numbers(batch) == [0, 1]
    lanes.put_back(batch)
    assert numbers(list(lanes.ready)) == [0, 3]
    again = lanes.take()
    assert again is not None
    assert numbers(lanes.take_behind(again, 9, everything)) == [1, 2]


def test_a_batch_over_lanes_is_put_back_in_front() -> None:
    lanes = filled("a", "b", None, None, "a")
    batch = lanes.take_ready(3, everything)
    assert numbers(batch) == [0, 1, 2]
    lanes.put_back(batch)
    assert numbers(list(lanes.ready)) == [0, 1, 2, 3]


@pytest.mark.parametrize("most", [0, 1, 2])
def test_a_batch_ends_at_what_does_not_fit(most: int) -> None:
    lanes = filled(None, None, None)
    lanes.ready[1].alone = True
    assert numbers(lanes.take_ready(most, lambda one: not one.alone)) == [0][:most]
