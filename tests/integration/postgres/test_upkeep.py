"""Upkeep of the events table: writers never notice it, and no unpublished row ever goes."""

from __future__ import annotations

import asyncio

import pytest

from outbox_operator.adapters.postgres.admin import MaintenanceResult
from outbox_operator.adapters.postgres.connection import Connection
from outbox_operator.plan.postgres.migrations import DesiredDatabase
from outbox_operator.plan.postgres.schema import PARTITION_WIDTH, PARTITIONS_AHEAD
from outbox_operator.wire.advisory_locks import schema_lock
from support.outbox import let_time_pass, publish_all
from support.owned import OwnedDatabase

pytestmark = pytest.mark.integration

OUTBOX = DesiredDatabase(schema="outbox")
DAY = 86_400.0
ADD = "INSERT INTO outbox.events (event_type, payload) VALUES ('a', '{}')"
ADD_OLD = (
    "INSERT INTO outbox.events (event_type, payload, created_at) "
    "VALUES ('old', '{}', now() - interval '3 days')"
)


@pytest.fixture
async def place(owned: OwnedDatabase) -> OwnedDatabase:
    await owned.migrate(OUTBOX)
    return owned


async def rows_by_partition(connection: Connection) -> dict[str, int]:
    rows = await connection.fetch(
        "SELECT tableoid::regclass::text, count(*) FROM outbox.events GROUP BY 1"
    )
    return {name.removeprefix("outbox."): count for name, count in rows}


async def partitions(connection: Connection) -> list[str]:
    rows = await connection.fetch(
        "SELECT inhrelid::regclass::text FROM pg_inherits "
        "WHERE inhparent = 'outbox.events'::regclass ORDER BY 1"
    )
    return [row[0].removeprefix("outbox.") for row in rows]


async def close_first_partition(place: OwnedDatabase) -> None:
    """One old row in events_p0, and new rows go to events_p1."""
    await place.connection.execute(ADD_OLD)
    result = await place.admin.maintain("outbox", DAY)
    assert result.rotated == "events_p1"


async def after_a_while(place: OwnedDatabase, partition: str) -> MaintenanceResult:
    """What the upkeep does once a partition has been published for long."""
    await place.admin.maintain("outbox", 0)
    await let_time_pass(place.connection, partition)
    return await place.admin.maintain("outbox", 0)


async def test_does_nothing_to_a_fresh_outbox(place: OwnedDatabase) -> None:
    result = await place.admin.maintain("outbox", 0)
    assert not result.changed
    assert not result.deferred
    await place.connection.execute(ADD)
    assert not (await place.admin.maintain("outbox", DAY)).changed


async def test_adds_partitions_ahead_while_a_writer_has_the_table_open(
    place: OwnedDatabase,
) -> None:
    await place.connection.execute(
        "SELECT setval('outbox.events_position_seq', $1)", 2 * PARTITION_WIDTH + 5
    )
    async with place.root.transaction():
        await place.root.execute(ADD)
        result = await place.admin.maintain("outbox", DAY)
        await place.root.execute(ADD)
    assert result.created == ["events_p4", "events_p5"]
    assert result.deferred == ["drop partition events_p0"]  # never used; takes a stronger lock
    indexes = await place.connection.fetchval(
        "SELECT count(*) FROM pg_index WHERE indrelid = 'outbox.events_p5'::regclass"
    )
    assert indexes == 2


async def test_rotates_by_moving_the_sequence_while_writers_write(place: OwnedDatabase) -> None:
    await place.connection.execute(ADD_OLD)
    async with place.root.transaction():
        await place.root.execute(ADD)
        result = await place.admin.maintain("outbox", DAY)
        assert result.rotated == "events_p1"
        await place.root.execute(ADD)
    assert await rows_by_partition(place.connection) == {"events_p0": 2, "events_p1": 1}
    again = await place.admin.maintain("outbox", DAY)
    assert again.rotated is None


async def test_keeps_published_rows_for_the_retention_then_frees_the_partition(
    place: OwnedDatabase,
) -> None:
    await close_first_partition(place)
    await publish_all(place.connection, "outbox")
    for _ in range(2):  # the retention runs from when the rows were seen to be published
        assert not (await place.admin.maintain("outbox", DAY)).truncated
    await let_time_pass(place.connection, "events_p0")
    assert (await place.admin.maintain("outbox", DAY)).truncated == ["events_p0"]
    assert await rows_by_partition(place.connection) == {}
    assert (await place.admin.maintain("outbox", DAY)).dropped == ["events_p0"]
    assert "events_p0" not in await partitions(place.connection)
    assert len(await partitions(place.connection)) == PARTITIONS_AHEAD + 2


