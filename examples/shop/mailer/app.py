"""The mailer: an HTTP service that "sends" a mail for every event that is POSTed to it.

Events arrive as CloudEvents. The same event may arrive twice, so its id is the key.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator

import asyncpg
from aiohttp import web

POOL: web.AppKey[asyncpg.Pool] = web.AppKey("pool", asyncpg.Pool)


async def take_event(request: web.Request) -> web.Response:
    """Send a mail. Any answer but 2xx, or none in time, and the event comes again."""
    order = await request.json()
    await request.app[POOL].execute(
        "INSERT INTO public.mails (event_id, order_id, recipient) VALUES ($1, $2, $3) "
        "ON CONFLICT (event_id) DO NOTHING",
        request.headers["ce-id"],
        uuid.UUID(order["id"]),
        order["customer"],
    )
    return web.Response(status=204)


async def ready(request: web.Request) -> web.Response:
    """Ready when the database answers; until then no event is sent here."""
    await request.app[POOL].execute("SELECT 1", timeout=1)
    return web.Response(text="ok\n")


async def database(app: web.Application) -> AsyncIterator[None]:
    """Connections to the mailer's own database, each made when it is needed first."""
    async with asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=0, max_size=8) as pool:
        app[POOL] = pool
        yield


def main() -> None:
    """Serve on port 8000."""
    app = web.Application()
    app.add_routes([web.post("/events", take_event), web.get("/readyz", ready)])
    app.cleanup_ctx.append(database)
    web.run_app(app, port=8000, access_log=None)


if __name__ == "__main__":
    main()
