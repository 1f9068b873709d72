"""What a server tells of changes costs little, however much it tells."""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

import pytest

from outbox_operator.adapters.nats import advisories
from outbox_operator.adapters.nats.advisories import (
    GATHER_SECONDS,
    SUBJECTS,
    Heard,
    listen_for_changes,
)
from outbox_operator.adapters.nats.frame_reader import Sink
from support.clock import skip_pauses
from support.waiting import SECONDS

REST_SECONDS: Final = SECONDS


class Server:
    """A connection over which advisories come."""

    def __init__(self) -> None:
        self.sinks: dict[str, Sink] = {}

    def on_denied(self, *_: object) -> None:
        pass

    async def listen(self, subject: str, sink: Sink) -> None:
        self.sinks[subject] = sink

    def says(self, stream: bytes) -> None:
        self.sinks[SUBJECTS[1]](b"$JS.EVENT.ADVISORY.STREAM.UPDATED." + stream, b"", b"", b"")


async def test_a_server_that_goes_on_and_on_is_heard_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each time, those who care make a pass: it could keep the operator at work."""
    monkeypatch.setattr(advisories, "REST_SECONDS", REST_SECONDS)
    skip_pauses(asyncio.get_running_loop())
    told: list[Heard] = []
    news = asyncio.Event()

    def tell(heard: Heard) -> None:
        told.append(heard)
        news.set()

    server, loop = Server(), asyncio.get_running_loop()
    await listen_for_changes(cast(Any, server), tell)
    began = loop.time()
    while loop.time() - began < 5 * GATHER_SECONDS:
        server.says(b"A")
        await asyncio.sleep(0.01)
    server.says(b"B")
    assert told == [{("A", None)}]
    # What came meanwhile is told, too.
    news.clear()
    await asyncio.wait_for(news.wait(), 10 * SECONDS)
    assert told[1:] == [{("A", None), ("B", None)}]
    # The first after a rest is told at once.
    await asyncio.sleep(REST_SECONDS)
    news.clear()
    began = loop.time()
    server.says(b"C")
    await asyncio.wait_for(news.wait(), SECONDS)
    assert loop.time() - began < REST_SECONDS
