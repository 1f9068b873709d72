"""The operator is killed in the middle of tasks: each event is done once, and counted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from outbox_operator.api import meta
from outbox_operator.wire import dead_letters
from support.nats import connected
from support.redis import RedisServer
from support.tasks import (
    DURABLE,
    PIPELINE,
    bury,
    ended,
    fetch,
    letters_of,
    operator_killed,
    send_letters,
    stored,
    task,
)
from support.world import World

RELAY = {"pipelineRef": {"name": "orders"}}
BILLING = {"consumerRef": {"name": "orders-billing"}}


@pytest.fixture
def orders(world: World) -> World:
    secret, pipeline = world.whole()
    # Shorter than it takes to start an operator: the stream drops no second copy.
    pipeline["spec"]["stream"]["duplicateWindow"] = "100ms"
    world.apply(secret, pipeline)
    world.wait_ready(*PIPELINE)
    return world


async def test_of_a_relay(orders: World) -> None:
    causes, blocked = "MessageTooLarge", "KeyBlocked"
    ids = await bury(orders, *((key, why, "1") for why in (causes, blocked) for key in "abc"))
    await bury(orders, *(("", "InvalidHeaders", "2") for _ in range(3)))
    await fetch(
        orders,
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN PERFORM pg_sleep(1.1); RETURN NEW; END'; ",
    )
    # As a key that has very many.
    await fetch(
        orders,
        "CREATE TRIGGER slow BEFORE INSERT ON outbox.events FOR EACH ROW "
        "WHEN (NEW.partition_key = 'b') EXECUTE FUNCTION slow()",
    )
    with operator_killed(orders) as dies_when:
        wanted = {"filter": {"reasons": ["InvalidHeaders"]}, "confirm": True}
        orders.apply(task(orders, "purge", **RELAY, purgeDeadLetters=wanted))
        dies_when("purged:1")
        wanted = {"filter": {"reasons": ["MessageTooLarge"]}}
        orders.apply(task(orders, "replay", **RELAY, replayDeadLetters=wanted))
        for place in ("announced:1", "released:1", "released:1"):
            dies_when(place)
    status = ended(orders, "replay")
    assert (status["selected"], status["done"], status["failed"]) == (6, 6, 0)
    status = ended(orders, "purge")
    assert (status["selected"], status["done"], status["failed"]) == (3, 3, 0)
    assert await fetch(orders, "SELECT count(*) FROM outbox.dead_letters") == [(0,)]
    rows = await fetch(
        orders, "SELECT partition_key, event_id::text FROM outbox.events ORDER BY position"
    )
    assert len(rows) == len(ids)
    for number, key in enumerate("abc"):
        assert [event_id for at, event_id in rows if at == key] == [ids[number], ids[number + 3]]


@pytest.mark.thorough
async def test_of_a_consumer(orders: World) -> None:
    sent = [(f"e{number}", "ab"[number % 2], "MaxDeliver") for number in range(6)]
    await send_letters(orders, *sent)
    await send_letters(orders, *((f"r{number}", "", "Refused") for number in range(3)))
    with operator_killed(orders) as dies_when:
        wanted = {"filter": {"reasons": ["Refused"]}, "confirm": True}
        orders.apply(task(orders, "purge", **BILLING, purgeDeadLetters=wanted))
        dies_when("deleted:2")
        wanted = {"filter": {"reasons": ["MaxDeliver"]}}
        orders.apply(task(orders, "replay", **BILLING, replayDeadLetters=wanted))
        for place in ("late:2", "announced:1", "published:3", "deleted:2"):
            dies_when(place)
        assert json.loads(noted(orders)[meta.LETTERS_ANNOTATION])[0]["source"]["last"] == 0
    status = ended(orders, "replay")
    assert (status["selected"], status["done"], status["failed"]) == (6, 6, 0)
    status = ended(orders, "purge")
    assert (status["selected"], status["done"], status["failed"]) == (3, 3, 0)
    assert await stored(orders) == [event_id for event_id, _, _ in sent]
    assert await letters_of(orders) == []
    # Another task was about to send two, and had sent one; it was deleted before anybody went on.
    assert meta.LETTERS_ANNOTATION not in noted(orders)
    await send_letters(orders, ("e6", "a", "MaxDeliver"), ("e7", "b", "MaxDeliver"))
    orders.kubectl(
        "annotate", "evc", "orders-billing", "-n", orders.namespace,
        f"{meta.LETTERS_ANNOTATION}={await as_if_sent(orders, 'e6', 'e7')}",
    )  # fmt: skip
    orders.apply(task(orders, "after", **BILLING, replayDeadLetters={}))
    status = ended(orders, "after")
    assert (status["selected"], status["done"]) == (2, 2)
    assert await stored(orders) == [*(event_id for event_id, _, _ in sent), "e6", "e7"]
    assert await letters_of(orders) == []
    assert meta.LETTERS_ANNOTATION not in noted(orders)


async def test_what_another_sent_meanwhile_is_not_sent_again(orders: World) -> None:
    """One is suspended, another goes by, ends in the middle, and is deleted."""
    await send_letters(orders, *((f"e{number}", "", "MaxDeliver") for number in range(60)))
    orders.apply(task(orders, "slow", **BILLING, replayDeadLetters={}, eventsPerSecond=1))

    def done() -> int:
        return int(((orders.get(meta.TASK, "slow") or {}).get("status") or {}).get("done", 0))

    orders.wait(lambda: done() > 0, "it is at work", detail=orders.log)
    suspend(orders, "slow", "true")
    orders.wait_condition(meta.TASK, "slow", "Suspended", "True")
    following = (await letters_of(orders))[0]
    before = done()
    orders.kubectl(
        "annotate", "evc", "orders-billing", "-n", orders.namespace, "--overwrite",
        f"{meta.LETTERS_ANNOTATION}={await as_if_sent(orders, following)}",
    )  # fmt: skip
    suspend(orders, "slow", "false")
    orders.wait(lambda: done() > before + 1, "it goes on", detail=orders.log)
    orders.kubectl("delete", "obt", "slow", "-n", orders.namespace)
    assert (await stored(orders)).count(following) == 1


@pytest.mark.thorough
def test_of_a_group_in_redis(world: World, redis_server: RedisServer, client: Any) -> None:
    key, group = f"{world.prefix}.user.v1", "billing"
    letters = f"{key}.dlq"
    world.apply(
        world.resource("EventStream", "orders", {"redis": {"url": redis_server.url}, "name": key}),
        world.consumer(group),
    )
    world.wait_condition("EventConsumer", group, "ConsumerReady", "True")
    for number in range(1, 10):
        client.xadd(key, {"Ce-Id": f"e{number}"}, id=f"{number}-0")
        why = {
            "Ce-Id": f"e{number}", "Ce-Partitionkey": f"{number % 2}",
            "Outbox-Dead-Letter-Reason": "Refused" if number > 6 else "MaxDeliver",
            "Outbox-Dead-Letter-Consumer": group, "Outbox-Dead-Letter-Stream": key,
            "Outbox-Dead-Letter-Sequence": f"{number}",
        }  # fmt: skip
        client.xadd(letters, why)
    client.xadd(letters, {**why, "Outbox-Dead-Letter-Consumer": "another"})
    client.xadd(letters, {**why, "Outbox-Dead-Letter-Stream": letters, "Ce-Id": "forged"})
    client.xreadgroup(group, "one", {key: ">"}, noack=True)
    client.xdel(key, "3-0")
    target = {"consumerRef": {"name": group}}
    with operator_killed(world) as dies_when:
        wanted = {"filter": {"reasons": ["MaxDeliver"]}}
        world.apply(task(world, "replay", **target, replayDeadLetters=wanted))
        for place in ("announced:1", "handed:2", "handed:1"):
            dies_when(place)
    status = ended(world, "replay", "Failed", "SomeFailed")
    # e5 follows e3 in its key.
    assert (status["selected"], status["done"], status["failed"]) == (6, 4, 2)
    assert [(one["id"], one["reason"]) for one in status["failures"]] == [
        ("e3", "NoLongerKept"), ("e5", "KeyStopped"),
    ]  # fmt: skip
    pending = client.xpending_range(key, group, "-", "+", 10)
    assert [one["message_id"] for one in pending] == ["1-0", "2-0", "4-0", "6-0"]
    with operator_killed(world) as dies_when:
        world.apply(task(world, "forged", **target, replayDeadLetters={"ids": ["forged", "e0"]}))
        refused: dict[str, Any] = {"filter": {"reasons": ["Refused"]}, "limit": 3, "confirm": True}
        world.apply(task(world, "purge", **target, purgeDeadLetters=refused))
        dies_when("dropped:2")
    status = ended(world, "purge")
    assert (status["selected"], status["done"], status["failed"]) == (3, 3, 0)
    status = ended(world, "forged", "Failed", "SomeFailed")
    reasons = {one["id"]: one["reason"] for one in status["failures"]}
    assert reasons == {"forged": "NoLongerKept", "e0": "NotFound"}
    left = [fields["Ce-Id"] for _, fields in client.xrange(letters)]
    assert left == ["e3", "e5", "e9", "forged"]


def suspend(world: World, name: str, word: str) -> None:
    patch = f'{{"spec":{{"suspend":{word}}}}}'
    world.kubectl("patch", "obt", name, "-n", world.namespace, "--type=merge", "-p", patch)


def noted(world: World) -> dict[str, str]:
    """Annotations of the consumer."""
    body = world.get("EventConsumer", DURABLE)
    assert body is not None
    return dict(body["metadata"].get("annotations") or {})


async def as_if_sent(world: World, *events: str) -> str:
    """Send the first of these letters, and leave it; the note of who was about to send all."""
    stream, consumer = f"{world.prefix}-orders", world.get("EventConsumer", DURABLE)
    assert consumer is not None
    async with connected(world.nats) as client:
        jetstream = client.jetstream()
        source, dead = await jetstream.stream_info(stream), f"{stream}_DLQ"
        state, batch = (await jetstream.stream_info(dead)).state, []
        for sequence in range(state.first_seq, state.last_seq + 1):
            letter = await jetstream.get_msg(dead, sequence)
            headers = dict(letter.headers or {})
            if headers["Ce-Id"] == events[0]:
                again = dead_letters.replayed(headers, dead, sequence)
                await jetstream.publish(f"{world.prefix}.orders.placed", b"", headers=again)
            batch.append(sequence)
        answer = json.loads((await client.request(f"$JS.API.STREAM.INFO.{dead}")).data)
        made = json.loads((await client.request(f"$JS.API.STREAM.INFO.{stream}")).data)
    seen = {
        "created": made["created"], "first": source.state.first_seq,
        "last": source.state.last_seq, "deleted": 0,
    }  # fmt: skip
    one = {
        "task": "gone", "consumer": consumer["metadata"]["uid"], "stream": dead,
        "created": answer["created"], "batch": batch, "source": seen,
    }  # fmt: skip
    return json.dumps([one])
