"""Streams in Redis: made from a resource, written by a real relay, looked after, given up."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from redis import Redis

from support.redis import RedisServer
from support.relaying import RelayProcess
from support.world import World

PIPELINE = ("OutboxPipeline", "orders")
STREAM = ("EventStream", "orders")


def key_of(world: World) -> str:
    return f"{world.prefix}.user.v1"


def connection(server: RedisServer) -> dict[str, Any]:
    return {"url": server.url, "userSecretRef": {"name": "redis"}}


def in_redis(world: World, server: RedisServer, name: str = "orders", **spec: Any) -> Any:
    """A pipeline that publishes to Redis, with the Secrets that it names."""
    stream = {"name": key_of(world), **spec.pop("stream", {})}
    body = world.pipeline(name, stream=stream, redis=connection(server), **spec)
    del body["spec"]["nats"]
    secret = world.secret("redis", username="default", password="")
    secret["stringData"]["password"] = "anything"  # nopass takes any
    return world.secret("database", url=world.database), secret, body


@contextlib.contextmanager
def relay_of(world: World, directory: Path) -> Iterator[RelayProcess]:
    """A relay with the configuration that its pods would get; Secrets as files beside it."""
    found = world.get("ConfigMap", "orders-relay")
    assert found is not None
    (text,) = found["data"].values()
    config = json.loads(text)
    assert "nats" not in config
    for name, content in (("url", world.database), ("username", "default"), ("password", "any")):
        (directory / name).write_text(content)
    login = config["database"]
    login |= {"url_file": str(directory / "url")}
    login.pop("login_directory", None)
    config["redis"] |= {
        "username_file": str(directory / "username"),
        "password_file": str(directory / "password"),
    }
    relay = RelayProcess({**config, "health_port": 0}, directory, "relay").start()
    try:
        yield relay
    finally:
        relay.kill()


def wait_held(world: World, name: str) -> None:
    """Returns once the operator has seen that it is to clean up: it goes with nothing before."""

    def held() -> bool:
        return bool((world.get("EventStream", name) or {})["metadata"].get("finalizers"))

    world.wait(held, f"EventStream {name} has a finalizer", detail=world.log)


async def insert(url: str, count: int) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(
        "INSERT INTO outbox.events (event_type, partition_key, payload) "
        "SELECT 'user.created', 'k' || n % 3, '{}' FROM generate_series(1, $1) AS n",
        count,
    )
    await connection.close()


def test_events_of_an_outbox_appear_in_the_key_and_a_lost_key_heals(
    world: World, redis_server: RedisServer, client: Any, tmp_path: Path
) -> None:
    world.apply(*in_redis(world, redis_server))
    world.wait_ready(*PIPELINE)
    key = key_of(world)
    assert client.type(key) == "stream"
    mark = client.hgetall(f"{{{key}}}:outbox")
    assert (mark["uid"], mark["name"]) == (
        (world.get(*STREAM) or {})["metadata"]["uid"],
        f"EventStream/{world.namespace}/orders",
    )
    with relay_of(world, tmp_path):
        asyncio.run(insert(world.database, 20))
        world.wait(lambda: client.xlen(key) == 20, "20 entries")
        first = [int(one[1]["Outbox-Position"]) for one in client.xrange(key)]
        assert first == sorted(first)

        def counted() -> bool:
            state = ((world.get(*STREAM) or {}).get("status") or {}).get("stream") or {}
            return bool(state.get("messages") == 20)

        world.look_again("evs", "orders")
        world.wait(counted, "20 in the status", detail=lambda: str(world.get(*STREAM)))
        state = (world.get(*STREAM) or {})["status"]["stream"]
        assert state["redis"]["persistence"] == "appendonly, appendfsync always"
        assert state["redis"]["server"].startswith("Valkey ")
        assert world.exported("stream_messages", stream="orders") == 20

        client.delete(key)
        world.look_again("evs", "orders")
        world.wait_event("orders", "DriftCorrected", key, "held 20 entries")
        world.wait_ready(*STREAM)
        assert client.xlen(key) == 0
        again = {"pipelineRef": {"name": "orders"}, "rebase": {"publish": "All"}}
        world.apply(world.resource("OutboxTask", "again", again))
        world.wait(lambda: client.xlen(key) == 20, "all are sent again", detail=world.log)
    world.wait_condition(*STREAM, "StreamReady", "True")


def test_another_type_a_server_that_evicts_and_one_that_is_away_are_said(
    world: World, redis_server: RedisServer, client: Any
) -> None:
    key = key_of(world)
    client.hset(key, "a", "b")
    world.apply(*in_redis(world, redis_server))
    found = world.wait_condition(*STREAM, "StreamReady", "False", "KeyOfOtherType")
    assert "holds a hash" in found["message"]
    world.wait_condition(*PIPELINE, "RelayAvailable", "Unknown")
    client.delete(key)
    world.look_again("evs", "orders")
    world.wait_ready(*PIPELINE)

    with RedisServer(maxmemory="100mb", maxmemory_policy="allkeys-lru") as evicting:
        world.apply(
            world.resource("EventStream", "other", {"redis": {"url": evicting.url}, "name": key})
        )
        where = ("EventStream", "other")
        found = world.wait_condition(*where, "StreamReady", "False", "EvictsKeys")
        assert "allkeys-lru" in found["message"]
        with Redis(host="127.0.0.1", port=evicting.port) as other:
            other.config_set("maxmemory-policy", "noeviction")
            world.look_again("evs", "other")
            world.wait_ready(*where)
            # What is lost while something else is the matter is said as well.
            other.config_set("maxmemory-policy", "allkeys-lru")
            world.look_again("evs", "other")
            world.wait_condition(*where, "StreamReady", "False", "EvictsKeys")
            other.flushall()
            other.config_set("maxmemory-policy", "noeviction")
            world.look_again("evs", "other")
            world.wait_event("other", "DriftCorrected", f"key {key} was missing")
        world.wait_ready(*where)
    found = world.wait_condition(*where, "RedisReachable", "False", "RedisUnreachable")
    assert str(evicting.port) in found["message"]


def test_the_mark_decides_whose_a_key_is(
    world: World, redis_server: RedisServer, client: Any
) -> None:
    world.apply(*in_redis(world, redis_server))
    world.wait_ready(*PIPELINE)
    key = key_of(world)
    spec = {"redis": connection(redis_server), "name": key}
    world.apply(world.resource("EventStream", "rival", spec))
    rival = ("EventStream", "rival")
    found = world.wait_condition(*rival, "StreamReady", "False", "ResourceConflict")
    assert f"EventStream/{world.namespace}/orders" in found["message"]
    # Nobody's entries are taken unasked, and an empty stream that a group made is.
    client.xadd(f"{key}.foreign", {"a": "b"})
    client.xgroup_create(f"{key}.group", "readers", mkstream=True)
    for name, suffix in (("foreign", "foreign"), ("group", "group")):
        world.apply(
            world.resource("EventStream", name, {**spec, "name": f"{key}.{suffix}"}),
        )
    world.wait_condition("EventStream", "foreign", "StreamReady", "False", "StreamExists")
    world.wait_ready("EventStream", "group")
    world.apply(
        world.resource(
            "EventStream",
            "foreign",
            {**spec, "name": f"{key}.foreign", "adoptionPolicy": "Adopt"},
        )
    )
    world.wait_ready("EventStream", "foreign")

    # Deletion: a loser takes nothing with it, Retain keeps, Delete deletes.
    for name, policy in (("rival", "Delete"), ("foreign", "Retain"), ("group", "Delete")):
        world.kubectl("patch", "evs", name, "-n", world.namespace, "--type=merge",
                      f'-p={{"spec": {{"deletionPolicy": "{policy}"}}}}')  # fmt: skip
        if policy == "Delete":
            wait_held(world, name)
        world.kubectl("delete", "evs", name, "-n", world.namespace, "--wait=false")
        world.wait_gone("EventStream", name)
    kept = [client.exists(one) for one in (key, f"{key}.foreign", f"{key}.group")]
    assert kept == [1, 1, 0]


def test_a_key_elsewhere_is_not_taken_for_ours_nor_what_stands_in_its_place_deleted(
    world: World, redis_server: RedisServer, client: Any
) -> None:
    key = key_of(world)
    spec = {"redis": {"url": redis_server.url}, "name": key, "maxMessages": 1}
    world.apply(world.resource("EventStream", "orders", {**spec, "deletionPolicy": "Delete"}))
    world.wait_ready(*STREAM)
    with RedisServer() as elsewhere, Redis(port=elsewhere.port, decode_responses=True) as other:
        for number in range(3):
            other.xadd(key, {"theirs": number})
        moved = {**spec, "redis": {"url": elsewhere.url}, "deletionPolicy": "Delete"}
        world.apply(world.resource("EventStream", "orders", moved))
        world.wait_condition(*STREAM, "StreamReady", "False", "StreamExists")
        world.look_again("evs", "orders")
        world.wait_passes("EventStream", 2)
        assert (other.xlen(key), other.exists(f"{{{key}}}:outbox")) == (3, 0)
        other.delete(key)
        client.xadd(key, {"not": "looked at yet"})
        world.look_again("evs", "orders")
        world.wait_event("orders", "Moved", redis_server.url, "when it was looked at last")
        client.delete(key, f"{{{key}}}:outbox")
        world.apply(world.resource("EventStream", "orders", {**spec, "deletionPolicy": "Delete"}))
        world.wait_ready(*STREAM)
    client.delete(key)
    client.hset(key, "theirs", "1")
    world.kubectl("delete", "evs", "orders", "-n", world.namespace, "--wait=false")
    world.wait_gone(*STREAM)
    assert client.hgetall(key) == {"theirs": "1"}
    assert not client.exists(f"{{{key}}}:outbox")


def test_entries_that_a_group_has_not_acknowledged_are_kept(
    world: World, redis_server: RedisServer, client: Any
) -> None:
    key = key_of(world)
    spec = {"redis": connection(redis_server), "name": key, "maxMessages": 5}
    _, secret, _ = in_redis(world, redis_server)
    world.apply(secret, world.resource("EventStream", "orders", spec))
    world.wait_ready(*STREAM)
    client.xgroup_create(key, "slow", id="0")
    for number in range(1, 31):
        client.xadd(key, {"n": str(number)}, id=f"{number}-0")
    client.xreadgroup("slow", "one", {key: ">"}, count=12)
    client.xack(key, "slow", *[f"{number}-0" for number in range(1, 11)])
    world.look_again("evs", "orders")
    world.wait(lambda: client.xlen(key) == 20, "what is acknowledged goes", detail=world.log)
    assert client.xrange(key, count=1)[0][0] == "11-0"

    def said() -> bool:
        state = (world.get(*STREAM) or {})["status"]["stream"]
        return bool(state["redis"].get("keptForGroup") == "slow")

    world.look_again("evs", "orders")
    world.wait(said, "the group is named")
    look = {"streamRef": {"name": "orders"}, "diagnose": {}}
    world.apply(world.resource("OutboxTask", "look", look))
    world.wait_condition("OutboxTask", "look", "Complete", "True")
    findings = (world.get("OutboxTask", "look") or {})["status"]["result"]["findings"]
    assert ("NobodyReads", f"key {key}") in [(one["check"], one["object"]) for one in findings]
    client.xgroup_destroy(key, "slow")
    world.look_again("evs", "orders")
    world.wait(lambda: client.xlen(key) == 5, "five are left")


def test_what_does_not_read_redis_says_so(world: World, redis_server: RedisServer) -> None:
    world.apply(*in_redis(world, redis_server))
    world.wait_ready(*PIPELINE)
    world.apply(
        world.consumer(filterSubjects=["a.>"]),
        world.resource("OutboxTask", "verify", {"pipelineRef": {"name": "orders"}, "verify": {}}),
    )
    found = world.wait_condition("EventConsumer", "billing", "Ready", "False", "InvalidSpec")
    assert "use filterEventTypes" in found["message"]
    world.wait_condition("OutboxTask", "verify", "Failed", "True", "NotSupportedYet")
    world.kubectl("delete", "evc", "billing", "-n", world.namespace, "--wait=false")
    world.wait_gone("EventConsumer", "billing")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nats": {"url": "nats://nats"}}, "set exactly one of nats and redis"),
        ({"stream": {"replicas": 3}}, "leave out stream.storage, stream.replicas"),
        ({"stream": {"maxAge": "1h"}}, "maxMessages is the limit that there is"),
        ({"stream": {"subject": "a.b"}}, "Redis has no subjects"),
        ({"stream": {"discard": "New"}}, "maxMessages is the limit that there is"),
        ({"stream": {"name": "a{b}"}}, "a key of letters, digits"),
        ({"consumers": [{"name": "one", "replayPolicy": "Original"}]}, "leave out ackPolicy"),
    ],
    ids=str,
)
def test_what_has_no_meaning_in_redis_is_refused(
    world: World, redis_server: RedisServer, changes: dict[str, Any], message: str
) -> None:
    *_, body = in_redis(world, redis_server)
    for name, value in changes.items():
        merged = {**body["spec"].get(name, {}), **value} if isinstance(value, dict) else value
        body["spec"][name] = merged
    assert message in world.refused(body)


def test_a_stream_stays_where_it_was_made(world: World, redis_server: RedisServer) -> None:
    world.apply(*in_redis(world, redis_server))
    body = world.pipeline()
    body["spec"]["stream"]["name"] = key_of(world)
    answer = world.kubectl.run("replace", "-f", "-", stdin=json.dumps(body))
    assert "fixed at creation" in answer.err


def test_consumers_have_a_group_that_heals_and_goes_with_them(
    world: World, redis_server: RedisServer, client: Any, tmp_path: Path
) -> None:
    http = {"http": {"url": "http://127.0.0.1:9/"}}
    consumers = [{"name": "billing", "handler": http, "filterEventTypes": ["user.*"]}]
    rules = world.refused(
        in_redis(world, redis_server, consumers=[{**consumers[0], "replayPolicy": "Original"}])[2]
    )
    assert "consumers of a pipeline with redis: leave out ackPolicy" in rules
    rules = world.refused(
        in_redis(
            world, redis_server, consumers=[{"name": "a", "ordering": "PerKey", "replicas": 2}]
        )[2]
    )
    assert "as long as one pod reads" in rules
    spec: dict[str, Any] = {"consumers": consumers, "deletionPolicy": "Delete"}
    world.apply(*in_redis(world, redis_server, **spec))
    consumer, key = ("EventConsumer", "orders-billing"), key_of(world)
    world.wait_condition(*consumer, "ConsumerReady", "True")
    world.wait_condition(*consumer, "RedisReachable", "True")
    (group,) = client.xinfo_groups(key)
    assert group["name"] == "orders-billing"
    mark = json.loads(client.hget(f"{{{key}}}:outbox", "group:orders-billing"))
    assert mark["key"] == f"EventConsumer/{world.namespace}/orders-billing"
    found = world.get("ConfigMap", "orders-billing-consumer")
    assert found is not None
    (text,) = found["data"].values()
    config = json.loads(text)
    assert (config["event_types"], config["dead_letter_subject"]) == (["user.*"], f"{key}.dlq")
    assert "nats" not in config

    for number in range(1, 11):
        fields = {"Ce-Time": "2026-01-01T00:00:00Z", "Ce-Type": "user.created"}
        client.xadd(key, fields, id=f"{number}-0")
    client.xreadgroup("orders-billing", "one", {key: ">"}, count=6)
    client.xack(key, "orders-billing", *[f"{number}-0" for number in range(1, 5)])

    def state() -> dict[str, Any]:
        return dict(((world.get(*consumer) or {}).get("status") or {}).get("consumer") or {})

    world.look_again("evc", "orders-billing")
    world.wait(lambda: state().get("ackPending") == 2, "two are pending", detail=world.log)
    assert (state()["pending"], state()["keys"][0]["name"]) == (4, key)
    assert state()["oldestUnreadSeconds"] > 3600
    # Deleted by hand: what was not acknowledged comes again, and nothing else.
    client.xgroup_destroy(key, "orders-billing")
    world.look_again("evc", "orders-billing")
    world.wait_event("orders-billing", "DriftCorrected", "has been created again behind 4-")
    ((_, entries),) = client.xreadgroup("orders-billing", "one", {key: ">"})
    assert [each for each, _ in entries] == [f"{number}-0" for number in range(5, 11)]
    # The key deleted: both are made anew.
    client.delete(key)
    world.look_again("evs", "orders")
    world.wait(lambda: client.exists(key) == 1, "the key is there again")
    world.look_again("evc", "orders-billing")
    world.wait_event("orders-billing", "DriftCorrected", "went with its key")
    world.wait_condition(*consumer, "ConsumerReady", "True")
    # Somebody else's group is not taken unasked.
    client.xgroup_create(key, "theirs", id="$")
    other = {"streamRef": {"name": "orders"}, "durableName": "theirs"}
    world.apply(world.resource("EventConsumer", "theirs", other))
    theirs = ("EventConsumer", "theirs")
    world.wait_condition(*theirs, "ConsumerReady", "False", "ConsumerExists")
    for _ in range(2):  # nor by the pass that knows it from the one before
        world.look_again("evc", "theirs")
        world.wait_passes("EventConsumer", 1)
    world.wait_condition(*theirs, "ConsumerReady", "False", "ConsumerExists")
    assert client.hget(f"{{{key}}}:outbox", "group:theirs") is None
    client.xadd(f"{key}.dlq", {"a": "letter"})
    world.kubectl("delete", "obp", "orders", "-n", world.namespace, "--wait=false")
    world.wait_gone(*PIPELINE)
    world.wait_gone(*consumer)
    world.wait_gone(*STREAM)
    assert not client.exists(key, f"{{{key}}}:outbox", f"{key}.dlq")
