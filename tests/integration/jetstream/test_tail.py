"""Reading the end of a stream over a slow network."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from outbox_operator.adapters.nats.api import JetStreamApi
from outbox_operator.adapters.nats.connection import connect
from outbox_operator.adapters.nats.tail import TailReader
from support.nats import NatsServer, connected
from support.tcp_proxy import TcpProxy

pytestmark = pytest.mark.integration

MESSAGES = 12
HEADER_BYTES = 60_000
SILENCE_SECONDS = 1.5


@pytest.fixture
async def stream(nats_server: NatsServer, stream_prefix: str) -> str:
    """Messages with long headers."""
    async with connected(nats_server) as client:
        js = client.jetstream()
        await js.add_stream(name=stream_prefix, subjects=[f"{stream_prefix}.>"])
        for _ in range(MESSAGES):
            await js.publish(f"{stream_prefix}.a", headers={"Long": "x" * HEADER_BYTES})
    return stream_prefix


@pytest.fixture
async def proxy(nats_server: NatsServer) -> AsyncIterator[TcpProxy]:
    proxy = await TcpProxy(lambda: nats_server.port).start()
    yield proxy
    await proxy.close()


@pytest.fixture
async def reader(
    nats_server: NatsServer, proxy: TcpProxy, stream: str
) -> AsyncIterator[TailReader]:
    auth = replace(nats_server.auth, url=f"nats://127.0.0.1:{proxy.port}")
    client = await connect(auth, name="tail")
    yield TailReader(JetStreamApi(client, auth), stream, SILENCE_SECONDS)
    proxy.heal()
    await client.close()


async def test_a_tail_may_take_long_while_messages_come(
    reader: TailReader, proxy: TcpProxy, stream: str
) -> None:
    proxy.bytes_per_second = MESSAGES * HEADER_BYTES // 2  # two seconds for all
    found = [message.sequence async for message in reader.read(f"{stream}.>", 0)]
    assert found == list(range(1, MESSAGES + 1))
