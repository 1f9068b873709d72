"""A pod that answers what it likes neither sends the operator on nor fills its memory."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import resource
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from outbox_operator.adapters.kubernetes.pod_health import unready_reason

pytestmark = pytest.mark.integration

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]
SECRET = "what only the operator can reach"
WORDS = json.dumps({"checks": {"nats": {"ok": False, "reason": SECRET}}}).encode()


def http(status: str, body: bytes = b"", *headers: str) -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*head, "", ""]).encode() + body


@contextlib.asynccontextmanager
async def answering(answer: Answer) -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await reader.readuntil(b"\r\n\r\n")
                await answer(writer)
        finally:  # also of an answer that never ends
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_why_a_pod_is_not_ready() -> None:
    async def words(writer: asyncio.StreamWriter) -> None:
        writer.write(http("503 Service Unavailable", WORDS))
        await writer.drain()

    async with answering(words) as port:
        assert await unready_reason("127.0.0.1", port) == f"nats: {SECRET}"


async def test_a_pod_sends_nobody_on() -> None:
    async def words(writer: asyncio.StreamWriter) -> None:
        writer.write(http("200 OK", WORDS))
        await writer.drain()

    async with answering(words) as elsewhere:

        async def redirect(writer: asyncio.StreamWriter) -> None:
            writer.write(http("302 Found", b"", f"Location: http://127.0.0.1:{elsewhere}/"))
            await writer.drain()

        async with answering(redirect) as port:
            assert await unready_reason("127.0.0.1", port) is None


async def endless(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 503 No\r\n\r\n")
    while True:
        writer.write(b"x" * 65536)
        await writer.drain()


async def bomb(writer: asyncio.StreamWriter) -> None:
    body = gzip.compress(b"0" * 200_000_000, 9)
    writer.write(http("503 No", body, "Content-Encoding: gzip"))
    await writer.drain()


async def deep(writer: asyncio.StreamWriter) -> None:
    writer.write(http("503 No", b"[" * 15_000))
    await writer.drain()


async def long_word(writer: asyncio.StreamWriter) -> None:
    words = {"checks": {"x": {"ok": False, "reason": "a\n" * 5000}}}
    writer.write(http("503 No", json.dumps(words).encode()))
    await writer.drain()


@pytest.mark.parametrize("answer", [endless, bomb, deep, long_word])
async def test_an_answer_is_bounded(answer: Answer) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with answering(answer) as port:
        said = await unready_reason("127.0.0.1", port)
    assert said is None or (len(said) <= 600 and "\n" not in said)
    if answer is not bomb:  # which the test itself has to make
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024


async def test_a_pod_that_takes_connections_and_says_nothing_is_called_silent() -> None:
    """As a process that is frozen: the kernel takes connections for it. Nobody listens: no word."""

    async def nothing(_writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(10)

    async with answering(nothing) as port:
        said = await unready_reason("127.0.0.1", port)
        assert "answers nothing within 2 s" in (said or "")
    assert await unready_reason("127.0.0.1", port) is None
