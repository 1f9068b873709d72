"""The example of a container handler, with the environment that the operator gives it."""

from __future__ import annotations

import asyncio
import json
import os
import sys

import pytest
from nats.aio.client import Client

from support.consuming import Source
from support.kube import ROOT
from support.waiting import SECONDS

pytestmark = pytest.mark.integration


async def test_the_plain_consumer_handles_refuses_and_stops(
    client: Client, stream_prefix: str
) -> None:
    source = await Source.create(client, stream_prefix)
    good = await source.publish({"id": 1})
    await client.jetstream().publish(f"{stream_prefix}.evt.bad", b"not json")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "examples/plain-container/consumer.py"),
        env={
            **os.environ,
            "NATS_URL": source.config.jetstream.url,
            "OUTBOX_STREAM": stream_prefix,
            "OUTBOX_CONSUMER": source.config.durable,
        },
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        await source.settled(2)
    finally:
        process.terminate()
        output, _ = await asyncio.wait_for(process.communicate(), SECONDS)
    assert process.returncode == 0
    assert json.loads(output) == {"indexed": good, "order": {"id": 1}}
