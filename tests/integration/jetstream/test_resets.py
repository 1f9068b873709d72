"""Durable consumers that go on from another place: what the server does with them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from outbox_operator.adapters.nats.admin import JetStreamAdmin
from outbox_operator.adapters.nats.driver import WireClient
from outbox_operator.errors import DependencyError, SpecError
from outbox_operator.plan.jetstream.starts import RESET_LEVEL, START, at_sequence
from support.nats import NatsServer, connected, remove_streams
from support.waiting import SECONDS, eventually

MESSAGES = 10


@pytest.fixture
async def client(nats_server: NatsServer, prefix: str) -> AsyncIterator[WireClient]:
    async with connected(nats_server) as found:
        yield found
        await remove_streams(found, prefix)


@pytest.fixture
def reset(client: WireClient, nats_server: NatsServer) -> JetStreamAdmin:
    admin = JetStreamAdmin(client, nats_server.auth)
    assert admin.api_level >= RESET_LEVEL
    return admin


async def make(
    admin: JetStreamAdmin, stream: str, retention: str, *durables: dict[str, Any]
) -> None:
    config = {
        "name": stream, "subjects": [f"{stream}.>"], "storage": "memory", "retention": retention,
        "num_replicas": 1, "max_bytes": -1,
    }  # fmt: skip
    await admin.create_stream(config)
    for durable in durables:
        await admin.create_consumer(
            stream,
            {"durable_name": durable["name"], "ack_policy": "explicit", **durable},
        )


async def publish(client: WireClient, stream: str, number: int = MESSAGES) -> None:
    for one in range(number):
        await client.jetstream().publish(f"{stream}.{'ab'[one % 2]}", b"%d" % one)


async def read(
    client: WireClient, stream: str, durable: str, number: int, *, ack: bool = True
) -> list[tuple[int, int]]:
    """Sequence and number of the delivery of the next messages."""
    reader = await client.jetstream().pull_subscribe_bind(durable, stream)
    found: list[tuple[int, int]] = []
    while len(found) < number:
        for one in await reader.fetch(number - len(found), timeout=SECONDS):
            found.append((one.metadata.sequence.stream, one.metadata.num_delivered))
            if ack:
                await one.ack_sync(timeout=SECONDS)
    await reader.unsubscribe()
    return found


async def kept(admin: JetStreamAdmin, stream: str) -> int:
    found = await admin.stream_info(stream)
    assert found is not None
    return found.messages


async def left(admin: JetStreamAdmin, stream: str, number: int) -> None:
    """Wait until so many are kept: what is acknowledged goes beside the server's answers."""

    async def so_many() -> bool:
        return await kept(admin, stream) == number

    await eventually(so_many, f"{number} messages are left")


async def test_what_waits_on_a_stream_by_interest_stays(
    client: WireClient, reset: JetStreamAdmin, prefix: str
) -> None:
    await make(reset, prefix, "interest", {"name": "one"}, {"name": "two"})
    await publish(client, prefix)
    assert len(await read(client, prefix, "one", 6)) == 6
    found = await reset.reset_consumer(prefix, "one", 3)
    assert (found.pending, found.ack_floor, await kept(reset, prefix)) == (8, 2, MESSAGES)
    assert [sequence for sequence, _ in await read(client, prefix, "one", 8)] == [*range(3, 11)]
    await reset.reset_consumer(prefix, "one", 1)
    await reset.reset_consumer(prefix, "one", 1)  # as one that was not heard
    assert await kept(reset, prefix) == MESSAGES
    found = await reset.reset_consumer(prefix, "two", MESSAGES + 1)  # the end
    assert found.pending == 0
    assert await kept(reset, prefix) == MESSAGES  # for the first, which is at the start
    assert len(await read(client, prefix, "one", MESSAGES)) == MESSAGES
    await left(reset, prefix, 0)


async def test_a_work_queue_gives_again_what_nobody_acknowledged(
    client: WireClient, reset: JetStreamAdmin, prefix: str
) -> None:
    await make(reset, prefix, "workqueue", {"name": "one"})
    await publish(client, prefix)
    await read(client, prefix, "one", 4)
    await read(client, prefix, "one", 2, ack=False)
    await left(reset, prefix, 6)
    found = await reset.reset_consumer(prefix, "one", 1)
    assert (found.pending, found.ack_pending, await kept(reset, prefix)) == (6, 0, 6)
    assert await read(client, prefix, "one", 6) == [(sequence, 1) for sequence in range(5, 11)]
    await left(reset, prefix, 0)


