"""What is counted in large numbers, and what is not known."""

from __future__ import annotations

import random

import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from outbox_operator.telemetry.metrics import AGE_BUCKETS, Metrics

NOW = 1_700_000_000_000_000


def test_many_at_once_are_counted_as_one_by_one() -> None:
    metrics = Metrics("outbox_relay", {"pipeline": "orders"})
    distributions = metrics.distributions("delivery_seconds", "Age.", "since")
    theirs = Histogram(
        "outbox_relay_delivery_seconds", "Age.", ["pipeline", "since"],
        registry=CollectorRegistry(), buckets=AGE_BUCKETS,
    ).labels("orders", "commit")  # fmt: skip
    ours, chance = distributions("commit"), random.Random(7)
    others = metrics.distributions("other_seconds", "Age.")()
    for _ in range(200):
        scale = 10 ** chance.randrange(2, 11)
        ages = [chance.randrange(scale) for _ in range(chance.randrange(40))]
        ages += [round(bound * 1e6) for bound in chance.sample(AGE_BUCKETS, 2)]
        ours.observe_ages([NOW - age for age in ages], NOW)
        for age in ages:
            theirs.observe(age / 1e6)
            others.observe(age / 1e6)
    [family] = distributions.collect()
    samples = {sample.labels.get("le"): sample.value for sample in family.samples}
    assert len(samples) == len(AGE_BUCKETS) + 2
    assert others.seconds == pytest.approx(ours.seconds)
    assert sum(map(abs, map(int.__sub__, others.counts, ours.counts))) <= 20  # floats at bounds
    for sample in next(iter(theirs.collect())).samples:
        if "bucket" in sample.name:
            assert samples[sample.labels["le"]] == sample.value
        elif sample.name.endswith("_sum"):
            assert ours.seconds == pytest.approx(sample.value)


def test_ages_are_never_negative_whatever_other_clocks_say() -> None:
    series = Metrics("outbox_relay").distributions("delivery_seconds", "Age.")()
    series.observe_ages([NOW + 5_000_000, NOW - 2_000], NOW)
    series.observe(-3.0)
    assert (series.counts[0], series.counts[1], series.seconds) == (2, 1, 0.002)
    series.observe_ages([], NOW)
    assert sum(series.counts) == 3


@pytest.mark.parametrize("age", [2.1e11, float("inf"), float("nan")])
def test_no_age_makes_the_next_ones_nothing(age: float) -> None:
    series = Metrics("outbox_relay").distributions("delivery_seconds", "Age.")()
    ages = [-round(age * 1e6)] * 500 if age < 1e12 else []
    series.observe_ages(ages, NOW)
    for _ in range(500):
        series.observe(age)
    before = series.seconds
    for _ in range(1000):
        series.observe(0.0009)
        series.observe_ages([NOW - 900], NOW)
    assert series.seconds - before == pytest.approx(1.8, rel=1e-3)
    assert series.counts[-1] == 500 + len(ages)


def test_a_distribution_reads_like_any_histogram() -> None:
    metrics = Metrics("outbox_relay", {"pipeline": "orders"})
    metrics.distributions("delivery_seconds", "Age.", "since", buckets=(0.5, 60))("commit").observe(
        0.7
    )
    text = generate_latest(metrics.registry).decode()
    labels = 'pipeline="orders",since="commit"'
    for line in (
        "# TYPE outbox_relay_delivery_seconds histogram",
        f'outbox_relay_delivery_seconds_bucket{{le="0.5",{labels}}} 0.0',
        f'outbox_relay_delivery_seconds_bucket{{le="60.0",{labels}}} 1.0',
        f'outbox_relay_delivery_seconds_bucket{{le="+Inf",{labels}}} 1.0',
        f"outbox_relay_delivery_seconds_count{{{labels}}} 1.0",
        f"outbox_relay_delivery_seconds_sum{{{labels}}} 0.7",
    ):
        assert line in text


def test_what_is_not_known_has_no_series() -> None:
    metrics = Metrics("outbox_relay", {"pipeline": "orders"})
    known: dict[str, float | None] = {"0": None, "1": 0}
    readings = metrics.readings("known_rows", "What waits.", "shard")
    for shard in known:
        readings.watch(lambda shard=shard: known[shard], shard)  # type: ignore[misc]
    text = generate_latest(metrics.registry).decode()
    assert 'known_rows{pipeline="orders",shard="1"} 0.0' in text
    assert 'shard="0"' not in text
    known["0"] = 4
    assert 'shard="0"} 4.0' in generate_latest(metrics.registry).decode()


def test_no_name_is_declared_twice() -> None:
    metrics = Metrics("outbox_relay")
    metrics.readings("rows", "Rows.")
    with pytest.raises(ValueError, match="Duplicated"):
        metrics.distributions("rows", "Rows.")
