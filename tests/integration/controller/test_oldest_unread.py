"""The age of the oldest message that a durable consumer has not handled, on a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, DeliverPolicy, StreamConfig

from outbox_operator.adapters.nats.admin import JetStreamAdmin, StoredMessage
from outbox_operator.controller.reconcile.oldest_unread import MOST_FILTERS, OldestUnread
from support.nats import NatsServer, connected
from support.waiting import SECONDS


class Counting(JetStreamAdmin):
    """Keeps the filters that were asked for, with the sequences found."""

    asked: list[tuple[str, int | None]]
    requests = 0

    async def first_message(
        self, stream: str, subject_filter: str, sequence: int
    ) -> StoredMessage | None:
        self.requests += 1
        found = await super().first_message(stream, subject_filter, sequence)
        token = subject_filter.removeprefix(f"{stream}.")
        self.asked.append((token, found.sequence if found else None))
        return found


@dataclass
class Stage:
    """A stream and what one pass after the other finds out of it."""

    js: JetStreamContext
    admin: Counting
    name: str
    server: NatsServer
    unread: OldestUnread = field(default_factory=OldestUnread)

    async def publish(self, *tokens: str) -> None:
        """A message on each of these subjects."""
        for token in tokens:
            await self.js.publish(f"{self.name}.{token}", b"x")

    async def durable(self, *tokens: str, **settings: Any) -> JetStreamContext.PullSubscription:
        """A durable consumer of these subjects, or all."""
        filters = [f"{self.name}.{token}" for token in tokens]
        config = ConsumerConfig(filter_subjects=filters or None, **settings)
        return await self.js.pull_subscribe("", "billing", stream=self.name, config=config)

    async def look(self) -> float | None:
        """What a pass says."""
        self.admin.asked = []
        found = await self.admin.consumer_info(self.name, "billing")
        stream = await self.admin.stream_info(self.name)
        assert found is not None
        assert stream is not None
        return await self.unread.seconds("uid", self.admin, found, stream.first_sequence)

    async def asked(self) -> list[tuple[str, int | None]]:
        """What a pass asks for, while something waits."""
        assert (await self.look() or 0) > 0
        return self.admin.asked


@pytest.fixture
async def stage(nats_server: NatsServer, stream_prefix: str) -> AsyncIterator[Stage]:
    async with connected(nats_server) as client:
        js = client.jetstream()
        await js.add_stream(StreamConfig(name=stream_prefix, subjects=[f"{stream_prefix}.>"]))
        yield Stage(js, Counting(client, nats_server.auth), stream_prefix, nats_server)


async def test_the_first_that_is_not_acknowledged_counts(stage: Stage) -> None:
    subscription = await stage.durable()
    assert await stage.look() == 0.0
    assert stage.admin.asked == []  # nothing waits: nothing is asked
    before = datetime.now(UTC)
    await stage.publish("a", "b", "c")
    assert await stage.asked() == [(">", 1)]
    assert await stage.asked() == []  # it is the same one
    age = await stage.look()
    assert age is not None
    assert age <= (datetime.now(UTC) - before).total_seconds()
    first, second, third = await subscription.fetch(3, timeout=SECONDS)
    await second.ack_sync(timeout=SECONDS)
    assert await stage.asked() == []  # the first is delivered, and not handled
    await first.ack_sync(timeout=SECONDS)
    assert await stage.asked() == [(">", 3)]
    await third.ack_sync(timeout=SECONDS)
    assert await stage.look() == 0.0


async def test_only_what_the_filters_let_through_counts(stage: Stage) -> None:
    await stage.durable("a.*", "b")
    await stage.publish("other", "other", "b", "a.1", "b", "c")
    assert await stage.asked() == [("a.*", 4), ("b", 3)]
    await stage.js.purge_stream(stage.name, seq=4)  # the first three aged out
    assert await stage.asked() == [("b", 5)]
    await stage.js.purge_stream(stage.name, seq=5)
    assert await stage.asked() == [("a.*", None)]
    await stage.js.delete_consumer(stage.name, "billing")
    await stage.durable("c")  # a new one of that name
    assert await stage.asked() == [("c", 6)]


async def test_what_cannot_be_told_is_not_told(stage: Stage) -> None:
    await stage.publish("a")
    await stage.durable("a", *(f"b{number}" for number in range(MOST_FILTERS)))
    assert await stage.look() is None
    await stage.js.delete_consumer(stage.name, "billing")
    await stage.durable("a", deliver_policy=DeliverPolicy.LAST_PER_SUBJECT)
    assert await stage.look() is None
    assert stage.admin.asked == []
    await stage.js.delete_stream(stage.name)
    assert await stage.admin.first_message(stage.name, ">", 1) is None


async def test_who_does_not_answer_is_not_asked_again_at_once(stage: Stage) -> None:
    await stage.durable()
    await stage.publish("a")
    durable = await stage.admin.consumer_info(stage.name, "billing")
    assert durable is not None
    async with connected(stage.server) as client:
        admin = Counting(client, stage.server.auth)
    # The connection is closed.
    for _ in range(2):
        assert await stage.unread.seconds("uid", admin, durable, 1) is None
    assert admin.requests == 1
