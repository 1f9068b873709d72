"""Makes a Parquet file of the lines that PostgreSQL copies out, piece by piece.

Called by `archive.api.exporting`. Memory holds one group of rows, which is cut by its bytes as well
as by its rows; the library works in a thread, and nothing is read while who takes the file is slow.
"""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, ParamSpec, TypeVar

from arro3.core import Array, DataType, Field, RecordBatch, RecordBatchReader, Schema
from arro3.io import write_parquet

from outbox_operator.adapters.postgres.archive_select import is_moment, is_number
from outbox_operator.archive.api.parquet_footer import MAGIC, Footer
from outbox_operator.errors import PostgresError

P = ParamSpec("P")
T = TypeVar("T")
_BATCH_ROWS: Final = 1000
_BATCH_BYTES: Final = 1024 * 1024
_GROUP_ROWS: Final = 100_000
_GROUP_BYTES: Final = 16 * 1024 * 1024
"""Of a group of rows, before it is compressed; one larger event is one by itself."""
_PIECE_BYTES: Final = 64 * 1024
_NULL: Final = b"\\N"
_ESCAPED: Final = re.compile(rb"\\(.)", re.S)
_ESCAPES: Final = {
    b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"
}  # fmt: skip


class ParquetSink:
    """Takes lines of COPY, and hands over the bytes of a file.

    Args:
        fields: Columns of the events, in order of the lines' fields.
        out: Takes bytes, and may take its time.
    """

    def __init__(self, fields: Sequence[str], out: Callable[[bytes], Awaitable[None]]) -> None:
        self._fields = tuple(fields)
        self._schema = Schema([Field(name, _type(name), nullable=True) for name in fields])
        self._out = out
        self._parts: list[bytes] = []
        self._lines: list[bytes] = []
        self._bytes = 0
        self._batches: list[RecordBatch] = []
        self._group_rows = 0
        self._group_bytes = 0
        self._footer = Footer()
        self._written = 0

    async def feed(self, data: bytes) -> None:
        """Take a piece, which may end anywhere in a line.

        Raises:
            PostgresError: The library does not take it.
        """
        data = bytes(data)
        if b"\n" not in data:
            self._parts.append(data)
            return
        *lines, rest = b"".join((*self._parts, data)).split(b"\n")
        self._parts = [rest] if rest else []
        for line in lines:
            if self._bytes and self._bytes + len(line) > _BATCH_BYTES:
                await self._take_batch()
            self._lines.append(line)
            self._bytes += len(line)
            if len(self._lines) >= _BATCH_ROWS:
                await self._take_batch()

    async def end(self) -> None:
        """That was all: make the end of the file. Raises as `feed`."""
        await self._take_batch()
        if self._batches or not self._written:
            await self._write_group()
        await self._hand_over(self._footer.end())

    async def _take_batch(self) -> None:
        """Have the library take the lines so far; before, write the group if they are too many."""
        lines, size = self._lines, self._bytes
        self._lines, self._bytes = [], 0
        if not lines:
            return
        rows = self._group_rows + len(lines)
        if self._batches and (rows > _GROUP_ROWS or self._group_bytes + size > _GROUP_BYTES):
            await self._write_group()
        self._batches.append(await _made(self._batch, lines))
        self._group_rows += len(lines)
        self._group_bytes += size

    async def _write_group(self) -> None:
        batches, self._batches = self._batches, []
        self._group_rows = self._group_bytes = 0
        file = await _made(self._file, batches)
        if not self._written:
            await self._hand_over(MAGIC)
        await self._hand_over(await _made(self._footer.add, file, self._written))

    async def _hand_over(self, data: bytes | memoryview) -> None:
        for start in range(0, len(data), _PIECE_BYTES):
            await self._out(bytes(data[start : start + _PIECE_BYTES]))
        self._written += len(data)

    def _batch(self, lines: Sequence[bytes]) -> RecordBatch:
        cells = zip(*(line.split(b"\t") for line in lines), strict=True)
        arrays = [_array(*column) for column in zip(self._fields, cells, strict=True)]
        return RecordBatch.from_arrays(arrays, schema=self._schema)

    def _file(self, batches: Sequence[RecordBatch]) -> bytes:
        """A whole file of one group of rows."""
        file = io.BytesIO()
        write_parquet(
            RecordBatchReader.from_batches(self._schema, iter(batches)),
            file,
            max_row_group_size=2 * _GROUP_ROWS,
            compression="zstd(3)",
            created_by="outbox-operator",
        )
        return file.getvalue()


async def _made(work: Callable[P, T], *args: P.args, **others: P.kwargs) -> T:
    """What comes of some work of the library, in a thread. Raises PostgresError."""
    try:
        return await asyncio.to_thread(work, *args, **others)
    except Exception as error:  # the library makes one of its own of whatever it meets
        raise PostgresError(f"no Parquet file could be made: {str(error)[:500]}") from error


def _type(name: str) -> DataType:
    if is_moment(name):
        return DataType.timestamp("us", tz="UTC")
    return DataType.int64() if is_number(name) else DataType.utf8()


def _array(name: str, cells: Sequence[bytes]) -> Array:
    if is_moment(name) or is_number(name):
        numbers = [None if cell == _NULL else int(cell) for cell in cells]
        return Array(numbers, DataType.int64()).cast(_type(name))
    return Array([None if cell == _NULL else _text(cell) for cell in cells], DataType.utf8())


def _text(cell: bytes) -> str:
    if b"\\" in cell:
        cell = _ESCAPED.sub(lambda found: _ESCAPES.get(found[1], found[1]), cell)
    return cell.decode()
