"""The server tells what somebody did to streams and durable consumers: who cares is woken."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator

import pytest

from outbox_operator.adapters.nats.advisories import Heard
from outbox_operator.adapters.nats.auth import NatsAuth
from outbox_operator.controller.reconcile.nats_connections import NatsConnections
from outbox_operator.plan.jetstream.names import cares_for
from support.nats import NatsServer, connected, with_permissions
from support.waiting import eventually

pytestmark = pytest.mark.integration


class Users:
    """Those who look after something, and which of them were woken."""

    def __init__(self, **names: tuple[str, str | None]) -> None:
        self._names = names
        self.woken: list[str] = []

    def cares_for(self, user: str) -> Heard:
        return frozenset({self._names[user]})

    def wake(self, user: str, _trigger: str) -> None:
        self.woken.append(user)

    async def woken_are(self, *users: str) -> None:
        await eventually(lambda: set(self.woken) == set(users), f"{users} are woken")
        self.woken.clear()


@pytest.fixture
async def users(nats_server: NatsServer, stream_prefix: str) -> AsyncIterator[Users]:
    name = f"{stream_prefix}-A"
    found = Users(
        stream=(name, None), durable=(name, "billing"), neighbour=(f"{name}B", None),
        other=(name, "audit"),
    )  # fmt: skip
    connections = NatsConnections(found.wake, time.monotonic, found.cares_for)
    for user in ("stream", "durable", "neighbour", "other"):
        await connections.admin(nats_server.auth, user)
    yield found
    await connections.close()


async def test_who_cares_is_woken(
    users: Users, nats_server: NatsServer, stream_prefix: str
) -> None:
    name, subjects = f"{stream_prefix}-A", [f"{stream_prefix}.a.>"]
    async with connected(nats_server) as client:
        js = client.jetstream()
        await js.add_stream(name=name, subjects=subjects)
        for durable in ("billing", "audit"):
            await js.add_consumer(name, durable_name=durable, ack_policy="explicit")
        await js.update_stream(name=name, subjects=subjects, max_msgs=7)
        await users.woken_are("stream")
        await js.delete_consumer(name, "billing")
        await users.woken_are("durable")

        async def deleted_and_heard() -> bool:
            """The server loses one of some two thousand of these: see the listener."""
            await js.delete_stream(name)
            with contextlib.suppress(AssertionError):
                await eventually(lambda: "stream" in users.woken, "heard", seconds=5)
                return True
            await js.add_stream(name=name, subjects=subjects)
            return False

        await eventually(deleted_and_heard, "the stream's is woken")
        assert "neighbour" not in users.woken


async def test_many_advisories_are_told_at_once(
    users: Users, nats_server: NatsServer, stream_prefix: str
) -> None:
    """Also those that a server, or somebody who may publish there, makes up."""
    async with connected(nats_server) as client:
        for number in range(5000):
            await client.publish(f"$JS.EVENT.ADVISORY.STREAM.UPDATED.X{number}", b"\xff")
        await client.publish("$JS.EVENT.ADVISORY.STREAM.UPDATED.X", b"x" * 100_000)
        await client.flush()

        async def heard() -> bool:
            await client.publish(f"$JS.EVENT.ADVISORY.STREAM.UPDATED.{stream_prefix}-A", b"")
            await client.flush()
            return bool(users.woken)

        await eventually(heard, "what concerns somebody is heard behind them")
    assert set(users.woken) == {"stream"}


async def test_who_may_not_hear_them_works_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rights = {"publish": ["$JS.API.>"], "subscribe": ["_INBOX.>"]}
    with caplog.at_level("INFO"), NatsServer(with_permissions(tenant=rights)) as server:
        auth = NatsAuth(url=server.url, username="tenant", password="tenant")
        connections = NatsConnections(lambda _user, _trigger: None, time.monotonic)
        admin = await connections.admin(auth, "a")
        assert await admin.stream_info("NONE") is None
        said = [one.getMessage() for one in caplog.records if "ADVISORY" in one.getMessage()]
        assert len(said) == 3
        assert all(one.startswith("changes of streams are seen at the next look") for one in said)
        await connections.close()


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (None, set()),
        ({"kind": "EventStream", "spec": {"name": "A"}}, {("A", None), ("A_DLQ", None)}),
        ({"kind": "EventStream", "spec": {"name": "A", "deadLetter": {"name": "L"}}},
         {("A", None), ("L", None)}),
        ({"kind": "EventConsumer", "spec": {}}, set()),
        ({"kind": "EventConsumer", "status": {"consumer": {"stream": "A", "name": "b"}}},
         {("A", "b")}),
        ({"kind": "OutboxPipeline", "spec": {"stream": {"name": "A"}}}, set()),
    ],
)  # fmt: skip
def test_what_a_resource_cares_for(body: dict[str, object] | None, names: Heard) -> None:
    assert cares_for(body) == names
