"""Many at a time, and those who do not go on: the others are answered all the same."""

from __future__ import annotations

import asyncio
import socket
from urllib.parse import urlsplit

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from outbox_operator.archive.api import admission
from outbox_operator.archive.api.patience import BoundedProtocol
from outbox_operator.wire.advisory_locks import schema_lock
from support.archive_api import Client, FilledArchive, serving
from support.waiting import ended, eventually

pytestmark = pytest.mark.integration
HALVES = {
    "nothing": b"",
    "a head": b"GET /v1/events HTTP/1.1\r\nHost: a\r\n",
    "a body": b"POST /v1/exports HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{",
}


@pytest.mark.parametrize("name", HALVES)
async def test_who_does_not_go_on_is_cut_off(
    client: Client, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(BoundedProtocol, "request_seconds", 0.2)
    address = urlsplit(str(client.http.base_url))
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(HALVES[name])

    async def all_of_it() -> bytes:
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""

    await ended(asyncio.create_task(all_of_it()), "the connection")
    writer.close()
    assert (await client.get("/v1/events")).status_code == 200


async def test_who_takes_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoundedProtocol, "answer_seconds", 0.2)
    gone = asyncio.Event()

    async def answer(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        # More than the buffers of both ends.
        await send({"type": "http.response.body", "body": bytes(64 * 1024 * 1024)})
        gone.set()

    config = uvicorn.Config(answer, lifespan="off", log_config=None)
    server = await asyncio.get_running_loop().create_server(
        lambda: BoundedProtocol(config, ServerState(), {}), "127.0.0.1", 0
    )
    async with server:
        with socket.create_connection(server.sockets[0].getsockname()) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await ended(asyncio.create_task(gone.wait()), "the answer")


async def test_one_tenant_leaves_room_for_the_others(
    archive: FilledArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here its exports wait for a batch that is being stored, and may do so for long."""
    monkeypatch.setattr(admission, "TURN_SECONDS", 0.5)
    async with archive.place, serving(archive.config, archive.issuer) as client:
        root, look = archive.place.root, await archive.place.open(None)

        async def export(tenant: str) -> int:
            headers = client.headers(tenant=tenant)
            return (await client.http.post("/v1/exports", json={}, headers=headers)).status_code

        async def waits() -> bool:
            return bool(await look.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

        async with root.transaction():
            await root.execute(
                "SELECT pg_advisory_xact_lock($1)", schema_lock("archive", "archive")
            )
            exports = [asyncio.create_task(export("acme")) for _ in range(20)]
            await eventually(waits, "an export waits for the batch")
            assert (await client.get("/v1/events", tenant="globex")).status_code == 200
            assert (await client.get("/v1/events")).status_code == 200
            await eventually(
                lambda: sum(one.done() for one in exports) == 19, "all but one may come again"
            )
        statuses = sorted(await asyncio.gather(*exports))
        assert statuses == [200] + [429] * 19
        assert await export("acme") == 200
