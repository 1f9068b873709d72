"""A consumer whose NATS user lacks a right says which one, does no harm, and heals by itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client

from outbox_operator.consumer.app import App
from outbox_operator.consumer.handlers.types import Context, DeadLetter, ReceivedEvent
from outbox_operator.wire.config import ConsumerConfig, NatsConfig
from support.consuming import Source, calling, consuming, metric, readiness
from support.nats import NatsServer, connected, with_permissions
from support.permissions import EVERYTHING, ROLE, deny, give, login, violations
from support.waiting import eventually

pytestmark = pytest.mark.integration

ACK = "$JS.ACK.>"
NEXT = "$JS.API.CONSUMER.MSG.NEXT.>"
MOST_TEXTS = 2
"""Log lines that may tell of one refusal: what was refused, and that it is over."""


@pytest.fixture
def server() -> Iterator[NatsServer]:
    with NatsServer(with_permissions(**{ROLE: EVERYTHING})) as server:
        yield server


@pytest.fixture
async def admin(server: NatsServer) -> AsyncIterator[Client]:
    async with connected(server) as client:
        yield client


@pytest.fixture
async def source(server: NatsServer, admin: Client, tmp_path: Path) -> Source:
    """A stream with a durable consumer that `ROLE` reads."""
    made = await Source.create(admin, "T", ack_wait=1.0)
    nats = NatsConfig(**login(server, tmp_path))
    return replace(made, config=replace(made.config, nats=nats))


class Handler:
    """Handles everything, and remembers what."""

    def __init__(self) -> None:
        self.handled: list[str] = []

    async def __call__(self, event: ReceivedEvent, _: Context) -> None:
        self.handled.append(event.id)


async def denied(app: App, subject: str) -> bool:
    """Whether readiness says that this subject is refused."""
    status, checks = await readiness(app)
    said = [check["reason"] for check in checks.values() if not check["ok"]]
    return status == 503 and any("PermissionDenied" in s and subject in s for s in said)


async def ready(app: App) -> bool:
    """Whether it is ready."""
    return (await readiness(app))[0] == 200


def acknowledged(app: App) -> float:
    """Events that it counts as acknowledged."""
    return metric(app, "outbox_consumer_processed_total", outcome="ack", event_type="order.created")


def told(caplog: pytest.LogCaptureFixture, subject: str) -> list[str]:
    """Warnings that name a subject."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.WARNING and subject in record.getMessage()
    ]


def ordered(config: ConsumerConfig) -> ConsumerConfig:
    return replace(config, ordering="PerKey")


