"""Numbers of events only grow, whenever a relay dies and whatever has been consumed by then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import pytest
from nats.js.client import JetStreamContext

from support.nats import NatsServer, connected
from support.relaying import FORGETFUL, Outbox, an_outbox, go_back
from support.waiting import SECONDS

pytestmark = pytest.mark.integration

HISTORY: Final = """
CREATE TABLE saves AS SELECT clock_timestamp() AS saved_at, * FROM outbox.cursors;
CREATE FUNCTION keep_save() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO saves SELECT clock_timestamp(), NEW.*;
    RETURN NEW;
END $$;
CREATE TRIGGER keep_save AFTER UPDATE ON outbox.cursors FOR EACH ROW EXECUTE FUNCTION keep_save();
"""
"""Keep every state of the cursor, and when it came about."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A message that was consumed.

    Attributes:
        number: Of its event.
        predecessor: That it names; None: it names none.
        stored_at: When the stream took it.
    """

    number: int
    predecessor: int | None
    stored_at: datetime


class Consumed:
    """An outbox whose stream forgets what was consumed, and who consumes it."""

    def __init__(
        self, outbox: Outbox, consumer: JetStreamContext.PullSubscription, *, purges: bool
    ) -> None:
        self.outbox = outbox
        self._consumer = consumer
        self._purges = purges

    async def take(self, count: int) -> list[Taken]:
        """Consume so many messages, one by one."""
        taken: list[Taken] = []
        while len(taken) < count:
            for message in await self._consumer.fetch(1, timeout=SECONDS):
                headers = message.headers or {}
                named = headers.get("Outbox-Predecessor")
                taken.append(
                    Taken(
                        int(headers["Outbox-Emission"]),
                        None if named is None else int(named),
                        message.metadata.timestamp,
                    )
                )
                await message.ack_sync(timeout=SECONDS)
                if self._purges:
                    await self.outbox.purge_stream()
        return taken


def assert_chained(taken: Sequence[Taken]) -> None:
    """Every gap in the numbers is said to be meant."""
    last = 0
    for each in taken:
        if each.predecessor is None:
            assert each.number == last + 1
        else:
            assert each.predecessor in {0, *(one.number for one in taken)}
            assert each.predecessor <= last < each.number
        last = each.number


@pytest.fixture(params=["workqueue", "interest"])
async def consumed(
    request: pytest.FixtureRequest, database: str, nats_server: NatsServer, tmp_path: Path
) -> AsyncIterator[Consumed]:
    config = {
        "retention": request.param,
        "discard": "new",
        "max_msgs": 1,
        **FORGETFUL,
    }
    async with (
        an_outbox(database, nats_server, tmp_path, **config) as outbox,
        connected(nats_server) as client,
    ):
        consumer = await client.jetstream().pull_subscribe(
            f"{outbox.prefix}.>", durable="all", stream=outbox.prefix
        )
        yield Consumed(outbox, consumer, purges=request.param == "limits")


@pytest.mark.parametrize("consumed", ["workqueue", "interest", "limits"], indirect=True)
async def test_a_relay_may_die_at_any_moment_beside_a_full_stream(consumed: Consumed) -> None:
    """Each refusal leaves out numbers; a successor knows of that from the table."""
    outbox = consumed.outbox
    await outbox.connection.execute(HISTORY)
    relay = await outbox.relay().start().active()
    await outbox.add("k")
    [first] = await consumed.take(1)
    await outbox.saved(1)
    async with outbox.connection.transaction():
        for number in range(12):
            await outbox.add("k", value=number)
    taken = await consumed.take(12)
    await outbox.killed(relay)
    numbers = [each.number for each in taken]
    assert numbers == sorted(set(numbers))
    saves = await outbox.connection.fetch("SELECT * FROM saves ORDER BY saved_at")
    # The moment at which the table knew least of what was given out.
    known = [[save for save in saves if save["saved_at"] < each.stored_at][-1] for each in taken]
    ahead = [each.number - save["emission"] for each, save in zip(taken, known, strict=True)]
    worst = ahead.index(max(ahead))
    await go_back(outbox.connection, known[worst])
    await asyncio.sleep(0.15)  # longer than the stream remembers ids
    await relay.start().active()
    [after] = await consumed.take(1)
    assert after.number > taken[worst].number
    assert_chained([first, *taken[: worst + 1], after])


async def test_the_first_event_was_consumed_before_the_first_save(consumed: Consumed) -> None:
    outbox = consumed.outbox
    relay = await outbox.relay().start().active()
    await outbox.idle(relay)
    [before] = await outbox.connection.fetch("SELECT * FROM outbox.cursors")
    await outbox.add("k")
    [first] = await consumed.take(1)
    await outbox.forget_saves(relay, before)
    await relay.start().active()
    [after] = await consumed.take(1)
    assert after.number > first.number
    assert_chained([first, after])
