"""Whatever happens between publishing and saving, no event is twice in the stream.

De-duplication is made useless here (`duplicate_window` of 100 ms), unless a test says otherwise:
what is checked is that the relay knows by itself what it has published.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from outbox_operator.relay.recovery import EMISSION_GAP
from support.nats import NatsServer, connected
from support.outbox import migrate
from support.relaying import FORGETFUL, WITH_IDS, Outbox, an_outbox, check_delivery
from support.waiting import SECONDS, eventually

pytestmark = pytest.mark.integration


@pytest.fixture(params=["fast", "window"])
async def forgetful(
    request: pytest.FixtureRequest, database: str, nats_server: NatsServer, tmp_path: Path
) -> AsyncIterator[Outbox]:
    """An outbox whose stream forgets ids at once, with either way of publishing."""
    config = {**FORGETFUL, "allow_batched": request.param == "fast"}
    async with an_outbox(database, nats_server, tmp_path, **config) as outbox:
        yield outbox


@pytest.fixture(scope="module", params=["2.10.26", "2.12.8"])
def old_nats(request: pytest.FixtureRequest) -> Iterator[NatsServer]:
    with NatsServer(version=request.param) as server:
        yield server


async def test_what_was_published_and_not_saved_is_skipped(forgetful: Outbox) -> None:
    outbox = forgetful
    relay = await outbox.relay().start().active()
    await outbox.add("a")
    before = await outbox.saved(1)
    await outbox.fill(4000)
    await outbox.published(4001)
    await outbox.forget_saves(relay, before)
    await outbox.fill(500)
    relay.start()
    committed = await outbox.event_ids()
    stored = await outbox.stored(len(committed))
    check_delivery(stored, committed)
    assert [message.event_id for message in stored] == committed
    assert relay.metric("resumed_total") == 4000
    assert (await outbox.saved(4501))["stream_sequence"] == 4501


async def test_a_crash_in_the_middle_of_a_window_that_has_grown_since(forgetful: Outbox) -> None:
    outbox = forgetful
    relay = outbox.relay(publish_window=64)
    before = await outbox.cursor()
    async with outbox.session() as slow:
        late = slow.transaction()
        await late.start()
        await outbox.add("late", on=slow)
        await outbox.fill(6_000, bytes_each=500)
        relay.start()

        async def some() -> bool:
            return await outbox.count() >= 1000

        await eventually(some, "a part of the window", relay=relay)
        await outbox.forget_saves(relay, before)
        # Smaller than every position published, and visible only now.
        await late.commit()
    committed = await outbox.event_ids()
    relay.start()
    stored = await outbox.stored(len(committed))
    await outbox.saved(len(committed))
    check_delivery(await outbox.stored(), committed)
    for key in ("k0", "k3", "late"):
        positions = [int(m.headers["Outbox-Position"]) for m in stored if m.key == key]
        assert positions == sorted(positions)


async def test_a_save_from_before_schema_version_2_costs_no_duplicates(forgetful: Outbox) -> None:
    outbox = forgetful
    relay = await outbox.relay().start().active()
    await outbox.add("a")
    before = dict(await outbox.saved(1))
    await outbox.fill(900)
    await outbox.published(901)
    await outbox.forget_saves(relay, {**before, "stream_sequence": None})
    relay.start()
    await outbox.saved(901)
    check_delivery(await outbox.stored(), await outbox.event_ids())


@pytest.mark.parametrize("stream", [WITH_IDS, {}], ids=["with ids", "without"])
async def test_a_tail_that_is_gone_leaves_it_to_de_duplication(
    database: str, nats_server: NatsServer, tmp_path: Path, stream: dict[str, Any]
) -> None:
    """Purged by hand, and then the relay died before it had saved."""
    async with an_outbox(database, nats_server, tmp_path, **stream) as outbox:
        relay = await outbox.relay().start().active()
        await outbox.add("a")
        before = await outbox.saved(1)
        await outbox.fill(50)
        await outbox.published(51)
        await outbox.purge_stream()
        await outbox.forget_saves(relay, before)
        relay.start()
        last = await outbox.add("a")
        if stream:  # ids are remembered although the messages are gone
            stored = await outbox.stored(1)
            await outbox.saved(51 + 1 + EMISSION_GAP)
            assert [message.event_id for message in stored] == [last]
        else:  # what the purge took is sent again, in order
            stored = await outbox.stored(51)
            assert [message.event_id for message in stored] == (await outbox.event_ids())[1:]


@pytest.mark.parametrize("retention", ["workqueue", "interest"])
async def test_streams_that_drop_what_was_consumed_rely_on_de_duplication(
    database: str, nats_server: NatsServer, tmp_path: Path, retention: str
) -> None:
    async with (
        an_outbox(database, nats_server, tmp_path, retention=retention) as outbox,
        connected(nats_server) as client,
    ):
        consumer = await client.jetstream().pull_subscribe(
            f"{outbox.prefix}.>", durable="all", stream=outbox.prefix
        )
        handled: list[str] = []
        numbers: list[int] = []

        async def handle(until: int) -> None:
            while len(handled) < until:
                for message in await consumer.fetch(100, timeout=SECONDS):
                    headers = message.headers or {}
                    handled.append(headers["Ce-Id"])
                    numbers.append(int(headers["Outbox-Emission"]))
                    await message.ack_sync(timeout=SECONDS)

        relay = await outbox.relay().start().active()
        await outbox.add("a")
        before = await outbox.saved(1)
        await outbox.fill(300)
        await outbox.saved(301)
        await handle(200)
        await outbox.forget_saves(relay, before)
        relay.start()
        await outbox.fill(20)
        await outbox.saved(321 + EMISSION_GAP)
        await handle(321)
        assert numbers == sorted(set(numbers)), "numbers only grow"
        assert sorted(handled) == sorted(await outbox.event_ids())
        assert relay.metric("fence_losses_total") == 0


async def test_a_stream_made_anew_takes_what_is_left(forgetful: Outbox) -> None:
    outbox = forgetful
    relay = await outbox.relay().start().active()
    await outbox.fill(100)
    await outbox.saved(100)
    assert relay.terminate() == 0
    await outbox.delete_stream()
    await outbox.create_stream(**FORGETFUL)
    await outbox.fill(10)
    relay.start()
    await outbox.published(10)
    # The stream may be gone with acknowledgements that it has not sent yet.
    await eventually(lambda: relay.metric("published_total") >= 10, "acknowledged", relay=relay)
    await outbox.delete_stream()
    await outbox.create_stream(**FORGETFUL)
    await outbox.fill(10)
    stored = await outbox.stored(10)
    assert [message.event_id for message in stored] == (await outbox.event_ids())[110:]
    # Neither stream could tell how far the one before it got, so the numbers may have gaps.
    numbers = [int(message.headers["Outbox-Emission"]) for message in stored]
    assert numbers[0] > 110
    assert numbers == [*range(numbers[0], numbers[0] + 10)]
    await relay.ready()
    cursor = await outbox.saved(numbers[-1])
    assert cursor["emission"] - cursor["emission_gaps"] == 120, "what the status calls published"


async def test_messages_that_expire_cost_the_fence_nothing(
    database: str, nats_server: NatsServer, tmp_path: Path
) -> None:
    async with an_outbox(
        database, nats_server, tmp_path, max_age=300_000_000, **FORGETFUL
    ) as outbox:
        relay = await outbox.relay().start().active()
        for number in range(5):
            await outbox.add("a")
            await outbox.saved(number + 1)

            async def expired() -> bool:
                return await outbox.count() == 0

            await eventually(expired, "an empty stream")
        assert relay.metric("fence_losses_total") == 4, "each time its end had moved"
        assert relay.metric("foreign_messages_total") == 0


async def foreign(outbox: Outbox) -> None:
    async with connected(outbox.nats) as client:
        await client.jetstream().publish(f"{outbox.prefix}.foreign", b"x")


async def test_an_occasional_foreign_message_is_counted_and_passed(forgetful: Outbox) -> None:
    outbox = forgetful
    relay = await outbox.relay().start().active()
    for number in range(4):
        await foreign(outbox)
        await outbox.add("a")
        await outbox.saved(number + 1)
    assert relay.metric("foreign_messages_total") >= 3
    assert relay.metric("fence_losses_total") >= 3
    assert "publishing without the fence" not in relay.get("/readyz")[1]
    ours = [message for message in await outbox.stored() if "Ce-Id" in message.headers]
    check_delivery(ours, await outbox.event_ids())


async def test_a_continuous_foreign_publisher_stops_nothing_and_is_named(
    forgetful: Outbox,
) -> None:
    outbox = forgetful
    relay = await outbox.relay().start().active()
    await outbox.add("a")
    await outbox.saved(1)  # from here on it knows its numbers, whatever others publish
    done = asyncio.Event()

    async def interfere() -> None:
        async with connected(outbox.nats) as client:
            while not done.is_set():
                await client.publish(f"{outbox.prefix}.foreign", b"x")
                await asyncio.sleep(0.0005)

    other = asyncio.create_task(interfere())
    try:

        async def named() -> bool:
            await outbox.add("a")
            return "publishing without the fence" in relay.get("/readyz")[1]

        await eventually(named, "the other publisher is named", relay=relay)
        assert f"{outbox.prefix}.foreign (sequence " in relay.get("/readyz")[1]
        assert relay.failing() == {}
        await outbox.fill(200)
        committed = await outbox.event_ids()
        remark = (await outbox.saved(len(committed)))["remark"]
        assert f"{outbox.prefix}.foreign (sequence " in remark, "what the operator reads"
    finally:
        done.set()
        await other
    ours = [message for message in await outbox.stored() if "Ce-Id" in message.headers]
    assert [message.event_id for message in ours] == committed


@pytest.mark.parametrize("apart", [True, False])
async def test_two_pipelines_on_one_stream(outbox: Outbox, apart: bool) -> None:
    await outbox.connection.execute("ALTER SCHEMA outbox RENAME TO first")

    await migrate(outbox.url)
    subjects = [f"{outbox.prefix}.a.{{event_type}}", f"{outbox.prefix}.b.{{event_type}}"]
    if not apart:
        subjects = [f"{outbox.prefix}.{{event_type}}"] * 2
    secret = str(outbox.directory / "url")
    relays = [
        await outbox.relay(
            pipeline=schema, subject=subject, database={"url_file": secret, "schema": schema}
        ).start().active()
        for schema, subject in zip(("first", "outbox"), subjects, strict=True)
    ]  # fmt: skip
    for _ in range(30):
        for schema in ("first", "outbox"):
            await outbox.connection.execute(
                f"INSERT INTO {schema}.events (event_type, partition_key, payload) "
                "SELECT 'created', 'k', '1' FROM generate_series(1, 10)"
            )
    stored = await outbox.stored(600)
    for schema in ("first", "outbox"):
        rows = await outbox.connection.fetch(
            f"SELECT event_id::text FROM {schema}.events ORDER BY position"
        )
        ours = [m for m in stored if m.headers["Ce-Source"] == f"/shop/{schema}"]
        assert [m.event_id for m in ours] == [row[0] for row in rows]
    losses = [relay.metric("fence_losses_total") for relay in relays]
    assert all(relay.failing() == {} for relay in relays)
    assert (sum(losses) == 0) is apart


async def test_unordered_pipelines_share_with_applications_that_publish_themselves(
    database: str, nats_server: NatsServer, tmp_path: Path
) -> None:
    async with an_outbox(database, nats_server, tmp_path) as outbox:
        relay = outbox.relay(ordering="None")
        await outbox.fill(50)
        direct = (await outbox.event_ids())[:20]
        async with connected(nats_server) as client:
            for event in direct:
                await client.jetstream().publish(
                    f"{outbox.prefix}.created",
                    b"{}",
                    headers={"Nats-Msg-Id": event, "Ce-Id": event},
                )
        await relay.start().active()
        stored = await outbox.stored(50)
        assert sorted(m.event_id for m in stored) == sorted(await outbox.event_ids())
        assert relay.metric("fence_losses_total") == 0


async def test_older_servers_keep_the_promise_too(
    database: str, old_nats: NatsServer, tmp_path: Path
) -> None:
    async with an_outbox(database, old_nats, tmp_path, **FORGETFUL) as outbox:
        relay = await outbox.relay().start().active()
        await outbox.add("a")
        before = await outbox.saved(1)
        await outbox.fill(3000)
        await outbox.published(3001)
        await outbox.forget_saves(relay, before)
        relay.start()
        await outbox.fill(10)
        committed = await outbox.event_ids()
        stored = await outbox.stored(3011)
        check_delivery(stored, committed)
        assert [message.event_id for message in stored] == committed


async def test_what_was_published_on_other_subjects_is_skipped(forgetful: Outbox) -> None:
    """The template was changed, and the relay of before had died."""
    outbox = forgetful
    relay = await outbox.relay().start().active()
    await outbox.add("a")
    before = await outbox.saved(1)
    await outbox.fill(3000)
    await outbox.published(3001)
    await outbox.forget_saves(relay, before)
    async with connected(outbox.nats) as client:  # not for the new one to wonder about
        await client.jetstream().publish(f"{outbox.prefix}.mine", b"")
    renamed = f"{outbox.prefix}.new.{{event_type}}"
    relay = await outbox.relay(subject=renamed).start().active()
    await outbox.fill(10)
    await outbox.saved(3011)
    assert relay.metric("published_total") == 10
    assert relay.metric("foreign_messages_total") == 0
    # And back again, with nothing to skip.
    relay.terminate()
    await outbox.relay().start().active()
    await outbox.add("a")
    await outbox.saved(3012)
    stored = [message for message in await outbox.stored(3013) if message.data]
    committed = await outbox.event_ids()
    check_delivery(stored, committed)
    assert [message.event_id for message in stored] == committed


async def test_halt_notices_that_the_row_was_changed_or_deleted(outbox: Outbox) -> None:
    relay = outbox.relay(on_poison="Halt")
    bad = [await outbox.add("a", headers='{"n": 1}') for _ in range(2)]
    good = await outbox.add("a")
    relay.start()
    await eventually(lambda: relay.metric("halted") == 1, "halted")
    await outbox.connection.execute("DELETE FROM outbox.events WHERE event_id = $1", bad[0])
    await outbox.connection.execute(
        "UPDATE outbox.events SET headers = $2 WHERE event_id = $1", bad[1], json.dumps({"n": "1"})
    )
    check_delivery(await outbox.stored(2), [bad[1], good])
    await relay.ready()
