"""A consumer group of Redis as a source: what it alone keeps, beside tests/contract/sources."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from outbox_operator.adapters.redis.entries import MOST_FIELDS
from outbox_operator.adapters.redis.group import MOST_RESTING
from outbox_operator.adapters.redis.group_entry import Entry
from outbox_operator.errors import OutboxError
from outbox_operator.reasons import Reason
from support.living import living
from support.redis import RedisServer, redis_client
from support.sources import READER, RedisPlace, reading, redis_place
from support.waiting import eventually

pytestmark = pytest.mark.integration


@pytest.fixture
async def place(redis_server: RedisServer) -> AsyncIterator[RedisPlace]:
    """A place where nothing is taken over while a test runs."""
    async with redis_place(redis_server, 600.0) as found:
        yield found


async def test_what_others_have_taken_makes_room_for_what_is_new(
    redis_server: RedisServer,
) -> None:
    async with redis_place(redis_server, 3.0) as place, reading(place) as reader:
        ids = [f"{number}-0" for number in range(1, MOST_RESTING + 1)]
        await place.publish(len(ids))
        await reader.source.open()
        for each in await reader.take(len(ids)):
            each.nak(600.0)
        await reader.source.request(1)
        async with redis_client(redis_server) as client:
            await client.xack(place.key, READER, *ids)
        (number,) = await place.publish(1)
        await eventually(lambda: reader.arrived[len(ids) :], "it is read")
        assert reader.arrived[-1].headers["Ce-Id"] == number


async def test_what_was_to_come_again_comes_after_a_refusal() -> None:
    with RedisServer(appendonly="no") as server:
        async with redis_place(server, 600.0) as place, redis_client(server) as client:
            await place.publish(1)
            async with reading(place) as reader:
                await reader.source.open()
                (first,) = await reader.take(1)
                await reader.source.request(1)
                await client.execute_command("ACL", "SETUSER", "default", "-xclaim")
                first.nak()
                found = await eventually(lambda: reader.source.failure, "it is said")
                assert found.reason is Reason.PERMISSION_DENIED
                await client.execute_command("ACL", "SETUSER", "default", "+xclaim")
                await reader.open()
                (again,) = await reader.take(1)
                assert (again.sequence, again.deliveries) == (first.sequence, 2)


async def test_what_is_trimmed_in_hand_is_said_and_its_letter_is_stored(
    redis_server: RedisServer, place: RedisPlace, caplog: pytest.LogCaptureFixture
) -> None:
    await place.publish(2)
    async with reading(place) as reader:
        await reader.source.open()
        bad, good = await reader.take(2)
        async with redis_client(redis_server) as client:
            await client.xtrim(place.key, maxlen=0)
        for each in (bad, good):
            each.in_progress()
        await eventually(lambda: ": 2 entries were deleted or trimmed" in caplog.text, "it is said")
        good.ack()
        await bad.store_copy(place.letters, {"Ce-Id": "id-1"})
    assert await place.stored_letters() == [{"Ce-Id": "id-1", "Outbox-Data": "1"}]


async def test_what_another_has_acknowledged_gets_no_letter(
    redis_server: RedisServer, place: RedisPlace
) -> None:
    await place.publish(1)
    async with reading(place) as reader, redis_client(redis_server) as client:
        await reader.source.open()
        (bad,) = await reader.take(1)
        await client.xack(place.key, READER, "1-0")
        assert not await bad.store_copy(place.letters, {"Ce-Id": "id-1"})
        assert (await client.xpending(place.key, READER))["pending"] == 0
    assert await place.stored_letters() == []


async def test_a_key_for_letters_that_holds_something_else_is_named(
    redis_server: RedisServer, place: RedisPlace
) -> None:
    await place.publish(1)
    async with reading(place) as reader, redis_client(redis_server) as client:
        await reader.source.open()
        (bad,) = await reader.take(1)
        await client.hset(place.letters, "a", "b")
        with pytest.raises(OutboxError, match=f"key {place.letters} holds something") as caught:
            await bad.store_copy(place.letters, {})
        assert caught.value.reason is Reason.KEY_OF_OTHER_TYPE
        assert (await client.xpending(place.key, READER))["pending"] == 1


async def test_an_entry_of_more_fields_than_a_script_takes_has_a_letter(
    redis_server: RedisServer, place: RedisPlace
) -> None:
    async with redis_client(redis_server) as client:
        await client.xadd(place.key, {f"n{number}": "" for number in range(5000)})
    async with reading(place) as reader:
        await reader.source.open()
        (bad,) = await reader.take(1)
        await bad.store_copy(place.letters, {**bad.headers, "Outbox-Dead-Letter-Error": "why"})
        assert (await reader.source.unanswered()).count == 0
    (letter,) = await place.stored_letters()
    assert letter["Outbox-Dead-Letter-Error"] == "why"
    assert len(letter) == MOST_FIELDS + 1


async def test_entries_in_hand_of_many_others_are_looked_through_in_few_steps(
    redis_server: RedisServer, place: RedisPlace
) -> None:
    await place.publish(2001)
    async with reading(place) as reader, redis_client(redis_server) as client:
        await client.xreadgroup(READER, "other", {place.key: ">"}, count=2000)

        await reader.source.open()
        await client.config_resetstat()
        (new,) = await reader.take(1)
        assert new.number == 2001
        calls = (await client.info("commandstats"))["cmdstat_evalsha"]["calls"]
        assert calls < 50, "a step for each ten"


async def test_what_waits_for_its_time_takes_up_no_room_of_its_payload(
    place: RedisPlace,
) -> None:
    await place.publish(3)
    async with reading(place) as reader:
        await reader.source.open()
        for each in await reader.take(3):
            each.nak(600.0)
        del each
        reader.arrived.clear()
        assert [one for one in living(Entry) if one.stream == place.key] == []


async def test_a_group_that_was_made_anew_meanwhile_is_told_from_the_one_that_was_read(
    redis_server: RedisServer, place: RedisPlace, caplog: pytest.LogCaptureFixture
) -> None:
    await place.publish(1)
    async with reading(place) as reader, redis_client(redis_server) as client:
        await reader.source.open()
        (first,) = await reader.take(1)
        first.ack()
        await place.cut()
        await reader.open()
        assert "made anew" not in caplog.text, "the same"
        await client.xgroup_destroy(place.key, READER)
        await client.xgroup_create(place.key, READER, id="$")
        await place.cut()
        await reader.open()
        assert "made anew while it was read here" in caplog.text
