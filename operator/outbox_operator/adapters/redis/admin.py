"""What is made in a server before a relay can publish: a stream and its companion."""

from __future__ import annotations

import datetime as dt

from outbox_operator.adapters.redis.connection import Wire
from outbox_operator.adapters.redis.entries import companion
from outbox_operator.adapters.redis.login import RedisLogin
from outbox_operator.adapters.redis.scripts import MAKE
from outbox_operator.errors import ConflictError


async def make_stream(login: RedisLogin, key: str, *, name: str = "outbox") -> str:
    """Make a stream with its companion; what is there stays, with its entries.

    Returns:
        When it was created, in RFC 3339.

    Raises:
        ConflictError: The key holds something else.
        OutboxError: The server is away, or refuses.
    """
    wire = await Wire.open(login, name=name, on_lost=lambda: None)
    try:
        now = dt.datetime.now(dt.UTC).isoformat()
        what, found = await wire.run(f"make stream {key}", MAKE, [key, companion(key)], now)
        if what == b"TYPE":
            raise ConflictError(
                f"Redis at {login.address}: key {key} holds a {found.decode()}, wanted a stream or "
                "nothing"
            )
        return str(found.decode())
    finally:
        await wire.close()
