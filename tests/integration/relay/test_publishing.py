"""Events reach the stream whole, in order, once; a stream that refuses is waited for."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import uuid
from pathlib import Path
from typing import Any

import nats.errors
import pytest

from outbox_operator.wire.headers import decode_value
from support.nats import NatsServer, connected
from support.relaying import WITH_IDS, Outbox, an_outbox, check_delivery, per_key
from support.waiting import eventually

pytestmark = pytest.mark.integration


async def test_an_event_arrives_with_everything(outbox: Outbox) -> None:
    outbox.relay().start()
    own = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "tenant": "a"}
    event = await outbox.add(
        "Käse 1%", value={"a": [1, "ü"]}, event_type="order.created", headers=json.dumps(own)
    )
    (message,) = await outbox.stored(1)
    row = await outbox.connection.fetchrow("SELECT position, created_at FROM outbox.events")
    assert row is not None
    assert message.subject == f"{outbox.prefix}.order.created"
    assert json.loads(message.data) == {"a": [1, "ü"]}
    assert decode_value(message.headers["Ce-Partitionkey"]) == "Käse 1%"
    expected = {
        "Ce-Id": event,
        "Ce-Type": "order.created",
        "Ce-Source": "/shop/orders",
        "Ce-Specversion": "1.0",
        "Ce-Time": row["created_at"].isoformat().replace("+00:00", "Z"),
        "Content-Type": "application/json",
        "Outbox-Position": str(row["position"]),
        "Outbox-Emission": "1",
        "Outbox-Shard": "0",
        **own,
    }
    assert expected.items() <= message.headers.items()


@pytest.mark.parametrize("time", ["infinity", "-infinity", "0044-03-15 BC", "12345-06-07"])
async def test_a_time_no_calendar_knows_stops_nothing(outbox: Outbox, time: str) -> None:
    outbox.relay().start()
    await outbox.connection.execute(
        "INSERT INTO outbox.events (event_type, payload, created_at) "
        f"VALUES ('created', '1', '{time}')"
    )
    (message,) = await outbox.stored(1)
    year = "0001" if time.startswith("-") or time.endswith("BC") else "9999"
    assert message.headers["Ce-Time"].startswith(year)


async def test_a_routing_key_replaces_the_type_in_the_subject(outbox: Outbox) -> None:
    outbox.relay().start()
    await outbox.add("a", event_type="order.created", routing_key="eu.order.created")
    (message,) = await outbox.stored(1)
    assert message.subject == f"{outbox.prefix}.eu.order.created"
    assert message.headers["Ce-Type"] == "order.created"


async def test_bytes_arrive_as_they_are(
    database: str, nats_server: NatsServer, tmp_path: Path
) -> None:
    async with an_outbox(database, nats_server, tmp_path, payload_type="bytea") as outbox:
        outbox.relay().start()
        bodies = [b"", b"\x00\xff\r\n", os.urandom(100_000)]
        for body in bodies:
            await outbox.add("a", value=body)
        stored = await outbox.stored(3)
    assert [message.data for message in stored] == bodies
    assert stored[0].headers["Content-Type"] == "application/octet-stream"


async def test_a_full_stream_is_waited_for_and_shown(
    database: str, nats_server: NatsServer, tmp_path: Path
) -> None:
    limits: dict[str, Any] = {"max_msgs": 30, "discard": "new"}
    async with an_outbox(database, nats_server, tmp_path, **limits) as outbox:
        await outbox.fill(100, keys=3)
        relay = outbox.relay().start()
        await outbox.published(30)
        await eventually(
            lambda: relay.metric("errors_total", reason="StreamRefused"), "a refusal that counts"
        )
        await eventually(
            lambda: "maximum messages exceeded" in relay.get("/readyz")[1], "told", relay=relay
        )
        assert await outbox.dead_letters() == []
        await outbox.update_stream(max_msgs=-1)
        committed = await outbox.event_ids()
        stored = await outbox.stored(100)
        assert [message.event_id for message in stored] == committed
        check_delivery(stored, committed)
        await relay.ready()


async def test_a_missing_stream_is_waited_for_and_shown(outbox: Outbox) -> None:
    await outbox.delete_stream()
    relay = outbox.relay().start()
    await outbox.add("a")
    await eventually(lambda: "stream" in relay.failing(), "not ready for want of the stream")
    assert "does not exist" in relay.failing()["stream"]
    await outbox.create_stream()
    await outbox.published(1)
    await relay.ready()


async def test_a_stream_deleted_under_way_is_waited_for(outbox: Outbox) -> None:
    relay = outbox.relay().start()
    await outbox.add("a")
    await outbox.published(1)
    await outbox.delete_stream()
    second = await outbox.add("a")
    await eventually(lambda: "stream" in relay.failing(), "not ready for want of the stream")
    await outbox.create_stream()
    (message,) = await outbox.stored(1)
    assert message.event_id == second


async def test_other_publishers_in_the_stream_cost_speed_but_not_order(outbox: Outbox) -> None:
    await outbox.fill(3000, keys=5)
    committed = await outbox.event_ids()
    done = asyncio.Event()

    async def interfere() -> int:
        count = 0
        async with connected(outbox.nats) as client:
            context = client.jetstream()
            while not done.is_set():
                await context.publish(f"{outbox.prefix}.foreign", b"x")
                count += 1
                await asyncio.sleep(0.001)
        return count

    other = asyncio.create_task(interfere())
    relay = outbox.relay().start()
    try:
        await eventually(
            lambda: relay.metric("published_total") >= 3000, "all published", relay=relay
        )
    finally:
        done.set()
    assert await other > 10
    ours = [message for message in await outbox.stored() if "Ce-Id" in message.headers]
    assert [message.event_id for message in ours] == committed


async def test_unordered_pipelines_lose_nothing_either(outbox: Outbox) -> None:
    await outbox.fill(1200, keys=5)
    outbox.relay(ordering="None").start()
    committed = await outbox.event_ids()
    check_delivery(await outbox.stored(1200), committed)


async def test_events_of_each_key_stay_in_order_over_many_small_windows(outbox: Outbox) -> None:
    relay = await outbox.relay(publish_window=3).start().active()
    for n in range(60):
        await outbox.add(f"k{n % 4}", value=n)
    stored = await outbox.stored(60)
    await outbox.idle(relay)
    for _, messages in per_key(stored):
        numbers = [int(message.data) for message in messages]
        assert numbers == sorted(numbers)


async def test_large_payloads_take_bounded_memory(outbox: Outbox) -> None:
    # A stream this large need not be kept: more than the limit of memory goes through.
    await outbox.update_stream(max_msgs=1)
    # 160 MB of text, which the table holds compressed to almost nothing.
    await outbox.connection.execute(
        "INSERT INTO outbox.events (event_type, partition_key, payload) "
        "SELECT 'created', 'k', to_jsonb(repeat('x', 1000000)) FROM generate_series(1, 160)"
    )
    relay = outbox.relay().start()
    await eventually(
        lambda: relay.metric("published_total") >= 160,
        "all published",
        relay=relay,
        seconds=60,
    )
    peak = relay.peak_kilobytes()
    assert peak < 128 * 1024, f"{peak // 1024} MB at the peak"


async def test_a_full_stream_that_is_being_emptied_is_filled_without_long_pauses(
    database: str, nats_server: NatsServer, tmp_path: Path
) -> None:
    """Each attempt stores some: with pauses that grow all the same it would take minutes."""
    limits: dict[str, Any] = {"retention": "workqueue", "discard": "new", "max_msgs": 20}
    async with an_outbox(database, nats_server, tmp_path, **limits) as outbox:
        await outbox.fill(1000)
        async with connected(nats_server) as client:
            subscription = await client.jetstream().pull_subscribe(
                f"{outbox.prefix}.>", durable="reader", stream=outbox.prefix
            )
            outbox.relay().start()
            ids: set[str] = set()

            async def taken() -> bool:
                with contextlib.suppress(TimeoutError, nats.errors.TimeoutError):
                    for message in await subscription.fetch(20, timeout=0.2):
                        ids.add((message.headers or {})["Ce-Id"])
                        await message.ack()
                return len(ids) == 1000

            await eventually(taken, "1000 events through a stream of 20")


@pytest.mark.parametrize(
    ("apart", "stream"),
    [(True, WITH_IDS), (False, WITH_IDS), (False, {})],
    ids=["one by one", "at once", "without ids"],
)
async def test_rows_that_share_an_event_id_are_stored_as_often_as_committed(
    outbox: Outbox, apart: bool, stream: dict[str, Any]
) -> None:
    """The stream drops what has an id that it knows, and acknowledges it (FD-A6)."""
    await outbox.update_stream(**stream)
    relay = await outbox.relay().start().active()
    shared = str(uuid.uuid4())
    for number in range(3):
        if apart:
            await outbox.add("k", value=number, event_id=shared)
            await outbox.published(number + 1)
    if not apart:
        await outbox.connection.execute(
            "INSERT INTO outbox.events (event_id, event_type, partition_key, payload) "
            "SELECT CASE WHEN n < 3 THEN $1::uuid ELSE gen_random_uuid() END, 'created', 'k', "
            "to_jsonb(n) FROM generate_series(0, 499) n",
            shared,
        )
    stored = await outbox.stored(3 if apart else 500)
    await outbox.idle(relay)
    assert [message.data for message in stored[:3]] == [b"0", b"1", b"2"]
    assert [message.event_id for message in stored[:3]] == [shared] * 3
    assert relay.metric("repeated_ids_total") == 2
    assert relay.metric("dropped_total") == 0
    assert (await outbox.saved(len(stored)))["emission_gaps"] == 0


async def test_rows_that_share_an_event_id_on_a_page_that_a_refusal_cut(outbox: Outbox) -> None:
    """The rest of the page is read again, without the first of them (FD-A6)."""
    await outbox.update_stream(max_msgs=3, discard="new")
    relay = await outbox.relay().start().active()
    await outbox.connection.execute(
        "INSERT INTO outbox.events (event_id, event_type, partition_key, payload) "
        "SELECT CASE WHEN n IN (2, 3, 150) THEN $1::uuid ELSE gen_random_uuid() END, 'created', "
        "'k', to_jsonb(n) FROM generate_series(0, 199) n",
        str(uuid.uuid4()),
    )
    await eventually(lambda: "exceeded" in relay.log, "a refusal")
    await outbox.update_stream()
    stored = await outbox.stored(200)
    assert [message.data for message in stored] == [b"%d" % number for number in range(200)]
    assert relay.metric("dropped_total") == 0


async def test_rows_of_several_shards_that_share_an_event_id(
    database: str, nats_server: NatsServer, tmp_path: Path
) -> None:
    """Shards share the stream, which drops what has an id that it knows (FD-A6)."""
    async with an_outbox(database, nats_server, tmp_path, shards=4, **WITH_IDS) as outbox:
        relay = await outbox.relay().start().ready()
        await outbox.connection.execute(
            "INSERT INTO outbox.events (event_id, event_type, partition_key, payload) "
            "SELECT $1, 'created', 'k' || n, '{}' FROM generate_series(1, 16) n",
            str(uuid.uuid4()),
        )
        assert len(await outbox.stored(16)) == 16
        assert relay.metric("repeated_ids_total") == 15


@pytest.mark.parametrize("behind", [0, 1], ids=["alone", "with another"])
async def test_what_the_stream_drops_all_the_same_is_said(outbox: Outbox, behind: int) -> None:
    """A relay that starts anew does not know the ids of before."""
    await outbox.update_stream(**WITH_IDS)
    relay = await outbox.relay().start().active()
    shared = str(uuid.uuid4())
    await outbox.add("k", event_id=shared)
    await outbox.published(1)
    await outbox.idle(relay)
    assert relay.terminate() == 0
    async with outbox.connection.transaction():
        for _ in range(behind):
            await outbox.add("k")
        await outbox.add("k", event_id=shared)
    relay.start()
    await outbox.published(1 + behind)
    await outbox.saved(2 + behind)
    await outbox.idle(relay)
    await eventually(lambda: relay.metric("dropped_total") == 1, "one was dropped")
    words = "it dropped, since it knew their message ids"
    await eventually(lambda: words in relay.log, "said", relay=relay)
