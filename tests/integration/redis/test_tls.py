"""TLS to Redis: with the server's authority and a client certificate, or not at all.

The server of the tests speaks no TLS, so that something before it does, as in front of many.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from outbox_operator.adapters.redis.admin import RedisAdmin
from outbox_operator.adapters.redis.login import RedisLogin
from outbox_operator.errors import RedisError
from support.certificates import Certificates
from support.redis import RedisServer

pytestmark = pytest.mark.integration


@contextlib.asynccontextmanager
async def encrypted(server: RedisServer, certificates: Certificates) -> AsyncIterator[str]:
    """The server behind one that demands a certificate of the client."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.path("server.pem"), certificates.path("server.key"))
    context.load_verify_locations(certificates.path("ca.pem"))
    context.verify_mode = ssl.CERT_REQUIRED
    tasks: set[asyncio.Task[None]] = set()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs = await asyncio.open_connection("127.0.0.1", server.port)
        for pair in ((reader, theirs[1]), (theirs[0], writer)):
            tasks.add(asyncio.create_task(copy(*pair)))

    front = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield f"rediss://localhost:{front.sockets[0].getsockname()[1]}"
    finally:
        front.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_authority_and_certificate(redis_server: RedisServer, tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    ca, cert, key = (certificates.text(name) for name in ("ca.pem", "client.pem", "client.key"))
    async with encrypted(redis_server, certificates) as url:
        good = RedisLogin(url=url, ca_pem=ca, cert_pem=cert, key_pem=key)
        admin = await RedisAdmin.open(good, name="tests")
        assert (await admin.server()).writes
        await admin.close()
        for login, words in (
            (RedisLogin(url=url), "not trusted"),
            (RedisLogin(url=url, ca_pem=ca), "Redis at rediss://localhost"),
        ):
            with pytest.raises(RedisError, match=words):
                await _asked(login)


async def _asked(login: RedisLogin) -> None:
    admin = await RedisAdmin.open(login, name="tests")
    try:
        await admin.server()
    finally:
        await admin.close()
