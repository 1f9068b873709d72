"""Events handled, out of what processes count."""

from __future__ import annotations

from outbox_operator.dev.counts import Handled, acknowledged
from outbox_operator.wire.config import ConsumerConfig, NatsConfig


def test_only_what_was_handled_counts() -> None:
    from prometheus_client import generate_latest

    from outbox_operator.consumer.metrics import ConsumerMetrics

    config = ConsumerConfig(
        namespace="shop", consumer="billing", nats=NatsConfig(url="nats://x"), stream="S",
        durable="d",
    )  # fmt: skip
    metrics = ConsumerMetrics(config)
    metrics.acknowledged("order.created", 3)
    metrics.acknowledged('a} 7,outcome="ack"', 2)
    metrics.processed("dead_letter", 'b,outcome="ack"} 9').inc()
    metrics.processed("retry", "order.created").inc()
    assert acknowledged(generate_latest(metrics.registry).decode()) == 5


def test_what_is_stored_counts_once() -> None:
    from prometheus_client import generate_latest

    from outbox_operator.archive.metrics import ArchiveMetrics

    metrics = ArchiveMetrics("shop", "audit")
    metrics.events("orders").inc(3)
    metrics.events("default").inc(2)
    metrics.duplicates.inc(7)
    assert acknowledged(generate_latest(metrics.registry).decode()) == 5


def test_the_sum_is_kept_over_restarts() -> None:
    handled = Handled()
    assert [handled.said(number) for number in (2, 5, 0, 1, 4)] == [2, 5, 5, 6, 9]
    assert handled.total == 9
