"""Servers without JetStream, without room, without rights, or without an answer."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from outbox_operator.adapters.nats import api
from outbox_operator.adapters.nats.admin import JetStreamAdmin
from outbox_operator.adapters.nats.api import JetStreamApi
from outbox_operator.adapters.nats.auth import NatsAuth
from outbox_operator.adapters.nats.connection import connect as connect_with
from outbox_operator.adapters.nats.dead_letters import DeadLetters
from outbox_operator.adapters.nats.driver import WireClient
from outbox_operator.adapters.nats.publisher import Publisher
from outbox_operator.adapters.nats.pull_consumer import PullConsumer
from outbox_operator.errors import (
    AccessDeniedError,
    CredentialsError,
    NatsError,
    SpecError,
    UnsupportedServerError,
)
from outbox_operator.plan.jetstream.stream_config import desired_stream
from support.jetstream import OWNER, stream_spec
from support.nats import NatsOptions, NatsServer, connected
from support.waiting import eventually

pytestmark = pytest.mark.integration


async def test_server_without_jetstream() -> None:
    with NatsServer(NatsOptions(jetstream=False)) as server:
        async with connected(server) as client:
            admin = JetStreamAdmin(client, server.auth)
            with pytest.raises(UnsupportedServerError, match="JetStream is not enabled") as caught:
                await admin.stream_info("ORDERS")
    assert caught.value.reason == "JetStreamNotEnabled"
    assert server.auth.address in caught.value.message


ACCOUNTS: dict[str, Any] = {
    "accounts": {
        "PLAIN": {"users": [{"user": "plain", "password": "p"}]},
        "SMALL": {
            "users": [{"user": "small", "password": "p"}],
            "jetstream": {"max_file": 1_000_000, "max_mem": 100_000},
        },
        "BUSY": {
            "users": [
                {"user": "busy", "password": "p", "permissions": {"publish": "orders.>"}},
                {"user": "deaf", "password": "p", "permissions": {"subscribe": "orders.>"}},
            ],
            "jetstream": "enabled",
        },
    }
}


async def test_account_without_jetstream() -> None:
    with NatsServer(NatsOptions(extra=ACCOUNTS)) as server:
        auth = NatsAuth(url=server.url, username="plain", password="p")
        client = await connect_with(auth, name="tests")
        try:
            with pytest.raises(UnsupportedServerError, match="JetStream is not enabled"):
                await JetStreamAdmin(client, auth).account_info()
        finally:
            await client.close()


@pytest.mark.parametrize("storage", ["File", "Memory"])
async def test_more_than_the_account_has(storage: str) -> None:
    with NatsServer(NatsOptions(extra=ACCOUNTS)) as server:
        auth = NatsAuth(url=server.url, username="small", password="p")
        client = await connect_with(auth, name="tests")
        try:
            admin = JetStreamAdmin(client, auth)
            first = stream_spec("FIRST", maxBytes="40k", storage=storage)
            await admin.create_stream(desired_stream(first, OWNER))
            big = stream_spec("ORDERS", maxBytes="1Gi", storage=storage)
            with pytest.raises(SpecError) as caught:
                await admin.create_stream(desired_stream(big, OWNER))
        finally:
            await client.close()
    most = 1_000_000 if storage == "File" else 100_000
    assert caught.value.reason == "StorageExceeded"
    assert "maxBytes wants 1073741824 bytes" in caught.value.message
    assert f"{most - 40_000} bytes of the account's {most} are left" in caught.value.message


async def test_more_than_the_server_has() -> None:
    with NatsServer(NatsOptions(max_file=1_000_000)) as server:
        async with connected(server) as client:
            admin = JetStreamAdmin(client, server.auth)
            spec = stream_spec("ORDERS", maxBytes="2M")
            with pytest.raises(SpecError, match="max_file") as caught:
                await admin.create_stream(desired_stream(spec, OWNER))
            small = stream_spec("ORDERS", maxBytes="500k")
            await admin.create_stream(desired_stream(small, OWNER))
            with pytest.raises(SpecError, match="maxBytes wants 2000000 bytes"):
                await admin.update_stream(desired_stream(spec, OWNER))
    assert caught.value.reason == "StorageExceeded"


async def test_more_replicas_than_servers(newest: JetStreamAdmin, prefix: str) -> None:
    with pytest.raises(UnsupportedServerError, match="NATS cluster"):
        await newest.create_stream(desired_stream(stream_spec(prefix, replicas=3), OWNER))


async def test_configuration_the_server_refuses(newest: JetStreamAdmin, prefix: str) -> None:
    spec = stream_spec(prefix, subjects=["$JS.API.STREAM.x"])
    with pytest.raises(SpecError, match=f"stream {prefix}: .*error 10052"):
        await newest.create_stream(desired_stream(spec, OWNER))


@pytest.fixture(scope="module")
def accounts() -> Iterator[NatsServer]:
    with NatsServer(NatsOptions(extra=ACCOUNTS)) as server:
        yield server


Asks = Callable[[WireClient, NatsAuth], Awaitable[None]]


async def ask_as_operator(client: WireClient, auth: NatsAuth) -> None:
    await JetStreamAdmin(client, auth).stream_info("ORDERS")


async def ask_as_relay(_: WireClient, auth: NatsAuth) -> None:
    publisher = await Publisher.open(auth, name="tests", stream="ORDERS")
    try:
        await publisher.facts()
    finally:
        await publisher.close()


async def ask_as_consumer(client: WireClient, auth: NatsAuth) -> None:
    def ignore(_: object = None) -> None: ...

    reader = PullConsumer(
        client, auth, "ORDERS", "x", on_delivery=ignore, on_change=ignore, on_refused=ignore
    )
    await reader.verify()


async def ask_for_dead_letters(client: WireClient, auth: NatsAuth) -> None:
    await DeadLetters(client, auth, "ORDERS").show(1)


async def collect_dead_letters(client: WireClient, auth: NatsAuth) -> None:
    await JetStreamApi(client, auth).publish("secret", b"", {"a": "b"}, "copy")


ROLES = {
    "operator": ask_as_operator,
    "relay": ask_as_relay,
    "consumer": ask_as_consumer,
    "dead-letters": ask_for_dead_letters,
    "publish": collect_dead_letters,
}


@pytest.mark.parametrize("ask", ROLES.values(), ids=ROLES)
async def test_user_who_may_not_ask(
    accounts: NatsServer, ask: Asks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks gets the same diagnosis, and without waiting for an answer."""
    monkeypatch.setattr(api, "REQUEST_SECONDS", 60.0)
    auth = NatsAuth(url=accounts.url, username="busy", password="p")
    client = await connect_with(auth, name="tests")
    try:
        async with asyncio.timeout(30):
            with pytest.raises(AccessDeniedError, match="may not publish on") as caught:
                await ask(client, auth)
    finally:
        await client.close()
    assert re.search(r"on (\$JS\.API\.\S+|secret) at nats://", caught.value.message)
    assert "allow publish on" in caught.value.message


