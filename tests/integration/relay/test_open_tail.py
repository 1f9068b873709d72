"""A relay that is ended again and again in one window gets on, and its cursor with it (FD-AA5).

Each of these is a window that no relay comes to the end of: a row in its middle halts it. What is
found in the stream is passed without being sent; the cursor may not wait for the end of the window
to say so, or each next relay reads a longer stretch of the stream.
"""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest

from outbox_operator.relay import checkpoints
from support.nats import NatsServer, connected
from support.relaying import FORGETFUL, Outbox, an_outbox, check_delivery
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


async def test_a_point_with_rows_left_is_no_point_to_go_back_to(
    database: str, tmp_path: Path
) -> None:
    """What is found is before the end that such a point would name, and not found from there."""
    with NatsServer() as server:
        async with an_outbox(database, server, tmp_path) as outbox:
            relay = await outbox.relay(on_poison="Skip").start().active()
            await outbox.add("a")
            before = {**await outbox.saved(1), "checkpoints": ""}
            async with outbox.session() as slow:
                late = slow.transaction()
                await late.start()
                await outbox.add("bad", headers="[]", on=slow)
                await outbox.fill(HALF)
                await outbox.saved(HALF + 1)
                await outbox.forget_saves(relay, before)
                await late.commit()
            relay = await outbox.relay(on_poison="Skip").start().active()
            await eventually(outbox.dead_letters, "a dead letter")
            await outbox.saved(HALF + 1)
            server.stop()
            server.copy_store()
            server.start()
            await outbox.fill(10)
            await outbox.saved(HALF + 11)
            server.kill()
            server.restore_store()
            server.start()
            await outbox.stored(HALF + 11)
            await outbox.idle(relay)
            stored = sorted(message.event_id for message in await outbox.stored())
            await outbox.connection.execute("DELETE FROM outbox.events WHERE partition_key = 'bad'")
            assert stored == sorted(await outbox.event_ids())


async def test_a_second_read_in_a_session_counts_no_hole_twice(
    database: str, nats_server: NatsServer, tmp_path: Path
) -> None:
    """A hole whose row was passed is not one more row that was published."""
    last_values = {**FORGETFUL, "max_msgs_per_subject": 1, "deny_delete": True}
    async with an_outbox(database, nats_server, tmp_path, **last_values) as outbox:
        by_key = f"{outbox.prefix}.{{partition_key}}"
        before = await outbox.cursor()
        relay = outbox.relay(subject=by_key, on_poison="Skip")
        async with outbox.session() as slow:
            late = slow.transaction()
            await outbox.add("shown")
            await outbox.add("k")  # of this no message is left
            await late.start()
            await outbox.add("bad", headers="[]", on=slow)
            await outbox.add("new", on=slow)
            await outbox.add("k")
            await relay.start().active()
            await outbox.saved(3)
            await outbox.forget_saves(relay, before)
            await late.commit()
        relay = await outbox.relay(subject=by_key, on_poison="Halt").start().active()
        await eventually(lambda: relay.metric("halted") == 1, "halted")
        # The fence is refused once, so that the stream is read again.
        async with connected(nats_server) as client:
            await client.jetstream().publish(f"{outbox.prefix}.foreign", b"0")
        await outbox.connection.execute("DELETE FROM outbox.events WHERE partition_key = 'bad'")
        await outbox.idle(relay)
        assert relay.metric("fence_losses_total") == 1
        assert "new" in [message.key for message in await outbox.stored()]


SAVES = """
CREATE TABLE saves AS SELECT clock_timestamp() AS at, c.* FROM outbox.cursors c WHERE false;
CREATE FUNCTION remember() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
    INSERT INTO public.saves SELECT clock_timestamp(), NEW.*;
    RETURN NEW; END $$;
CREATE TRIGGER remember AFTER UPDATE ON outbox.cursors FOR EACH ROW EXECUTE FUNCTION remember();
"""


@pytest.mark.parametrize("then", ["subjects change", "ours are purged"])
async def test_what_a_cursor_among_such_rows_names_is_ours(
    database: str, nats_server: NatsServer, tmp_path: Path, then: str
) -> None:
    """Another message there would look as if the stream had lost what it acknowledged."""
    async with an_outbox(database, nats_server, tmp_path, **FORGETFUL) as outbox:
        old, new = (f"{outbox.prefix}.{name}.{{event_type}}" for name in ("old", "new"))
        await outbox.connection.execute(SAVES)
        relay = await outbox.relay(on_poison="Skip", subject=old).start().active()
        await outbox.add("a")
        before = await outbox.saved(1)
        async with outbox.session() as slow, connected(nats_server) as client:
            late = slow.transaction()
            await late.start()
            await outbox.add("bad", headers="[]", on=slow)
            for number in range(12):
                await outbox.fill(249)
                await outbox.saved(1 + 249 * (number + 1))
                for _ in range(3):
                    await client.jetstream().publish(f"{outbox.prefix}.mine", b"")
            await outbox.forget_saves(relay, before)
            await late.commit()
        relay = await outbox.relay(on_poison="Skip", subject=old).start().active()
        await eventually(outbox.dead_letters, "a dead letter")
        await outbox.saved(2989)
        # The dead letter is stored, and no cursor among such rows.
        assert not await outbox.connection.fetch(
            "SELECT * FROM saves WHERE snapshot_to IS NOT NULL AND stream_sequence < emission"
        )
        await outbox.forget_saves(relay, before)
        if then == "ours are purged":
            async with connected(nats_server) as client:
                await client.jetstream().purge_stream(
                    outbox.prefix, subject=f"{outbox.prefix}.old.>"
                )
        subject = new if then == "subjects change" else old
        relay = await outbox.relay(subject=subject, on_poison="Skip").start().active()
        await outbox.fill(10)
        await outbox.idle(relay)
        assert "has lost" not in relay.log
        if then == "subjects change":
            await outbox.connection.execute("DELETE FROM outbox.events WHERE partition_key = 'bad'")
            ours = [message for message in await outbox.stored() if message.data]
            check_delivery(ours, await outbox.event_ids())


async def let_go(outbox: Outbox) -> None:
    """Take the row away that halts: the rest follows, and nothing comes twice."""
    await outbox.connection.execute("DELETE FROM outbox.events WHERE partition_key = 'bad'")
    await outbox.fill(10)
    committed = await outbox.event_ids()
    stored = await outbox.stored(len(committed))
    await outbox.saved(len(committed))
    check_delivery(stored, committed)
    assert [message.event_id for message in stored] == committed
