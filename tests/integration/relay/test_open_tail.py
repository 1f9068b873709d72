"""A relay that is ended again and again in one window gets on, and its cursor with it (FD-AA5).

Each of these is a window that no relay comes to the end of: a row in its middle halts it. What is
found in the stream is passed without being sent; the cursor may not wait for the end of the window
to say so, or each next relay reads a longer stretch of the stream.
"""

from __future__ import annotations

import asyncpg
import pytest

from outbox_operator.relay import checkpoints
from support.relaying import Outbox, check_delivery
from support.waiting import eventually

pytestmark = pytest.mark.integration

HALF = 3000
"""Rows before the one that halts, and behind it."""


@pytest.fixture
async def window(outbox: Outbox) -> Outbox:
    """An outbox with one window to come: a row in its middle cannot be published."""
    async with outbox.connection.transaction():
        await outbox.fill(HALF)
        await outbox.add("bad", headers="[]")
        await outbox.fill(HALF)
    return outbox


async def accounted_to(outbox: Outbox, sequence: int) -> asyncpg.Record:
    """Wait for a cursor that accounts for the stream up to here, before the row that halts."""

    async def there() -> asyncpg.Record | None:
        row = await outbox.cursor()
        # A cursor that was never saved does not say.
        return row if (row["stream_sequence"] or 0) == sequence else None

    found: asyncpg.Record = await eventually(there, f"a cursor at sequence {sequence}")
    assert (found["emission"], found["snapshot_to"] is not None) == (sequence, True)
    return found


async def halved(outbox: Outbox) -> asyncpg.Record:
    """Publish the first half and end the relay; the cursor as it was saved there."""
    relay = await outbox.relay(on_poison="Halt").start().active()
    row = await accounted_to(outbox, HALF)
    await outbox.killed(relay)
    return row


async def test_what_was_found_is_accounted_for_before_the_window_ends(window: Outbox) -> None:
    before = await window.cursor()
    point = {**await halved(window), "stream_sequence": 0, "emission": 0, "checkpoints": ""}
    opened = {**point, "last_position": 0, "stream_created": None}
    await window.forget_saves(window.relay(), {**before, **opened})
    relay = await window.relay(on_poison="Halt").start().active()
    row = await accounted_to(window, HALF)
    assert relay.metric("resumed_total") == HALF
    assert row["last_position"] == HALF
    await let_go(window)


@pytest.mark.parametrize("position", [2 * HALF // 3, HALF])
async def test_rows_before_the_cursor_are_not_waited_for(window: Outbox, position: int) -> None:
    """Saved by a relay that died while it was reading a tail once more: it had published rows that
    come before some which it had found, and these stand first in the stream."""
    found = await halved(window)
    earlier = {**found, "stream_sequence": HALF // 3, "last_position": position}
    await window.forget_saves(window.relay(), earlier)
    await window.relay(on_poison="Halt").start().active()
    await accounted_to(window, HALF)
    await let_go(window)


async def test_a_point_to_go_back_to_names_the_end_of_the_stream(outbox: Outbox) -> None:
    """Dead letters are saved while a tail is open; what was published before them stands behind it.

    A stream that later loses its end is asked for what is before such a point, and has to have it.
    """
    before = await outbox.cursor()
    async with outbox.session() as slow:
        late = slow.transaction()
        await late.start()
        await outbox.add("late", on=slow)
        await outbox.add("bad", headers="[]", on=slow)
        await outbox.fill(HALF)
        relay = await outbox.relay(on_poison="Skip").start().active()
        await outbox.published(HALF)
        await outbox.forget_saves(relay, before)
        # At smaller positions than all that was published, and visible only now.
        await late.commit()
    await outbox.relay(on_poison="Skip").start().active()
    await eventually(outbox.dead_letters, "a dead letter")
    points = checkpoints.parse((await outbox.saved(HALF + 1))["checkpoints"])
    found = [(point.stream_sequence, point.emission) for point in points]
    assert found == [(number, number) for _, number in found]
    assert HALF + 1 in dict(found)
    await outbox.connection.execute("DELETE FROM outbox.events WHERE partition_key = 'bad'")
    check_delivery(await outbox.stored(HALF + 1), await outbox.event_ids())


async def let_go(outbox: Outbox) -> None:
    """Take the row away that halts: the rest follows, and nothing comes twice."""
    await outbox.connection.execute("DELETE FROM outbox.events WHERE partition_key = 'bad'")
    await outbox.fill(10)
    committed = await outbox.event_ids()
    stored = await outbox.stored(len(committed))
    await outbox.saved(len(committed))
    check_delivery(stored, committed)
    assert [message.event_id for message in stored] == committed
