"""What workers do with messages whose processing ends without an answer of the handler."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from outbox_operator.consumer.breaker import Breaker
from outbox_operator.consumer.disposition import ACKNOWLEDGE, PUT_ASIDE, Policy, Settlement
from outbox_operator.consumer.key_queues import Item
from outbox_operator.consumer.metrics import ConsumerMetrics
from outbox_operator.consumer.pace import Pace
from outbox_operator.consumer.suspects import Suspects
from outbox_operator.consumer.trials import Trials
from outbox_operator.consumer.workers import Workers
from outbox_operator.errors import NatsError
from outbox_operator.wire.config import ConsumerConfig, InboxConfig, NatsConfig
from support.waiting import eventually


class OneDelivery:
    """A delivery that notes how it was answered."""

    stream, deliveries, epoch, subject = "ORDERS", 1, 0, "orders.created"
    headers: dict[str, str]
    data = b"{}"

    def __init__(self, sequence: int, *, ends: bool = False) -> None:
        self.ends = ends
        self.sequence = self.number = sequence
        self.headers = {"Ce-Id": str(sequence)}
        self.answers: list[str] = []

    def when_stored(self) -> dt.datetime:
        """Any time."""
        return dt.datetime.now(dt.UTC)

    def ack(self) -> None:
        """Done."""
        if self.ends:
            raise NatsError("the connection is closed")
        self.answers.append("ack")

    def term(self, reason: str) -> None:
        """Put aside."""
        self.answers.append("term")

    def nak(self, seconds: float = 0.0) -> None:
        """Again."""
        self.answers.append("nak")


class AHandler:
    """Takes events one by one."""

    name, wants_connection, largest_batch = "tests:handler", False, 1

    def batch(self, event_type: str) -> int:
        """One."""
        return 1

    def retry(self, event_type: str) -> None:
        """No way of its own."""

    def shares_call(self, event_type: str, other: str) -> bool:
        """No other."""
        return False


class AProcessor:
    """Ends as it is told."""

    def __init__(self, end: Settlement | Exception) -> None:
        self.end = end
        self.seen: list[int] = []

    async def process(self, items: list[Item]) -> Sequence[Settlement]:
        """See `Processor.process`."""
        self.seen += [item.delivery.sequence for item in items]
        if isinstance(self.end, Exception):
            raise self.end
        return [self.end] * len(items)


async def test_a_bug_of_ours_leaves_a_shard_in_order(tmp_path: Path) -> None:
    """Side by side its events would overtake each other, and the mark of the shard with them."""
    config = ConsumerConfig(
        namespace="shop", consumer="billing", nats=NatsConfig(url="nats://nats"),
        stream="ORDERS", durable="billing", concurrency=4, health_port=0,
        inbox=InboxConfig(url_file="", mode="PerShard"),
    )  # fmt: skip
    processor = AProcessor(ValueError("a bug of ours"))
    handler: Any = AHandler()
    processing: Any = processor
    workers = Workers(
        config, handler, processing, Breaker(0),
        Suspects(Policy(), 30.0, Trials("tests", tmp_path), ordered=True, retry_of=handler.retry),
        Pace(4),
        ConsumerMetrics(config),
        stopping=asyncio.Event(), changed=asyncio.Event(),
    )  # fmt: skip
    workers.handle_held_back(OneDelivery.epoch)
    for sequence in (1, 2, 3):
        delivery: Any = OneDelivery(sequence)
        workers.deliver(delivery)
    await asyncio.wait(set(workers.tasks))
    assert processor.seen == [1, 2, 3, 1]  # together, then the first by itself, and none else


@pytest.mark.parametrize(
    "end", [PUT_ASIDE, ValueError("a bug of ours")], ids=["dead letter", "bug"]
)
async def test_the_end_of_a_probe_is_certain(end: Settlement | Exception, tmp_path: Path) -> None:
    """Else the circuit never closes again, and only a restart helps."""
    config = ConsumerConfig(
        namespace="shop", consumer="billing", nats=NatsConfig(url="nats://nats"),
        stream="ORDERS", durable="billing", concurrency=1, health_port=0,
    )  # fmt: skip
    breaker, processor = Breaker(1), AProcessor(end)
    handler: Any = AHandler()
    processing: Any = processor
    suspects = Suspects(
        Policy(), 30.0, Trials("tests", tmp_path), ordered=False, retry_of=handler.retry
    )
    workers = Workers(
        config, handler, processing, breaker, suspects, Pace(1), ConsumerMetrics(config),
        stopping=asyncio.Event(), changed=asyncio.Event(),
    )  # fmt: skip
    breaker.failed(99, "down", time.monotonic() - 60, 0.0)
    assert breaker.probe_due(time.monotonic())
    for sequence in (1, 2):
        delivery: Any = OneDelivery(sequence)
        workers.deliver(delivery)
        await asyncio.gather(*workers.tasks)
        assert delivery.answers, "answered"
    assert processor.seen == [1, 2], "one probe after the other"
    assert breaker.probe_due(time.monotonic())


async def test_answers_that_cannot_be_sent_leave_nothing_in_hand(tmp_path: Path) -> None:
    """Handled together while the connection ended: all of them come again, and may be handled."""
    config = ConsumerConfig(
        namespace="shop", consumer="billing", nats=NatsConfig(url="nats://nats"),
        stream="ORDERS", durable="billing", concurrency=4, health_port=0,
        inbox=InboxConfig(url_file="", mode="PerShard"),
    )  # fmt: skip
    processor = AProcessor(ACKNOWLEDGE)
    handler: Any = AHandler()
    processing: Any = processor
    workers = Workers(
        config, handler, processing, Breaker(0),
        Suspects(Policy(), 30.0, Trials("tests", tmp_path), ordered=True, retry_of=handler.retry),
        Pace(4),
        ConsumerMetrics(config),
        stopping=asyncio.Event(), changed=asyncio.Event(),
    )  # fmt: skip
    workers.handle_held_back(OneDelivery.epoch)
    for sequence in (1, 2, 3):
        delivery: Any = OneDelivery(sequence, ends=True)
        workers.deliver(delivery)
    await asyncio.wait(set(workers.tasks))
    assert workers.in_hand == {}
    for sequence in (1, 2, 3):
        delivery = OneDelivery(sequence)
        workers.deliver(delivery)
    await asyncio.wait(set(workers.tasks))
    assert processor.seen == [1, 2, 3, 1, 2, 3]
    assert workers.in_hand == {}


async def test_what_is_acknowledged_while_the_server_is_asked_is_counted(tmp_path: Path) -> None:
    """Without another event nobody would ask again, and these would never be counted."""
    config = ConsumerConfig(
        namespace="shop", consumer="billing", nats=NatsConfig(url="nats://nats"),
        stream="ORDERS", durable="billing", concurrency=1, health_port=0,
    )  # fmt: skip
    handler: Any = AHandler()
    processing: Any = AProcessor(ACKNOWLEDGE)
    metrics = ConsumerMetrics(config)
    suspects = Suspects(
        Policy(), 30.0, Trials("tests", tmp_path), ordered=False, retry_of=handler.retry
    )
    workers = Workers(
        config, handler, processing, Breaker(0), suspects, Pace(1), metrics,
        stopping=asyncio.Event(), changed=asyncio.Event(),
    )  # fmt: skip
    asked, answered = asyncio.Event(), asyncio.Event()

    async def confirm() -> None:
        asked.set()
        await answered.wait()

    for sequence in (1, 2):
        delivery: Any = OneDelivery(sequence)
        delivery.confirm = confirm
        workers.deliver(delivery)
        await asyncio.gather(*workers.tasks)
        await asked.wait()
    answered.set()

    def counted() -> bool:
        labels = {"namespace": "shop", "consumer": "billing", "outcome": "ack"}
        return sum(
            sample.value
            for metric in metrics.registry.collect()
            for sample in metric.samples
            if sample.name == "outbox_consumer_processed_total"
            and labels.items() <= sample.labels.items()
        ) == 2  # fmt: skip

    await eventually(counted, "both are counted")
