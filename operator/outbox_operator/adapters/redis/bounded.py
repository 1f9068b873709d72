"""A stream of bytes that ends when one answer is larger than anything that was asked for."""

from __future__ import annotations

import asyncio


class BoundedReader:
    """Reads as a StreamReader does, and no more than so many bytes of an answer.

    The driver keeps what it has read until an answer is whole; a server that never ends one would
    take all memory of the process.

    Args:
        reader: Where the bytes come from.
        most: Bytes between two calls of `begin`.
    """

    def __init__(self, reader: asyncio.StreamReader, most: int) -> None:
        self._reader = reader
        self._most = most
        self._read = 0

    def begin(self) -> None:
        """An answer is whole: count from nothing."""
        self._read = 0

    async def read(self, n: int = -1) -> bytes:
        """See StreamReader.

        Raises:
            ConnectionError: The answer is too large.
        """
        found = await self._reader.read(n)
        self._read += len(found)
        if self._read > self._most:
            raise ConnectionError(f"an answer of more than {self._most} bytes")
        return found

    def at_eof(self) -> bool:
        """See StreamReader."""
        return self._reader.at_eof()
