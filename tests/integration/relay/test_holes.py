"""A tail with holes: what the stream has dropped behind the cursor is not sent again.

The stream forgets ids at once, and saves are taken back, as in `test_recovery`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from outbox_operator.adapters.postgres.connection import connect
from outbox_operator.adapters.postgres.replays import ReplayStore, Selection
from outbox_operator.adapters.postgres.url import parse_url
from outbox_operator.relay.recovery import DOUBT_GAP
from support.nats import NatsServer, connected
from support.relaying import FORGETFUL, Outbox, RelayProcess, an_outbox
from support.waiting import SECONDS

pytestmark = pytest.mark.integration


async def values(outbox: Outbox) -> list[tuple[str, int]]:
    return [(message.key, json.loads(message.data)) for message in await outbox.stored()]


def by_key(outbox: Outbox) -> RelayProcess:
    return outbox.relay(subject=f"{outbox.prefix}.{{partition_key}}")


@pytest.fixture(params=["fast", "window"])
async def last_values(
    request: pytest.FixtureRequest, database: str, nats_server: NatsServer, tmp_path: Path
) -> AsyncIterator[Outbox]:
    """An outbox whose stream keeps the last message of each subject."""
    config = {
        **FORGETFUL,
        "max_msgs_per_subject": 1,
        "allow_batched": request.param == "fast",
        "deny_delete": True,
    }
    async with an_outbox(database, nats_server, tmp_path, **config) as outbox:
        yield outbox


async def test_the_last_value_of_a_key_never_goes_back(last_values: Outbox) -> None:
    outbox = last_values
    relay = await by_key(outbox).start().active()
    await outbox.add("k", value=0)
    before = await outbox.saved(1)
    for number in range(1, 7):
        await outbox.add("k", value=number)
        await outbox.add("other", value=number)
    await outbox.saved(13)
    await outbox.forget_saves(relay, before)
    await relay.start().active()
    await outbox.idle(relay)
    assert await values(outbox) == [("k", 6), ("other", 6)]
    assert relay.metric("published_total") == 0, "nothing is sent again"
    # And it is certain, so that it goes on as ever, through another crash.
    await outbox.add("k", value=7)
    await outbox.published(2)
    await outbox.saved(14)
    await outbox.forget_saves(relay, before)
    await outbox.add("k", value=8)
    await relay.start().active()
    await outbox.saved(15)
    assert await values(outbox) == [("other", 6), ("k", 8)]
    assert relay.metric("uncertain_total") == 0


async def test_what_became_visible_meanwhile_is_sent(last_values: Outbox) -> None:
    """A row of another key, whose position lies between those that were published."""
    outbox = last_values
    relay = await by_key(outbox).start().active()
    await outbox.add("k", value=0)
    before = await outbox.saved(1)
    async with outbox.session() as slow:
        late = slow.transaction()
        await outbox.add("k", value=1)
        await late.start()
        await outbox.add("late", value=1, on=slow)
        await outbox.add("late", value=2, on=slow)
        for number in range(2, 5):
            await outbox.add("k", value=number)
        await outbox.saved(5)
        await outbox.forget_saves(relay, before)
        await late.commit()
    await relay.start().active()
    await outbox.saved(7)
    assert await values(outbox) == [("k", 4), ("late", 2)]
    assert relay.metric("published_total") == 2


async def test_writers_without_a_lock_lose_nothing(last_values: Outbox) -> None:
    """One of the rows before the last one shown was never published; nobody knows which."""
    outbox = last_values
    relay = await by_key(outbox).start().active()
    await outbox.add("k", value=0)
    before = await outbox.saved(1)
    async with outbox.session() as slow:
        late = slow.transaction()
        await late.start()
        await outbox.add("k", value=1, on=slow)
        for number in range(2, 5):
            await outbox.add("k", value=number)
        await outbox.saved(4)
        await outbox.forget_saves(relay, before)
        await late.commit()
    await relay.start().active()
    await outbox.saved(DOUBT_GAP + 8)  # numbers are left out, since rows have two of them
    # All of them once more, so that the key ends as its rows do.
    assert await values(outbox) == [("k", 4)]
    assert relay.metric("uncertain_total") == 4
    assert "4 events are sent although they may have been published before" in relay.log


@pytest.mark.parametrize("name", ["Outbox-Position", "Outbox-Reached", "Outbox-Emission"])
async def test_a_forged_position_that_no_bigint_holds_is_of_somebody_else(
    last_values: Outbox, name: str
) -> None:
    """Messages are missing, so that the table is asked for rows up to the last."""
    outbox = last_values
    relay = await by_key(outbox).start().active()
    await outbox.add("k", value=0)
    before = await outbox.saved(1)
    for number in range(1, 4):
        await outbox.add("k", value=number)
    await outbox.saved(4)
    await outbox.forget_saves(relay, before)
    last = (await outbox.stored())[-1]
    headers = {each: last.headers[each] for each in last.headers if not each.startswith("Nats-")}
    async with connected(outbox.nats) as client:
        await client.jetstream().publish(
            f"{outbox.prefix}.forged", b"{}", headers={**headers, name: "9" * 19}
        )
    await relay.start().active()
    await outbox.add("k", value=4)
    await outbox.saved(5)
    assert ("k", 4) in await values(outbox)
    assert relay.metric("uncertain_total") == 0


async def test_what_a_standby_gives_positions_of_lost_rows_to_is_sent(last_values: Outbox) -> None:
    """The database lost rows that were published, and of which the stream shows the last only."""
    outbox = last_values
    relay = await by_key(outbox).start().active()
    await outbox.add("k", value=0)
    before = await outbox.saved(1)
    for number in range(1, 7):
        await outbox.add("k", value=number)
    await outbox.saved(7)
    await outbox.forget_saves(relay, before)
    # Of these the standby that took over knows nothing.
    await outbox.connection.execute(
        "WITH lost AS (DELETE FROM outbox.events WHERE position > $1 RETURNING 1) "
        "SELECT setval('outbox.events_position_seq', $1)", before["last_position"],
    )  # fmt: skip
    for number in range(101, 105):
        await outbox.add("k", value=number)
    await relay.start().active()
    await outbox.idle(relay)
    assert await values(outbox) == [("k", 104)]
    assert relay.metric("published_total") == 4
    assert relay.metric("uncertain_total") == 4


async def purge_some(outbox: Outbox) -> None:
    """By hand: one key's, and single ones."""
    async with connected(outbox.nats) as client:
        await client.jetstream().purge_stream(outbox.prefix, subject=f"{outbox.prefix}.k1")
        await client.jetstream().delete_msg(outbox.prefix, 6)


