"""Two sources may use one id: neither's event keeps the other's out, whenever it was stored.

In an archive of version 1 that has not been migrated, too.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import pytest

from outbox_operator.archive.batches import batch_of
from outbox_operator.archive.records import Message, Record, Recorder
from support.archiving import RULES, ArchivePlace

pytestmark = pytest.mark.integration

ONE_ID = "0195e2d3-6c1f-7c7e-8a54-3d2f1b0c9a88"
TAKEN_NS = 1_772_366_400_123_456_000
MICROSECOND = dt.timedelta(microseconds=1)


def records(sources: Sequence[str], *, later_us: int = 0) -> list[Record]:
    recorder = Recorder(RULES, "audit")
    return [
        recorder.record(
            Message(
                subject="orders.x",
                headers={"Ce-Id": ONE_ID, "Ce-Type": "a", "Ce-Source": source},
                data=b"{}",
                stream="ORDERS",
                sequence=number,
                stored_ns=TAKEN_NS + later_us * 1000,
            )
        )
        for number, source in enumerate(sources, 1)
    ]


@pytest.fixture(params=[1, 2])
async def version(place: ArchivePlace, request: pytest.FixtureRequest) -> int:
    """Of the archive in `place`."""
    await place.migrate()
    if request.param == 1:
        await place.as_version_1()
    return int(request.param)


@pytest.mark.parametrize("window", [dt.timedelta(0), dt.timedelta(days=1)])
async def test_one_id_of_two_sources_in_one_microsecond_is_two_events(
    place: ArchivePlace, window: dt.timedelta, version: int
) -> None:
    store = place.store(window)
    both = records(["/shop/orders", "/shop/returns"])
    try:
        assert await store.store(batch_of(both, accounts=False)) == {"default": 2}
        # They come again, the one that was moved first, and a third one of the same moment.
        assert await store.store(batch_of(both[::-1], accounts=False)) == {}
        third = records(["/shop/orders", "/shop/returns", "/shop/refunds"])
        assert await store.store(batch_of(third, accounts=False)) == {"default": 1}
        assert await store.store(batch_of(third, accounts=False)) == {}
    finally:
        await store.close()
    rows = await place.rows("source, stored_at")
    assert {row["source"] for row in rows} == {"/shop/orders", "/shop/returns", "/shop/refunds"}
    moments = sorted(row["stored_at"] for row in rows)
    if version == 1:
        assert len(set(moments)) == len(rows) == 3
        assert moments[-1] - moments[0] < 8 * MICROSECOND
    else:
        assert moments == [both[0].stored_at] * 3


async def test_one_id_that_fills_every_moment_ends(place: ArchivePlace, version: int) -> None:
    store = place.store(dt.timedelta(0))
    sources = [f"/s/{number}" for number in range(200)]
    every = [one for at, name in enumerate(sources) for one in records([name], later_us=at)]
    try:
        assert await store.store(batch_of(every, accounts=False)) == {"default": 200}
        crowd = records([f"/t/{number}" for number in range(20)])
        assert await store.store(batch_of(crowd, accounts=False)) == {"default": 20}
        assert await store.store(batch_of([*every, *crowd], accounts=False)) == {}
    finally:
        await store.close()
    assert await place.root.fetchval("SELECT count(*) FROM archive.events") == 220
    moved = await place.rows("stored_at", "WHERE source LIKE '/t/%'")
    assert version == 1 or {row["stored_at"] for row in moved} == {crowd[0].stored_at}


async def test_one_id_of_any_number_of_sources_in_one_microsecond(place: ArchivePlace) -> None:
    """As a stream stores what was published as one batch. Each was a round, twice as late as the
    one before: after some sixty there was no such time."""
    await place.migrate()
    store = place.store(dt.timedelta(0))
    crowd = records([f"/t/{number}" for number in range(2000)])
    try:
        assert await store.store(batch_of(crowd, accounts=False)) == {"default": 2000}
        assert await store.store(batch_of(crowd, accounts=False)) == {}
    finally:
        await store.close()
