"""Partitions of an archive: made ahead, made for rows without one, dropped when all is old."""

from __future__ import annotations

import itertools
import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outbox_operator.plan.postgres.archive_partitions import (
    AHEAD_SECONDS,
    WIDTHS,
    ahead,
    expired,
    for_rows,
    slot,
    width,
)
from outbox_operator.plan.postgres.archive_schema import ClassTable, Leaf, keep_comment

DAY = 86_400
NOW = datetime(2026, 3, 1, 13, 37, tzinfo=UTC)
DEFAULT = Leaf(name="rows_orders_default")


def orders(*leaves: Leaf) -> ClassTable:
    return ClassTable(name="orders", leaves=(*leaves, DEFAULT))


def leaf(low: datetime, seconds: float) -> Leaf:
    return Leaf(name=f"{low}", low=low, high=low + timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("keep", "seconds"),
    [(3600, 900), (10 * 3600, 3600), (DAY, 3600), (10 * DAY, DAY), (90 * DAY, 7 * DAY),
     (400 * DAY, 28 * DAY), (2555 * DAY, 28 * DAY)],
)  # fmt: skip
def test_stretches_are_a_tenth_of_the_time_that_rows_are_kept_or_less(
    keep: float, seconds: int
) -> None:
    assert width(keep) == seconds


def test_there_is_a_partition_for_now_and_for_two_days_ahead() -> None:
    made = ahead(orders(), NOW, 10 * DAY)
    assert [one.name for one in made] == [
        "rows_orders_20260301t0000", "rows_orders_20260302t0000", "rows_orders_20260303t0000",
        "rows_orders_20260304t0000",
    ]  # fmt: skip
    assert made[0].low == datetime(2026, 3, 1, tzinfo=UTC)
    assert all(one.high == after.low for one, after in itertools.pairwise(made))


def test_what_is_there_is_not_made_again() -> None:
    first, *rest = ahead(orders(), NOW, 10 * DAY)
    there = orders(*(Leaf(name=one.name, low=one.low, high=one.high) for one in rest))
    assert ahead(there, NOW, 10 * DAY) == [first]


def test_a_length_that_changed_leaves_no_hole_and_no_overlap() -> None:
    day = leaf(datetime(2026, 3, 1, tzinfo=UTC), DAY)
    made = ahead(orders(day), NOW, 400 * DAY)
    assert [(one.low, one.high) for one in made][:2] == [
        (datetime(2026, 2, 12, tzinfo=UTC), day.low),
        (day.high, datetime(2026, 3, 12, tzinfo=UTC)),
    ]


def test_rows_without_a_partition_get_those_that_they_need() -> None:
    moments = [NOW - timedelta(days=days) for days in (9, 3, 3.01, 200)]
    made = for_rows(orders(leaf(datetime(2026, 2, 20, tzinfo=UTC), DAY)), moments, 10 * DAY)
    assert [one.name for one in made] == ["rows_orders_20250813t0000", "rows_orders_20260226t0000"]


def test_a_partition_goes_when_its_youngest_row_is_too_old() -> None:
    old = leaf(NOW - timedelta(days=12), 2 * DAY)
    younger = leaf(NOW - timedelta(days=11), 2 * DAY)
    assert expired(orders(younger, old), NOW, 10 * DAY) == [old]
    assert expired(orders(old), NOW, float("1e9")) == []


@pytest.mark.parametrize(
    ("comment", "keep"),
    [("{", None), ("[]", None), ('{"keep_seconds": "x"}', None), ('{"keep_seconds": -1}', None),
     (None, None), (keep_comment(5.5).strip("'"), 5.5), ("[" * 5000, None)],
)  # fmt: skip
def test_how_long_a_class_is_kept_says_its_comment(comment: str | None, keep: float | None) -> None:
    assert ClassTable(name="orders", comment=comment).keep_seconds == keep


MOMENTS = st.integers(-400 * DAY, 40 * DAY).map(lambda seconds: NOW + timedelta(seconds=seconds))
KEEP = st.sampled_from([one * 10 for one in WIDTHS])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(MOMENTS, KEEP), max_size=5), MOMENTS, KEEP)
def test_every_moment_has_one_partition_whatever_lengths_there_were(
    before: list[tuple[datetime, int]], now: datetime, keep: int
) -> None:
    there: list[Leaf] = []
    for moment, kept in before:
        made = for_rows(orders(*there), [moment], kept)
        there += [Leaf(name=one.name, low=one.low, high=one.high) for one in made]
    made = ahead(orders(*there), now, keep)
    there += [Leaf(name=one.name, low=one.low, high=one.high) for one in made]
    assert len({one.name for one in there}) == len(there)
    assert ahead(orders(*there), now, keep) == []
    bounds = sorted((one.low, one.high) for one in there if one.low and one.high)
    assert all(one[1] <= after[0] for one, after in itertools.pairwise(bounds))
    for seconds in (0, AHEAD_SECONDS // 2):
        moment = now + timedelta(seconds=seconds)
        assert any(low <= moment < high for low, high in bounds) or seconds
    assert slot(now, WIDTHS[0]) <= now


def test_tens_of_thousands_of_partitions_and_of_moments_take_no_time() -> None:
    """A server that a tenant names tells of both: the process that asks does not stand still."""
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    hours = [begin + timedelta(hours=number) for number in range(20_000)]
    started = time.process_time()
    made = for_rows(orders(*(leaf(one, 1) for one in hours)), hours, 10 * 3600)
    assert len(made) == 20_000
    over = for_rows(orders(*(leaf(one, 10_000_000_000) for one in hours)), hours, 10 * 3600)
    assert over == []
    assert time.process_time() - started < 10  # each beside each is a minute and more
