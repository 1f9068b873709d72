"""Makes a Parquet file of the lines that PostgreSQL copies out, piece by piece.

Called by `archive.api.exporting`. The library works in a thread; what it wants and what it has made
goes through the event loop, so that it is as slow as who takes the file. Memory holds one group of
rows, whose size the first events decide.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final

from arro3.core import Array, DataType, Field, RecordBatch, RecordBatchReader, Schema
from arro3.io import write_parquet

from outbox_operator.adapters.postgres.archive_select import is_moment, is_number
from outbox_operator.errors import PostgresError

_BATCH_ROWS: Final = 1000
_BATCH_BYTES: Final = 1024 * 1024
_GROUP_BYTES: Final = 16 * 1024 * 1024
"""Of a group of rows, before it is compressed, as the first events lead to expect."""
_MOST_GROUP_BYTES: Final = 8 * _GROUP_BYTES
_GROUP_ROWS: Final = (100, 100_000)
_PIECE_BYTES: Final = 64 * 1024
_NULL: Final = b"\\N"
_ESCAPED: Final = re.compile(rb"\\(.)", re.S)
_ESCAPES: Final = {
    b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"
}  # fmt: skip
Lines = list[bytes]


class ParquetSink:
    """Takes lines of COPY, and hands over the bytes of a file.

    Args:
        fields: Columns of the events, in order of the lines' fields.
        out: Takes bytes, and may take its time.
    """

    def __init__(self, fields: Sequence[str], out: Callable[[bytes], Awaitable[None]]) -> None:
        self._fields = tuple(fields)
        self._out = out
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Lines | None] = asyncio.Queue(1)
        self._parts: list[bytes] = []
        self._lines: Lines = []
        self._bytes = 0
        self._asked: concurrent.futures.Future[Any] | None = None
        self._given_up = False
        self._refusal: PostgresError | None = None
        self._group_rows = _GROUP_ROWS[1]
        self._writing: asyncio.Future[None] | None = None

    async def feed(self, data: bytes) -> None:
        """Take a piece, which may end anywhere in a line.

        Raises:
            PostgresError: An event is too large for the others.
        """
        data = bytes(data)
        if b"\n" not in data:
            self._parts.append(data)
            return
        *lines, rest = b"".join((*self._parts, data)).split(b"\n")
        self._parts = [rest] if rest else []
        for line in lines:
            self._lines.append(line)
            self._bytes += len(line)
            if len(self._lines) >= _BATCH_ROWS or self._bytes >= _BATCH_BYTES:
                await self._pass_on()

    async def end(self) -> None:
        """That was all: make the end of the file. Raises as `feed`."""
        await self._pass_on()
        await self._put(None)
        if self._writing is not None:
            await self._writing

    async def give_up(self) -> None:
        """Leave the file as it is, and end the thread; more than once is well."""
        self._given_up = True
        if self._writing is None:
            return
        while not self._writing.done():
            if self._asked is not None:
                self._asked.cancel()
            await asyncio.wait((self._writing,), timeout=0.05)
        self._writing.exception()

    async def _pass_on(self) -> None:
        lines, size = self._lines, self._bytes
        self._lines, self._bytes = [], 0
        if self._writing is None:
            if lines:
                rows = _GROUP_BYTES * len(lines) // max(size, 1)
                self._group_rows = min(max(rows, _GROUP_ROWS[0]), _GROUP_ROWS[1])
            self._writing = asyncio.ensure_future(asyncio.to_thread(self._write))
        if lines:
            await self._put(lines)

    async def _put(self, lines: Lines | None) -> None:
        """Hand lines to the thread, unless it has failed."""
        assert self._writing is not None  # noqa: S101 - `_pass_on` has begun it
        putting = asyncio.ensure_future(self._queue.put(lines))
        try:
            await asyncio.wait((putting, self._writing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            putting.cancel()
        if self._writing.done():
            await self._writing

    def _write(self) -> None:
        try:
            self._write_file()
        except Exception as error:  # the library makes one of its own of whatever it meets
            if self._refusal is not None:
                raise self._refusal from error
            raise PostgresError(f"no Parquet file could be made: {str(error)[:500]}") from error

    def _write_file(self) -> None:
        schema = Schema([Field(name, _type(name), nullable=True) for name in self._fields])
        file = _File(self._hand_over)
        write_parquet(
            RecordBatchReader.from_batches(schema, self._batches(schema)),
            file,  # type: ignore[arg-type]  # of a file it uses `write` alone
            max_row_group_size=self._group_rows,
            compression="zstd(3)",
            created_by="outbox-operator",
        )
        file.close()

    def _batches(self, schema: Schema) -> Iterator[RecordBatch]:
        rows = size = 0
        while (lines := self._ask(self._queue.get)) is not None:
            rows += len(lines)
            size += sum(map(len, lines))
            if size > _MOST_GROUP_BYTES:
                self._refusal = PostgresError(
                    f"{rows} events that follow each other have {size} bytes, many times more than "
                    "those before them: a Parquet file of them takes too much memory; export "
                    "them as ndjson, or by shorter times"
                )
                raise self._refusal
            if rows >= self._group_rows:
                rows = size = 0
            cells = zip(*(line.split(b"\t") for line in lines), strict=True)
            arrays = [_array(*column) for column in zip(self._fields, cells, strict=True)]
            yield RecordBatch.from_arrays(arrays, schema=schema)

    def _hand_over(self, data: bytes) -> None:
        async def take() -> None:
            await self._out(data)

        self._ask(take)

    def _ask(self, what: Callable[[], Any]) -> Any:
        """What the event loop answers, from the thread."""
        if self._given_up:
            raise concurrent.futures.CancelledError
        self._asked = asyncio.run_coroutine_threadsafe(what(), self._loop)
        return self._asked.result()


class _File:
    """What the library takes for a file; passes larger pieces on than it writes."""

    def __init__(self, out: Callable[[bytes], None]) -> None:
        self._out = out
        self._held = bytearray()

    def write(self, data: bytes) -> int:
        self._held += data
        if len(self._held) >= _PIECE_BYTES:
            self._pass_on()
        return len(data)

    def flush(self) -> None:
        """Nothing waits for it."""

    def seek(self, *_: object) -> int:
        """Asked for, and never used by what writes."""
        raise OSError("it goes on, and never back")

    def close(self) -> None:
        if self._held:
            self._pass_on()

    def _pass_on(self) -> None:
        data, self._held = bytes(self._held), bytearray()
        self._out(data)


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
