"""The ledger in PostgreSQL keeps what the numbers say, in whatever order batches come."""

from __future__ import annotations

import datetime as dt
import random
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from outbox_operator.adapters.postgres.archive_store import Batch
from outbox_operator.archive.chain import Span, joined
from support.archiving import ArchivePlace
from support.waiting import eventually

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[3]
NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
NUMBERS = "SELECT source, shard, low, high, low_sequence, high_sequence FROM archive.ledger"


def span(generator: random.Random) -> Span:
    low = generator.randint(1, 60)
    high = low + generator.choice((0, 0, 0, 1, 5))
    at = NOW + dt.timedelta(seconds=high)
    return Span(
        f"/{generator.randint(1, 2)}", generator.randint(0, 1), low, high, at, at, low, high
    )


def accounts_of(spans: Iterable[Span]) -> list[tuple[object, ...]]:
    return [
        (one.source, one.shard, one.low, one.high, one.low_at, one.high_at, one.low_sequence,
         one.high_sequence)
        for one in spans
    ]  # fmt: skip


async def test_ranges_join_as_the_numbers_do(place: ArchivePlace) -> None:
    await place.migrate()
    store = place.store()
    for seed in range(12):
        generator = random.Random(seed)
        came: list[Span] = []
        await place.root.execute("TRUNCATE archive.ledger")
        for _ in range(4):
            batch = joined(span(generator) for _ in range(generator.randint(1, 12)))
            came += batch
            accounts = accounts_of(batch)
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


async def test_gaps_are_forgiven_and_numbers_forgotten_as_the_page_says(
    place: ArchivePlace,
) -> None:
    await place.migrate()
    page = (ROOT / "docs/how-to/prove-completeness.md").read_text()
    looking, forgiving, forgetting = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
    source = "/shop/orders"
    spans = [Span(source, 0, low, high, NOW, NOW, low, high) for low, high in ((1, 17), (20, 30))]
    forged = Span(source, 0, 900_000, 900_000, NOW, NOW, 40, 40)
    other = [Span("/other", 0, low, low, NOW, NOW, low, low) for low in (17, 20)]
    store = place.store()
    accounts = accounts_of([*spans, forged, *other])
    await store.store(Batch((), NOW, NOW, everywhere=False, accounts=accounts))
    keeper = await place.open(place.keeper)
    await keeper.execute(forgiving)
    await keeper.execute(forgetting)
    [left] = await keeper.fetch(looking)
    assert (left["source"], left["first"], left["last"]) == ("/other", 18, 19)
    following = Span(source, 0, 31, 31, NOW, NOW, 31, 31)
    await store.store(Batch((), NOW, NOW, everywhere=False, accounts=accounts_of([following])))
    await store.close()
    rows = await keeper.fetch(f"{NUMBERS} WHERE source = $1", source)
    assert list(map(tuple, rows)) == [(source, 0, 1, 31, 1, 31)]


async def test_of_too_many_ranges_the_first_are_counted(place: ArchivePlace) -> None:
    """Any 10,000 of them left one out in the middle, whose neighbours were then one large gap."""
    await place.migrate()
    await place.root.execute(
        "INSERT INTO archive.ledger SELECT '/s', 0, 2 * n, 2 * n, now(), now(), n, n "
        "FROM generate_series(1, 10001) n ORDER BY n = 5000"
    )
    store = place.store()
    missing = await store.missing()
    await store.close()
    assert (missing.gaps, missing.numbers) == (9999, 9999)


async def test_ranges_that_are_far_away_are_not_read(place: ArchivePlace) -> None:
    """Who may publish can leave any number of ranges; each batch would take as long as all."""
    await place.migrate()
    filling = await place.open(None)
    await filling.execute(
        "INSERT INTO archive.ledger SELECT '/s', 0, 2 * n, 2 * n, now(), now(), n, n "
        "FROM generate_series(1, 5000) n"
    )
    await filling.close()  # what it did is counted at its end
    store = place.store()
    spans = [Span("/s", 0, low, low, NOW, NOW, 1, 1) for low in range(20_000, 20_200, 2)]
    await store.store(Batch((), NOW, NOW, everywhere=False, accounts=accounts_of(spans)))
    await store.close()

    async def read() -> int | None:
        row = await place.root.fetchrow(
            "SELECT n_tup_ins AS inserted, idx_tup_fetch + seq_tup_read AS read "
            "FROM pg_stat_user_tables WHERE schemaname = 'archive' AND relname = 'ledger'"
        )
        return None if row is None or row["inserted"] < 5100 else int(row["read"]) + 1

    assert await eventually(read, "both are counted") < 5000
