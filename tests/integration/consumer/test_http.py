"""The consumer runtime with an HTTP endpoint, on a real nats-server."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp import web
from nats.aio.client import Client

from support.consuming import (
    Endpoint,
    Request,
    Source,
    answering,
    consuming,
    eventually,
    metric,
    readiness,
)

pytestmark = pytest.mark.integration


async def test_delivers_each_event_and_acknowledges(
    client: Client, stream_prefix: str, endpoint: Endpoint
) -> None:
    source = await Source.create(client, stream_prefix)
    sent = [await source.publish({"number": n}, tenant="a") for n in range(50)]
    async with consuming(source.http(endpoint)) as app:
        await source.settled(50)
        status, checks = await readiness(app)
    assert sorted(endpoint.ids()) == sorted(sent)
    first = endpoint.requests[0]
    assert first.headers["Ce-Type"] == "order.created"
    assert first.headers["Ce-Specversion"] == "1.0"
    assert first.headers["Content-Type"] == "application/json"
    assert first.headers["tenant"] == "a"
    assert "number" in json.loads(first.body)
    assert status == 200, checks
    assert (
        metric(app, "outbox_consumer_processed_total", outcome="ack", event_type="order.created")
        == 50
    )
    assert metric(app, "outbox_consumer_in_flight") == 0