@pytest.mark.parametrize("ask", ROLES.values(), ids=ROLES)
async def test_user_who_may_not_hear_the_answer(accounts: NatsServer, ask: Asks) -> None:
    auth = NatsAuth(url=accounts.url, username="deaf", password="p")
    client = await connect_with(auth, name="tests")
    try:
        for _ in range(2):
            with pytest.raises(AccessDeniedError, match=r"may not subscribe on _INBOX\."):
                await ask(client, auth)
    finally:
        await client.close()


@pytest.mark.parametrize("ask", [ask_as_relay, ask_as_consumer, ask_for_dead_letters])
async def test_a_stream_that_does_not_exist_has_one_reason(accounts: NatsServer, ask: Asks) -> None:
    auth = NatsAuth(url=accounts.url, username="small", password="p")
    client = await connect_with(auth, name="tests")
    try:
        with pytest.raises(NatsError, match="stream does not exist") as caught:
            await ask(client, auth)
    finally:
        await client.close()
    assert caught.value.reason == "StreamNotFound"


async def test_server_that_stopped_answering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "REQUEST_SECONDS", 0.3)
    with NatsServer() as server:
        async with connected(server) as client:
            server.pause()
            try:
                with pytest.raises(NatsError, match="no answer from JetStream") as caught:
                    await JetStreamAdmin(client, server.auth).stream_info("ORDERS")
            finally:
                server.resume()
    assert caught.value.retryable


async def test_lost_connection_is_said_at_once_with_the_reason() -> None:
    with NatsServer() as server:
        async with connected(server) as client:
            admin = JetStreamAdmin(client, server.auth)
            server.kill()
            await eventually(lambda: "refused" in describe(client.last_error), "refused")
            with pytest.raises(NatsError, match="connection refused") as caught:
                await admin.stream_info("ORDERS")
            server.start()
    assert server.auth.address in caught.value.message


async def test_password_changed_on_the_server() -> None:
    with NatsServer(NatsOptions(username="shop", password="old")) as server:
        auth = server.auth
        async with connected(server) as client:
            admin = JetStreamAdmin(client, auth)
            server.restart(password="new")
            await eventually(
                lambda: "authorization" in describe(client.last_error), "the login is refused"
            )
            with pytest.raises(CredentialsError):
                await admin.stream_info("ORDERS")


def describe(error: Exception | None) -> str:
    return f"{type(error).__name__} {error}".lower()


async def test_domain() -> None:
    with NatsServer(NatsOptions(extra={"jetstream": {"domain": "hub"}})) as server:
        async with connected(server) as client:
            right = NatsAuth(url=server.url, domain="hub")
            assert await JetStreamAdmin(client, right).stream_info("ORDERS") is None
            wrong = NatsAuth(url=server.url, domain="spoke")
            with pytest.raises(NatsError, match="domain 'spoke'") as caught:
                await JetStreamAdmin(client, wrong).stream_info("ORDERS")
    assert caught.value.reason == "JetStreamUnavailable"


async def test_api_level_of_each_generation(any_server: NatsServer) -> None:
    async with connected(any_server) as client:
        admin = JetStreamAdmin(client, any_server.auth)
        assert admin.api_level == (await admin.account_info()).api_level