async def grow_smaller(outbox: Outbox) -> None:
    """A limit that drops the oldest."""
    await outbox.update_stream(**FORGETFUL, max_msgs=3)


async def purge_up_to(outbox: Outbox) -> None:
    """All but the last, as `maxAge` does."""
    async with connected(outbox.nats) as client:
        await client.jetstream().purge_stream(outbox.prefix, seq=13)


@pytest.mark.parametrize(("drop", "most"), [(purge_some, 20), (grow_smaller, 3), (purge_up_to, 20)])
async def test_whoever_takes_messages_away(
    database: str,
    nats_server: NatsServer,
    tmp_path: Path,
    drop: Callable[[Outbox], Awaitable[None]],
    most: int,
) -> None:
    async with an_outbox(database, nats_server, tmp_path, **FORGETFUL) as outbox:
        relay = await by_key(outbox).start().active()
        await outbox.add("k0", value=0)
        before = await outbox.saved(1)
        for number in range(1, 13):
            await outbox.add(f"k{number % 3}", value=number)
        await outbox.saved(13)
        await drop(outbox)
        left = await values(outbox)
        await outbox.forget_saves(relay, before)
        async with connected(outbox.nats) as client:  # somebody else has the last word
            await client.jetstream().publish(f"{outbox.prefix}.k0", b"-1")
        await outbox.add("k9", value=13)
        await relay.start().active()
        await outbox.saved(14)
        assert await values(outbox) == [*left, ("", -1), ("k9", 13)][-most:]
        assert relay.metric("uncertain_total") == 0
        assert "no longer has" in relay.log


