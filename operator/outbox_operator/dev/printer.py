"""An HTTP handler that prints what it is sent, where a consumer's own does not run here."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

_SHOWN_BYTES = 300


@asynccontextmanager
async def printer(say: Callable[[str], None]) -> AsyncIterator[str]:
    """Serve on loopback for the length of a block; yields the URL, below which any path will do."""

    async def receive(request: web.Request) -> web.Response:
        say(line(request.path.strip("/"), dict(request.headers), await request.read()))
        return web.Response(status=204)

    application = web.Application(client_max_size=64 * 1024 * 1024)
    application.router.add_post("/{consumer}", receive)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


def line(consumer: str, headers: dict[str, str], body: bytes) -> str:
    """An event in one line, from a CloudEvents request of either mode."""
    lower = {name.lower(): value for name, value in headers.items()}
    kind, key, data = lower.get("ce-type"), lower.get("ce-partitionkey", ""), body
    if kind is None:
        event = json.loads(body)
        kind, key = event.get("type", ""), event.get("partitionkey", "")
        data = json.dumps(event.get("data")).encode()
    text = data[:_SHOWN_BYTES].decode(errors="replace") + ("…" if len(data) > _SHOWN_BYTES else "")
    return f"{consumer} <- {kind}{f' of {key}' if key else ''}: {text}"
