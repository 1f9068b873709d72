"""What the operator does in a server of Redis, and what a hostile server can do to it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from outbox_operator.adapters.redis.admin import MOST_ANSWER_BYTES, RedisAdmin
from outbox_operator.adapters.redis.login import RedisLogin
from outbox_operator.errors import ConflictError, OutboxError
from support.nats import unique_prefix
from support.redis import RedisServer, redis_client
from support.waiting import SECONDS

pytestmark = pytest.mark.integration


@pytest.fixture
async def admin(redis_server: RedisServer) -> AsyncIterator[RedisAdmin]:
    found = await RedisAdmin.open(redis_server.login, name="tests")
    yield found
    await found.close()


def wanted(key: str, uid: str, replaces: str = "") -> dict[str, str]:
    return {"key": key, "replaces": replaces, "uid": uid, "name": f"EventStream/a/{uid}",
            "cluster": ""}  # fmt: skip


async def test_who_was_faster_has_it_and_entries_stay(
    admin: RedisAdmin, redis_server: RedisServer
) -> None:
    key = unique_prefix()
    first = await admin.claim(wanted(key, "u1"))
    with pytest.raises(ConflictError, match="another resource"):
        await admin.claim(wanted(key, "u2"))
    async with redis_client(redis_server) as client:
        await client.xadd(key, {"a": "b"}, id="7-0")
        taken = await admin.claim(wanted(key, "u2", replaces="u1"))
        assert (taken.created, taken.entries, taken.last_id) == (first.created, 1, 7)
        assert taken.mark is not None
        assert taken.mark.uid == "u2"
        assert not await admin.drop(key, "u1", f"{key}.dlq")
        assert await client.exists(key) == 1
        assert await admin.drop(key, "u2", f"{key}.dlq")
        assert await client.exists(key, f"{{{key}}}:outbox") == 0


async def test_what_is_no_stream_is_said_and_left(
    admin: RedisAdmin, redis_server: RedisServer
) -> None:
    key = unique_prefix()
    async with redis_client(redis_server) as client:
        await client.set(f"{{{key}}}:outbox", "1")
        assert (await admin.key(key)).kind == "string"
        with pytest.raises(ConflictError, match="holds a string"):
            await admin.claim(wanted(key, "u1"))
        assert await client.exists(key) == 0


async def test_trimming_keeps_what_any_group_needs(
    admin: RedisAdmin, redis_server: RedisServer
) -> None:
    key = unique_prefix()
    await admin.claim(wanted(key, "u1"))
    big = 2**60  # more than a number of Lua holds exactly
    async with redis_client(redis_server) as client:
        for number in range(8):
            await client.xadd(key, {"n": str(number)}, id=f"{big + number}-0")
        await client.xgroup_create(key, "done", id="$")
        await client.xgroup_create(key, "slow", id="0")
        assert await admin.trim(key, "u1", 2) == _kept(0, "slow")
        await client.xreadgroup("slow", "one", {key: ">"}, count=5)
        assert await admin.trim(key, "u1", 2) == _kept(0, "slow")
        await client.xack(key, "slow", *[f"{big + number}-0" for number in (0, 1, 3)])
        assert await admin.trim(key, "u1", 2) == _kept(2, "slow")
        await client.xack(key, "slow", f"{big + 2}-0", f"{big + 4}-0")
        assert await admin.trim(key, "u1", 2) == _kept(3, "slow")
        await client.xgroup_destroy(key, "slow")
        done = await admin.trim(key, "u1", 2)
        assert (done.removed, done.kept_for, done.more) == (1, None, False)
        assert (await admin.trim(key, "u2", 1)).removed == 0, "only with the mark"
        groups = (await admin.key(key)).groups
    assert [(one.name, one.pending, one.lag) for one in groups] == [("done", 0, 0)]


def _kept(removed: int, group: str) -> Any:
    from outbox_operator.adapters.redis.admin import Trimmed

    return Trimmed(removed, group)


@contextlib.asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[RedisLogin]:
    """A server that takes every login, and answers the next with this, again and again."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read(10_000)
            writer.write(b"+OK\r\n")
            await reader.read(10_000)
            writer.write(answer)
            while answer.startswith(b"$"):
                writer.write(b"x" * 65536)
                await writer.drain()
            await reader.read(10_000)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield RedisLogin(url=f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    finally:
        server.close()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"$%d\r\n" % (1 << 40), f"more than {MOST_ANSWER_BYTES} bytes"),
        # A list that is made before any of it has come takes 16 GiB, and 19 s to be freed.
        (b"*%d\r\n" % ((1 << 31) - 1), f"more than {MOST_ANSWER_BYTES} bytes"),
        (b"*1\r\n" * 10_000, "no answer as Redis gives"),
        (b"SSH-2.0-secret\r\n", r"no answer as Redis gives \(InvalidResponse\)$"),
        (b":1\r\n", "no answer about what the server is as Redis gives"),
    ],
    ids=["endless", "list", "nested", "another protocol", "another type"],
)
async def test_an_answer_that_is_none_is_bounded_and_said(answer: bytes, message: str) -> None:
    async with answering(answer) as login, asyncio.timeout(SECONDS):
        admin = await RedisAdmin.open(login, name="tests")
        with pytest.raises(OutboxError, match=message):
            await admin.server()
        await admin.close()


async def test_a_number_is_no_larger_than_a_status_takes() -> None:
    async with answering(b":" + b"9" * 400 + b"\r\n") as login, asyncio.timeout(SECONDS):
        admin = await RedisAdmin.open(login, name="tests")
        assert await admin.letters("orders.dlq") == 2**63 - 1
        await admin.close()


async def test_what_is_no_number_is_not_repeated() -> None:
    async with answering(b"+secret\r\n") as login, asyncio.timeout(SECONDS):
        admin = await RedisAdmin.open(login, name="tests")
        with pytest.raises(OutboxError, match=r"no answer about key .* \(TypeError\)$") as caught:
            await admin.letters("orders.dlq")
        assert "secret" not in caught.value.message
        await admin.close()
