"""A relay that sleeps is woken by the table's trigger, whoever writes."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from outbox_operator.wire.advisory_locks import sleep_lock
from support.nats import NatsServer
from support.outbox import migrate
from support.postgres import PostgresServer
from support.relaying import Outbox, an_outbox, check_delivery
from support.waiting import eventually

pytestmark = pytest.mark.integration

LONG_SECONDS = 90
"""Between two polls of a quiet outbox: what comes sooner was not found by a poll."""


async def asleep(outbox: Outbox) -> bool:
    """Whether a writer would notify now."""
    free = await outbox.connection.fetchval(
        "SELECT pg_try_advisory_xact_lock_shared($1)", sleep_lock("outbox", 0)
    )
    return not free


async def test_an_event_after_a_lull_is_on_its_way_at_once(outbox: Outbox) -> None:
    await migrate(outbox.url, wakeup=True)
    relay = await outbox.relay(wakeup="WhenIdle", poll_max_seconds=LONG_SECONDS).start().active()
    for number in range(1, 6):
        await eventually(lambda: asleep(outbox), "the relay sleeps", relay=relay)
        started = time.monotonic()
        await outbox.add("a")
        await outbox.published(number)
        assert time.monotonic() - started < LONG_SECONDS / 3
    # What the poll after falling asleep finds is stored before its notification is read. And the
    # relay may have woken between our look and our event, which it has found by itself then.
    await eventually(lambda: relay.metric("wakeups_total") >= 1, "wake-ups", relay=relay)
    assert relay.terminate() == 0

    async def awake() -> bool:
        return not await asleep(outbox)

    await eventually(awake, "its lock is free")


async def test_a_transaction_may_be_prepared(
    two_phase_server: PostgresServer, nats_server: NatsServer, tmp_path: Path
) -> None:
    """Who has notified cannot: so nobody does, and the relay polls and says so."""
    database = two_phase_server.create_database()
    async with an_outbox(database, nats_server, tmp_path) as outbox:
        await migrate(outbox.url, wakeup=True)
        relay = outbox.relay(wakeup="WhenIdle", poll_max_seconds=LONG_SECONDS).start()
        await relay.active()
        polls = relay.metric("polls_total")
        await eventually(lambda: relay.metric("polls_total") >= polls + 8, "quiet", relay=relay)
        async with outbox.session() as writer:
            await writer.execute("BEGIN")
            await outbox.add("a", on=writer)
            await writer.execute("PREPARE TRANSACTION 'wakeup'")
            await writer.execute("COMMIT PREPARED 'wakeup'")
        started = time.monotonic()
        await outbox.published(1)
        assert time.monotonic() - started < LONG_SECONDS / 3
        assert "NobodyNotifies" in relay.get("/readyz")[1]
        assert relay.failing() == {}


async def test_no_commit_goes_unnoticed_around_falling_asleep(outbox: Outbox) -> None:
    await migrate(outbox.url, wakeup=True)
    relay = await outbox.relay(wakeup="WhenIdle", poll_max_seconds=LONG_SECONDS).start().active()
    started = time.monotonic()
    async with outbox.session() as held:
        for number in range(60):
            transaction = held.transaction()
            await transaction.start()
            await outbox.add("b", on=held)
            await asyncio.sleep(0.005 * (number % 12))  # all around the moment it falls asleep
            await transaction.commit()
            if number % 2:
                await outbox.published(number + 1)
    check_delivery(await outbox.stored(60), await outbox.event_ids())
    assert time.monotonic() - started < LONG_SECONDS, "some had to wait for a poll"
    await eventually(lambda: relay.metric("known_backlog_rows") == 0, "nothing waits")
    assert relay.terminate() == 0
