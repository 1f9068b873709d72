"""An archive of version 1 gets the key of version 2 while it is written and read."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import Counter

import pytest

from outbox_operator.adapters.postgres.archive_store import ArchiveStore
from outbox_operator.archive.batches import batch_of
from outbox_operator.archive.records import Message, Record, Recorder
from outbox_operator.cli import archive_keeping as keeping
from outbox_operator.errors import PostgresError
from outbox_operator.reasons import Reason
from support.archiving import RULES, ArchivePlace, relayed

pytestmark = pytest.mark.integration

KEYS = """
SELECT c.relname, c.relkind, k.conname, k.conindid::bigint AS index,
       ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY AS n (attnum, at)
             JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = n.attnum ORDER BY at) AS key
FROM pg_class c JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype = 'p'
WHERE c.oid IN (SELECT relid FROM pg_partition_tree('archive.events'))
"""
LEAVES = """
SELECT relid::regclass::text AS name FROM pg_partition_tree('archive.events') WHERE isleaf
"""
LEFT_OVER = """
SELECT i.indexrelid::regclass::text FROM pg_index i
WHERE i.indrelid IN (SELECT relid FROM pg_partition_tree('archive.events'))
  AND (NOT i.indisvalid OR (i.indisunique AND NOT i.indisprimary))
"""
BUILT = """
SELECT i.indexrelid::bigint AS index, i.indexrelid::regclass::text AS name FROM pg_index i
WHERE i.indrelid IN (SELECT relid FROM pg_partition_tree('archive.events') WHERE isleaf)
  AND i.indisunique AND i.indnkeyatts = 4
"""
KEY = ("id", "source", "stored_at", "class")
NOW = dt.datetime.now(dt.UTC)


def a_store(place: ArchivePlace) -> ArchiveStore:
    """What writes, as the role that writes."""
    return place.store(classes=["orders", "default"], role=place.writer)


def batch(start: int, count: int = 50) -> list[Record]:
    """Events of some days, as a relay sends them; each twice, of two sources with one id."""
    recorder = Recorder(RULES, "audit")
    return [
        recorder.record(
            Message(
                subject="orders.x",
                headers=relayed(number) | {"Ce-Source": source},
                data=b"{}",
                stream="ORDERS",
                sequence=2 * number + at,
                stored_ns=int(NOW.timestamp() - number % 8 * 86_400) * 10**9 + number * 1000,
            )
        )
        for number in range(start, start + count)
        for at, source in enumerate(("/shop/orders", "/shop/returns"))
    ]


async def test_a_writer_of_before_and_one_of_now_write_while_the_key_changes(
    place: ArchivePlace,
) -> None:
    await place.migrate()
    await place.as_version_1()
    before, now = a_store(place), a_store(place)
    wrote: Counter[str] = Counter()
    kept: list[Record] = []
    over = asyncio.Event()

    async def write(store: ArchiveStore, first: int) -> None:
        while True:
            last = over.is_set()
            some = batch(first)
            wrote.update(await store.store(batch_of(some, accounts=False)))
            kept.extend(some)
            first += 50
            if last:
                return

    try:
        await before.open()  # that is all it will ever know of the key
        kept.extend(batch(0))
        wrote.update(await before.store(batch_of(kept, accounts=False)))
        await place.upkeep()  # they get partitions of their days
        await now.open()
        writing = [asyncio.create_task(write(before, 1_000_000))]
        writing.append(asyncio.create_task(write(now, 2_000_000)))
        said = await place.migrate()
        over.set()
        await asyncio.gather(*writing)
        assert "made them the key of all events" in said
        assert not [line for line in said if " lacks " in line or "what is left" in line]
        assert await place.migrate() == ("the tables are as wanted",)
        fresh = a_store(place)
        for store in (before, now, fresh):
            assert await store.store(batch_of(kept, accounts=False)) == {}
        await fresh.close()
    finally:
        for store in (before, now):
            await store.close()
    assert wrote.total() == len(kept) == len(await place.rows("id"))
    keys = await place.root.fetch(KEYS)
    assert {tuple(row["key"]) for row in keys} == {KEY}
    leaves = [row["name"] for row in await place.root.fetch(LEAVES)]
    assert len(leaves) > 8
    assert {f"archive.{row['relname']}" for row in keys if row["relkind"] == b"r"} == {*leaves}
    assert await place.root.fetch(LEFT_OVER) == []
    versions = await place.root.fetch("SELECT version FROM archive.schema_version ORDER BY 1")
    assert [row["version"] for row in versions] == [1, 2]


async def test_what_was_built_is_used_once_nobody_is_in_the_way(
    place: ArchivePlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long export keeps the last step waiting: what took hours is not done once more."""
    monkeypatch.setattr(keeping, "_LOCK_SECONDS", 0.3)
    await place.migrate()
    await place.as_version_1()
    store = a_store(place)
    try:
        await store.store(batch_of(batch(0), accounts=False))
        await place.upkeep()
        reader = await place.open(place.reader)
        async with reader.transaction():
            await reader.execute("LOCK TABLE archive.events IN ACCESS SHARE MODE")
            with pytest.raises(PostgresError) as waited:
                await place.migrate()
            assert waited.value.reason is Reason.LOCK_TIMEOUT
            assert await store.store(batch_of(batch(0), accounts=False)) == {}
        built = {row["index"]: row["name"] for row in await place.root.fetch(BUILT)}
        assert len(built) == len(await place.root.fetch(LEAVES))
        broken = min(built)
        await place.root.execute(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = $1", broken
        )
        await place.migrate()
    finally:
        await store.close()
    used = {row["index"] for row in await place.root.fetch(KEYS) if row["relkind"] == b"r"}
    assert used & {*built} == {*built} - {broken}
    assert len(used) == len(built)
    assert await place.root.fetch(LEFT_OVER) == []