async def test_all_that_it_counted_begins_anew(
    client: WireClient, reset: JetStreamAdmin, prefix: str
) -> None:
    """With a filter, one delivery allowed, no room in hand, a pause and its own pace."""
    later = "2100-01-01T00:00:00Z"
    wanted = {
        "name": "one", "filter_subject": f"{prefix}.a", "max_ack_pending": 2, "max_deliver": 1,
    }  # fmt: skip
    await make(reset, prefix, "limits", wanted)
    await publish(client, prefix)
    await read(client, prefix, "one", 2, ack=False)
    found = await reset.reset_consumer(prefix, "one", 2)
    assert (found.pending, found.ack_pending) == (4, 0)
    assert await read(client, prefix, "one", 2) == [(3, 1), (5, 1)]
    config = {**found.config, "pause_until": later}
    await reset.update_consumer(prefix, config)
    found = await reset.reset_consumer(prefix, "one", 1)
    assert (found.pending, found.config["pause_until"]) == (5, later)


async def test_one_that_is_read_by_one_at_a_time(
    client: WireClient, reset: JetStreamAdmin, prefix: str
) -> None:
    pinned = {
        "name": "one", "priority_policy": "pinned_client", "priority_groups": ["outbox"],
        "priority_timeout": 1_000_000_000,
    }  # fmt: skip
    await make(reset, prefix, "limits", pinned)
    await publish(client, prefix)
    found = await reset.reset_consumer(prefix, "one", 7)
    assert (found.pending, found.ack_floor) == (4, 6)


@pytest.mark.parametrize(
    "start",
    [
        {"deliver_policy": "new"},
        {"deliver_policy": "last"},
        {"deliver_policy": "by_start_sequence", "opt_start_seq": 5},
    ],
)
async def test_where_it_may_not_go_in_place(
    client: WireClient, reset: JetStreamAdmin, prefix: str, start: dict[str, Any]
) -> None:
    await make(reset, prefix, "limits")
    await publish(client, prefix)
    await reset.create_consumer(
        prefix, {"name": "one", "durable_name": "one", "ack_policy": "explicit", **start}
    )
    before = await reset.consumer_info(prefix, "one")
    with pytest.raises(SpecError, match="invalid reset"):
        await reset.reset_consumer(prefix, "one", 4)
    assert await reset.consumer_info(prefix, "one") == before


async def test_a_look_changes_nothing_and_nothing_is_sent_too_late(
    client: WireClient, reset: JetStreamAdmin, prefix: str
) -> None:
    await make(reset, prefix, "limits", {"name": "one"})
    await publish(client, prefix)
    await read(client, prefix, "one", 4)
    before = await reset.consumer_info(prefix, "one")
    await reset.check_reset(prefix, "one")
    too_late = asyncio.get_running_loop().time()
    other = {"name": "two", "durable_name": "two", "ack_policy": "explicit"}
    for change in (
        reset.reset_consumer(prefix, "one", 1, until=too_late),
        reset.delete_consumer(prefix, "one", until=too_late),
        reset.create_consumer(prefix, other, until=too_late),
    ):
        with pytest.raises(DependencyError, match="took too long"):
            await change
    assert await reset.consumer_info(prefix, "one") == before
    assert await reset.durables(prefix) == ("one",)


@pytest.mark.parametrize("retention", ["limits", "workqueue"])
async def test_made_anew_by_any_server(
    admin: JetStreamAdmin, any_server: NatsServer, prefix: str, retention: str
) -> None:
    await make(admin, prefix, retention, {"name": "one"})
    start = START if retention == "workqueue" else at_sequence(MESSAGES + 1)
    async with connected(any_server) as writer:
        await publish(writer, prefix)
        assert len(await read(writer, prefix, "one", 3)) == 3
        await admin.delete_consumer(prefix, "one")
        wanted = {"name": "one", "durable_name": "one", "ack_policy": "explicit", **start}
        made = await admin.create_consumer(prefix, wanted)
        assert made.pending == (MESSAGES - 3 if retention == "workqueue" else 0)
        await publish(writer, prefix, 1)

        async def one_more() -> bool:
            found = await admin.consumer_info(prefix, "one")
            return found is not None and found.pending == made.pending + 1

        await eventually(one_more, "the server has counted it")


async def test_the_first_message_since_a_time(
    admin: JetStreamAdmin, any_server: NatsServer, prefix: str
) -> None:
    await make(admin, prefix, "limits")
    async with connected(any_server) as writer:
        for _ in range(20):
            await publish(writer, prefix, 1)
            await asyncio.sleep(0.002)
        for gone in (1, 2, 9, 10, 11, 19, 20):
            await writer.jetstream().delete_msg(prefix, gone)
    stream = await admin.stream_info(prefix)
    assert stream is not None
    times = {}
    for sequence in range(3, 19):
        if (one := await admin.first_message(prefix, ">", sequence)) is not None:
            times[one.sequence] = one.stored_at
    for sequence, stored in times.items():
        found = await admin.first_since(stream, stored)
        following = await admin.first_message(prefix, ">", found)
        assert following is not None
        assert following.sequence == sequence
    latest = max(times.values())
    assert await admin.first_since(stream, latest.replace(year=latest.year + 1)) > max(times)
