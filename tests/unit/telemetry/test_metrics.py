"""Metrics carry the identity of their process and are declared once."""

from __future__ import annotations

import pytest
from prometheus_client import generate_latest

from outbox_operator.telemetry.declaration import Declaration
from outbox_operator.telemetry.metrics import Metrics


def test_every_series_carries_the_identity() -> None:
    metrics = Metrics("outbox_relay", {"namespace": "shop", "pipeline": "orders"})
    metrics.counter("published_total", "Events acknowledged.").inc(2)
    metrics.gauge("owner", "1 while this process owns the shard.").set(1)
    metrics.counters("errors_total", "Errors.", "reason")("NatsUnreachable").inc()
    metrics.histogram("ack_seconds", "Latency.").observe(0.002)
    metrics.histograms("x_seconds", "X.", "kind")("a").observe(1)
    text = generate_latest(metrics.registry).decode()
    identity = 'namespace="shop",pipeline="orders"'
    assert f"outbox_relay_published_total{{{identity}}} 2.0" in text
    assert f"outbox_relay_owner{{{identity}}} 1.0" in text
    assert f'outbox_relay_errors_total{{{identity},reason="NatsUnreachable"}} 1.0' in text
    assert "process_cpu_seconds_total" in text


def test_a_counter_shows_zero_before_it_first_counts() -> None:
    metrics = Metrics("outbox_relay", {"pipeline": "orders"})
    metrics.counter("published_total", "Events acknowledged.")
    text = generate_latest(metrics.registry).decode()
    assert 'outbox_relay_published_total{pipeline="orders"} 0.0' in text


def test_no_identity_is_allowed() -> None:
    metrics = Metrics("outbox_operator")
    metrics.counter("restarts_total", "Restarts.").inc()
    assert "outbox_operator_restarts_total 1.0" in generate_latest(metrics.registry).decode()


def test_a_name_cannot_be_declared_twice() -> None:
    metrics = Metrics("outbox_relay")
    metrics.counter("published_total", "Events.")
    with pytest.raises(ValueError, match="Duplicated"):
        metrics.gauge("published_total", "Events.")


def test_declarations_are_kept_for_the_reference_page() -> None:
    metrics = Metrics("outbox_relay", {"pipeline": "orders"})
    metrics.counters("errors_total", "Errors by reason.", "reason")
    assert metrics.declarations == [
        Declaration(
            "counter", "outbox_relay_errors_total", "Errors by reason.", ("pipeline", "reason")
        )
    ]
