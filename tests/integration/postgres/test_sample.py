"""Live numbers: right in every state of the cursor, and cheap."""

from __future__ import annotations

import json

import pytest

from outbox_operator.adapters.postgres.queries import statement
from outbox_operator.errors import PostgresError
from outbox_operator.plan.postgres.migrations import DesiredDatabase
from support.outbox import publish_all
from support.owned import OwnedDatabase

pytestmark = pytest.mark.integration


@pytest.fixture
async def place(owned: OwnedDatabase) -> OwnedDatabase:
    await owned.migrate(DesiredDatabase(schema="outbox"))
    return owned


def sample_sql(*, cap: int) -> str:
    text = statement("admin_sample", schema="outbox", open=statement("admin_open_xids"))
    return text.replace("$1", str(cap + 1))


def add(rows: int) -> str:
    return (
        "INSERT INTO outbox.events (event_type, payload) "
        f"SELECT 'a', '{{}}' FROM generate_series(1, {rows})"
    )


async def test_nothing_yet(place: OwnedDatabase) -> None:
    sample = await place.admin.sample("outbox")
    assert (sample.backlog_rows, sample.backlog_is_estimate) == (0, False)
    assert (sample.oldest_age_seconds, sample.dead_letters, sample.published_total) == (0, 0, 0)
    assert sample.last_published_at is None


async def test_counts_up_to_the_cap(place: OwnedDatabase) -> None:
    await place.connection.execute(add(30))
    sample = await place.admin.sample("outbox", cap=30)
    assert (sample.backlog_rows, sample.backlog_is_estimate) == (30, False)
    sample = await place.admin.sample("outbox", cap=29)
    assert (sample.backlog_rows, sample.backlog_is_estimate) == (29, True)


async def test_tells_the_age_of_the_oldest(place: OwnedDatabase) -> None:
    await place.connection.execute(
        "INSERT INTO outbox.events (event_type, payload, created_at) "
        "VALUES ('a', '{}', now() - interval '90 s'), ('a', '{}', now())"
    )
    assert 90 <= (await place.admin.sample("outbox")).oldest_age_seconds < 120


async def test_infinity_is_no_age(place: OwnedDatabase) -> None:
    """PostgreSQL before 17 cannot subtract it, and a status cannot hold it."""
    await place.connection.execute(
        "INSERT INTO outbox.events (event_type, payload, created_at) "
        "VALUES ('a', '{}', '-infinity'), ('a', '{}', 'infinity')"
    )
    await place.connection.execute("UPDATE outbox.cursors SET published_at = 'infinity'")
    sample = await place.admin.sample("outbox")
    assert (sample.backlog_rows, sample.oldest_age_seconds) == (2, 0)
    assert sample.last_published_at is None


async def test_looks_into_every_shard(owned: OwnedDatabase) -> None:
    await owned.migrate(DesiredDatabase(schema="outbox", shards=4))
    await owned.connection.execute(add(40))
    await owned.connection.execute(
        "INSERT INTO outbox.events (event_type, payload, position, created_at) "
        "VALUES ('a', '{}', 4 * 1000 + 3, now() - interval '90 s')"
    )
    sample = await owned.admin.sample("outbox", cap=10)
    assert (sample.backlog_rows, sample.backlog_is_estimate) == (10, True)
    assert 90 <= sample.oldest_age_seconds < 120, "shard 3 is the last to be looked at"
    sample = await owned.admin.sample("outbox", cap=100)
    assert (sample.backlog_rows, sample.backlog_is_estimate) == (41, False)
    await publish_all(owned.connection, "outbox")
    sample = await owned.admin.sample("outbox")
    assert (sample.backlog_rows, sample.published_total) == (0, 4)
    await owned.connection.execute(
        "UPDATE outbox.cursors SET stream_created = (ARRAY['2026-01-31T09:30:00.1Z', "
        "'2026-01-31T09:30:00.12Z', '2026-01-31T09:30:00Z', 'never'])[shard + 1]"
    )
    sample = await owned.admin.sample("outbox")
    assert sample.stream_created == "2026-01-31T09:30:00.12Z", "as text it is the first"