@pytest.mark.parametrize("way", ["explicit", "ordered", "ack-all"])
async def test_without_the_right_to_acknowledge_nothing_is_handled(
    server: NatsServer, source: Source, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    config, handler = source.config, Handler()
    if way != "explicit":
        await source.create_ordered(ack_policy="all" if way == "ack-all" else "explicit")
        config = ordered(config)
    give(server, deny(publish=[ACK]))
    event = await source.publish(**{"Ce-Partitionkey": "k"})
    async with consuming(config, calling(handler)) as app:
        await eventually(lambda: denied(app, "$JS.ACK.T.billing."), "says what is refused")
        tries = len(violations(server))
        await eventually(lambda: len(violations(server)) > tries, "another try")
        assert await denied(app, "$JS.ACK.T.billing.")
        assert not handler.handled
        assert acknowledged(app) == 0
        assert len(told(caplog, "$JS.ACK.T.billing.")) == 1
        give(server, EVERYTHING)
        await source.settled(1)
        await eventually(lambda: ready(app), "ready again")
        await eventually(lambda: acknowledged(app) == 1, "counted")
    assert handler.handled == [event]


async def test_a_right_to_acknowledge_that_is_taken_away(
    server: NatsServer, source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    handler = Handler()
    async with consuming(source.config, calling(handler)) as app:
        first = await source.publish()
        await source.settled(1)
        await eventually(lambda: acknowledged(app) == 1, "counted")
        give(server, deny(publish=[ACK]))
        second = await source.publish()
        await eventually(lambda: denied(app, "$JS.ACK.T.billing."), "says what is refused")
        tries = len(violations(server))
        await eventually(lambda: len(violations(server)) > tries, "another try")
        # It was handled before anybody could know; what counts is that it is not done again.
        assert handler.handled == [first, second]
        assert acknowledged(app) == 1
        assert metric(app, "outbox_consumer_settle_failures_total") == 1
        assert len(told(caplog, "$JS.ACK.T.billing.")) == 1
        third = await source.publish()
        give(server, EVERYTHING)
        await source.settled(3)
        await eventually(lambda: acknowledged(app) == 3, "counted once each")
        await eventually(lambda: ready(app), "ready again")
    assert handler.handled[2:] in ([second, third], [third, second])


async def test_a_busy_consumer_stops_when_acknowledgements_are_refused(
    server: NatsServer, source: Source
) -> None:
    """What was in hand then is let go, and comes again."""
    handler = Handler()
    async with consuming(replace(source.config, concurrency=4), calling(handler)) as app:
        await source.publish()
        await source.settled(1)
        give(server, deny(publish=[ACK]))
        for _ in range(200):
            await source.publish()
        await eventually(lambda: denied(app, "$JS.ACK.T.billing."), "says what is refused")
        handled = len(handler.handled)
        tries = len(violations(server))
        await eventually(lambda: len(violations(server)) > tries, "another try")
        assert len(handler.handled) == handled < 200
        give(server, EVERYTHING)
        await source.settled(201)
        await eventually(lambda: acknowledged(app) == 201, "counted once each")
    assert len(set(handler.handled)) == 201


async def test_without_the_right_to_ask_for_messages(
    server: NatsServer, source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    handler = Handler()
    give(server, deny(publish=[NEXT]))
    event = await source.publish()
    subject = "$JS.API.CONSUMER.MSG.NEXT.T.billing"
    async with consuming(source.config, calling(handler)) as app:
        await eventually(lambda: denied(app, subject), "says what is refused")
        tries = len(violations(server))
        await eventually(lambda: len(violations(server)) > tries, "another try")
        assert await denied(app, subject)
        assert len(told(caplog, subject)) == 1
        give(server, EVERYTHING)
        await source.settled(1)
        await eventually(lambda: ready(app), "ready again")
    assert handler.handled == [event]


async def test_a_right_to_ask_for_messages_that_is_taken_away(
    server: NatsServer, source: Source
) -> None:
    handler = Handler()
    async with consuming(source.config, calling(handler)) as app:
        await source.publish()
        await source.settled(1)
        give(server, deny(publish=[NEXT]))
        # Those that were asked for before may still come; the next request is refused.
        subject = "$JS.API.CONSUMER.MSG.NEXT.T.billing"

        async def noticed() -> bool:
            await source.publish()
            return await denied(app, subject)

        await eventually(noticed, "says what is refused")
        give(server, EVERYTHING)
        await eventually(lambda: ready(app), "ready again")
        await source.settled((await source.client.jetstream().stream_info("T")).state.last_seq)


@pytest.mark.parametrize(
    ("permissions", "subject"),
    [
        (deny(publish=["$JS.API.>"]), "$JS.API.CONSUMER.INFO.T.billing"),
        (deny(publish=["$JS.API.CONSUMER.INFO.>"]), "$JS.API.CONSUMER.INFO.T.billing"),
        (deny(subscribe=["_INBOX.>"]), "_INBOX."),
    ],
    ids=["api", "info", "inbox"],
)
async def test_without_the_right_to_look_at_the_durable(
    server: NatsServer,
    source: Source,
    permissions: dict[str, Any],
    subject: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    handler = Handler()
    give(server, permissions)
    event = await source.publish()
    async with consuming(source.config, calling(handler)) as app:
        await eventually(lambda: denied(app, subject), "says what is refused", seconds=4)
        tries = len(violations(server))
        await eventually(lambda: len(violations(server)) > tries, "another try")
        assert await denied(app, subject)
        assert len(told(caplog, subject)) == 1
        give(server, EVERYTHING)
        await source.settled(1)
        await eventually(lambda: ready(app), "ready again")
    assert handler.handled == [event]


async def test_an_inbox_that_is_taken_away(server: NatsServer, source: Source) -> None:
    """The server then drops the subscriptions there are."""
    handler = Handler()
    async with consuming(source.config, calling(handler)) as app:
        await source.publish()
        await source.settled(1)
        give(server, deny(subscribe=["_INBOX.>"]))
        await eventually(lambda: denied(app, "_INBOX."), "says what is refused", seconds=4)
        second = await source.publish()
        give(server, EVERYTHING)
        await source.settled(2)
        await eventually(lambda: ready(app), "ready again")
    assert handler.handled[-1] == second


async def test_a_dead_letter_that_may_not_be_stored_is_not_lost(
    server: NatsServer, source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    async def refuse(_: ReceivedEvent, __: Context) -> DeadLetter:
        return DeadLetter("no such customer")

    subject = "T.dead.billing"
    give(server, deny(publish=[subject]))
    event = await source.publish()
    config = replace(source.config, ack_wait_seconds=30.0)
    async with consuming(config, calling(refuse)):
        await eventually(lambda: told(caplog, subject), "says what is refused", seconds=4)
        assert not await source.dead_letters()
        assert (await source.info()).ack_floor.stream_seq == 0
        give(server, EVERYTHING)
        await eventually(source.dead_letters, "stored")
        await source.settled(1)
    (letter,) = await source.dead_letters()
    assert letter.headers is not None
    assert letter.headers["Ce-Id"] == event
    assert all("PermissionDenied" in text for text in told(caplog, subject))


async def test_a_slow_handler_whose_beats_are_refused(server: NatsServer, source: Source) -> None:
    """`In progress` goes the way of acknowledgements: without it the event would come again."""
    began, go_on = asyncio.Event(), asyncio.Event()
    handled: list[str] = []

    async def slow(event: ReceivedEvent, _: Context) -> None:
        handled.append(event.id)
        began.set()
        await go_on.wait()

    async with consuming(source.config, calling(slow)) as app:
        event = await source.publish()
        await asyncio.wait_for(began.wait(), 10)
        give(server, deny(publish=[ACK]))
        await eventually(lambda: denied(app, "$JS.ACK.T.billing."), "noticed by a beat")
        assert handled == [event]
        go_on.set()
        give(server, EVERYTHING)
        await source.settled(1)
    assert set(handled) == {event}
