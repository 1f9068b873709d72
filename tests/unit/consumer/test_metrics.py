"""Metrics of a consumer stay readable and bounded, whatever types of events come."""

from __future__ import annotations

from prometheus_client import generate_latest

from outbox_operator.consumer.metrics import MOST_TYPES, OTHER_TYPES, ConsumerMetrics
from outbox_operator.wire.config import ConsumerConfig, NatsConfig


def consumer_metrics() -> ConsumerMetrics:
    return ConsumerMetrics(
        ConsumerConfig(
            namespace="shop", consumer="billing", nats=NatsConfig(url="nats://nats"),
            stream="ORDERS", durable="billing",
        )
    )  # fmt: skip


def test_types_of_events_are_counted_by_name_up_to_a_number_and_then_together() -> None:
    metrics = consumer_metrics()
    strange = ["a\udcfe", "b" * 1_000_000, 'c"\n\\']
    for kind in [*strange, *(f"orders.{number}" for number in range(MOST_TYPES * 2))]:
        metrics.acknowledged(kind, 1)
        metrics.handled(kind, 0.1)
        metrics.processed("retry", kind).inc()
        metrics.recorded(kind, 0.1)
        metrics.duplicate(kind)
    text = generate_latest(metrics.registry).decode()
    assert len(text) < 20_000_000
    assert text.count('outbox_consumer_processed_total{consumer="billing"') == 3 * (MOST_TYPES + 1)
    others = {
        "namespace": "shop", "consumer": "billing", "outcome": "ack", "event_type": OTHER_TYPES,
    }  # fmt: skip
    value = metrics.registry.get_sample_value("outbox_consumer_processed_total", others)
    assert value == MOST_TYPES + len(strange)


def test_ten_thousand_types_do_not_make_ten_thousand_series() -> None:
    metrics = consumer_metrics()
    for number in range(10_000):
        kind = f"{number}{chr(number)}"
        metrics.acknowledged(kind, 1)
        metrics.handled(kind, 0.1)
        for outcome in ("retry", "put_off", "dead_letter", "unhandled"):
            metrics.processed(outcome, kind).inc()
        metrics.recorded(kind, 0.1)
        metrics.duplicate(kind)
        metrics.end_to_end.observe(number)
    series = generate_latest(metrics.registry).decode().splitlines()
    assert len(series) < 60 * MOST_TYPES


def test_failures_of_a_type_are_there_before_the_first_one() -> None:
    """A rate does not see the first value of a series, so that value must be 0."""
    metrics = consumer_metrics()
    metrics.handled("created", 0.1)
    for outcome in ("ack", "retry", "dead_letter"):
        labels = {
            "namespace": "shop", "consumer": "billing", "outcome": outcome, "event_type": "created",
        }  # fmt: skip
        assert metrics.registry.get_sample_value("outbox_consumer_processed_total", labels) == 0


def test_what_was_answered_is_told_by_outcome_and_type() -> None:
    metrics = consumer_metrics()
    assert metrics.answered() == {}
    metrics.acknowledged("order.created", 3)
    metrics.processed("retry", "order.paid").inc()
    metrics.duplicate("order.created")
    assert metrics.answered() == {
        ("ack", "order.created"): 3, ("duplicate", "order.created"): 1, ("retry", "order.paid"): 1,
    }  # fmt: skip