async def test_sees_committed_rows_only_and_late_ones_too(place: OwnedDatabase) -> None:
    transaction = place.root.transaction()
    await transaction.start()
    await place.root.execute(add(2))
    await place.connection.execute(add(3))
    assert (await place.admin.sample("outbox")).backlog_rows == 3
    await publish_all(place.connection, "outbox")
    assert (await place.admin.sample("outbox")).backlog_rows == 0
    await transaction.commit()
    assert (await place.admin.sample("outbox")).backlog_rows == 2
    aborted = place.root.transaction()
    await aborted.start()
    await place.root.execute(add(5))
    await aborted.rollback()
    assert (await place.admin.sample("outbox")).backlog_rows == 2


async def test_counts_what_is_left_of_an_open_window(place: OwnedDatabase) -> None:
    transaction = place.root.transaction()
    await transaction.start()
    await place.root.execute(add(1))  # position 1, committed after the window was opened
    await place.connection.execute(add(10))  # positions 2 to 11
    await place.connection.execute(
        "UPDATE outbox.cursors SET snapshot_to = pg_current_snapshot()::text, last_position = 0"
    )
    await place.connection.execute(add(4))  # after the window
    await transaction.commit()
    assert (await place.admin.sample("outbox")).backlog_rows == 15
    await place.connection.execute("UPDATE outbox.cursors SET last_position = 6, emission = 5")
    sample = await place.admin.sample("outbox")
    assert (sample.backlog_rows, sample.last_position, sample.published_total) == (10, 6, 5)
    await place.connection.execute("UPDATE outbox.cursors SET last_position = 11, emission = 10")
    assert (await place.admin.sample("outbox")).backlog_rows == 5
    await place.connection.execute(
        "UPDATE outbox.cursors SET snapshot_from = snapshot_to, snapshot_to = NULL"
    )
    assert (await place.admin.sample("outbox")).backlog_rows == 5


async def test_counts_dead_letters(place: OwnedDatabase) -> None:
    await place.connection.execute(
        "INSERT INTO outbox.dead_letters (position, event_id, event_type, partition_key, payload,"
        " headers, created_at, reason) "
        "SELECT n, gen_random_uuid(), 'a', '', '{}', '{}', now(), 'x' FROM generate_series(1,3) n"
    )
    assert (await place.admin.sample("outbox")).dead_letters == 3


async def test_an_idle_sample_touches_no_published_row(place: OwnedDatabase) -> None:
    await place.connection.execute(add(20_000))
    await place.connection.execute("ANALYZE outbox.events")
    await publish_all(place.connection, "outbox")
    plan = await place.connection.fetch(
        "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, COSTS OFF, FORMAT TEXT) " + sample_sql(cap=10_000)
    )
    text = "\n".join(row[0] for row in plan)
    assert "Seq Scan on events_p0" not in text, text
    assert "rows=20000" not in text, text


@pytest.mark.parametrize("others", [0, 1])
@pytest.mark.parametrize("question", ["sample", "unpublished"])
async def test_rows_of_an_open_transaction_are_not_visited(
    place: OwnedDatabase, question: str, others: int
) -> None:
    """Nor are those that were there before anything else ended."""
    await place.connection.execute(add(1))
    await publish_all(place.connection, "outbox")
    before = await place.connection.fetchval("SELECT snapshot_from FROM outbox.cursors")
    async with place.root.transaction():
        for name in ("a", "b"):
            await place.root.execute(f"SAVEPOINT {name}")
            await place.root.execute(add(10_000))
        if others:
            await place.connection.execute(add(others))
        sql = sample_sql(cap=10_000)
        if question == "unpublished":
            sql = statement(
                "admin_unpublished", schema="outbox", table="events_p0",
                open=statement("admin_open_xids"),
            ).replace("$1", "'{0}'").replace("$2", f"'{{{before}}}'")  # fmt: skip
        (plan,) = await place.connection.fetchrow(
            f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {sql}"
        ) or ("",)
        (top,) = json.loads(plan)
        visited = top["Plan"]["Shared Hit Blocks"] + top["Plan"]["Shared Read Blocks"]
        assert visited < 200, "20,000 rows are 300 pages of the table"
        if question == "sample":
            assert (await place.admin.sample("outbox")).backlog_rows == others
        else:
            assert await place.connection.fetchval(sql) is bool(others)


async def test_missing_tables_are_an_error_not_a_zero(place: OwnedDatabase) -> None:
    await place.connection.execute("DROP TABLE outbox.cursors")
    with pytest.raises(PostgresError, match="cursors"):
        await place.admin.sample("outbox")
