"""What was never sent and looked as if it had been, found by people who tried to lose a row."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest

from support.nats import NatsServer, connected
from support.relaying import FORGETFUL, Outbox, an_outbox
from support.waiting import eventually

pytestmark = pytest.mark.integration

FULL: Final[dict[str, Any]] = {
    "max_msgs_per_subject": 1,
    "discard": "new",
    "discard_new_per_subject": True,
}
"""A stream takes one message of each event type, and waits for room for the next."""


async def purge(outbox: Outbox, *types: str) -> None:
    """Take the messages of some event types out of the stream."""
    async with connected(outbox.nats) as client:
        for name in types:
            await client.jetstream().purge_stream(outbox.prefix, subject=f"{outbox.prefix}.{name}")


async def ids(outbox: Outbox) -> list[str]:
    return [message.headers["Ce-Id"] for message in await outbox.stored()]


async def test_what_is_refused_between_others_is_waited_for(
    database: str, nats_server: NatsServer, tmp_path: Path
) -> None:
    """Without order a stream may take what is behind it, and its number is missing."""
    config: dict[str, Any] = {"allow_batched": False, **FULL}
    async with an_outbox(database, nats_server, tmp_path, **config) as outbox:
        relay = await outbox.relay(ordering="None").start().active()
        await outbox.add(event_type="full")
        await outbox.saved(1)
        async with outbox.connection.transaction():
            await outbox.add(event_type="a")
            refused = await outbox.add(event_type="full")
            await outbox.add(event_type="b")
        await outbox.published(3)
        await eventually(lambda: relay.metric("errors_total") > 1, "refused again", relay=relay)
        assert refused not in await ids(outbox)
        await purge(outbox, "full")
        await outbox.idle(relay)
        assert refused in await ids(outbox)


async def test_on_other_subjects_it_is_known_how_far_rows_were_sent(last_of_type: Outbox) -> None:
    """The template is changed; what was sent last has a subject of before."""
    outbox = last_of_type
    new = outbox.prefix + ".new.{event_type}"
    relay = await outbox.relay().start().active()
    await outbox.add("k", event_type="b")
    before = await outbox.saved(1)
    async with outbox.session() as slow, outbox.session() as other:
        late, later = slow.transaction(), other.transaction()
        await outbox.add("a", event_type="a")
        await late.start()
        missed = await outbox.add("l", event_type="late", on=slow)
        await later.start()
        await outbox.add("x", event_type="b", on=other)
        await outbox.add("y", event_type="b")
        await outbox.saved(3)
        relay.terminate()
        relay = await outbox.relay(subject=new).start().active()
        await later.commit()
        await outbox.saved(4)
        await outbox.forget_saves(relay, before)
        await late.commit()
    relay = await outbox.relay(subject=new).start().active()
    await outbox.idle(relay)
    assert missed in await ids(outbox)


async def test_a_doubt_outlives_the_messages_that_say_so(last_of_type: Outbox) -> None:
    """Rows were sent twice; what is missing counts them twice, too."""
    outbox = last_of_type
    relay = await outbox.relay().start().active()
    await outbox.add("k", event_type="first")
    before = await outbox.saved(1)
    async with outbox.session() as slow, outbox.session() as other:
        late, later = slow.transaction(), other.transaction()
        await outbox.add(event_type="t")
        await late.start()
        await outbox.add("l", event_type="t", on=slow)
        await later.start()
        missed = await outbox.add("m", event_type="late", on=other)
        await outbox.add(event_type="t")
        await outbox.saved(3)
        await outbox.forget_saves(relay, before)
        await late.commit()
        relay = await outbox.relay().start().active()
        await outbox.idle(relay)
        assert relay.metric("uncertain_total") == 2
        for _ in range(3):  # which do not name the number before theirs any more
            row = await outbox.add(event_type="t")
            await outbox.idle(relay)
            assert row in await ids(outbox)
        await outbox.forget_saves(relay, before)
        await later.commit()
    relay = await outbox.relay().start().active()
    await outbox.idle(relay)
    assert missed in await ids(outbox)


UNCOPIED = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.event_type <> '' THEN RAISE SQLSTATE '22000'; END IF;
    RETURN NEW; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON outbox.dead_letters FOR EACH ROW EXECUTE FUNCTION refuse();
"""
"""Dead letters cannot have what is in their rows."""


