"""What somebody does to a group or a stream behind the operator's back is seen, said and healed."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from redis import Redis

from outbox_operator.adapters.execute import execute
from outbox_operator.adapters.redis.admin import RedisAdmin
from outbox_operator.adapters.redis.entries import companion
from outbox_operator.adapters.redis.group_admin import GroupAdmin
from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Consumer
from outbox_operator.api.v1alpha1.consumer import EventConsumerStatus
from outbox_operator.api.v1alpha1.redis import RedisConnection
from outbox_operator.plan.passes.durable import DurableResult
from outbox_operator.plan.passes.redis_group import GroupObserved, group_result, plan_group
from outbox_operator.plan.redis.groups import marker
from outbox_operator.plan.sources import RedisSource
from outbox_operator.plan.state import Owner
from support.nats import unique_prefix
from support.redis import RedisServer
from support.resources import consumer

pytestmark = pytest.mark.integration

GROUP, UID = "billing", "u-stream"
OURS = {GROUP: marker(consumer().meta.uid)}


class Watched:
    """A key with the group of an EventConsumer, looked at as the operator does, pass by pass."""

    def __init__(self, admin: RedisAdmin, client: Any, key: str) -> None:
        self.admin = admin
        self.client = client
        self.key = key
        self.resource: Consumer = consumer()
        self.source = RedisSource(
            stream=key, redis=RedisConnection(url=admin.login.url), keys=(key,),
            letters=f"{key}.dlq", follows="orders",
        )  # fmt: skip

    async def look(self) -> DurableResult:
        """A pass; its status is what the next one knows."""
        groups = GroupAdmin(self.admin)
        found = await groups.group(self.key, GROUP, self.resource.meta.uid)
        plan = plan_group(self.resource, self.source, GroupObserved(groups=(found,)))
        applied = await execute(plan.steps, create=groups.make, patch=groups.make)
        result = group_result(self.resource, self.source, plan, applied, datetime.now(UTC))
        status = EventConsumerStatus(consumer=result.state or self.resource.status.consumer)
        self.resource = dataclasses.replace(self.resource, status=status)
        return result

    def publish(self, *numbers: int) -> None:
        for number in numbers:
            self.client.xadd(self.key, {"n": str(number)}, id=f"{number}-0")

    def read(self, count: int = 1000, *, done: bool = True) -> list[int]:
        """As a pod does; the numbers of what it was given."""
        found = self.client.xreadgroup(GROUP, "pod", {self.key: ">"}, count=count)
        ids = [entry for _, entries in found for entry, _ in entries]
        if done and ids:
            self.client.xack(self.key, GROUP, *ids)
        return [int(one.partition("-")[0]) for one in ids]


def said(result: DurableResult) -> tuple[str, str]:
    (part,) = [one for one in result.parts if one.type is ConditionType.GROUP_MOVED]
    return str(part.reason), part.message


async def watched_on(server: RedisServer, client: Any) -> tuple[RedisAdmin, Watched]:
    key = f"{unique_prefix()}.user.v1"
    admin = await RedisAdmin.open(server.login, name="operator")
    await admin.claim({"key": key, "replaces": "", "uid": UID, "name": "EventStream/a/b",
                       "cluster": ""})  # fmt: skip
    watched = Watched(admin, client, key)
    await watched.look()
    return admin, watched


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[Any]:
    """An application's client."""
    with Redis(host="127.0.0.1", port=redis_server.port, decode_responses=True) as found:
        yield found


@pytest.fixture
async def watched(redis_server: RedisServer, client: Any) -> AsyncIterator[Watched]:
    """A group that has been given six of ten entries, of which five are acknowledged."""
    admin, found = await watched_on(redis_server, client)
    found.publish(*range(1, 11))
    assert found.read(5) == [1, 2, 3, 4, 5]
    assert found.read(1, done=False) == [6]
    assert said(await found.look()) == ("NothingLost", "")
    yield found
    await admin.close()


async def test_a_group_that_was_made_anew_behind_the_last_entry_skips_nothing(
    watched: Watched,
) -> None:
    watched.client.xgroup_destroy(watched.key, GROUP)
    watched.client.xgroup_create(watched.key, GROUP, id="$")
    watched.publish(11)
    assert watched.read() == [11]
    result = await watched.look()
    reason, text = said(result)
    assert reason == "GroupRecreated"
    assert result.corrections == (text,)
    assert "at 11-0; it was set back behind 5-" in text
    assert watched.read() == [6, 7, 8, 9, 10, 11]
    assert (await watched.look()).corrections == ()


async def test_one_that_was_made_anew_at_the_start_stays_there(watched: Watched) -> None:
    watched.client.xgroup_destroy(watched.key, GROUP)
    watched.client.xgroup_create(watched.key, GROUP, id="0")
    (text,) = (await watched.look()).corrections
    assert text.endswith("what was handled behind that comes again")
    assert watched.read() == list(range(1, 11))


