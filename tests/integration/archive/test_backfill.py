"""The rows that an outbox has kept go into an archive, once, whatever the stream brings too."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from outbox_operator.adapters.postgres.archive_admin import ArchiveAdmin
from outbox_operator.adapters.postgres.connection import connect
from outbox_operator.adapters.postgres.url import Login, resolve
from outbox_operator.archive.app import ArchiveApp
from outbox_operator.archive.backfill import Backfill
from outbox_operator.plan.postgres.archive_numbers import BackfillNumbers
from outbox_operator.wire.archive import ArchiveBackfill
from outbox_operator.wire.config import encode
from support.archiving import ArchivePlace, Stream, write_process, writing
from support.outbox import migrate
from support.waiting import SECONDS, eventually

pytestmark = pytest.mark.integration

# Three days ago, one a second; the first is a dead letter, the second was sent again by a replay.
ADD = """
INSERT INTO outbox.events (event_type, partition_key, payload, headers, created_at, replay)
SELECT 'order.placed', 'k' || n % 10,
       jsonb_build_object('actor', jsonb_build_object('id', 'a' || n)),
       '{"X-Own": "ä"}', now() - interval '3 days' + n * interval '1 second',
       CASE WHEN n = 2 THEN '{"name": "r", "of": 1}'::jsonb END
FROM generate_series(1, $1::int) n
"""
DEAD = """
INSERT INTO outbox.dead_letters (position, event_id, event_type, partition_key, payload, headers,
                                 created_at, reason)
SELECT position, event_id, event_type, partition_key, payload, headers, created_at, 'Refused'
FROM outbox.events ORDER BY position LIMIT 1
"""
SLEEPY = """
CREATE FUNCTION archive.sleep() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_sleep(60); RETURN NEW; END $$;
CREATE TRIGGER sleep BEFORE INSERT ON archive.events FOR EACH ROW
WHEN (NEW.position = {position}) EXECUTE FUNCTION archive.sleep();
"""
REFUSING = """
CREATE FUNCTION archive.refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE 'no' USING ERRCODE = '22003'; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON archive.events FOR EACH ROW
WHEN (NEW.payload #>> '{actor,id}' = 'a7') EXECUTE FUNCTION archive.refuse();
"""
SLEEPING = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND wait_event = 'PgSleep'
"""
ROWS = 1500


@pytest.fixture
async def outbox(place: ArchivePlace, stream: Stream) -> ArchivePlace:
    """An outbox beside the archive, whose reader the archive's config names."""
    await migrate(place.url)
    await place.root.execute(ADD, ROWS)
    await place.root.execute(DEAD)
    await place.root.execute(f'GRANT USAGE ON SCHEMA outbox TO "{place.reader}"')
    tables = "outbox.events, outbox.dead_letters, outbox.former_dead_letters"
    await place.root.execute(f'GRANT SELECT ON {tables} TO "{place.reader}"')
    place.change(backfill=ArchiveBackfill(url_file=place.login_file(place.reader)))
    return place


async def far(place: ArchivePlace) -> BackfillNumbers | None:
    """How far it is, as the operator sees it."""
    target = resolve(Login.from_files(place.config.migration or place.config.database))
    connection = await connect(target, application_name="test")
    try:
        return (await ArchiveAdmin(connection, target).numbers("archive")).backfill
    finally:
        await connection.close()


async def done(place: ArchivePlace) -> bool:
    found = await far(place)
    return found is not None and found.ended_at is not None


async def relay(stream: Stream, row: asyncpg.Record | dict[str, Any]) -> None:
    """Send a row as its relay does, late."""
    headers = {
        "Ce-Id": str(row["event_id"]), "Ce-Type": row["event_type"], "Ce-Source": "/shop/orders",
        "Ce-Time": row["created_at"].isoformat(), "Ce-Partitionkey": row["partition_key"],
        "Content-Type": "application/json", "Outbox-Shard": "0",
        "Outbox-Emission": str(row["position"]), "Outbox-Position": str(row["position"]),
    }  # fmt: skip
    await stream.publish(row["payload"].encode(), headers)


async def test_each_row_once_beside_the_stream_and_after_a_kill(
    outbox: ArchivePlace, stream: Stream, tmp_path: Path
) -> None:
    place = outbox
    rows = await place.root.fetch("SELECT * FROM outbox.events ORDER BY position")
    for row in rows[10:20]:
        await relay(stream, row)
    async with writing(dataclasses.replace(place.config, backfill=None)):
        await stream.settled()
    for row in rows[20:30]:
        await relay(stream, row)
    config = tmp_path / "config.json"
    config.write_text(encode(place.config))
    await place.root.execute(SLEEPY.format(position=rows[900]["position"]))
    process = write_process(config)
    try:
        await eventually(lambda: place.root.fetch(SLEEPING), "in the middle of a page")
    finally:
        process.kill()
        process.wait(SECONDS)
    half = await far(place)
    assert half is not None
    assert 0 < half.position < rows[900]["position"]
    assert half.ended_at is None
    await place.root.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event = 'PgSleep'"
    )
    await place.root.execute("DROP FUNCTION archive.sleep CASCADE")
    async with writing(place.config), writing(place.config):
        await eventually(lambda: done(place), "all rows")
        for row in rows[1490:]:  # was not sent until now
            await relay(stream, row)
        await stream.settled()
    there = await place.rows("id, position, occurred_at, stored_at, actor, sequence, headers", "")
    assert {row["id"] for row in there} == {row["event_id"] for row in rows[2:]}
    assert len(there) == ROWS - 2
    by_id = {row["event_id"]: row for row in rows}
    for row in there:
        kept = by_id[row["id"]]
        assert (row["position"], row["occurred_at"]) == (kept["position"], kept["created_at"])
        if row["sequence"] == 0:  # else the stream brought it
            assert row["stored_at"] == kept["created_at"]
            assert '"X-Own": "ä"' in row["headers"]
    assert {row["actor"] for row in there} == {f"a{n}" for n in range(3, ROWS + 1)}
    found = await far(place)
    assert found is not None
    assert (found.source, found.rows, found.position) == ("/shop/orders", ROWS, found.up_to)
    assert 0 < found.stored <= ROWS - 2
    # A process that is started once more has nothing to do.
    async with writing(place.config):
        await stream.emit([5000])
        await stream.settled()
    assert len(await place.rows("id")) == ROWS - 1
    assert (await far(place)) == found