@pytest.mark.parametrize("hostile", ["SELECT", UNCOPIED], ids=["copied", "as a bare record"])
async def test_a_dead_letter_in_a_tail_says_nothing_of_what_is_behind_it(
    database: str, nats_server: NatsServer, tmp_path: Path, hostile: str
) -> None:
    """The stream drops what was found in it before the cursor has passed its row."""
    async with an_outbox(database, nats_server, tmp_path, **FORGETFUL, **FULL) as outbox:
        await outbox.connection.execute(hostile)
        relay = await outbox.relay(on_poison="Skip").start().active()
        await outbox.add(event_type="full")
        before = await outbox.saved(1)
        async with outbox.session() as slow:
            late = slow.transaction()
            await late.start()
            await outbox.add(event_type="x", on=slow)
            await outbox.add(event_type="z", on=slow, headers="[]")
            await outbox.add(event_type="full", on=slow)
            found = await outbox.add("k", event_type="n")
            await outbox.add("k", event_type="n2")
            await outbox.saved(3)
            await outbox.forget_saves(relay, before)
            await late.commit()
        relay = await outbox.relay(on_poison="Skip").start().active()
        await outbox.published(4)
        await eventually(outbox.dead_letters, "a dead letter", relay=relay)
        await outbox.killed(relay)
        await purge(outbox, "n", "full")
        relay = await outbox.relay(on_poison="Skip").start().active()
        await outbox.idle(relay)
        stored = await outbox.stored()
        assert found not in [message.headers["Ce-Id"] for message in stored]
        assert [message.key for message in stored if message.key] == ["k"], "no key goes back"
        [letter] = await outbox.dead_letters()
        settled = "SELECT xid = '0' FROM outbox.events WHERE position = $1"
        assert await outbox.connection.fetchval(settled, letter["position"])


async def test_what_a_broker_forgets_while_a_tail_is_open_is_sent_again(
    database: str, tmp_path: Path
) -> None:
    """Sent before a dead letter that was stored meanwhile."""
    with NatsServer() as server:
        async with an_outbox(database, server, tmp_path, **FULL) as outbox:
            relay = await outbox.relay(on_poison="Skip").start().active()
            await outbox.add(event_type="full")
            before = await outbox.saved(1)
            async with outbox.session() as slow:
                late = slow.transaction()
                await late.start()
                lost = await outbox.add(event_type="x", on=slow)
                await outbox.add(event_type="z", on=slow, headers="[]")
                await outbox.add(event_type="full", on=slow)
                await outbox.add(event_type="n")
                await outbox.saved(2)
                await outbox.forget_saves(relay, before)
                server.stop()
                server.copy_store()
                server.start()
                await late.commit()
            relay = await outbox.relay(on_poison="Skip").start().active()
            await outbox.published(3)
            await eventually(outbox.dead_letters, "a dead letter", relay=relay)
            await outbox.killed(relay)
            server.kill()
            server.restore_store()
            server.start()
            await purge(outbox, "full")
            relay = await outbox.relay(on_poison="Skip").start().active()
            await outbox.idle(relay)
            assert lost in await ids(outbox)


async def test_how_far_rows_were_sent_is_of_what_the_stream_took(
    database: str, nats_server: NatsServer, tmp_path: Path
) -> None:
    """It was full; what became visible meanwhile is the first that it takes."""
    async with an_outbox(database, nats_server, tmp_path, max_msgs=1, discard="new") as outbox:
        relay = await outbox.relay().start().active()
        await outbox.add(event_type="first")
        await outbox.saved(1)
        async with outbox.session() as slow:
            late = slow.transaction()
            await late.start()
            await outbox.add(event_type="late", on=slow)
            await outbox.add(event_type="refused")
            await eventually(lambda: relay.metric("errors_total") > 0, "refused", relay=relay)
            await late.commit()
        await outbox.update_stream(max_msgs=100, discard="new")
        stored = await outbox.stored(3)
        assert [message.headers["Ce-Type"] for message in stored] == ["first", "late", "refused"]
        assert not any("Outbox-Reached" in message.headers for message in stored)
