"""Servers that a tenant names answer nonsense: the status says so, whatever it is."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import pytest

from outbox_operator.adapters.nats.auth import NatsAuth
from outbox_operator.api import meta
from outbox_operator.controller.exported import Exported
from outbox_operator.controller.reconcile.background import Background
from outbox_operator.controller.reconcile.cluster import ClusterIdentity
from outbox_operator.controller.reconcile.context import Context
from outbox_operator.controller.reconcile.nats_connections import NatsConnections
from outbox_operator.controller.reconcile.postgres_connections import PostgresConnections
from outbox_operator.controller.reconcile.redis_connections import RedisConnections
from outbox_operator.controller.reconcile.room import Room
from outbox_operator.controller.reconcile.secrets import Secrets
from outbox_operator.controller.reconcile.stream import StreamReconciler
from outbox_operator.controller.runtime.objects import Objects
from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.controller.settings import Settings
from outbox_operator.errors import NatsError

pytestmark = pytest.mark.integration

GREETING = {"version": "2.11.0", "max_payload": 1048576, "jetstream": True, "headers": True}
KEY = ObjectKey(meta.STREAM, "shop", "orders")


class ApiServer:
    """Takes what a reconciler writes."""

    def __init__(self, secret: Mapping[str, bytes]) -> None:
        self._secret = secret
        self.status: dict[str, Any] = {}

    async def get(self, _ref: object) -> None:
        return None

    async def secret(self, _namespace: str, _name: str) -> Mapping[str, bytes]:
        return self._secret

    async def merge_metadata(self, *_: object, **__: object) -> None:
        return None

    async def record_event(self, *_: object, **__: object) -> None:
        return None

    async def apply_status(self, manifest: Mapping[str, Any]) -> None:
        self.status = manifest["status"]

    @property
    def ready(self) -> dict[str, Any]:
        """The condition Ready."""
        (found,) = (one for one in self.status["conditions"] if one["type"] == "Ready")
        return dict(found)


@asynccontextmanager
async def answering(document: object, more: int = 0, **greeting: object) -> AsyncIterator[str]:
    """A NATS server that answers every request with one document.

    Args:
        document: The answer.
        more: Bytes that are said to come behind it, and do not.
        greeting: What it says of itself.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"INFO " + json.dumps({**GREETING, **greeting}).encode() + b"\r\n")
        subscription = b""
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while line := await reader.readline():
                words = line.split()
                if words[0] == b"PING":
                    writer.write(b"PONG\r\n")
                elif words[0] == b"SUB":
                    subscription = words[-1]
                elif words[0] == b"PUB":
                    await reader.readexactly(int(words[-1]) + 2)
                    said = json.dumps(document).encode()
                    head = b"MSG %s %s %d\r\n" % (words[2], subscription, len(said) + more)
                    writer.write(head + said + (b"" if more else b"\r\n"))
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    sessions: list[asyncio.Task[None]] = []
    server = await asyncio.start_server(
        lambda r, w: sessions.append(asyncio.create_task(serve(r, w))), "127.0.0.1", 0
    )
    try:
        yield f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await asyncio.gather(*sessions)  # they end with their connections


async def one_pass(url: str, api: ApiServer, **nats: object) -> None:
    """One pass over an EventStream whose status says nothing yet."""
    kube = cast(Any, api)
    absent = cast(Any, None)
    objects = Objects()
    objects.observed(
        {
            "apiVersion": meta.API_VERSION,
            "kind": meta.STREAM,
            "metadata": {
                "name": "orders", "namespace": "shop", "uid": "u", "generation": 1,
                "resourceVersion": "1", "creationTimestamp": "2026-01-01T00:00:00Z",
            },
            "spec": {"name": "ORDERS", "subjects": ["orders.>"], "nats": {"url": url, **nats}},
        }
    )  # fmt: skip
    connections = NatsConnections(lambda _user, _trigger: None, time.monotonic)
    context = Context(
        kube=kube,
        objects=objects,
        children=absent,
        settings=Settings(image="i", lease_namespace="system", identity="a"),
        exported=Exported(lambda _key: None, 60),
        wake=lambda _key, _trigger: None,
        secrets=Secrets(kube, time.monotonic, 60.0),
        nats=connections,
        redis=RedisConnections(lambda _user, _trigger: None, time.monotonic),
        postgres=PostgresConnections(lambda _user, _trigger: None, time.monotonic),
        background=Background(lambda _key, _trigger: None),
        comparisons=Room(lambda _key, _trigger: None),
        cluster=ClusterIdentity(kube),
    )
    try:
        with suppress(TypeError, AttributeError):  # raised once it has been said
            await StreamReconciler(context).reconcile(KEY, "test")
    finally:
        await connections.close()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"error": "no"}, "refused it: no"),
        ({"error": [1]}, "refused it"),
        ({"error": {"code": "x", "description": "y" * 100_000}}, "refused it: yyy"),
        ({}, "a program other than JetStream"),
        ({"config": None}, "a program other than JetStream"),
        ({"config": {"name": "ORDERS"}, "state": [1]}, "a program other than JetStream"),
        ({"config": {"name": "ORDERS"}, "created": 5}, "a program other than JetStream"),
        ({"config": {"name": "ORDERS"}, "state": {"bytes": "x"}}, "a program other than JetStream"),
        ({"config": {"name": "ORDERS", "metadata": 5, "subjects": 5}}, "ended unexpectedly"),
        ({"config": {"name": "ORDERS", "x": [[]] * 50_000}}, "a program other than JetStream"),
    ],
)
async def test_a_status_says_that_a_server_answers_nonsense(answer: object, words: str) -> None:
    api = ApiServer({})
    async with answering(answer) as url:
        await one_pass(url, api)
    assert api.ready["status"] == "False"
    assert words in api.ready["message"]
    assert len(api.ready["message"]) < 1000


async def test_a_greeting_may_be_nonsense() -> None:
    api = ApiServer({})
    async with answering({}, max_payload="much") as url:
        await one_pass(url, api)
    assert "max_payload" in api.ready["message"]


async def test_a_long_message_is_cut() -> None:
    """A Secret of many keys, none of which is the one that is named."""
    api = ApiServer({f"key-{number:04}": b"x" for number in range(1000)})
    await one_pass("nats://127.0.0.1:1", api, credentialsSecretRef={"name": "s", "key": "creds"})
    assert api.ready["message"].endswith("key-0009 and 990 more)")
    assert api.ready["reason"] == "SecretKeyNotFound"


async def test_a_url_may_be_none() -> None:
    api = ApiServer({})
    await one_pass("nats://nats:99999", api)
    assert "not the URL of a server" in api.ready["message"]
    assert api.ready["reason"] == "InvalidSpec"


async def test_half_an_answer_takes_room_of_its_namespace_alone() -> None:
    large = {"config": {"name": "ORDERS", "description": "x" * 1_000_000}}
    connections = NatsConnections(lambda _user, _trigger: None, time.monotonic)

    async def description(url: str, namespace: str) -> int:
        admin = await connections.admin(NatsAuth(url=url), ObjectKey(meta.STREAM, namespace, "x"))
        found = await admin.stream_info("ORDERS")
        assert found is not None
        return len(found.config["description"])

    async with (
        answering({}, more=16_000_000) as half,
        answering(large) as theirs,
        answering(large) as neighbours,
    ):
        try:
            with pytest.raises(NatsError, match="no answer"):
                await description(half, "shop")
            with pytest.raises(NatsError, match="a program other than JetStream"):
                await description(theirs, "shop")
            assert await description(neighbours, "stock") == 1_000_000
        finally:
            await connections.close()
