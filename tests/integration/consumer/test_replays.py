"""What a replay sends again: handled once more by whom it is for, and by nobody else."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Literal

import asyncpg
import pytest
from nats.aio.client import Client

from outbox_operator.adapters.postgres.admin import PostgresAdmin
from outbox_operator.adapters.postgres.connection import connect
from outbox_operator.adapters.postgres.url import parse_url
from outbox_operator.consumer.handlers.types import Context, ReceivedEvent
from outbox_operator.wire.config import InboxConfig
from outbox_operator.wire.replay import replayed_id
from support.consuming import Endpoint, Source, calling, consuming, metric
from support.outbox import migrate_inbox
from support.waiting import SECONDS, eventually

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("mode", ["PerEvent", "PerShard"])
async def test_a_replay_is_no_duplicate_and_its_redelivery_is(
    client: Client,
    stream_prefix: str,
    database: str,
    tmp_path: Path,
    mode: Literal["PerEvent", "PerShard"],
) -> None:
    await migrate_inbox(database)
    url_file = tmp_path / "url"
    url_file.write_text(database)
    owner = await asyncpg.connect(database)
    await owner.execute("CREATE TABLE effects (number bigserial, replay text)")

    async def handle(event: ReceivedEvent, context: Context) -> None:
        await context.connection.execute(
            "INSERT INTO effects (replay) VALUES ($1)", event.headers.get("Outbox-Replay", "")
        )

    source = await Source.create(client, stream_prefix)
    if mode == "PerShard":
        await source.create_ordered()
    config = replace(
        source.config,
        inbox=InboxConfig(url_file=str(url_file), mode=mode),
        python=source.python().python,
    )
    event = await source.publish(**{"Outbox-Shard": "0", "Outbox-Emission": "1"})
    for number, name in enumerate(("monday", "tuesday"), 2):
        await source.publish(
            id=event,
            **{"Outbox-Shard": "0", "Outbox-Emission": str(number), "Outbox-Replay": name},
        )
    async with consuming(config, calling(handle)):
        await source.settled(3)
    if mode == "PerShard":
        await source.create_ordered()
    else:
        await client.jetstream().delete_consumer(stream_prefix, source.config.durable)
        await source.create_durable()
    async with consuming(config, calling(handle)) as app:
        await source.settled(3)
    rows = await owner.fetch("SELECT replay FROM effects ORDER BY number")
    assert sorted(row["replay"] for row in rows) == ["", "monday", "tuesday"]
    assert metric(app, "outbox_consumer_duplicates_total") == 3
    assert metric(app, "outbox_consumer_end_to_end_seconds_count") == 1
    if mode == "PerEvent":
        remembered = await owner.fetch("SELECT event_id FROM outbox.consumer_inbox")
        first = uuid.UUID(event)
        assert {row["event_id"] for row in remembered} == {
            first,
            replayed_id(first, "monday"),
            replayed_id(first, "tuesday"),
        }
    await owner.close()


@pytest.mark.parametrize("acks", ["", "explicit", "all"])
async def test_a_replay_to_one_consumer_is_left_out_by_the_others(
    client: Client, stream_prefix: str, acks: str
) -> None:
    """Also where each acknowledgement counts for all messages before it."""
    source = await Source.create(client, stream_prefix)
    other = Source(client, stream_prefix, replace(source.config, durable="audit", health_port=0))
    await other.create_durable()
    if acks:
        await source.create_ordered(ack_policy=acks)
        await other.create_ordered(ack_policy=acks)
    handled: dict[str, list[str]] = {"billing": [], "audit": []}

    async def billing(event: ReceivedEvent) -> None:
        handled["billing"].append(event.type)

    async def audit(event: ReceivedEvent) -> None:
        handled["audit"].append(event.type)

    order: Literal["PerKey", "None"] = "PerKey" if acks else "None"
    one, two = (
        replace(each.config, python=each.python().python, ordering=order)
        for each in (source, other)
    )
    async with consuming(one, calling(billing)), consuming(two, calling(audit)) as app:
        await source.publish(type="first")
        await source.publish(type="again", **{"Outbox-Replay": "r", "Outbox-Replay-To": "billing"})
        await source.publish(type="last")
        await source.settled(3)
        await other.settled(3)
    assert sorted(handled["billing"]) == ["again", "first", "last"]
    assert sorted(handled["audit"]) == ["first", "last"]
    assert metric(app, "outbox_consumer_for_others_total") == 1
    assert metric(app, "outbox_consumer_processed_total", outcome="ack", event_type="again") == 0


async def test_an_endpoint_is_told_that_it_is_a_replay(
    client: Client, stream_prefix: str, endpoint: Endpoint
) -> None:
    source = await Source.create(client, stream_prefix)
    await source.publish(**{"Outbox-Replay": "monday", "Outbox-Replay-To": "billing"})
    async with consuming(source.http(endpoint)):
        await source.settled(1)
    [request] = endpoint.requests
    assert request.headers["Outbox-Replay"] == "monday"


@pytest.mark.parametrize("mode", ["PerEvent", "PerShard"])
async def test_what_an_inbox_was_told_to_forget_is_handled_again(
    client: Client,
    stream_prefix: str,
    database: str,
    tmp_path: Path,
    mode: Literal["PerEvent", "PerShard"],
) -> None:
    await migrate_inbox(database)
    url_file = tmp_path / "url"
    url_file.write_text(database)
    handled: list[str] = []

    async def handle(event: ReceivedEvent) -> None:
        handled.append(event.type)

    source = await Source.create(client, stream_prefix)
    await source.create_ordered()
    config = replace(
        source.config,
        inbox=InboxConfig(url_file=str(url_file), mode=mode),
        python=source.python().python,
    )
    for number in (1, 2, 3):
        await source.publish(
            type=f"e{number}", **{"Outbox-Shard": "0", "Outbox-Emission": str(number)}
        )
    async with consuming(config, calling(handle)):
        await source.settled(3)
    target = parse_url(database)
    connection = await connect(target, application_name="test", guarded=True)
    admin = PostgresAdmin(connection, target)
    later = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    gone = 0
    for since, name in ((later, "shop/billing"), (None, "shop/audit"), (None, "shop/billing")):
        gone += await admin.forget_handled("outbox", name, since)
    await connection.close()
    assert gone == (3 if mode == "PerEvent" else 0)
    await source.create_ordered()
    async with consuming(config, calling(handle)):
        await source.settled(3)
    # Without keys they may be handled beside each other.
    assert [sorted(handled[:3]), sorted(handled[3:])] == [["e1", "e2", "e3"]] * 2


async def test_what_a_reset_passed_over_is_handled_when_it_comes(
    client: Client, stream_prefix: str, database: str, tmp_path: Path
) -> None:
    """The durable consumer stays the same one, so that an inbox by shards has to be told."""
    await migrate_inbox(database)
    url_file = tmp_path / "url"
    url_file.write_text(database)
    handled: list[str] = []

    async def handle(event: ReceivedEvent) -> None:
        handled.append(event.type)

    source = await Source.create(client, stream_prefix)
    await source.create_ordered()
    config = replace(
        source.config,
        inbox=InboxConfig(url_file=str(url_file), mode="PerShard"),
        python=source.python().python,
    )

    async def publish(*numbers: int) -> None:
        for number in numbers:
            await source.publish(
                type=f"e{number}", **{"Outbox-Shard": "0", "Outbox-Emission": str(number)}
            )

    async def go_on(sequence: int, *then: str) -> None:
        """Reset it, and have all handled from there."""
        connection = await connect(target, application_name="test", guarded=True)
        admin = PostgresAdmin(connection, target)
        await admin.part_positions("outbox", "shop/billing", config.stream)
        await connection.close()
        body = json.dumps({"seq": sequence}).encode()
        subject = f"$JS.API.CONSUMER.RESET.{config.stream}.{config.durable}"
        await client.request(subject, body, timeout=SECONDS)
        async with consuming(config, calling(handle)):
            await eventually(lambda: handled[-len(then) :] == [*then], f"{then} are handled")

    target = parse_url(database)
    await publish(1, 2, 3)
    async with consuming(config, calling(handle)):
        await source.settled(3)
    await publish(4, 5, 6)
    await go_on(6, "e6")
    await publish(7)
    async with consuming(config, calling(handle)):
        await eventually(lambda: handled[-1] == "e7", "the next is handled")
    assert handled == ["e1", "e2", "e3", "e6", "e7"]
    await go_on(3, "e3", "e4", "e5")
