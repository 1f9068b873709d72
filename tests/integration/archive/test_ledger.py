"""The ledger in PostgreSQL keeps what the numbers say, in whatever order batches come."""

from __future__ import annotations

import datetime as dt
import random

import pytest

from outbox_operator.adapters.postgres.archive_store import ArchiveStore, Batch
from outbox_operator.adapters.postgres.url import parse_url
from outbox_operator.archive.chain import Span, joined
from outbox_operator.archive.records import columns
from support.archiving import RULES, ArchivePlace

pytestmark = pytest.mark.integration

NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
NUMBERS = "SELECT source, shard, low, high, low_sequence, high_sequence FROM archive.ledger"


def span(generator: random.Random) -> Span:
    low = generator.randint(1, 60)
    high = low + generator.choice((0, 0, 0, 1, 5))
    at = NOW + dt.timedelta(seconds=high)
    return Span(
        f"/{generator.randint(1, 2)}", generator.randint(0, 1), low, high, at, at, low, high
    )


async def test_ranges_join_as_the_numbers_do(place: ArchivePlace) -> None:
    await place.migrate()
    store = ArchiveStore(
        parse_url(place.url),
        schema="archive",
        columns=columns(RULES),
        classes=["default"],
        owner_uid="archive/shop/audit",
        duplicate_window=dt.timedelta(days=1),
        application_name="test",
    )
    for seed in range(12):
        generator = random.Random(seed)
        came: list[Span] = []
        await place.root.execute("TRUNCATE archive.ledger")
        for _ in range(4):
            batch = joined(span(generator) for _ in range(generator.randint(1, 12)))
            came += batch
            accounts = [
                (one.source, one.shard, one.low, one.high, one.low_at, one.high_at,
                 one.low_sequence, one.high_sequence)
                for one in batch
            ]  # fmt: skip
            await store.store(Batch((), NOW, NOW, everywhere=False, accounts=accounts))
            found = await place.root.fetch(f"{NUMBERS} ORDER BY source, shard, low")
            wanted = joined(came)
            assert [tuple(row)[:4] for row in found] == [
                (one.source, one.shard, one.low, one.high) for one in wanted
            ], f"seed {seed}"
            assert all(
                row["low_sequence"] == row["low"] and row["high_sequence"] == row["high"]
                for row in found
            )
            missing = await store.missing()
            shards = {(one.source, one.shard) for one in wanted}
            assert missing.gaps == len(wanted) - len(shards)
    await store.close()
