"""Servers of Redis that answer otherwise than we hope, or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from collections.abc import AsyncIterator

import pytest

from outbox_operator.adapters.redis.login import RedisLogin
from outbox_operator.adapters.redis.sink import RedisSink
from outbox_operator.adapters.sink import Fence, Message, Owner, Sent
from outbox_operator.errors import OutboxError, SpecError
from outbox_operator.reasons import Reason
from support.nats import unique_prefix
from support.redis import RedisServer, make_stream, redis_client
from support.sinks import message
from support.waiting import SECONDS

OWNER = Owner("a1", 1)
SILENCE_SECONDS = 0.3


async def sent(
    sink: RedisSink, key: str, messages: list[Message], fence: Fence | None = None
) -> Sent:
    run = sink.open_run(owner=OWNER, fence=fence, ordered=True, subjects=key)
    async with asyncio.timeout(SECONDS):
        await run.send(messages, last=True)
        return await run.finish()


@contextlib.asynccontextmanager
async def answering(*answers: bytes) -> AsyncIterator[RedisLogin]:
    """A server that says this, one to each command, and then takes nothing more."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.read(10_000)
            writer.write(answer)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        writer.transport.abort()

    tasks: list[asyncio.Task[None]] = []
    server = await asyncio.start_server(
        lambda *streams: tasks.append(asyncio.create_task(serve(*streams))), "127.0.0.1", 0
    )
    try:
        port = server.sockets[0].getsockname()[1]
        yield RedisLogin(url=f"redis://127.0.0.1:{port}", username="anna", password="s3cret")
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_server_that_became_a_replica_is_left(redis_server: RedisServer) -> None:
    """Else the relay would wait at it for ever, while another takes the writes."""
    key = unique_prefix()
    await make_stream(redis_server.login, key)
    sinks = [await RedisSink.open(lambda: redis_server.login, name="tests") for _ in range(2)]
    async with redis_client(redis_server) as client:
        await sinks[0].facts(key)
        await client.replicaof("127.0.0.1", "1")
        try:
            with pytest.raises(OutboxError, match="READONLY"):
                await sinks[0].shut_out(OWNER, key, None)
            ended = await sent(sinks[1], key, [message(key, 1)])
        finally:
            await client.replicaof("NO", "ONE")
    assert ended.refusal is not None
    assert "READONLY" in ended.refusal.text
    assert [sink.lost for sink in sinks] == [True, True]
    for sink in sinks:
        await sink.close()


@pytest.mark.parametrize("left", [0, 3])
async def test_a_stream_whose_end_was_deleted_takes_what_follows(
    redis_server: RedisServer, left: int
) -> None:
    """The end that a relay finds is the last entry that is left, not the last there was."""
    key = unique_prefix()
    await make_stream(redis_server.login, key)
    sink = await RedisSink.open(lambda: redis_server.login, name="tests")
    await sink.facts(key)
    await sent(sink, key, [message(key, number) for number in range(1, 6)])
    async with redis_client(redis_server) as client:
        await client.xdel(key, *(f"{number}-0" for number in range(left + 1, 6)))
    last = await sink.last_of(key)
    assert (last.sequence if last is not None else 0) == left
    ended = await sent(sink, key, [message(key, 6), message(key, 7)], Fence(key, left))
    assert (ended.count, ended.refusal, ended.last_sequence) == (2, None, 7)
    stale = await sent(sink, key, [message(key, 8)], Fence(key, left))
    assert stale.count == 0
    await sink.close()


async def test_a_server_that_takes_nothing_more_is_given_up() -> None:
    async with answering(b"+OK\r\n", b"+OK\r\n") as login:
        sink = await RedisSink.open(lambda: login, name="tests", answer_seconds=SILENCE_SECONDS)
        lost = asyncio.Event()
        sink.on_lost(lost.set)
        ended = await sent(sink, "k", [message("k", at, 1_000_000) for at in range(1, 40)])
        assert ended.refusal is not None
        assert "no answer within" in ended.refusal.text
        assert lost.is_set()
        await sink.close()


@pytest.mark.parametrize(
    "answer", [b"$abc\r\n", b":x\r\n", b"*1\r\n" * 5000], ids=["length", "number", "depth"]
)
async def test_answers_that_are_none_end_the_connection(answer: bytes) -> None:
    async with answering(answer) as login:
        with pytest.raises(OutboxError, match=r"Redis at redis://127\.0\.0\.1"):
            await RedisSink.open(lambda: login, name="tests")
    async with answering(b"+OK\r\n", b"+OK\r\n", answer) as login:
        sink = await RedisSink.open(lambda: login, name="tests", answer_seconds=SECONDS)
        with pytest.raises(OutboxError, match=r"Redis at redis://127\.0\.0\.1"):
            await sink.facts("k")
        assert sink.lost
        await sink.close()


async def test_a_password_that_a_server_repeats_is_not_shown() -> None:
    said = b"-ERR unknown command 'AUTH', with args beginning with: 'anna' 's3cret'\r\n"
    async with answering(said) as login:
        with pytest.raises(OutboxError, match="unknown command") as raised:
            await RedisSink.open(lambda: login, name="tests")
    assert "s3cret" not in "".join(traceback.format_exception(raised.value))


async def test_where_nothing_can_be_published_is_said(redis_server: RedisServer) -> None:
    """Before anything is sent, so that nobody takes an event for the one at fault."""
    key = unique_prefix()
    await make_stream(redis_server.login, key)
    sink = await RedisSink.open(lambda: redis_server.login, name="tests")
    async with redis_client(redis_server) as client:
        await client.config_set("maxmemory", 10**9)
        await client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            with pytest.raises(SpecError, match="allkeys-lru"):
                await sink.facts(key)
        finally:
            await client.config_set("maxmemory", 0)
            await client.config_set("maxmemory-policy", "noeviction")
        await sink.facts(key)
        await client.xadd(key, {"hello": "world"}, id=f"{2**64 - 1}-0")
        with pytest.raises(OutboxError, match=key) as full:
            await sink.facts(key)
        assert full.value.reason == Reason.FOREIGN_ENTRIES
        await client.delete(key)
        with pytest.raises(OutboxError, match=key) as gone:
            await sink.facts(key)
        assert gone.value.reason == Reason.STREAM_NOT_FOUND
    await sink.close()
