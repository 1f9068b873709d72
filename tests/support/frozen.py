"""A process that stands still at one of its statements, as one that was stopped or cut off."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

from outbox_operator.adapters.postgres.connection import connect
from outbox_operator.adapters.postgres.url import parse_url
from support.postgres import sessions_ended
from support.waiting import SECONDS


class FreezingConnection(asyncpg.Connection):
    """Sends so many statements; the next one is never sent, and the connection stays open.

    Attributes:
        left: Statements to go; None: it never stands still.
        stands: That it does.
        stood_at: The statement that was not sent.
    """

    left: int | None = None
    stood_at = ""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.stands = asyncio.Event()

    async def _pass(self, query: str) -> None:
        if self.left is None:
            return
        self.left -= 1
        if self.left < 0:
            self.stood_at = query
            self.stands.set()
            await asyncio.Event().wait()

    async def execute(self, query: str, *args: Any, **options: Any) -> str:
        """As the driver's."""
        await self._pass(query)
        return str(await super().execute(query, *args, **options))

    async def fetch(self, query: str, *args: Any, **options: Any) -> Any:
        """As the driver's."""
        await self._pass(query)
        return await super().fetch(query, *args, **options)

    async def fetchrow(self, query: str, *args: Any, **options: Any) -> Any:
        """As the driver's."""
        await self._pass(query)
        return await super().fetchrow(query, *args, **options)

    async def fetchval(self, query: str, *args: Any, **options: Any) -> Any:
        """As the driver's."""
        await self._pass(query)
        return await super().fetchval(query, *args, **options)


async def frozen_at_each(
    url: str,
    doing: Callable[[FreezingConnection], Awaitable[object]],
    meanwhile: Callable[[str], Awaitable[None]],
    *,
    seconds: float = SECONDS,
) -> int:
    """Do something again and again, each time frozen one statement later, until it comes through.

    Args:
        url: Where to connect.
        doing: What is done.
        meanwhile: What others do while it stands still; told the statement that is not sent.
        seconds: For one of them, at most.

    Returns:
        At how many statements it stood still.
    """
    number = 0
    while True:
        connection = await connect(
            parse_url(url), application_name="frozen", connection_class=FreezingConnection
        )
        assert isinstance(connection, FreezingConnection)
        backend = connection.get_server_pid()
        connection.left = number
        task = asyncio.ensure_future(doing(connection))
        stands = asyncio.ensure_future(_stood(connection))
        try:
            async with asyncio.timeout(seconds):
                await asyncio.wait({task, stands}, return_when=asyncio.FIRST_COMPLETED)
                if not stands.done():
                    await task
                    return number
                await meanwhile(connection.stood_at)
        finally:
            connection.terminate()
            task.cancel()
            stands.cancel()
            await asyncio.gather(task, stands, return_exceptions=True)
        # Until its server process has ended, it holds its locks against the next one.
        await sessions_ended(url, "pid = $1", backend)
        number += 1


async def _stood(connection: FreezingConnection) -> None:
    await connection.stands.wait()
