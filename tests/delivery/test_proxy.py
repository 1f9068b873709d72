"""The network that the checker breaks breaks in the way it says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from support.tcp_proxy import TcpProxy
from support.waiting import eventually


@pytest.fixture
async def echo() -> AsyncIterator[int]:
    """Port of a server that says everything again."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1024):
                writer.write(data)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


@contextlib.asynccontextmanager
async def connected(
    proxy: TcpProxy,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection through the proxy."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@pytest.fixture
async def proxy(echo: int) -> AsyncIterator[TcpProxy]:
    proxy = await TcpProxy(lambda: echo).start()
    yield proxy
    await proxy.close()


async def test_forwards_and_says_how_the_server_knows_it(proxy: TcpProxy) -> None:
    async with connected(proxy) as (reader, writer):
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        assert len(proxy.upstream_ports) == 1
    await eventually(lambda: not proxy.upstream_ports, "the connection to the server ended")


async def test_holds_back_everything_and_loses_nothing(proxy: TcpProxy) -> None:
    async with connected(proxy) as (reader, writer):
        proxy.hold()
        writer.write(b"held")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(10), 0.1)
        proxy.release()
        assert await reader.readexactly(4) == b"held"


async def test_cuts(proxy: TcpProxy) -> None:
    async with connected(proxy) as (reader, writer):
        writer.write(b"x")
        await reader.readexactly(1)
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)


async def test_slows(proxy: TcpProxy) -> None:
    proxy.bytes_per_second = 10_000
    async with connected(proxy) as (reader, writer):
        loop = asyncio.get_running_loop()
        started = loop.time()
        writer.write(b"x" * 1000)
        await reader.readexactly(1000)
        assert loop.time() - started >= 0.2, "a tenth of a second in each direction"


async def test_a_server_that_is_away_ends_the_connection() -> None:
    lonely = await TcpProxy(lambda: 1).start()
    async with connected(lonely) as (reader, _):
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
    await lonely.close()
