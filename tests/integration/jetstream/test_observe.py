"""`outbox catalog observe` on a real server: what it says, and that it leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from nats.aio.client import Client

from outbox_operator.catalog import observing
from outbox_operator.cli import main as cli
from outbox_operator.client import event
from outbox_operator.errors import NatsError, SpecError
from outbox_operator.wire.config import NatsConfig
from support.nats import NatsServer, connected

pytestmark = pytest.mark.integration


@event("order.created", key="id")
@dataclass
class OrderCreated:
    id: int


@pytest.fixture
async def client(nats_server: NatsServer, stream_prefix: str) -> AsyncIterator[Client]:
    """Of a server whose stream has some events."""
    async with connected(nats_server) as client:
        js = client.jetstream()
        await js.add_stream(name=stream_prefix, subjects=[f"{stream_prefix}.>"])
        for number in range(1200):
            await client.publish(
                f"{stream_prefix}.created", json.dumps({"id": number}).encode(),
                headers={"Ce-Type": "order.created"},
            )  # fmt: skip
        await js.publish(f"{stream_prefix}.created", b'{"id": "x"}', headers={"ce-type": "odd"})
        await js.publish(f"{stream_prefix}.other", b"\xff", headers={"Ce-Type": "order%20lost"})
        yield client


async def test_the_last_messages_are_counted_and_compared(
    client: Client, nats_server: NatsServer, stream_prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = NatsConfig(url=nats_server.url)
    found = await observing.observe(
        config, stream_prefix, subjects=">", most=10_000, kinds={"order.created": OrderCreated}
    )
    assert found.types["order.created"].events == 1200
    assert found.types["order.created"].misfits == 0
    assert sorted(found.undeclared()) == ["order lost", f"{stream_prefix}.created"]
    few = await observing.observe(config, stream_prefix, subjects=">", most=3, kinds=None)
    assert sum(one.events for one in few.types.values()) == 3
    other = f"{stream_prefix}.other"
    one = await observing.observe(config, stream_prefix, subjects=other, most=10_000, kinds=None)
    assert list(one.types) == ["order lost"]
    none = await observing.observe(config, stream_prefix, subjects="no", most=9, kinds=None)
    assert none.types == {}

    arguments = ["--nats", nats_server.url, "--stream", stream_prefix, "-o", "json"]
    assert await asyncio.to_thread(cli.main, ["catalog", "observe", *arguments]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["types"]["order.created"]["fields"] == {"id": {"integer": 1200}}


async def test_what_cannot_be_read_is_said(client: Client, nats_server: NatsServer) -> None:
    config = NatsConfig(url=nats_server.url)
    with pytest.raises(SpecError, match="there is no stream 'NONE'"):
        await observing.observe(config, "NONE", subjects=">", most=9, kinds=None)
    with pytest.raises(NatsError):
        await observing.observe(
            NatsConfig(url="nats://127.0.0.1:1"), "NONE", subjects=">", most=9, kinds=None
        )
