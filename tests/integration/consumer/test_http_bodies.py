"""Answers whose body is slow, endless or broken: with the status the event is decided on."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from nats.aio.client import Client

from outbox_operator.wire.config import HttpHandlerConfig
from support.consuming import Source, consuming

pytestmark = pytest.mark.integration

BOMB = gzip.compress(bytes(20_000_000))
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n"
REST = {
    "no body comes": b"Content-Length: 5\r\n\r\n",
    "body breaks off": b"Content-Length: 5\r\nConnection: close\r\n\r\nab",
    "endless": b"Transfer-Encoding: chunked\r\n\r\n",
    "no chunks": b"Transfer-Encoding: chunked\r\n\r\nzz\r\nok",
    "no chunks, behind hints": b"Transfer-Encoding: chunked\r\n\r\nzz\r\nok",
    "more than a chunk": b"Transfer-Encoding: chunked\r\n\r\n1\r\nok\r\n0\r\n\r\n",
    "more than it says": b"Content-Length: 2\r\n\r\nok, and more",
    "not what it says": b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    "unpacks to much": b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB) + BOMB,
    "no charset": b"Content-Type: text/plain; charset=klingon\r\nContent-Length: 2\r\n\r\n\xff\xfe",
    "long header": b"Set-Cookie: " + b"a" * 20_000 + b"\r\nContent-Length: 0\r\n\r\n",
}


class RawEndpoint:
    """Answers as soon as it has the head of a request, without reading its body."""

    def __init__(self) -> None:
        self.status = 200
        self.hints = b""
        self.rest = b""
        self.endless = False
        self.requests = 0
        self.connections = 0
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                self.requests += 1
                writer.write(self.hints + b"HTTP/1.1 %d Status\r\n" % self.status + self.rest)
                while self.endless:
                    writer.write(b"400\r\n" + b"a" * 1024 + b"\r\n")
                    await writer.drain()
                if b"close" in self.rest:
                    break
        writer.close()


@pytest.fixture
async def raw() -> AsyncIterator[RawEndpoint]:
    endpoint = RawEndpoint()
    server = await asyncio.start_server(endpoint.serve, "127.0.0.1", 0)
    endpoint.port = server.sockets[0].getsockname()[1]
    yield endpoint
    server.close()


@pytest.mark.parametrize("rest", REST)
async def test_the_status_decides_whatever_becomes_of_the_body(
    rest: str, client: Client, stream_prefix: str, raw: RawEndpoint
) -> None:
    raw.rest, raw.endless = REST[rest], rest == "endless"
    raw.hints = HINTS if "hints" in rest else b""
    source = await Source.create(client, stream_prefix, max_deliver=3)
    http = HttpHandlerConfig(url=f"http://127.0.0.1:{raw.port}/", timeout_seconds=60.0)
    await source.publish()
    started = time.monotonic()
    async with consuming(replace(source.config, http=http)):
        await source.settled(1)
        assert (raw.requests, await source.dead_letters()) == (1, [])
        raw.status = 422
        await source.publish()
        await source.settled(2)
    assert raw.requests == 2
    assert time.monotonic() - started < 50  # nobody waited for the time-out of the request
    [letter] = await source.dead_letters()
    assert "answered 422" in str((letter.headers or {})["Outbox-Dead-Letter-Error"])


async def test_an_answer_that_comes_before_the_event_is_read_counts(
    client: Client, stream_prefix: str, raw: RawEndpoint
) -> None:
    raw.rest = b"Content-Length: 0\r\n\r\n"
    source = await Source.create(client, stream_prefix, max_deliver=2)
    http = HttpHandlerConfig(url=f"http://127.0.0.1:{raw.port}/", timeout_seconds=60.0)
    await source.publish("x" * 900_000)
    async with consuming(replace(source.config, http=http)):
        await source.settled(1)
    assert raw.requests == 1
    assert await source.dead_letters() == []


async def test_connections_are_used_again_when_the_body_has_come(
    client: Client, stream_prefix: str, raw: RawEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outbox_operator.consumer.handlers.http._BODY_SECONDS", 60.0)
    raw.rest = b"Content-Length: 2\r\n\r\nok"
    source = await Source.create(client, stream_prefix, concurrency=1)
    http = HttpHandlerConfig(url=f"http://127.0.0.1:{raw.port}/")
    for _ in range(5):
        await source.publish()
    async with consuming(replace(source.config, http=http)):
        await source.settled(5)
    assert raw.requests == 5
    assert raw.connections == 1
