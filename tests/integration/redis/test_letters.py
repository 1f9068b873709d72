"""Dead letters in Redis: read within bounds, handled once more, removed; whoever wrote them."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest

from outbox_operator.adapters.redis.admin import MOST_ANSWER_BYTES, RedisAdmin
from outbox_operator.adapters.redis.letter_admin import (
    FIRST,
    HANDED_OVER,
    LATEST,
    Again,
    GroupLetter,
    LetterAdmin,
)
from outbox_operator.errors import AccessDeniedError, OutboxError
from outbox_operator.reasons import Reason
from outbox_operator.wire import dead_letters
from support.command import outbox_command
from support.redis import RedisServer, redis_client
from support.sources import READER, RedisPlace, reading, redis_place

pytestmark = pytest.mark.integration

ALL: Final = (FIRST, LATEST)


@pytest.fixture
async def place(redis_server: RedisServer) -> AsyncIterator[RedisPlace]:
    """A place whose entries are taken over after three seconds."""
    async with redis_place(redis_server, 3.0) as found:
        yield found


@pytest.fixture
async def letters(redis_server: RedisServer, place: RedisPlace) -> AsyncIterator[LetterAdmin]:
    """The letters of that place."""
    admin = await RedisAdmin.open(redis_server.login, name="tests")
    yield LetterAdmin(admin, place.letters)
    await admin.close()


async def refuse(place: RedisPlace, count: int) -> None:
    """Events that die, as the runtime has it."""
    await place.publish(count)
    async with reading(place) as reader:
        await reader.open()
        for each in await reader.take(count):
            said = dead_letters.headers(
                each.headers, reason=Reason.REFUSED, error="no", deliveries=each.deliveries,
                stream=each.stream, sequence=each.number, stored=each.when_stored(),
                subject=each.subject, consumer=READER, now=dt.datetime.now(dt.UTC),
            )  # fmt: skip
            await each.store_copy(place.letters, said)


async def all_of(letters: LetterAdmin) -> list[GroupLetter]:
    return [each async for each in letters.behind(*ALL)]


async def test_an_event_is_given_once_more_to_its_group_alone_and_its_letter_goes(
    redis_server: RedisServer, place: RedisPlace, letters: LetterAdmin
) -> None:
    async with redis_client(redis_server) as client:
        await client.xgroup_create(place.key, "mail", id="0")
        await refuse(place, 3)
        await client.xreadgroup("mail", "one", {place.key: ">"}, noack=True)
        first, second, _ = await all_of(letters)
        assert (first.event_id, first.reason, first.consumer) == ("id-1", "Refused", READER)
        assert (first.stream, first.number, first.size) == (place.key, "1", 1)
        assert await letters.again(first, READER) is Again.DONE
        assert await letters.again(first, READER) is Again.GONE
        assert (await client.xpending(place.key, READER))["pending"] == 1
        assert (await client.xpending(place.key, "mail"))["pending"] == 0
        assert await letters.remove(second.id)
        assert not await letters.remove(second.id)
        assert await letters.count(READER, 10) == 1
        assert await letters.count("mail", 10) == 0
        assert await letters.count(READER, 0) is None
    async with reading(place) as reader:
        await reader.open()
        (again,) = await reader.take(1)
        assert (again.headers["Ce-Id"], again.deliveries) == ("id-1", 1)
        again.ack()
        await reader.source.confirm()
    async with redis_client(redis_server) as client:
        assert (await client.xpending(place.key, READER))["pending"] == 0
        names = {each["name"] for each in await client.xinfo_consumers(place.key, READER)}
        assert names == {HANDED_OVER}


@pytest.mark.parametrize(
    ("done", "answer", "pending", "left"),
    [
        ([("XDEL", "{key}", "1-0")], Again.OTHER, 0, 1),
        ([("DEL", "{key}"), ("XGROUP", "CREATE", "{key}", READER, "0", "MKSTREAM")],
         Again.OTHER, 0, 1),
        ([("DEL", "{key}"), ("SET", "{key}", "x")], Again.OTHER, None, 1),
        ([("DEL", "{key}"), ("XADD", "{key}", "1-0", "Ce-Id", "another"),
          ("XGROUP", "CREATE", "{key}", READER, "0")], Again.OTHER, 0, 1),
        ([("XGROUP", "SETID", "{key}", READER, "0")], Again.DUE, 0, 0),
        ([("XGROUP", "SETID", "{key}", READER, "0"),
          ("XREADGROUP", "GROUP", READER, "x", "STREAMS", "{key}", ">")], Again.DUE, 1, 0),
        ([("DEL", "{letters}")], Again.GONE, 0, 0),
    ],
    ids=["deleted", "anew", "other-type", "another-event", "set-back", "in-hand", "no-letters"],
)  # fmt: skip
async def test_what_others_did_meanwhile(
    redis_server: RedisServer,
    place: RedisPlace,
    letters: LetterAdmin,
    done: list[tuple[str, ...]],
    answer: Again,
    pending: int | None,
    left: int,
) -> None:
    await refuse(place, 1)
    (letter,) = await all_of(letters)
    async with redis_client(redis_server) as client:
        for command in done:
            texts = (each.format(key=place.key, letters=place.letters) for each in command)
            await client.execute_command(*texts)
        assert await letters.again(letter, READER) is answer
        assert await client.xlen(place.letters) == left
        if pending is not None:
            assert (await client.xpending(place.key, READER))["pending"] == pending


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("XGROUP", "DESTROY", "{key}", READER), "has no group"),
        (("DEL", "{letters}"), None),
        (("ACL", "SETUSER", "default", "-xclaim"), "may not"),
        (("ACL", "SETUSER", "default", "-xdel"), "may not"),
    ],
    ids=["group", "letters", "no-xclaim", "no-xdel"],
)
async def test_what_is_refused_changes_nothing(command: tuple[str, ...], said: str | None) -> None:
    with RedisServer(appendonly="no") as server:
        async with redis_place(server, 600.0) as place, redis_client(server) as client:
            admin = await RedisAdmin.open(server.login, name="tests")
            letters = LetterAdmin(admin, place.letters)
            await refuse(place, 1)
            (letter,) = await all_of(letters)
            texts = [each.format(key=place.key, letters=place.letters) for each in command]
            await client.execute_command(*texts)
            if said is None:
                await client.set(place.letters, "something else")
                said = "something other than a stream"
            with pytest.raises(OutboxError, match=said) as caught:
                await letters.again(letter, READER)
            assert isinstance(caught.value, AccessDeniedError) == (said == "may not")
            assert not admin.lost
            if command[0] == "ACL":
                assert (await client.xpending(place.key, READER))["pending"] == 0
                assert await client.xlen(place.letters) == 1
            await admin.close()


async def test_a_server_without_room_and_one_that_is_a_replica() -> None:
    with RedisServer(appendonly="no") as server:
        async with redis_place(server, 600.0) as place, redis_client(server) as client:
            admin = await RedisAdmin.open(server.login, name="tests")
            letters = LetterAdmin(admin, place.letters)
            await refuse(place, 2)
            first, second = await all_of(letters)
            await client.config_set("maxmemory", 1)
            assert await letters.again(first, READER) is Again.DONE
            await client.config_set("maxmemory", 0)
            await client.execute_command("REPLICAOF", "127.0.0.1", "1")
            with pytest.raises(OutboxError, match="does not take writes"):
                await letters.again(second, READER)
            assert admin.lost
            await admin.close()


async def test_letters_of_any_size_and_shape_are_read_within_bounds(
    redis_server: RedisServer, place: RedisPlace, letters: LetterAdmin
) -> None:
    large = b"x" * (3 * MOST_ANSWER_BYTES)
    why = {"Outbox-Dead-Letter-Reason": "Refused", "Outbox-Dead-Letter-Consumer": READER}
    async with redis_client(redis_server) as client:
        for number in range(20):
            await client.xadd(place.letters, {**why, "Ce-Id": f"{number}", "Outbox-Data": large})
        await client.xadd(
            place.letters, {**why, "Ce-Id": "error", "Outbox-Dead-Letter-Error": large}
        )
        await client.xadd(place.letters, {**why, **{f"{n}{'y' * 500}": "z" for n in range(2500)}})
        await client.xadd(
            place.letters, {b"\xff": b"\xfe", "Outbox-Dead-Letter-Deliveries": "9" * 99}
        )
        await client.xadd(
            place.letters, {**why, "Outbox-Dead-Letter-Sequence": "1-5 *", "Ce-Id": "s"}
        )
    found = await all_of(letters)
    assert [one.event_id for one in found] == [*map(str, range(20)), "error", "", "", "s"]
    assert (found[0].size, found[0].data) == (len(large), b"")
    assert len(found[20].error) == 4096
    assert found[22].reason == ""
    shown = [await letters.show(one.id, 1000) for one in found]
    assert [one.size if one else None for one in shown] == [len(large)] * 20 + [0] * 4
    assert shown[0] is not None
    assert len(shown[0].data) == 1000
    assert shown[21] is not None
    assert 800 < len(shown[21].headers) < 2500
    assert await letters.again(found[23], READER) is Again.OTHER
    assert await letters.last() == found[-1].id
    assert await letters.count(READER, 100) == 23


async def test_a_frozen_server_is_given_up() -> None:
    with RedisServer(appendonly="no") as server:
        admin = await RedisAdmin.open(server.login, name="tests")
        server.pause()
        try:
            with pytest.raises(OutboxError, match="no answer within"):
                await LetterAdmin(admin, "a.dlq").last()
        finally:
            server.resume()
            await admin.close()


async def test_a_pod_prints_letters(
    redis_server: RedisServer, place: RedisPlace, tmp_path: Path
) -> None:
    await refuse(place, 3)
    config = tmp_path / "config.json"
    url = redis_server.url
    config.write_text(
        json.dumps(
            {"namespace": "shop", "consumer": "c", "durable": READER, "stream": place.key,
             "redis": {"url": url}}
        )
    )  # fmt: skip

    async def printed(*options: str) -> list[dict[str, Any]]:
        texts = (
            "dead-letters", "--config", str(config), "--stream", place.letters, "--seconds", "300",
            *options,
        )  # fmt: skip
        done = await outbox_command(*texts)
        assert done.code == 0, done.output
        return [json.loads(line) for line in done.output.splitlines()]

    mine = await printed("--durable", READER, "--limit", "2")
    assert [one.get("id") for one in mine] == ["id-1", "id-2", None]
    assert (mine[0]["number"], mine[0]["consumer"], mine[2]) == ("1", READER, {"more": True})
    (whole,) = await printed("--id", "id-3", "--payload")
    assert (whole["payload"], whole["payloadBytes"], whole["payloadCut"]) == ("3", 1, False)
    assert whole["headers"]["own"] == "b: \u00e4r"
    assert await printed("--durable", "another") == []
