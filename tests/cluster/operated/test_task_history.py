"""Replays of history as tasks: through a real relay, with the operator killed in the middle."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from support.nats import connected
from support.relaying import RelayProcess
from support.waiting import eventually
from support.world import World

TASK = "OutboxTask"
ORDERS = {"pipelineRef": {"name": "orders"}}


@pytest.fixture
def orders(world: World) -> World:
    world.apply(*world.whole())
    world.wait_ready("OutboxPipeline", "orders")
    return world


@pytest.fixture
def relay(orders: World, tmp_path: Path) -> Iterator[RelayProcess]:
    """The relay that the pipeline's Deployment would run."""
    secret = tmp_path / "url"
    secret.write_text(orders.database)
    relay = RelayProcess(
        {
            "namespace": orders.namespace,
            "pipeline": "orders",
            "database": {"url_file": str(secret)},
            "nats": {"url": orders.nats.auth.url},
            "stream": f"{orders.prefix}-orders",
            "subject": f"{orders.prefix}.orders.{{event_type}}",
            "poll_max_seconds": 0.1,
            "drain_seconds": 10,
            "health_port": 0,
        },
        tmp_path,
        "relay",
    ).start()
    yield relay
    relay.kill()


async def write(world: World, rows: int) -> None:
    connection = await asyncpg.connect(world.database)
    await connection.execute(
        "INSERT INTO outbox.events (event_type, partition_key, payload) "
        "SELECT 'placed', 'k' || n % 5, to_jsonb(n) FROM generate_series(1, $1::int) n",
        rows,
    )
    await connection.close()


async def stored(world: World, at_least: int) -> list[tuple[dict[str, str], bytes]]:
    """Headers and payloads of the stream, once it has enough."""
    async with connected(world.nats) as client:
        stream = client.jetstream()

        async def enough() -> bool:
            info = await stream.stream_info(f"{world.prefix}-orders")
            return bool(info.state.messages >= at_least)

        await eventually(enough, f"{at_least} messages")
        last = (await stream.stream_info(f"{world.prefix}-orders")).state.last_seq
        found = [await stream.get_msg(f"{world.prefix}-orders", n) for n in range(1, last + 1)]
    return [(dict(one.headers or {}), one.data or b"") for one in found]


def of_task(world: World, name: str) -> dict[str, Any]:
    body = world.get(TASK, name)
    assert body is not None
    return dict(body.get("status") or {})


@pytest.mark.thorough
async def test_the_operator_dies_in_the_middle(orders: World, relay: RelayProcess) -> None:
    await relay.active()
    await write(orders, 120)
    await stored(orders, 120)
    # Without a relay it stays in the middle: more is copied when that was published.
    assert relay.terminate() == 0
    orders.apply(
        orders.resource(TASK, "counted", {**ORDERS, "dryRun": True, "replayHistory": {}}),
        orders.resource(
            TASK,
            "again",
            {**ORDERS, "eventsPerSecond": 60, "replayHistory": {"eventTypes": ["placed"]}},
        ),
    )
    orders.wait_condition(TASK, "counted", "Complete", "True", "DryRun")
    assert of_task(orders, "counted")["selected"] == 120
    # Where else it may die is tried without a cluster: tests/integration/relay/test_replay.py.
    orders.wait(lambda: of_task(orders, "again").get("done") == 60, "some are copied")
    orders.operator.kill()
    orders.operator.start()
    await asyncio.to_thread(orders.operator.wait_ready)
    assert of_task(orders, "again")["done"] == 60
    relay.start()
    orders.wait_condition(TASK, "again", "Complete", "True", "Completed")
    status = of_task(orders, "again")
    assert (status["selected"], status["done"], status["failed"]) == (120, 120, 0)
    found = await stored(orders, 240)
    name = f"again.{orders.get(TASK, 'again')['metadata']['uid'].replace('-', '')[:8]}"  # type: ignore[index]
    again = [(head, data) for head, data in found if head.get("Outbox-Replay") == name]
    assert len(found) == 240
    assert Counter(head["Ce-Id"] for head, _ in again) == Counter(
        head["Ce-Id"] for head, _ in found if "Outbox-Replay" not in head
    )
    for key in {head["Ce-Partitionkey"] for head, _ in again}:
        numbers = [int(data) for head, data in again if head["Ce-Partitionkey"] == key]
        assert numbers == sorted(numbers)


