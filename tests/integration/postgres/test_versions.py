"""The whole life of an outbox on every PostgreSQL we test with, with the documented rights only.

Nobody here is a superuser but the fixtures: the owner may create schemas, the relay and the
writer have what the migrations gave them.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from outbox_operator.plan.postgres.migrations import DesiredDatabase
from support.command import outbox_command
from support.nats import NatsServer, unique_prefix
from support.outbox import let_time_pass
from support.owned import OwnedDatabase
from support.postgres import PostgresServer
from support.relaying import Outbox
from support.waiting import eventually

pytestmark = pytest.mark.integration

INSERT = (
    "INSERT INTO outbox.events (event_id, event_type, partition_key, payload, headers) "
    "VALUES ($1, $2, $3, $4, $5)"
)
ADD_OLD = (
    "INSERT INTO outbox.events (event_type, payload, created_at) "
    "VALUES ('old', '0', now() - interval '3 days')"
)
IDS = [f"00000000-0000-4000-8000-00000000000{number}" for number in range(4)]


async def test_from_migration_to_pruning(
    any_postgres: PostgresServer, any_database: str, nats_server: NatsServer, tmp_path: Path
) -> None:
    async with OwnedDatabase(any_postgres, any_database) as place:
        role, password = any_postgres.create_role("relay")
        writer, application = await place.other_role("writer")
        desired = DesiredDatabase(schema="outbox", writers=(writer,), relay_role=role)
        await place.migrate(desired)
        assert (await place.plan(desired)).empty
        relay_url = any_postgres.url(place.name, role, password)
        outbox = Outbox(relay_url, nats_server, tmp_path, place.connection, unique_prefix())
        try:
            await outbox.create_stream()
            await place.connection.execute(ADD_OLD)
            relay = await outbox.relay().start().ready()
            for number, event in enumerate(IDS[:2]):
                await application.execute(INSERT, event, "created", "a", f"{number}", "{}")
            await application.execute(INSERT, IDS[2], "created", "b", "2", "[]")
            emitted = await application.fetchval("SELECT outbox.emit('created', 'c', '3')")
            stored = await outbox.stored(4)
            assert [message.event_id for message in stored][1:] == [*IDS[:2], str(emitted)]
            await eventually(outbox.dead_letters, "a dead letter", relay=relay)
            await _backlog(outbox, 4)
            await outbox.idle(relay)
            assert relay.terminate() == 0
            sample = await place.admin.sample("outbox")
            assert (sample.backlog_rows, sample.dead_letters) == (0, 1)
            await _nothing_changed_or_deleted(place)
            await _rebase(place, outbox, str(relay.config))
            await _prune(place, desired)
        finally:
            outbox.stop_all()
            await outbox.delete_stream()


async def _rebase(place: OwnedDatabase, outbox: Outbox, config: str) -> None:
    """With the relay's own login."""
    await place.connection.execute("UPDATE outbox.cursors SET system_identifier = '42'")
    assert (await place.admin.read("outbox")).foreign is not None
    done = await outbox_command("rebase", "--config", config, "--none", "--yes")
    assert done.code == 0, done.output
    assert "none of 2505 rows will be published" in done.output
    assert (await place.admin.read("outbox")).foreign is None
    relay = await outbox.relay().start().active()
    await outbox.add("after")
    assert len(await outbox.stored(2505)) == 2505
    await outbox.idle(relay)
    assert relay.terminate() == 0


async def _nothing_changed_or_deleted(place: OwnedDatabase) -> None:
    """Our side left no dead row behind in the table that applications write to."""

    async def counted() -> bool:
        await place.root.execute("SELECT pg_stat_clear_snapshot()")
        row = await place.root.fetchrow(
            "SELECT sum(n_tup_ins) AS inserted, sum(n_tup_upd + n_tup_del) AS changed, "
            "sum(n_dead_tup) AS dead FROM pg_stat_user_tables WHERE relname LIKE 'events%'"
        )
        assert row is not None
        assert (row["changed"], row["dead"]) == (0, 0)
        return bool(row["inserted"] >= 2505)

    await eventually(counted, "statistics of all inserts")


async def _backlog(outbox: Outbox, published: int) -> None:
    """More than a page, so that every way of reading is used."""
    await outbox.fill(2500, bytes_each=200)
    assert len(await outbox.stored(published + 2500)) == published + 2500


async def _prune(place: OwnedDatabase, desired: DesiredDatabase) -> None:
    """Long after everything was published the partition is emptied and goes; no row by row."""
    assert await place.connection.fetchval("SELECT count(*) FROM outbox.events")
    assert (await place.admin.maintain("outbox", 0)).rotated == "events_p1"
    await place.admin.maintain("outbox", 0)
    await let_time_pass(place.connection, "events_p0")
    assert (await place.admin.maintain("outbox", 0)).truncated == ["events_p0"]
    assert (await place.admin.maintain("outbox", 0)).dropped == ["events_p0"]
    assert (await place.plan(desired)).empty