async def test_never_frees_what_is_not_published(place: OwnedDatabase) -> None:
    await close_first_partition(place)
    for _ in range(3):
        result = await place.admin.maintain("outbox", 0)
        assert not result.truncated
    assert await rows_by_partition(place.connection) == {"events_p0": 1}
    await publish_all(place.connection, "outbox")
    assert (await after_a_while(place, "events_p0")).truncated == ["events_p0"]


async def test_keeps_rows_until_the_stream_surely_has_them_on_disk(place: OwnedDatabase) -> None:
    await close_first_partition(place)
    await publish_all(place.connection, "outbox")
    for _ in range(3):
        assert not (await place.admin.maintain("outbox", 0)).truncated
    assert await rows_by_partition(place.connection) == {"events_p0": 1}
    await let_time_pass(place.connection, "events_p0")
    assert (await place.admin.maintain("outbox", 0)).truncated == ["events_p0"]


async def test_an_open_writer_in_an_old_partition_keeps_it(place: OwnedDatabase) -> None:
    await place.connection.execute(ADD_OLD)
    transaction = place.root.transaction()
    await transaction.start()
    await place.root.execute(ADD)
    assert (await place.admin.maintain("outbox", DAY)).rotated
    await publish_all(place.connection, "outbox")
    result = await after_a_while(place, "events_p0")
    assert result.deferred == ["empty partition events_p0"]
    await transaction.commit()
    assert not (await place.admin.maintain("outbox", 0)).truncated
    assert await rows_by_partition(place.connection) == {"events_p0": 2}
    await publish_all(place.connection, "outbox")
    assert (await after_a_while(place, "events_p0")).truncated == ["events_p0"]


async def test_a_row_that_came_late_gets_its_full_retention(place: OwnedDatabase) -> None:
    await place.connection.execute(ADD_OLD)
    transaction = place.root.transaction()
    await transaction.start()
    await place.root.execute(ADD)
    await place.admin.maintain("outbox", DAY)
    await publish_all(place.connection, "outbox")
    await place.admin.maintain("outbox", DAY)
    await let_time_pass(place.connection, "events_p0")
    await transaction.commit()
    await publish_all(place.connection, "outbox")
    result = await place.admin.maintain("outbox", DAY)
    assert not result.truncated
    assert await rows_by_partition(place.connection) == {"events_p0": 2}
    await let_time_pass(place.connection, "events_p0")
    assert (await place.admin.maintain("outbox", DAY)).truncated == ["events_p0"]


async def test_a_long_transaction_elsewhere_holds_nothing_up(place: OwnedDatabase) -> None:
    async with place.root.transaction():
        await place.root.execute("CREATE TEMPORARY TABLE busy ()")  # it has a transaction id
        await close_first_partition(place)
        await publish_all(place.connection, "outbox")
        assert (await after_a_while(place, "events_p0")).truncated == ["events_p0"]
        assert (await place.admin.maintain("outbox", 0)).dropped == ["events_p0"]


async def test_a_busy_table_defers_the_drop_and_stops_no_writer(place: OwnedDatabase) -> None:
    await close_first_partition(place)
    await publish_all(place.connection, "outbox")
    await after_a_while(place, "events_p0")
    async with place.root.transaction():
        await place.root.execute(ADD)
        upkeep = asyncio.create_task(place.admin.maintain("outbox", 0))
        writer, _ = await place.second_owner()
        await writer.execute("SET lock_timeout = '10s'")
        while not upkeep.done():
            await writer.execute(ADD)
        assert (await upkeep).deferred == ["drop partition events_p0"]
    assert (await place.admin.maintain("outbox", 0)).dropped == ["events_p0"]


async def test_a_reader_of_an_old_partition_defers_its_pruning_only(place: OwnedDatabase) -> None:
    await close_first_partition(place)
    await publish_all(place.connection, "outbox")
    async with place.root.transaction():
        await place.root.fetch("SELECT * FROM outbox.events_p0")
        result = await after_a_while(place, "events_p0")
        assert result.deferred == ["empty partition events_p0"]
        await place.connection.execute(ADD)
    assert (await place.admin.maintain("outbox", 0)).truncated == ["events_p0"]


