"""A connection whose transactions begin in one round trip with their first statement."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any, Final

import asyncpg
from asyncpg.transaction import Transaction

from outbox_operator.adapters.postgres.known_types import TypeKnowing

_MORE: Final = getattr(socket, "MSG_MORE", 0)
"""Where systems know it, the kernel waits for more to send."""
_RUN: Final = (
    b"B\0\0\0\x0c\0\0\0\0\0\0\0\0"  # Bind
    b"E\0\0\0\x09\0\0\0\0\0"  # Execute, and no Sync: that of the next statement is for both
)


@lru_cache(maxsize=8)
def message_of(begin: str) -> bytes:
    """What has a server carry out a statement that begins a transaction, and not answer yet."""
    parse = b"\0" + begin.encode() + b"\0\0\0"
    return b"P" + (4 + len(parse)).to_bytes(4, "big") + parse + _RUN


class PipelinedBegin(TypeKnowing):
    """The driver's, which can send BEGIN together with what follows it.

    Attributes:
        opening: A transaction begins with the next statement.
    """

    opening = False

    async def begin(self) -> Transaction:
        """Begin a transaction with the next statement, in one round trip with it.

        Should BEGIN fail, the server passes over that statement and its error is the answer to it.
        Until that is there, set `opening` to False.
        """
        transaction = asyncpg.Connection.transaction(self)
        self.opening = True
        await transaction.start()
        return transaction

    @asynccontextmanager
    async def begun_with(self, query: str, *args: Any, **options: Any) -> AsyncIterator[None]:
        """A transaction that has begun with a statement, in one round trip.

        Args:
            query: The statement; of its answer no more is wanted than that it came.
            args: Its parameters.
            options: As `transaction` takes them.
        """
        self.opening = True
        try:
            async with self.transaction(**options):
                await self.fetch(query, *args)
                self.opening = False
                yield
        finally:
            self.opening = False

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
        """As the driver's, which begins its transactions so."""
        if self.opening and query.startswith("BEGIN"):
            # What it is answered the driver takes for a part of the next answer.
            self._send_with_next(message_of(query))
            return "BEGIN"
        status: str = await super().execute(query, *args, timeout=timeout)
        return status

    def _send_with_next(self, data: bytes) -> None:
        """Send in one packet with what the driver writes next; after its own, where that waits."""
        transport: asyncio.Transport = self._transport  # type: ignore[attr-defined]
        shared: Any = transport.get_extra_info("socket")
        sent = 0
        if (
            shared.family != socket.AF_UNIX
            and transport.get_extra_info("ssl_object") is None
            and not transport.get_write_buffer_size()
        ):
            # The loop has no way to say so, and would wake the server's process twice.
            own = socket.socket(shared.family, shared.type, shared.proto, shared.fileno())
            try:
                sent = own.send(data, _MORE)
            except OSError:
                pass  # full, or lost: the loop's business
            finally:
                own.detach()  # it stays the loop's
        if sent < len(data):
            transport.write(data[sent:])
