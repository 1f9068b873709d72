"""Which numbers messages account for."""

from __future__ import annotations

import datetime as dt
import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outbox_operator.archive.chain import Span, Spans, joined, numbers_of

NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)


def of(emission: str, shard: str = "0", predecessor: str | None = None) -> tuple[int, int] | None:
    headers = {"Outbox-Emission": emission, "Outbox-Shard": shard}
    if predecessor is not None:
        headers["Outbox-Predecessor"] = predecessor
    numbers = numbers_of(headers)
    return None if numbers is None else numbers[1:]


@pytest.mark.parametrize(
    ("predecessor", "low"), [(None, 9), ("8", 9), ("5", 6), ("0", 1), ("9", 9), ("20", 9), ("x", 9)]
)
def test_a_message_accounts_for_what_its_relay_left_out(predecessor: str | None, low: int) -> None:
    assert of("9", predecessor=predecessor) == (low, 9)


@pytest.mark.parametrize(
    ("emission", "shard"),
    [("", "0"), ("0", "0"), ("-1", "0"), ("1.5", "0"), ("9" * 19, "0"), ("٣", "0"), ("1", ""),
     ("1", "-1"), ("1", "9" * 6), ("1", "x")],
)  # fmt: skip
def test_what_no_relay_writes_accounts_for_nothing(emission: str, shard: str) -> None:
    assert of(emission, shard) is None


def spans(*bounds: tuple[int, int], source: str = "/s", shard: int = 0) -> list[Span]:
    return [
        Span(source, shard, low, high, NOW, NOW + dt.timedelta(seconds=high), low, high)
        for low, high in bounds
    ]


def test_shards_and_sources_are_apart() -> None:
    several = [*spans((1, 2)), *spans((3, 4), shard=1), *spans((3, 4), source="/t")]
    assert joined(several) == sorted(several, key=lambda one: (one.source, one.shard))


def test_messages_in_order_are_one_span_of_each_shard_and_source() -> None:
    added = Spans()
    for number in range(1, 6):
        at = NOW + dt.timedelta(seconds=number)
        for source, shard in (("/s", 0), ("/s", 1), ("/t", 0)):
            added.add(source, (shard, number, number), at, 10 + number)
    added.add("/s", (1, 9, 12), NOW, 20)
    assert added.joined() == [
        Span("/s", 0, 1, 5, NOW + dt.timedelta(seconds=1), NOW + dt.timedelta(seconds=5), 11, 15),
        Span("/s", 1, 1, 5, NOW + dt.timedelta(seconds=1), NOW + dt.timedelta(seconds=5), 11, 15),
        Span("/s", 1, 9, 12, NOW, NOW, 20, 20),
        Span("/t", 0, 1, 5, NOW + dt.timedelta(seconds=1), NOW + dt.timedelta(seconds=5), 11, 15),
    ]


def test_the_ends_keep_their_times_and_sequences() -> None:
    [one] = joined(spans((3, 4), (1, 2), (2, 3)))
    assert (one.low, one.high, one.low_sequence, one.high_sequence) == (1, 4, 1, 4)
    assert one.high_at == NOW + dt.timedelta(seconds=4)


BOUNDS = st.tuples(st.integers(1, 60), st.integers(0, 6)).map(lambda pair: (pair[0], sum(pair)))


@settings(max_examples=100, deadline=None)
@given(st.lists(BOUNDS, max_size=20), st.randoms(use_true_random=False))
def test_spans_hold_the_numbers_that_went_in_and_are_apart(
    bounds: list[tuple[int, int]], shuffler: random.Random
) -> None:
    found = joined(spans(*bounds))
    numbers = {number for low, high in bounds for number in range(low, high + 1)}
    assert {number for one in found for number in range(one.low, one.high + 1)} == numbers
    assert all(after.low > one.high + 1 for one, after in itertools.pairwise(found))
    added = Spans()
    for one in sorted(spans(*bounds), key=lambda one: one.high):
        added.add(one.source, (one.shard, one.low, one.high), one.low_at, one.low_sequence)
    assert [(one.low, one.high) for one in added.joined()] == [(one.low, one.high) for one in found]
    shuffler.shuffle(bounds)
    again = joined(spans(*bounds))
    assert [(one.low, one.high) for one in again] == [(one.low, one.high) for one in found]
