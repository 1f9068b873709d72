"""What somebody does to streams and groups in Redis behind the operator's back, and what moves."""

from __future__ import annotations

from typing import Any

from redis import Redis

from support.redis import RedisServer
from support.world import World

STREAM = ("EventStream", "orders")


def key_of(world: World) -> str:
    return f"{world.prefix}.user.v1"


def test_what_is_done_behind_the_operators_back_is_said_and_skips_nothing(
    world: World, redis_server: RedisServer, client: Any
) -> None:
    key, group = key_of(world), "billing"
    consumer = ("EventConsumer", group)
    spec = {"redis": {"url": redis_server.url}, "name": key, "maxMessages": 3}
    world.apply(world.resource("EventStream", "orders", {**spec, "maxMessages": 1000}))
    world.apply(world.consumer(group))
    world.wait_condition(*consumer, "ConsumerReady", "True")
    world.wait_condition(*consumer, "GroupMoved", "False", "NothingLost")
    for number in range(1, 11):
        client.xadd(key, {"n": str(number)}, id=f"{number}-0")

    def numbers() -> list[str]:
        found = client.xreadgroup(group, "one", {key: ">"})
        return [each for _, entries in found for each, _ in entries]

    client.xreadgroup(group, "one", {key: ">"}, count=6)
    client.xack(key, group, *[f"{number}-0" for number in range(1, 5)])

    def look_at(pending: int) -> None:
        def seen() -> bool:
            state = ((world.get(*consumer) or {}).get("status") or {}).get("consumer") or {}
            return bool(state.get("ackPending") == pending)

        world.look_again("evc", group)
        world.wait(seen, f"{pending} are pending", detail=world.log)

    look_at(2)
    # Trimmed to three at once, if nobody asked first what the group had not been given.
    client.xgroup_destroy(key, group)
    client.xgroup_create(key, group, id="$")
    world.apply(world.resource("EventStream", "orders", spec))
    world.look_again("evs", "orders")
    world.wait_passes("EventStream", 2)
    world.look_again("evc", group)
    world.wait_event(group, "DriftCorrected", "made anew by somebody, at 10-0", "set back behind 4")
    said = world.wait_condition(*consumer, "GroupMoved", "True", "GroupRecreated")
    assert f"group {group} of key {key}" in said["message"]
    world.wait_condition(*consumer, "Ready", "True")
    assert numbers() == [f"{number}-0" for number in range(5, 11)]
    world.wait_exported(1, "condition", kind=consumer[0], type="GroupMoved", status="True")

    look_at(6)
    client.xgroup_setid(key, group, "7-0")
    world.look_again("evc", group)
    world.wait_event(group, "GroupSetBack", "stands at 7-0, and stood at 10-0")

    client.xtrim(key, maxlen=1, approximate=False)
    world.look_again("evs", "orders")
    world.wait_event("orders", "EntriesRemoved", f"entries of key {key}", f"to group {group}")
    world.wait_condition(*STREAM, "StreamLostEvents", "True", "EntriesRemoved")
    world.wait_ready(*STREAM)


def test_what_waits_at_the_server_before_is_a_condition_until_it_is_handled(
    world: World, client: Any, redis_server: RedisServer
) -> None:
    key = key_of(world)
    spec: dict[str, Any] = {"redis": {"url": redis_server.url}, "name": key}
    consumer = ("EventConsumer", "billing")
    world.apply(world.resource("EventStream", "orders", spec))
    world.apply(world.consumer("billing", deliverPolicy="New"))
    world.wait_condition(*consumer, "ConsumerReady", "True")
    for number in range(1, 6):
        client.xadd(key, {"n": str(number)}, id=f"{number}-0")
    client.xreadgroup("billing", "one", {key: ">"}, count=2)
    with RedisServer() as elsewhere, Redis(port=elsewhere.port, decode_responses=True) as other:
        world.apply(
            world.resource("EventStream", "orders", {**spec, "redis": {"url": elsewhere.url}})
        )
        said = world.wait_condition(*STREAM, "LeftBehind", "True", "EntriesLeft")
        assert redis_server.url in said["message"]
        assert "5 for group billing" in said["message"]
        world.wait_ready(*STREAM)
        world.wait_exported(1, "condition", kind=STREAM[0], type="LeftBehind", status="True")
        # The consumer was there before the key: it begins with its first entry.
        other.xadd(key, {"n": "6"}, id="6-0")
        world.look_again("evc", "billing")
        world.wait(lambda: bool(other.xinfo_groups(key)), "the group is there", detail=world.log)
        ((_, entries),) = other.xreadgroup("billing", "one", {key: ">"})
        assert [each for each, _ in entries] == ["6-0"]
        client.xreadgroup("billing", "one", {key: ">"})
        client.xack(key, "billing", *[f"{number}-0" for number in range(1, 6)])
        world.look_again("evs", "orders")
        world.wait_condition(*STREAM, "LeftBehind", "False", "NothingLeft")