TIMES = {
    "infinity": "9999-12-31T23:59:59Z",
    "9999-12-31T12:00:00Z": "9999-12-31T12:00:00Z",
    "2090-01-01T00:00:00Z": "2090-01-01T00:00:00Z",
    "0044-03-15T12:00:00Z BC": "0001-01-01T00:00:00.000001Z",
    "-infinity": "0001-01-01T00:00:00.000001Z",
    "replayed": "1970-01-01T00:00:01Z",
}
"""Of rows that say that they were made then, and what is read of it."""


async def test_a_row_of_any_time_is_archived_once_and_is_in_nobodys_way(
    outbox: ArchivePlace, stream: Stream
) -> None:
    place = outbox
    await place.root.execute("TRUNCATE outbox.events")
    for moment in list(TIMES)[:-1]:
        await place.root.execute(
            "INSERT INTO outbox.events (event_type, payload, headers, created_at) "
            "VALUES ('order.placed', '1', '{}', $1::text::timestamptz)",
            moment,
        )
    # What was sent again, and of which retention has taken the row itself.
    await place.root.execute(
        "INSERT INTO outbox.events (event_type, payload, headers, replay) VALUES "
        """('order.placed', '1', '{}', '{"name": "r", "of": 999999, "time": 1000000}')"""
    )
    rows = await place.root.fetch(
        "SELECT event_id, event_type, partition_key, position, payload FROM outbox.events "
        "ORDER BY position"
    )
    async with writing(place.config):
        await eventually(lambda: done(place), "all rows")
        for row, said in zip(rows, TIMES.values(), strict=True):
            await relay(stream, {**row, "created_at": datetime.fromisoformat(said)})
        await stream.settled()
    there = await place.rows("id, stored_at, archived_at, occurred_at")
    assert {row["id"] for row in there} == {row["event_id"] for row in rows}
    assert len(there) == len(rows)
    assert all(row["stored_at"] <= row["archived_at"] for row in there)
    kept = {row["id"]: row["occurred_at"] for row in there}
    assert [kept[row["event_id"]] for row in rows] == [
        datetime.fromisoformat(said) for said in TIMES.values()
    ]
    await place.upkeep()


async def test_what_is_in_the_way_is_said_and_the_stream_is_archived_all_the_same(
    outbox: ArchivePlace, stream: Stream
) -> None:
    place = outbox
    await place.root.execute(f'REVOKE SELECT ON outbox.events FROM "{place.reader}"')

    async def told() -> bool:
        found = await far(place)
        return found is not None and found.problem is not None

    async with writing(place.config):
        await stream.emit([1])
        await stream.settled()
        await eventually(told, "the problem")
        found = await far(place)
        assert found is not None
        assert (found.source, found.ended_at) == ("", None)
        assert 'GRANT SELECT ON "outbox".events' in str(found.problem)
        await place.root.execute(f'GRANT SELECT ON outbox.events TO "{place.reader}"')
        await eventually(lambda: done(place), "all rows")
    found = await far(place)
    assert found is not None
    assert (found.problem, found.source) == (None, "/shop/orders")


async def test_a_row_that_the_archive_refuses_takes_no_other_along(
    outbox: ArchivePlace, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever PostgreSQL says to one of them; memory has one page, cut by bytes."""
    place = outbox
    await place.root.execute(REFUSING)
    await place.root.execute(
        "UPDATE outbox.events SET payload = jsonb_build_object('x', repeat('y', 3000000)) "
        "WHERE position % 300 = 0"
    )
    seen: list[int] = []
    whole = Backfill._store_page

    async def counted(self: Backfill, page, moved) -> None:  # type: ignore[no-untyped-def]
        seen.append(sum(len(row.payload or b"") for row in page))
        await whole(self, page, moved)

    monkeypatch.setattr(Backfill, "_store_page", counted)
    app = ArchiveApp(place.config)
    async with app._backfilling():
        await eventually(lambda: done(place), "all rows")
    assert max(seen) < 8_000_000
    assert len(await place.rows("id")) == ROWS - 2
    [odd] = await place.rows("note, key, archived_at", "WHERE note IS NOT NULL")
    assert odd["note"] == "payload stored as bytes: the database refused it"
    assert odd["archived_at"] < datetime.now(UTC)