async def test_inserts_go_on_when_nobody_has_looked_for_a_long_time(place: OwnedDatabase) -> None:
    far = (PARTITIONS_AHEAD + 7) * PARTITION_WIDTH + 12
    await place.connection.execute("SELECT setval('outbox.events_position_seq', $1)", far)
    await place.connection.execute(ADD)
    async with place.root.transaction():
        await place.root.execute(ADD)
        busy = await place.admin.maintain("outbox", DAY)
        assert busy.deferred
        await place.root.execute(ADD)  # still not refused
    assert await rows_by_partition(place.connection) == {"events_default": 3}

    result = await place.admin.maintain("outbox", DAY)
    assert len(result.created) == PARTITIONS_AHEAD + 1
    assert result.rotated == result.created[0]
    await place.connection.execute(ADD)
    assert await rows_by_partition(place.connection) == {
        "events_default": 3,
        result.created[0]: 1,
    }
    assert (await place.admin.sample("outbox")).backlog_rows == 4
    order = await place.connection.fetch("SELECT position FROM outbox.events ORDER BY xid")
    assert [row[0] for row in order] == sorted(row[0] for row in order)

    await publish_all(place.connection, "outbox")
    assert "events_default" in (await after_a_while(place, "events_default")).truncated
    assert "events_default" in await partitions(place.connection)
    assert (await place.plan(OUTBOX)).empty


async def test_cleans_up_after_an_interrupted_round(place: OwnedDatabase) -> None:
    await place.connection.execute(
        "ALTER TABLE outbox.events_default ADD CONSTRAINT outbox_gap CHECK (position < 5) NOT VALID"
    )
    await place.admin.maintain("outbox", DAY)
    left = await place.connection.fetchval(
        "SELECT count(*) FROM pg_constraint WHERE conname = 'outbox_gap'"
    )
    assert left == 0


async def test_a_copy_of_another_server_is_not_pruned(place: OwnedDatabase) -> None:
    await close_first_partition(place)
    await publish_all(place.connection, "outbox")
    await place.connection.execute("UPDATE outbox.cursors SET system_identifier = '42'")
    for _ in range(2):
        assert not (await place.admin.maintain("outbox", 0)).truncated
    await place.connection.execute(
        "UPDATE outbox.cursors SET system_identifier = "
        "(SELECT system_identifier::text FROM pg_control_system())"
    )
    assert (await after_a_while(place, "events_p0")).truncated == ["events_p0"]


async def test_two_at_once_do_not_get_in_each_others_way(place: OwnedDatabase) -> None:
    other, _ = await place.second_owner()
    await other.execute("SELECT pg_advisory_lock($1)", schema_lock("upkeep", "outbox"))
    await place.connection.execute(ADD_OLD)
    result = await place.admin.maintain("outbox", DAY)
    assert result.deferred
    assert not result.changed
    await other.execute("SELECT pg_advisory_unlock_all()")
    assert (await place.admin.maintain("outbox", DAY)).rotated


async def test_an_adopted_table_without_partitions_is_pruned_by_deleting(
    owned: OwnedDatabase,
) -> None:
    await owned.migrate(OUTBOX)
    await owned.connection.execute(
        "CREATE TABLE outbox.plain (LIKE outbox.events INCLUDING ALL);"
        "ALTER SEQUENCE outbox.events_position_seq OWNED BY outbox.plain.position;"
        "DROP TABLE outbox.events; ALTER TABLE outbox.plain RENAME TO events"
    )
    await owned.connection.execute(ADD_OLD)
    await owned.connection.execute(ADD)
    assert (await owned.admin.maintain("outbox", DAY)).deleted == 0
    await publish_all(owned.connection, "outbox")
    await let_time_pass(owned.connection, "cursors")
    for _ in range(2):  # the row is old enough, but was perhaps published a moment ago
        assert (await owned.admin.maintain("outbox", DAY)).deleted == 0
    await let_time_pass(owned.connection, "cursors")
    late = await owned.connection.fetchval(f"{ADD_OLD} RETURNING position")
    await publish_all(owned.connection, "outbox")
    assert (await owned.admin.maintain("outbox", DAY)).deleted == 1
    await owned.connection.execute("DELETE FROM outbox.events WHERE position = $1", late)
    assert await owned.connection.fetchval("SELECT event_type FROM outbox.events") == "a"
    assert (await owned.plan(OUTBOX)).empty
