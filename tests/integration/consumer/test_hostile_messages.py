"""Messages that anybody may have written, in bytes that are no text: handled like all others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import pytest
from nats.aio.client import Client

from outbox_operator.consumer import Context, ReceivedEvent
from support.consuming import Endpoint, Source, calling, consuming
from support.nats import NatsServer, connected

pytestmark = pytest.mark.integration

NO_TEXT = {
    "subject": (b"\xff", b""),
    "headers": (b"", b"Ce-Id: \xfd\r\nCe-Type: a\xfe\r\nContent-Type: \xff\r\nX-A: \xff\r\n"),
}


@pytest.fixture(autouse=True)
def unlogged() -> Iterator[None]:
    """Lines with such bytes in them are formatted for people by the product, not by pytest."""
    logger = logging.getLogger("outbox_operator")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    yield
    logger.setLevel(before)


async def publish_bytes(server: NatsServer, prefix: str, what: str) -> None:
    tail, headers = NO_TEXT[what]
    block = b"NATS/1.0\r\n" + headers + b"\r\n"
    subject = prefix.encode() + b".evt.a" + tail
    async with connected(server) as client:
        client.write(b"HPUB %b %d %d\r\n%b{}\r\n" % (subject, len(block), len(block) + 2, block))
        await client.flush()


async def scrape(port: int) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer.decode()


@pytest.mark.parametrize("what", NO_TEXT)
async def test_a_message_that_is_no_text_stops_nothing(
    what: str, client: Client, stream_prefix: str, nats_server: NatsServer
) -> None:
    source = await Source.create(client, stream_prefix, max_deliver=1)
    seen: list[str] = []

    async def handle(event: ReceivedEvent, context: Context) -> None:
        seen.append(event.type)
        if event.type != "good":
            raise ValueError(event.subject)

    await publish_bytes(nats_server, stream_prefix, what)
    await source.publish(type="good")
    async with consuming(source.python(), calling(handle)) as app:
        await source.settled(2)
        text = await scrape(app.health.port)
    assert len(seen) == 2
    assert "200 OK" in text
    assert 'event_type="good"' in text
    [letter] = await source.dead_letters()
    assert letter.data == b"{}"


@pytest.mark.parametrize("mode", ["Binary", "Structured"])
@pytest.mark.parametrize("what", NO_TEXT)
async def test_endpoints_are_sent_it_too(
    what: str, mode: str, client: Client, stream_prefix: str, nats_server: NatsServer,
    endpoint: Endpoint,
) -> None:  # fmt: skip
    source = await Source.create(client, stream_prefix, max_deliver=1)
    await publish_bytes(nats_server, stream_prefix, what)
    async with consuming(source.http(endpoint, mode=mode)):
        await source.settled(1)
    assert len(endpoint.requests) == 1
    assert await source.dead_letters() == []
