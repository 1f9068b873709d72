"""The tables of an archive on a real server: made, changed, kept up, and who may do what."""

from __future__ import annotations

import dataclasses
import re
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from outbox_operator.adapters.postgres.archive_select import Selection, export
from outbox_operator.adapters.postgres.queries import statement
from outbox_operator.archive.app import ArchiveApp
from outbox_operator.errors import (
    AccessDeniedError,
    ConflictError,
    PostgresError,
    UnsafeChangeError,
)
from outbox_operator.wire.advisory_locks import schema_lock
from outbox_operator.wire.archive import RetentionClass
from support.archiving import DAY, ArchivePlace, days_opened, noon_of_yesterday
from support.fences import fences

pytestmark = pytest.mark.integration

ADD = """
INSERT INTO archive.events (class, stored_at, id, type, source, subject, sequence, occurred_at,
                            headers, payload_bytes)
SELECT $1, $2::timestamptz - n * interval '1 day', gen_random_uuid(), 'a.b', '/s', 'a', n, now(),
       '{}', 0
FROM generate_series(0, $3 - 1) n
"""
LEAVES = """
SELECT tableoid::regclass::text AS leaf, count(*) AS rows
FROM archive.events GROUP BY 1 ORDER BY 1
"""


async def test_moments_of_an_export_are_exact(place: ArchivePlace) -> None:
    """As whole numbers, of which a double would lose microseconds, and the last of all a year."""
    await place.migrate()
    moments = [
        datetime(1, 1, 1, 0, 0, 0, 1, UTC), datetime(1969, 12, 31, 23, 59, 59, 999999, UTC),
        datetime(2026, 3, 1, 12, 0, 59, 123457, UTC), datetime(3000, 1, 1, 0, 0, 0, 1, UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999998, UTC),
    ]  # fmt: skip
    await place.root.execute(ADD, "orders", datetime.now(UTC), len(moments) + 1)
    for number, moment in enumerate(moments):
        await place.root.execute(
            "UPDATE archive.events SET occurred_at = $2 WHERE sequence = $1", number, moment
        )
    await place.root.execute(
        "UPDATE archive.events SET occurred_at = 'infinity' WHERE sequence = 5"
    )
    text, values = export("archive", Selection(fields=("sequence", "occurred_at")), "parquet")
    found = {row["sequence"]: row["occurred_at"] for row in await place.root.fetch(text, *values)}
    start, step = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
    wanted = {number: (one - start) // step for number, one in enumerate(moments)}
    assert found == {**wanted, 5: None}


async def test_made_once_and_then_as_wanted(place: ArchivePlace) -> None:
    said = await place.migrate()
    assert "created table events" in said
    # Now and three stretches ahead: days of a class that is kept for ten, 28 days of the other.
    assert sum(line.startswith("added partition rows_default_") for line in said) == 4
    assert sum(line.startswith("added partition rows_orders_") for line in said) == 4
    assert await place.migrate() == ("the tables are as wanted",)
    assert await place.upkeep() == ("nothing to do",)
    await place.root.execute(ADD, "orders", datetime.now(UTC), 1)
    [leaf] = await place.root.fetch(LEAVES)
    assert leaf["leaf"].startswith("archive.rows_orders_2")


async def test_of_another_owner_it_is_left_alone(place: ArchivePlace) -> None:
    await place.migrate()
    place.change(consumer="rival")
    with pytest.raises(ConflictError, match="mark of EventConsumer/shop/audit"):
        await place.migrate()


async def test_each_role_may_do_its_own_and_nothing_else(place: ArchivePlace) -> None:
    await place.migrate()
    writer, reader = await place.open(place.writer), await place.open(place.reader)
    await writer.execute(ADD, "orders", datetime.now(UTC), 1)
    await writer.fetch("SELECT id, source, stored_at, class FROM archive.events")
    for forbidden in (
        "SELECT payload FROM archive.events",
        "DELETE FROM archive.events",
        "UPDATE archive.events SET type = 'x'",
        "TRUNCATE archive.rows_orders_default",
        "INSERT INTO archive.rows_orders_default SELECT * FROM archive.events",
        "INSERT INTO archive.schema_version VALUES (9, 'x')",
        "CREATE TABLE archive.mine ()",
        "DROP TABLE archive.ledger",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await writer.execute(forbidden)
    for allowed in ("events", "ledger", "gaps", "backfills"):
        await reader.fetch(f"SELECT * FROM archive.{allowed}")
    _, looking, _, missing = fences("docs/how-to/keep-an-archive.md", "sql")
    for shown in [*looking.split(";"), missing]:
        await reader.fetch(shown)
    for forbidden in (
        "INSERT INTO archive.ledger (source, shard, low, high) VALUES ('', 0, 0, 0)",
        "DELETE FROM archive.events",
        "DELETE FROM archive.ledger",
        "CREATE TABLE archive.mine ()",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await reader.execute(forbidden)
    place.change(readers=())
    assert any("revoked SELECT" in line for line in await place.migrate())
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await reader.fetch("SELECT * FROM archive.events")


async def test_a_right_that_is_missing_is_named(place: ArchivePlace) -> None:
    """Of who owns the tables, and of who writes."""
    name = place.url.rpartition("/")[2]
    await place.root.execute(f'REVOKE CREATE ON DATABASE "{name}" FROM "{place.keeper}"')
    with pytest.raises(AccessDeniedError) as refused:
        await place.migrate()
    assert f'GRANT CREATE ON DATABASE "{name}" TO "{place.keeper}"' in refused.value.message
    await place.root.execute(f'GRANT CREATE ON DATABASE "{name}" TO "{place.keeper}"')
    await place.migrate()
    await place.root.execute(f'REVOKE TEMPORARY ON DATABASE "{name}" FROM PUBLIC')
    store = ArchiveApp(place.config)._new_store()
    with pytest.raises(AccessDeniedError) as closed:
        await store.open()
    assert f'GRANT TEMPORARY ON DATABASE "{name}" TO "{place.writer}"' in closed.value.message


async def test_rows_without_a_partition_get_one_and_old_ones_go(place: ArchivePlace) -> None:
    await place.migrate()
    await place.root.execute(ADD, "default", datetime.now(UTC) - timedelta(days=2), 30)
    [default] = [row for row in await place.root.fetch(LEAVES) if "default_default" in row["leaf"]]
    assert default["rows"] == 30
    said = await place.upkeep()
    assert "moved 30 events into them that had none" in said
    left = await place.root.fetch(LEAVES)
    assert all(row["leaf"] != default["leaf"] and row["rows"] == 1 for row in left)
    assert len(left) in (9, 10)  # a day whose youngest event may be ten days old is kept
    assert sum(line.startswith("dropped partition") for line in said) == 30 - len(left)
    assert await place.upkeep() == ("nothing to do",)
    assert await place.root.fetchval("SELECT pg_relation_size($1::regclass)", default["leaf"]) == 0


async def test_rows_move_while_nobody_stores(place: ArchivePlace) -> None:
    """What looks for copies of its events meanwhile knows the partitions of before, and misses
    those that moved.
    """
    await place.migrate()
    await place.root.execute(ADD, "default", datetime.now(UTC) - timedelta(days=2), 1)
    writer = await place.open(place.writer)
    async with writer.transaction():
        await writer.execute(statement("archive_alone"), schema_lock("archive", "archive"))
        said = await place.upkeep()
        assert any(line.startswith("deferred: add partition rows_default_") for line in said), said
    assert "moved 1 event into them that had none" in await place.upkeep()


async def test_a_partition_that_cannot_be_made_keeps_no_other_from_upkeep(
    place: ArchivePlace,
) -> None:
    """Detached by hand, say to be copied away, a table is in the way of the next of its name."""
    await place.migrate()
    now = datetime.now(UTC)
    await place.root.execute(ADD, "default", now, 1)
    [today] = await place.root.fetch(LEAVES)
    await place.root.execute(f"ALTER TABLE archive.events_default DETACH PARTITION {today['leaf']}")
    await place.root.execute(ADD, "orders", now - timedelta(days=500), 1)
    with pytest.raises(PostgresError) as failed:
        await place.upkeep()
    name = today["leaf"].removeprefix("archive.")
    assert f"archive archive: could not add partition {name}: " in failed.value.message
    assert "rename it (ALTER TABLE … RENAME TO …)" in failed.value.message
    assert await place.root.fetch(LEAVES) == [], "what was too old is gone all the same"
    await place.root.execute(f"ALTER TABLE {today['leaf']} RENAME TO away")
    await place.upkeep()


async def test_retention_waits_for_who_reads(place: ArchivePlace) -> None:
    await place.migrate()
    await place.root.execute(ADD, "default", datetime.now(UTC) - timedelta(days=15), 1)
    reader = await place.open(place.reader)
    async with reader.transaction():
        await reader.fetch("SELECT type FROM archive.events")
        said = await place.upkeep()
        assert any(line.startswith("deferred: ") for line in said)
        assert len(await reader.fetch("SELECT type FROM archive.events")) == 1
    await place.upkeep()
    assert await place.rows() == []


async def test_classes_and_columns_come_later_and_what_is_there_stays(place: ArchivePlace) -> None:
    await place.migrate()
    await place.root.execute(ADD, "orders", datetime.now(UTC), 3)
    place.rules(
        retention=(
            RetentionClass(name="security", keep_seconds=DAY, event_types=("auth.>",)),
            RetentionClass(name="default", keep_seconds=20 * DAY),
        ),
        extract={"actor": "$.actor.id", "tenant": "$.tenant"},
    )
    said = await place.migrate()
    assert "added column events.tenant; events of before have nothing there" in said
    assert "created class security; events that are archived already stay in theirs" in said
    assert "keep events of class default for 20 days: changed" in said
    assert await place.migrate() == ("the tables are as wanted",)
    assert [row["class"] for row in await place.rows("class")] == ["orders"] * 3
    indexes = await place.root.fetch(
        "SELECT indexrelid::regclass, indrelid::regclass FROM pg_index WHERE NOT indisvalid"
    )
    assert indexes == []
    await place.root.execute("ALTER TABLE archive.events DROP COLUMN correlation")
    await place.root.execute("ALTER TABLE archive.events ADD COLUMN correlation integer")
    place.rules(extract={"correlation": "ce:correlationid"})
    with pytest.raises(UnsafeChangeError, match="column correlation: wanted text, found integer"):
        await place.migrate()


async def test_what_was_dropped_by_hand_is_put_right(place: ArchivePlace) -> None:
    await place.migrate()
    await place.root.execute("DROP VIEW archive.gaps")
    await place.root.execute("DROP INDEX archive.events_actor_idx")
    await place.root.execute("DROP TABLE archive.rows_orders_default")
    await place.root.execute(f'REVOKE INSERT ON archive.events FROM "{place.writer}"')
    said = await place.migrate()
    assert len(said) >= 4
    assert f"granted INSERT ON TABLE archive.events TO {place.writer}" in said
    assert "view gaps was missing: created" in said
    assert await place.migrate() == ("the tables are as wanted",)


async def test_two_archives_share_a_database(place: ArchivePlace) -> None:
    await place.migrate()
    database = dataclasses.replace(place.config.database, schema="other")
    migration = dataclasses.replace(place.config.migration, schema="other")  # type: ignore[type-var]
    place.change(database=database, migration=migration, consumer="second")
    assert "created schema other" in await place.migrate()


LOOKS = {
    "of a key": "key = 'k7' AND {lately} ORDER BY stored_at LIMIT 100",
    "of a type": "type = 'a.7' AND {lately} LIMIT 100",
    "of an actor": "actor = 'a7' AND {lately} LIMIT 100",
    "the newest": "{lately} ORDER BY stored_at DESC LIMIT 100",
    "one event": "id = '00000000-0000-0000-0000-000000000007'",
}
FILL = """
INSERT INTO archive.events (class, stored_at, id, type, key, source, subject, sequence, occurred_at,
                            headers, payload_bytes, actor)
SELECT 'default', $1::timestamptz - n * interval '20 seconds', gen_random_uuid(), 'a.' || n % 100,
       'k' || n, '/s', 'a', n, now(), '{}', 0, 'a' || n % 1000
FROM generate_series(1, 20000) n
"""


async def test_looks_go_by_index_and_open_the_partitions_of_their_time(place: ArchivePlace) -> None:
    await place.migrate()
    # Five days of rows: their partitions are made by the second round.
    newest = noon_of_yesterday()
    await place.root.execute(FILL, newest)
    await place.upkeep()
    await place.root.execute("ANALYZE archive.events")
    hour = newest - timedelta(hours=1)
    seconds = (datetime.now(UTC) - hour).total_seconds()
    lately = f"stored_at > now() - interval '{seconds} seconds'"
    for name, condition in LOOKS.items():
        asked = condition.format(lately=lately)
        lines = await place.root.fetch(f"EXPLAIN SELECT * FROM archive.events WHERE {asked}")
        plan = "\n".join(line[0] for line in lines)
        # Partitions that are empty still may be read as a whole: there is nothing in them.
        read = re.findall(r"Seq Scan on \S+.*?\.\.(\d+)", plan)
        assert all(int(cost) < 10 for cost in read), f"{name}:\n{plan}"
        if "lately" in condition:
            assert min(days_opened(plan, "default")) == hour.date(), f"{name}:\n{plan}"


async def test_what_the_api_noted_is_forgotten_in_time(place: ArchivePlace) -> None:
    place.with_api()
    place.change(log_keep_seconds=30 * DAY)
    await place.migrate()
    for days in (1, 29, 31, 400):
        at = datetime.now(UTC) - timedelta(days=days)
        await place.root.execute(NOTED, at, 6000 if days == 400 else 1)
        await place.root.execute(EXPORTED, at)
    assert "forgot 6003 old entries of the API's logs" in await place.upkeep()
    for table in ("access_log", "exports"):
        assert await place.root.fetchval(f"SELECT count(*) FROM archive.{table}") == 2
    place.change(api_role=None)  # what was noted goes on being forgotten
    await place.migrate()
    place.change(log_keep_seconds=2 * DAY)
    assert "forgot 2 old entries of the API's logs" in await place.upkeep()


NOTED = """
INSERT INTO archive.access_log (at, subject, action, question, outcome, events, bytes, seconds)
SELECT $1, 's', 'events', '{}', 'ok', 0, 0, 0 FROM generate_series(1, $2)
"""
EXPORTED = """
INSERT INTO archive.exports (id, subject, began_at, ended_at, moment, format, question, skipped,
                             events, bytes, sha256)
VALUES (gen_random_uuid(), 's', $1, $1, $1, 'csv', '{}', 0, 0, 0, '')
"""
