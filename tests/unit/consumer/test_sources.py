"""What is said of a source that is not there."""

from __future__ import annotations

import time

from outbox_operator.adapters.source import Others
from outbox_operator.consumer.sources import nearest
from outbox_operator.wire.config import ConsumerConfig, NatsConfig


def of(durable: str) -> ConsumerConfig:
    return ConsumerConfig(
        namespace="shop",
        consumer=durable,
        durable=durable,
        stream="ORDERS",
        nats=NatsConfig(url="nats://127.0.0.1:1"),
    )


def test_the_nearest_name_is_first_and_the_others_are_counted() -> None:
    config = of("zorders-audi")
    names = (*(f"a-{number:04}" for number in range(1100)), "zorders-audit")
    said = nearest(config, Others("durable consumers of ORDERS", names))
    assert said.startswith("durable consumers of ORDERS: zorders-audit, a-")
    assert said.endswith(" and 1091 more")


def test_long_names_are_not_compared_whole() -> None:
    config = of("orders-billin")
    names = tuple("orders-billing" * size for size in range(350_000, 350_010))
    started = time.process_time()
    said = nearest(config, Others("groups of key ORDERS", names))
    assert time.process_time() - started < 1
    assert len(said) < 1100