async def test_everything_flushed_and_the_group_made_by_an_application(watched: Watched) -> None:
    watched.client.delete(watched.key, companion(watched.key))
    watched.publish(21, 22)
    watched.client.xgroup_create(watched.key, GROUP, id="$")
    mark = {"replaces": "", "uid": UID, "name": "EventStream/a/b", "cluster": ""}
    await watched.admin.claim({"key": watched.key, **mark})
    (text,) = (await watched.look()).corrections
    assert "set back behind 0-0" in text
    assert watched.read() == [21, 22]


async def test_the_key_made_anew_by_hand_with_its_group(watched: Watched) -> None:
    """The mark beside it stays; the relay sends again what is missing."""
    watched.client.delete(watched.key)
    watched.client.xgroup_create(watched.key, GROUP, id="$", mkstream=True)
    assert (await watched.admin.key(watched.key)).last_id == 0
    watched.publish(*range(3, 11))
    assert watched.read(3) == [3, 4, 5]
    await watched.look()
    assert watched.read() == [6, 7, 8, 9, 10]


async def test_a_group_that_was_set_back_or_forward_is_told(watched: Watched) -> None:
    watched.read()
    await watched.look()
    watched.client.xgroup_setid(watched.key, GROUP, "2-0")
    result = await watched.look()
    ((reason, text),) = result.notices
    assert (str(reason), text) == said(result)
    assert (reason, "stands at 2-0, and stood at 10-0" in text) == ("GroupSetBack", True)
    assert watched.read() == list(range(3, 11))
    assert (await watched.look()).notices == ()
    watched.publish(11, 12, 13)
    assert watched.read(1) == [11]
    await watched.look()
    watched.publish(14)
    watched.client.xgroup_setid(watched.key, GROUP, "13-0")
    ((reason, text),) = (await watched.look()).notices
    assert (reason, "XGROUP SETID" in text) == ("GroupSetForward", True)


async def test_reading_trimming_and_deleting_move_no_group(watched: Watched) -> None:
    for number in range(11, 60, 4):
        watched.publish(*range(number, number + 4))
        watched.read(3, done=number % 3 == 0)
        watched.client.xdel(watched.key, f"{number}-0")
        result = await watched.look()
        assert (result.notices, result.corrections) == ((), ())
        await watched.admin.trim(watched.key, UID, 10, OURS)
        assert ((await watched.look()).notices) == ()


async def test_an_older_copy_of_the_server_is_told_and_the_mark_holds() -> None:
    with (
        RedisServer() as server,
        Redis(host="127.0.0.1", port=server.port, decode_responses=True) as client,
    ):
        admin, watched = await watched_on(server, client)
        watched.publish(*range(1, 11))
        watched.read(4)
        await watched.look()
        server.copy_store()
        watched.publish(11)
        watched.read()
        await watched.look()
        await admin.close()
        server.roll_back()
        watched.admin = await RedisAdmin.open(server.login, name="operator")
        result = await watched.look()
        assert result.corrections == ()
        assert said(result)[0] == "GroupSetBack"
        assert watched.read() == [5, 6, 7, 8, 9, 10]
        await watched.admin.close()


async def test_nothing_is_trimmed_that_a_group_may_need_which_somebody_made_anew(
    watched: Watched,
) -> None:
    watched.client.xgroup_destroy(watched.key, GROUP)
    found = await watched.admin.trim(watched.key, UID, 1, OURS)
    assert (found.removed, found.kept_for) == (0, GROUP)
    watched.client.xgroup_create(watched.key, GROUP, id="$")
    found = await watched.admin.trim(watched.key, UID, 1, OURS)
    assert (found.removed, found.kept_for) == (0, GROUP)
    await watched.look()
    found = await watched.admin.trim(watched.key, UID, 1, OURS)
    assert (found.removed, found.kept_for) == (5, GROUP)
    assert watched.read() == [6, 7, 8, 9, 10]


async def test_what_others_remove_is_counted_and_what_the_operator_trims_is_not(
    watched: Watched,
) -> None:
    removed = (await watched.admin.key(watched.key)).removed
    assert removed == 0
    assert (await watched.admin.trim(watched.key, UID, 8, OURS)).removed == 2
    assert (await watched.admin.key(watched.key)).removed == 0
    watched.client.xtrim(watched.key, maxlen=4, approximate=False)
    found = await watched.admin.key(watched.key)
    assert (found.removed, found.first_id) == (4, 7)
    watched.client.xdel(watched.key, "9-0")
    assert (await watched.admin.key(watched.key)).removed == 5


async def test_who_takes_a_group_over_takes_the_reader_of_the_other_out(watched: Watched) -> None:
    other = consumer(name="other", durableName=GROUP, adoptionPolicy="Adopt")
    groups = GroupAdmin(watched.admin)
    found = await groups.group(watched.key, GROUP, other.meta.uid)
    assert found.found is not None
    assert not found.found.marked
    plan = plan_group(other, watched.source, GroupObserved(groups=(found,)))
    (applied,) = await execute(plan.steps, create=groups.make, patch=groups.make)
    assert applied.error is None
    assert applied.now is not None
    assert applied.now.mark == Owner.of(other.meta)
    names = [one["name"] for one in watched.client.xinfo_consumers(watched.key, GROUP)]
    assert sorted(names) == [marker(other.meta.uid), "pod"]
    assert watched.read() == [7, 8, 9, 10]