async def test_a_message_that_nobody_consumed_hides_no_later_ones(
    database: str, nats_server: NatsServer, tmp_path: Path
) -> None:
    """They were consumed, and their numbers are not given out again."""
    config = {**FORGETFUL, "retention": "workqueue"}
    async with (
        an_outbox(database, nats_server, tmp_path, **config) as outbox,
        connected(nats_server) as client,
    ):
        consumer = await client.jetstream().pull_subscribe(
            f"{outbox.prefix}.>", durable="all", stream=outbox.prefix
        )
        relay = await outbox.relay().start().active()
        await outbox.add("k", value=1)
        before = await outbox.saved(1)
        for number in range(2, 5):
            await outbox.add("k", value=number)
        await outbox.saved(4)
        numbers: list[int] = []
        while len(numbers) < 4:
            for message in await consumer.fetch(10, timeout=SECONDS):
                numbers.append(int((message.headers or {})["Outbox-Emission"]))
                if numbers[-1] > 1:
                    await message.ack_sync(timeout=SECONDS)
        await outbox.forget_saves(relay, before)
        await relay.start().active()
        # Sent again, since nothing shows them; said, and not under numbers that others had.
        again = [
            int((message.headers or {})["Outbox-Emission"])
            for message in await consumer.fetch(3, timeout=SECONDS)
        ]
        assert again == sorted(set(again))
        assert min(again) > max(numbers)
        assert "no longer has what was published last" in relay.log


async def test_keys_that_are_no_text_are_in_nobodys_way(
    database: str, nats_server: NatsServer, tmp_path: Path
) -> None:
    """A database without an encoding takes any bytes."""
    admin = await asyncpg.connect(database)
    name = f"{urlsplit(database).path[1:]}_ascii"
    await admin.execute(
        f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' "
        "LC_CTYPE 'C'"
    )
    await admin.close()
    url = urlunsplit(urlsplit(database)._replace(path=f"/{name}"))
    config = {**FORGETFUL, "max_msgs_per_subject": 1}
    async with an_outbox(url, nats_server, tmp_path, **config) as outbox:
        relay = await outbox.relay(on_poison="Skip").start().active()
        await outbox.add("k", value=0)
        before = await outbox.saved(1)
        for number in range(1, 4):
            await outbox.add("schlüssel", value=number)
        await outbox.saved(4)
        await outbox.killed(relay)
        await outbox.connection.execute(
            "INSERT INTO outbox.events (position, event_type, partition_key, payload) "
            "VALUES (-9, 'x', convert_from('\\xff'::bytea, 'SQL_ASCII'), '9')"
        )
        await outbox.forget_saves(relay, before)
        await relay.start().active()
        await outbox.idle(relay)
        assert await values(outbox) == [("schl%C3%BCssel", 3)]
        reason = await outbox.connection.fetchval("SELECT reason FROM outbox.dead_letters")
        assert reason == "Unreadable"


async def test_positions_below_one_are_known_again(
    database: str, nats_server: NatsServer, tmp_path: Path
) -> None:
    async with an_outbox(database, nats_server, tmp_path, **FORGETFUL) as outbox:
        relay = await outbox.relay().start().active()
        before = await outbox.cursor()
        await outbox.add("k", value=1, position=-7)
        await outbox.saved(1)
        await outbox.forget_saves(relay, before)
        await relay.start().active()
        await outbox.idle(relay)
        assert await values(outbox) == [("k", 1)]
        assert relay.metric("foreign_messages_total") == 0


async def test_a_copy_of_a_replay_says_nothing_of_what_its_key_was_up_to(
    database: str, nats_server: NatsServer, tmp_path: Path
) -> None:
    """Its position is a new one, and rows of its key that were open meanwhile have lower ones."""
    async with an_outbox(database, nats_server, tmp_path, **FORGETFUL) as outbox:
        relay = await outbox.relay().start().active()
        first = await outbox.add("k")
        before = await outbox.saved(1)
        target = parse_url(outbox.url)
        connection = await connect(target, application_name="test")
        async with outbox.session() as late:
            transaction = late.transaction()
            await transaction.start()
            open_meanwhile = await outbox.add("k", on=late)
            selection = Selection(keys=("k",))
            store = ReplayStore(connection, target, "outbox", name="again", selection=selection)
            bounds = await store.settle()
            await store.begin(bounds)
            assert (await store.copy(bounds)).rows == 1
            await outbox.published(2)
            gone = await outbox.add("other")
            await outbox.published(3)
            await outbox.add("last")
            await outbox.published(4)
            await outbox.forget_saves(relay, before)
            async with connected(nats_server) as client:
                await client.jetstream().delete_msg(outbox.prefix, 3)
            await transaction.commit()
        await connection.close()
        await outbox.idle(await outbox.relay().start().active())
        found = [message.event_id for message in await outbox.stored(4)]
        assert found.count(open_meanwhile) == 1
        assert found.count(first) == 2
        assert found.count(gone) <= 1
