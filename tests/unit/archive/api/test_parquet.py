"""Lines become a Parquet file piece by piece, in the memory of one group of rows."""

from __future__ import annotations

import io
import random

import pytest
from arro3.core import Array, DataType, RecordBatch
from arro3.io import read_parquet, write_parquet

from outbox_operator.archive.api import parquet, parquet_footer
from outbox_operator.archive.api.parquet import ParquetSink
from outbox_operator.archive.api.parquet_footer import Footer
from outbox_operator.errors import PostgresError

FIELDS = ("id", "sequence", "occurred_at")


def line(number: int, text: str = "x") -> bytes:
    return f"{text}\t{number}\t{number * 1_000_000}\n".encode()


class Taker:
    """Takes the bytes of a file.

    Attributes:
        file: So far.
        sizes: Of the pieces.
    """

    def __init__(self) -> None:
        self.file = io.BytesIO()
        self.sizes: list[int] = []

    async def take(self, data: bytes) -> None:
        self.sizes.append(len(data))
        self.file.write(data)


def groups(file: io.BytesIO) -> list[int]:
    """Rows of each group, as the footer says."""
    data = file.getvalue()
    start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    found = parquet_footer._Reader(data, start).struct()
    return [group[3].value for group in found[4].value[1]]


async def test_pieces_may_end_anywhere() -> None:
    taker = Taker()
    sink = ParquetSink(FIELDS, taker.take)
    whole = b"".join(line(number) for number in range(2500)) + b"\\N\t\\N\t\\N\n"
    for start in range(0, len(whole), 7):
        await sink.feed(whole[start : start + 7])
    await sink.end()
    table = read_parquet(taker.file).read_all()
    assert table.column("sequence").to_pylist() == [*range(2500), None]
    assert table.column("id").to_pylist()[-2:] == ["x", None]
    assert table.column("occurred_at").to_pylist()[1].isoformat() == "1970-01-01T00:00:01+00:00"
    assert groups(taker.file) == [2501]


async def test_of_no_events_there_is_a_file_of_none() -> None:
    taker = Taker()
    await ParquetSink(FIELDS, taker.take).end()
    found = read_parquet(taker.file)
    assert found.schema.names == list(FIELDS)
    assert len(found.read_all()) == 0


async def test_groups_are_cut_by_bytes_however_large_events_become(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parquet, "_GROUP_BYTES", 2_000_000)
    monkeypatch.setattr(parquet, "_BATCH_BYTES", 100_000)
    chance = random.Random(1)
    texts = [chance.randbytes(20).hex() for _ in range(3000)]
    texts += [chance.randbytes(size).hex() for size in (400_000, 3_000_000, 5, 400_000, 400_000)]
    texts += [chance.randbytes(250).hex() for _ in range(4000)]
    taker = Taker()
    sink = ParquetSink(FIELDS, taker.take)
    held = 0
    for number, text in enumerate(texts):
        await sink.feed(line(number, text))
        held = max(held, sink._group_bytes)
    assert taker.file.tell() > 4_000_000, "it does not wait for the end"
    await sink.end()
    assert held == 6_000_000 + len(line(3001)) - 2, "one event that is larger by itself"
    assert max(taker.sizes) <= 64 * 1024
    table = read_parquet(taker.file).read_all()
    assert table.column("id").to_pylist() == texts
    assert table.column("sequence").to_pylist() == list(range(len(texts)))
    found = groups(taker.file)
    assert sum(found) == len(texts)
    assert found[1] == 1, found
    assert len(found) == 4, found


async def test_groups_are_cut_by_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_GROUP_ROWS", 2000)
    taker = Taker()
    sink = ParquetSink(FIELDS, taker.take)
    for number in range(40_500):
        await sink.feed(line(number))
    await sink.end()
    assert groups(taker.file) == [2000] * 20 + [500], "more than fit into a byte of the footer"
    column = read_parquet(taker.file).read_all().column("sequence")
    assert column.to_pylist() == list(range(40_500))


def test_a_footer_says_what_each_group_says_but_for_the_place() -> None:
    """Also of what this library writes when it is asked for more than we ask for."""
    batches = [
        RecordBatch.from_arrays(
            [Array(numbers, DataType.int64()), Array([n == 7 for n in numbers], DataType.bool())],
            names=["number", "even"],
        )
        for numbers in ([-5, None, 3], [7, 8], list(range(3000)))
    ]
    footer, whole = Footer(), bytearray(parquet_footer.MAGIC)
    for batch in batches:
        file = io.BytesIO()
        write_parquet(batch, file, bloom_filter_enabled=True, key_value_metadata={"a": "b"})
        whole += footer.add(file.getvalue(), len(whole))
    whole += footer.end()
    found = read_parquet(io.BytesIO(bytes(whole))).read_all()
    numbers = [-5, None, 3, 7, 8, *range(3000)]
    assert found.column("number").to_pylist() == numbers
    assert groups(io.BytesIO(bytes(whole))) == [3, 2, 3000]


@pytest.mark.parametrize("data", [b"", b"PAR1PAR1", b"PAR1" + b"\xff" * 20 + b"PAR1"])
def test_what_is_no_file_is_no_group(data: bytes) -> None:
    with pytest.raises((ValueError, IndexError)):
        Footer().add(data, 4)


async def test_what_the_library_does_not_take_is_said() -> None:
    sink = ParquetSink(FIELDS, Taker().take)
    await sink.feed(b"one\tcell\n")
    with pytest.raises(PostgresError, match="no Parquet file could be made"):
        await sink.end()
