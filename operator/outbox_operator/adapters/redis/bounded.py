"""A stream of bytes that ends when one answer is larger than anything that was asked for."""

from __future__ import annotations

import asyncio
from typing import Final

_LINES_AT_ONCE: Final = 500


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
        self._lines = 0

    def begin(self) -> None:
        """An answer is whole: count from nothing."""
        self._read = 0

    async def readline(self) -> bytes:
        """See StreamReader.

        Raises:
            ConnectionError: The answer is too large.
        """
        self._lines += 1
        if self._lines % _LINES_AT_ONCE == 0:
            await asyncio.sleep(0)  # what has come already is read without giving way
        found = await self._reader.readline()
        self._count(len(found))
        if found[:1] == b"*" and found[1:-2].isdigit():
            self._bound(int(found[1:-2]))  # each part of a list takes more than a byte
        return found

    async def readexactly(self, n: int) -> bytes:
        """See StreamReader.

        Raises:
            ConnectionError: The answer is too large; said before it is read.
        """
        self._count(n)
        return await self._reader.readexactly(n)

    def _count(self, more: int) -> None:
        self._read += more
        self._bound(self._read)

    def _bound(self, size: int) -> None:
        if size > self._most:
            raise ConnectionError(f"an answer of more than {self._most} bytes")

    def at_eof(self) -> bool:
        """See StreamReader."""
        return self._reader.at_eof()
