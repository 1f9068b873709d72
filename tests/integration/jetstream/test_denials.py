"""What the server does not let us do reaches who asked to hear of it, and the log once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from outbox_operator.adapters.nats.auth import NatsAuth
from outbox_operator.adapters.nats.connection import connect
from outbox_operator.adapters.nats.driver import Denial, WireClient
from support.nats import NatsOptions, NatsServer
from support.waiting import SECONDS

pytestmark = pytest.mark.integration

USER = {
    "user": "shop",
    "password": "p",
    "permissions": {"publish": {"deny": ["Ack.>", "other"]}, "subscribe": {"deny": "_INBOX.>"}},
}


@pytest.fixture(scope="module")
def server() -> Iterator[NatsServer]:
    with NatsServer(NatsOptions(extra={"authorization": {"users": [USER]}})) as server:
        yield server


@pytest.fixture
def auth(server: NatsServer) -> NatsAuth:
    return NatsAuth(url=server.url, username="shop", password="p")


@pytest.fixture
async def client(auth: NatsAuth) -> AsyncIterator[WireClient]:
    client = await connect(auth, name="test")
    yield client
    await client.close()


async def denials(client: WireClient, *subjects: str) -> None:
    """Publish there, and wait until the server has answered for all of it."""
    # The driver's own `publish` waits for its turn, and the ping of `flush` does not.
    client.write(b"".join(f"PUB {subject} 0\r\n\r\n".encode() for subject in subjects))
    await client.flush(60)


async def test_each_denial_reaches_its_owner_as_it_was_said(
    client: WireClient, auth: NatsAuth, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[Denial] = []
    forget = client.on_denied("publish", "Ack.>", heard.append)
    await denials(client, "Ack.a.1", "Ack.a.2", "other", "other", "fine", "Ack.B")
    assert [(denial.action, denial.subject) for denial in heard] == [
        ("publish", "Ack.a.1"),
        ("publish", "Ack.a.2"),
        ("publish", "Ack.B"),
    ]
    assert heard[0].text == 'Permissions Violation for Publish to "Ack.a.1"'
    assert client.complaint == 'Permissions Violation for Publish to "Ack.B"'
    # Who watches says it in words of its own.
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == f'NATS at {auth.address} said: Permissions Violation for Publish to "other"'
    forget()
    await denials(client, "Ack.a.3")
    assert len(heard) == 3


async def test_each_request_hears_that_it_may_not_hear(client: WireClient) -> None:
    """Or nats-py would go on with an inbox that the server never accepted."""
    heard: list[Denial] = []
    client.on_denied("subscribe", "_INBOX.>", heard.append)
    for number in (1, 2):
        with pytest.raises(TimeoutError):
            await client.request("nobody", timeout=0.2)
        await client.flush(60)  # behind what a busy server says of the request
        assert [denial.action for denial in heard] == ["subscribe"] * number


async def test_a_lot_of_complaints_does_not_fill_the_log(
    client: WireClient, caplog: pytest.LogCaptureFixture
) -> None:
    await denials(client, *(f"Ack.{number}" for number in range(200)))
    assert 0 < len(caplog.records) <= 50


async def test_rights_may_be_others_after_a_reconnection(
    server: NatsServer, auth: NatsAuth, caplog: pytest.LogCaptureFixture
) -> None:
    back = asyncio.Event()
    client = await connect(auth, name="test", on_reconnected=back.set)
    await denials(client, "other")
    server.restart()
    await asyncio.wait_for(back.wait(), SECONDS)
    await denials(client, "other", "other")
    await client.close()
    lines = [record for record in caplog.records if '"other"' in record.getMessage()]
    assert len(lines) == 2
