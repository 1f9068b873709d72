"""Streams that keep one message of each type: what they dropped, and what was never sent."""

from __future__ import annotations

import pytest

from support.relaying import Outbox

pytestmark = pytest.mark.integration


async def test_a_row_that_became_visible_late_is_sent_although_others_are_missing(
    last_of_type: Outbox,
) -> None:
    """Its writers take no lock, so that a later row of its key was sent before it."""
    outbox = last_of_type
    relay = await outbox.relay().start().active()
    await outbox.add("k", event_type="first")
    before = await outbox.saved(1)
    async with outbox.session() as slow, outbox.session() as other:
        late, later = slow.transaction(), other.transaction()
        await late.start()
        await outbox.add("k", event_type="late", on=slow)
        await later.start()
        await outbox.add("m", event_type="m", on=other)
        await outbox.add("m", event_type="m", on=other)
        await outbox.add("k", event_type="k")
        await outbox.add("k", event_type="k")
        await outbox.saved(3)
        await later.commit()
        await outbox.saved(5)
        await outbox.forget_saves(relay, before)
        await late.commit()
    relay = await outbox.relay().start().active()
    await outbox.idle(relay)
    assert "late" in {message.headers["Ce-Type"] for message in await outbox.stored()}


async def test_a_row_that_cannot_be_sent_was_not(last_of_type: Outbox) -> None:
    """A later one of its key was, and the relay died before it had stored the dead letter."""
    outbox = last_of_type
    relay = await outbox.relay(on_poison="Skip").start().active()
    await outbox.add("k", event_type="first")
    before = await outbox.saved(1)
    async with outbox.connection.transaction():
        await outbox.add("x", event_type="a")
        bad = await outbox.add("k", event_type="b", headers="[]")
        await outbox.add("k", event_type="a")
    await outbox.saved(3)
    await outbox.forget_saves(relay, before)
    await outbox.connection.execute("DELETE FROM outbox.dead_letters")
    relay = await outbox.relay(on_poison="Skip").start().active()
    await outbox.idle(relay)
    assert [str(letter["event_id"]) for letter in await outbox.dead_letters()] == [bad]


@pytest.mark.parametrize("windows", [1, 2])
async def test_what_was_sent_last_of_a_window_is_not_taken_for_what_became_visible_late(
    last_of_type: Outbox, windows: int
) -> None:
    """Its message is gone, and all behind it are of rows below it; so is that of the first row."""
    outbox = last_of_type
    relay = await outbox.relay().start().active()
    await outbox.add("k", event_type="first")
    before = await outbox.saved(1)
    async with outbox.session() as slow, outbox.session() as other:
        late, later = slow.transaction(), other.transaction()
        first = await outbox.add("a", event_type="a" if windows == 1 else "b")
        await late.start()
        missed = await outbox.add("l", event_type="late", on=slow)
        await later.start()
        low = await outbox.add("x", event_type="b", on=other)
        high = await outbox.add("y", event_type="b")
        await outbox.saved(3)
        await later.commit()
        await outbox.saved(4)
        last = (await outbox.stored())[-1]
        assert last.headers["Ce-Id"] == low
        assert int(last.headers["Outbox-Reached"]) > int(last.headers["Outbox-Position"])
        await outbox.forget_saves(relay, before)
        await late.commit()
    relay = await outbox.relay().start().active()
    await outbox.idle(relay)
    stored = [message.headers["Ce-Id"] for message in await outbox.stored()]
    assert missed in stored
    assert {first, high} & {*stored} or windows == 2