async def test_one_consumer_is_meant_and_others_would_read_it_too(
    orders: World, relay: RelayProcess
) -> None:
    """The consumer `audit` of the pipeline is read by somebody's own program."""
    await relay.active()
    await write(orders, 3)
    await stored(orders, 3)
    meant = {"toConsumer": "billing"}
    orders.apply(
        orders.resource(TASK, "refused", {**ORDERS, "replayHistory": meant}),
        orders.resource(TASK, "unknown", {**ORDERS, "replayHistory": {"toConsumer": "nobody"}}),
    )
    refused = orders.wait_condition(TASK, "refused", "Failed", "True", "OtherReaders")
    assert "orders-audit" in refused["message"]
    orders.wait_condition(TASK, "unknown", "Failed", "True", "NotFound")
    allowed = {**meant, "allowOtherReaders": True, "keys": ["k1", "k2"]}
    orders.apply(orders.resource(TASK, "allowed", {**ORDERS, "replayHistory": allowed}))
    orders.wait_condition(TASK, "allowed", "Complete", "True")
    found = await stored(orders, 5)
    assert [head.get("Outbox-Replay-To") for head, _ in found[3:]] == ["orders-billing"] * 2
    assert [json.loads(data) for _, data in found[3:]] == [1, 2]


async def test_it_says_from_when_on_there_are_rows(orders: World) -> None:
    connection = await asyncpg.connect(orders.database)
    await connection.execute(
        "SELECT setval('outbox.events_position_seq', 1000000007); "
        "INSERT INTO outbox.events (event_type, payload) VALUES ('placed', '{}')"
    )
    await connection.close()
    asked = {"fromTime": "2020-01-01T00:00:00Z"}
    orders.apply(
        orders.resource(TASK, "gone", {**ORDERS, "replayHistory": asked}),
        orders.resource(
            TASK,
            "partial",
            {**ORDERS, "dryRun": True, "replayHistory": {**asked, "allowPartial": True}},
        ),
    )
    gone = orders.wait_condition(TASK, "gone", "Failed", "True", "NoLongerKept")
    assert "position 1000000008" in gone["message"]
    orders.wait_condition(TASK, "partial", "Complete", "True")
    assert of_task(orders, "partial")["selected"] == 1


async def test_a_rebase_while_it_stands_still_leaves_nothing_out_in_silence(
    orders: World, relay: RelayProcess
) -> None:
    await relay.active()
    await write(orders, 40)
    await stored(orders, 40)
    assert relay.terminate() == 0
    again = {**ORDERS, "eventsPerSecond": 10, "replayHistory": {}}
    orders.apply(orders.resource(TASK, "again", again))
    orders.wait(lambda: of_task(orders, "again").get("done") == 10, "some are copied")
    orders.apply(orders.resource(TASK, "again", {**again, "suspend": True}))
    orders.wait_condition(TASK, "again", "Suspended", "True")
    relay.start()
    await stored(orders, 50)
    orders.apply(orders.resource(TASK, "anew", {**ORDERS, "rebase": {"publish": "All"}}))
    orders.wait_condition(TASK, "anew", "Complete", "True")
    orders.apply(orders.resource(TASK, "again", {**again, "suspend": False}))
    orders.wait_condition(TASK, "again", "Failed", "True", "SomeFailed")
    status = of_task(orders, "again")
    assert status["selected"] == 40 == status["done"] + status["failed"]
    assert status["failures"][0]["id"] == f"{status['failed']} events"
