"""Servers that hang instead of failing: noticed, shown, given up, and nothing is lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import impatient, trusting
from support.nats import NatsOptions, NatsServer
from support.processes import freeze
from support.relaying import Outbox, an_outbox, check_delivery
from support.waiting import SECONDS, eventually

pytestmark = pytest.mark.integration


@pytest.fixture
def own_nats() -> Iterator[NatsServer]:
    with NatsServer(NatsOptions(extra={"max_payload": 8_000_000})) as server:
        yield server


async def add_much(outbox: Outbox) -> None:
    """A page of which the driver sends a part at once, and then waits for room in its buffer."""
    async with outbox.connection.transaction():
        for size in (100_000, 1_900_000, 5_500_000):
            await outbox.fill(1, bytes_each=size)


async def test_a_broker_that_hangs_while_much_is_sent_is_given_up(
    database: str, own_nats: NatsServer, tmp_path: Path
) -> None:
    async with an_outbox(database, own_nats, tmp_path) as outbox:
        relay = await outbox.relay().run_by(impatient.__file__).start().active()
        own_nats.pause()
        try:
            await add_much(outbox)
            await eventually(lambda: "nats" in relay.failing(), "the loss noticed", relay=relay)
        finally:
            own_nats.resume()
        check_delivery(await outbox.stored(3), await outbox.event_ids())
        await relay.ready()


async def test_a_broker_that_hangs_does_not_hold_up_the_end(
    database: str, own_nats: NatsServer, tmp_path: Path
) -> None:
    async with an_outbox(database, own_nats, tmp_path) as outbox:
        relay = outbox.relay(drain_seconds=1).run_by(trusting.__file__)
        await relay.start().active()
        own_nats.pause()
        try:
            await add_much(outbox)
            await eventually(
                lambda: relay.metric("known_backlog_rows"), "events in flight", relay=relay
            )
            relay.signal(signal.SIGTERM)
            assert relay.wait(SECONDS) == 0
        finally:
            own_nats.resume()
        relay.start()
        check_delivery(await outbox.stored(3), await outbox.event_ids())


async def test_a_database_that_hangs_is_not_called_ready(outbox: Outbox) -> None:
    relay = await outbox.relay().run_by(impatient.__file__).start().active()
    await relay.ready()
    backend: int = await outbox.connection.fetchval(
        "SELECT pid FROM pg_stat_activity WHERE application_name LIKE '%shard 0' "
        "AND datname = current_database()"
    )
    freeze(backend)
    try:
        await eventually(lambda: "postgres" in relay.failing(), "not ready", relay=relay)
        assert "no answer" in relay.failing()["postgres"]
    finally:
        os.kill(backend, signal.SIGCONT)
    await relay.ready()
