"""Writers that go on whatever happens, and the question afterwards: is everything there?"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import asyncpg

from support.relaying import Outbox, check_delivery, per_key


@contextlib.asynccontextmanager
async def writing(outbox: Outbox, keys: int = 4) -> AsyncIterator[None]:
    """Write numbered events of a few keys all the while; survives the loss of the database."""
    done = asyncio.Event()

    async def write(key: int) -> None:
        number = 0
        while not done.is_set():
            try:
                async with outbox.session() as connection:
                    while not done.is_set():
                        await outbox.add(f"k{key}", value=number, on=connection)
                        number += 1
                        await asyncio.sleep(0.002)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                # Whether the last insert was committed is unknown; a number skipped is harmless.
                number += 1
                await asyncio.sleep(0.05)

    tasks = [asyncio.create_task(write(key)) for key in range(keys)]
    try:
        yield
    finally:
        done.set()
        await asyncio.gather(*tasks)


async def check_everything(outbox: Outbox) -> None:
    """All committed events are in the stream, once, in order by key."""
    async with outbox.session() as connection:
        rows = await connection.fetch("SELECT event_id FROM outbox.events")
    stored = await outbox.stored(len(rows))
    check_delivery(stored, [str(row[0]) for row in rows])
    for key, messages in per_key(stored):
        numbers = [int(message.data) for message in messages]
        assert numbers == sorted(numbers), f"key {key} out of order"
