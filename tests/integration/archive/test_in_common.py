"""However many events have an id, a source, a key or a moment in common: storing one more reads
none of them, and so costs what it always did."""

from __future__ import annotations

import datetime as dt
import json
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from outbox_operator.adapters.postgres.archive_store import ArchiveStore
from outbox_operator.archive.batches import batch_of
from outbox_operator.archive.records import Message, Record, Recorder, columns
from support.archiving import RULES, ArchivePlace

pytestmark = pytest.mark.integration

CROWD = 2000
SECOND = dt.timedelta(seconds=1)
TAKEN_NS = 1_772_366_400_123_456_000
ONE_ID = "0195e2d3-6c1f-7c7e-8a54-3d2f1b0c9a88"
LOOK = "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, COSTS OFF, FORMAT JSON) {insert}"
MOST_BLOCKS = 10
"""That one look reads: of each of two tables the index, from its root on, and a row."""


def event(number: int, **same: Any) -> Message:
    """One of many, with what it has in common with the others."""
    return Message(
        subject=same.get("subject", f"orders.{number}"),
        headers={
            "Ce-Id": same.get("id") or str(uuid.uuid5(uuid.NAMESPACE_OID, str(number))),
            "Ce-Type": same.get("type", f"t{number}"),
            "Ce-Source": same.get("source", f"/s/{number}"),
            "Ce-Partitionkey": same.get("key", f"k{number}"),
        },
        data=b"{}",
        stream="ORDERS",
        sequence=number,
        stored_ns=TAKEN_NS + number * same.get("apart_ns", 1_000_000),
    )


CROWDS: dict[str, Mapping[str, Any]] = {
    "an id, of many sources": {"id": ONE_ID},
    "an id and a moment, of many sources": {"id": ONE_ID, "apart_ns": 0},
    "a source": {"source": "/s"},
    "a key": {"key": "k"},
    "a subject and a type": {"subject": "orders.x", "type": "t"},
    "a moment": {"apart_ns": 0},
    "all but the id": {
        "source": "/s", "key": "k", "subject": "orders.x", "type": "t", "apart_ns": 0
    },
}  # fmt: skip


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


async def rows_read(store: ArchiveStore, records: list[Record]) -> float:
    """How many rows of the archive are read where a batch is stored."""
    connection, batch = await store._connected(), batch_of(records, accounts=False)
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.copy_records_to_table(
            "outbox_archive_batch", records=batch.rows, columns=columns(RULES),
            schema_name="pg_temp",
        )  # fmt: skip
        start, end = batch.first - store._window, batch.last + store._window + SECOND
        document = await connection.fetchval(
            LOOK.format(insert=store._insert), start, end, start + (end - start) / 2
        )
    finally:
        await transaction.rollback()
    [found] = json.loads(document)
    scans = [
        one
        for one in nodes(found["Plan"])
        if "Scan" in one["Node Type"] and re.fullmatch(r"e(_\d+)?", one.get("Alias", ""))
    ]
    assert scans, "nobody looked whether it is there"
    blocks = sum(one["Shared Hit Blocks"] + one["Shared Read Blocks"] for one in scans)
    assert blocks <= MOST_BLOCKS, found
    lost = ("Rows Removed by Filter", "Rows Removed by Index Recheck")
    return sum(
        float(one["Actual Loops"] * (one["Actual Rows"] + sum(one.get(name, 0) for name in lost)))
        for one in scans
    )


@pytest.fixture
def record() -> Callable[[Message], Record]:
    return Recorder(RULES, "audit").record


@pytest.mark.parametrize("analyzed", [False, True])
@pytest.mark.parametrize("window", [dt.timedelta(0), dt.timedelta(days=1)])
@pytest.mark.parametrize("kind", CROWDS)
async def test_one_more_reads_none_of_the_others(
    place: ArchivePlace,
    record: Callable[[Message], Record],
    kind: str,
    window: dt.timedelta,
    analyzed: bool,
) -> None:
    same = CROWDS[kind]
    await place.migrate()
    store = place.store(window)
    crowd = [record(event(number, **same)) for number in range(CROWD)]
    try:
        assert await store.store(batch_of(crowd, accounts=False)) == {"default": CROWD}
        if analyzed:
            await place.root.execute("ANALYZE archive.events")
        assert await rows_read(store, [record(event(CROWD, **same))]) == 0
        # And one that comes again reads itself.
        assert await rows_read(store, [record(event(7, **same))]) == 1
    finally:
        await store.close()
