"""Lines become a Parquet file piece by piece, in the memory of one group of rows."""

from __future__ import annotations

import asyncio
import io
import random
import threading

import pytest
from arro3.io import read_parquet

from outbox_operator.archive.api import parquet
from outbox_operator.archive.api.parquet import ParquetSink
from outbox_operator.errors import PostgresError

FIELDS = ("id", "sequence", "occurred_at")


def line(number: int, text: str = "x") -> bytes:
    return f"{text}\t{number}\t{number * 1_000_000}\n".encode()


class Taker:
    """Takes the bytes of a file, or nothing any more."""

    def __init__(self) -> None:
        self.file = io.BytesIO()
        self.stuck: asyncio.Event | None = None

    async def take(self, data: bytes) -> None:
        if self.stuck is not None:
            await self.stuck.wait()
        self.file.write(data)


async def test_pieces_may_end_anywhere() -> None:
    taker = Taker()
    sink = ParquetSink(FIELDS, taker.take)
    whole = b"".join(line(number) for number in range(2500)) + b"\\N\t\\N\t\\N\n"
    for start in range(0, len(whole), 7):
        await sink.feed(whole[start : start + 7])
    await sink.end()
    await sink.give_up()
    table = read_parquet(taker.file).read_all()
    assert table.column("sequence").to_pylist() == [*range(2500), None]
    assert table.column("id").to_pylist()[-2:] == ["x", None]
    assert table.column("occurred_at").to_pylist()[1].isoformat() == "1970-01-01T00:00:01+00:00"


async def test_groups_are_handed_over_as_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_GROUP_BYTES", 200_000)
    taker = Taker()
    sink = ParquetSink(FIELDS, taker.take)
    try:
        for number in range(5000):
            await sink.feed(line(number, random.randbytes(250).hex()))
        assert taker.file.tell() > 100_000, "it does not wait for the end"
        await sink.end()
    finally:
        await sink.give_up()
    assert len(read_parquet(taker.file).read_all()) == 5000


async def test_events_much_larger_than_the_first_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parquet, "_MOST_GROUP_BYTES", 5_000_000)
    sink = ParquetSink(FIELDS, Taker().take)
    for number in range(1000):
        await sink.feed(line(number))
    large = b"".join(line(number, "y" * 1_000_000) for number in range(50))
    with pytest.raises(PostgresError, match="export them as ndjson, or by shorter times"):
        await sink.feed(large)
    await sink.give_up()


async def test_who_takes_nothing_any_more_keeps_no_thread() -> None:
    before = threading.active_count()
    taker = Taker()
    taker.stuck = asyncio.Event()
    sink = ParquetSink(FIELDS, taker.take)
    for number in range(1500):
        await sink.feed(line(number))
    ending = asyncio.create_task(sink.end())
    await asyncio.sleep(0)
    ending.cancel()
    await sink.give_up()
    assert sink._writing is not None
    assert sink._writing.done()
    assert threading.active_count() <= before + 1, "the pool keeps one that rests"
