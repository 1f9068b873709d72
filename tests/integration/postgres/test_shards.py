"""The shards of an outbox: a key keeps to one, rows without a key take turns."""

from __future__ import annotations

import pytest

from outbox_operator.errors import UnsafeChangeError
from outbox_operator.plan.postgres.migrations import DesiredDatabase
from outbox_operator.plan.postgres.schema import PARTITION_WIDTH
from support.owned import OwnedDatabase

pytestmark = pytest.mark.integration

FOUR = DesiredDatabase(schema="outbox", shards=4)


@pytest.fixture
async def place(owned: OwnedDatabase) -> OwnedDatabase:
    await owned.migrate(FOUR)
    return owned


async def test_is_complete_after_one_migration(place: OwnedDatabase) -> None:
    assert (await place.plan(FOUR)).empty
    rows = await place.root.fetch("SELECT shard FROM outbox.cursors ORDER BY shard")
    assert [row["shard"] for row in rows] == [0, 1, 2, 3]


async def test_spreads_keys_and_keeps_each_to_its_shard(place: OwnedDatabase) -> None:
    for _ in range(2):
        await place.connection.execute(
            "INSERT INTO outbox.events (event_type, partition_key, payload) "
            "SELECT 'a', 'key-' || n, '{}' FROM generate_series(1, 400) n"
        )
    spread = await place.root.fetch(
        "SELECT partition_key, count(DISTINCT shard) FROM outbox.events GROUP BY 1"
    )
    assert {row["count"] for row in spread} == {1}
    sizes = await place.root.fetch("SELECT shard, count(*) FROM outbox.events GROUP BY 1")
    assert {row["shard"] for row in sizes} == {0, 1, 2, 3}
    assert min(row["count"] for row in sizes) > 100


async def test_rows_without_a_key_take_turns(place: OwnedDatabase) -> None:
    await place.connection.execute(
        "INSERT INTO outbox.events (event_type, payload) "
        "SELECT 'a', '{}' FROM generate_series(1, 8)"
    )
    rows = await place.root.fetch("SELECT shard, count(*) FROM outbox.events GROUP BY 1")
    assert {tuple(row) for row in rows} == {(0, 2), (1, 2), (2, 2), (3, 2)}


async def test_partitions_added_later_compute_it_too(place: OwnedDatabase) -> None:
    await place.connection.execute(
        "SELECT setval('outbox.events_position_seq', $1)", 4 * PARTITION_WIDTH + 1
    )
    result = await place.admin.maintain("outbox", 86_400)
    assert result.created
    row = await place.connection.fetchrow(
        "INSERT INTO outbox.events (event_type, payload) VALUES ('a', '{}') "
        "RETURNING tableoid::regclass::text AS partition, shard, position"
    )
    assert row is not None
    assert row["partition"].removeprefix("outbox.") in result.created
    assert row["shard"] == row["position"] % 4
    assert (await place.plan(FOUR)).empty


@pytest.mark.parametrize("shards", [1, 8])
async def test_another_number_is_refused_and_changes_nothing(
    place: OwnedDatabase, shards: int
) -> None:
    with pytest.raises(UnsafeChangeError, match=r"column shard: .*shards is fixed at creation"):
        await place.plan(DesiredDatabase(schema="outbox", shards=shards))
