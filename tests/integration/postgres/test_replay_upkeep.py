"""Rows that a replay has still to copy are kept; that earlier ones are gone is told."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest

from outbox_operator.adapters.postgres.dead_letters import DeadLetterStore
from outbox_operator.adapters.postgres.rebase import PostgresRebase
from outbox_operator.adapters.postgres.replays import ReplayStore, Selection
from outbox_operator.adapters.postgres.url import parse_url
from outbox_operator.plan.postgres.migrations import DesiredDatabase
from outbox_operator.plan.postgres.rebase import Choice
from outbox_operator.plan.postgres.schema import outbox_tables
from support.outbox import let_time_pass, publish_all
from support.owned import OwnedDatabase

pytestmark = pytest.mark.integration

DAY = 86_400.0
ADD = (
    "INSERT INTO outbox.events (event_type, payload, created_at) "
    "VALUES ('old', '{}', now() - interval '3 days')"
)


def replay(place: OwnedDatabase, selection: Selection) -> ReplayStore:
    target = parse_url(f"postgresql://{place.role}@127.0.0.1/{place.name}")
    return ReplayStore(place.connection, target, "outbox", name="again", selection=selection)


async def test_upkeep_leaves_what_a_replay_has_to_read(owned: OwnedDatabase) -> None:
    await owned.migrate(DesiredDatabase(schema="outbox"))
    await owned.connection.execute(ADD)
    assert (await owned.admin.maintain("outbox", DAY)).rotated == "events_p1"
    week_ago = dt.datetime.now(dt.UTC) - dt.timedelta(days=7)
    store = replay(owned, Selection(since=week_ago))
    bounds = await store.settle()
    assert not (await store.kept()).lacks(Selection(since=week_ago))
    begun = await store.begin(bounds)
    await publish_all(owned.connection, "outbox")
    await owned.admin.maintain("outbox", 0)
    await let_time_pass(owned.connection, "events_p0")
    kept = await owned.admin.maintain("outbox", 0)
    assert kept.truncated == []
    assert kept.deferred == ["empty partition events_p0, which a replay reads"]
    assert not await store.lost(bounds, begun)
    # Nobody has moved it for long, such as somebody who suspended it for a day.
    await owned.connection.execute("UPDATE outbox.replays SET moved_at = now() - interval '1 day'")
    assert (await owned.admin.maintain("outbox", 0)).truncated == ["events_p0"]
    assert await store.lost(bounds, await store.begin(bounds))
    assert (await store.kept()).lacks(Selection(since=week_ago))
    assert (await store.kept()).lacks(Selection(first=1))
    assert not (await store.kept()).lacks(Selection())
    await owned.connection.execute(
        "INSERT INTO outbox.events (event_type, payload) VALUES ('a', '1')"
    )
    now = dt.datetime.now(dt.UTC)
    assert not (await store.kept()).lacks(Selection(since=now + dt.timedelta(hours=1)))
    assert (await store.kept()).lacks(Selection(since=week_ago))


@pytest.mark.parametrize("time", ["0044-03-15 BC", "-infinity", "infinity", "294276-01-01"])
async def test_whatever_time_the_first_row_has(owned: OwnedDatabase, time: str) -> None:
    await owned.migrate(DesiredDatabase(schema="outbox"))
    await owned.connection.execute(
        f"INSERT INTO outbox.events (event_type, payload, created_at) VALUES ('a', '1', '{time}')"
    )
    await owned.connection.execute(ADD)
    assert (await replay(owned, Selection()).kept()).oldest is not None
    target = parse_url(f"postgresql://{owned.role}@127.0.0.1/{owned.name}")
    choice = Choice(which="all")
    async with PostgresRebase.open(owned.connection, target, "outbox") as rebase:
        assert [shard.oldest is not None for shard in await rebase.preview(choice)] == [True]
    assert (await owned.admin.maintain("outbox", DAY)).rotated == "events_p1"
    await owned.connection.execute(f"UPDATE outbox.cursors SET published_at = '{time}'")
    assert (await owned.admin.sample("outbox")).backlog_rows == 2


async def test_a_replay_that_is_over_keeps_nothing(owned: OwnedDatabase) -> None:
    await owned.migrate(DesiredDatabase(schema="outbox"))
    await owned.connection.execute(ADD)
    await owned.admin.maintain("outbox", DAY)
    store = replay(owned, Selection())
    bounds = await store.settle()
    await store.begin(bounds)
    assert (await store.copy(bounds)).all
    await store.end()
    await publish_all(owned.connection, "outbox")
    await owned.admin.maintain("outbox", 0)
    await let_time_pass(owned.connection, "events_p0")
    assert (await owned.admin.maintain("outbox", 0)).truncated == ["events_p0"]


async def test_what_was_a_dead_letter_is_forgotten_with_its_row(owned: OwnedDatabase) -> None:
    await owned.migrate(DesiredDatabase(schema="outbox"))
    await owned.connection.execute(ADD)
    await owned.admin.maintain("outbox", DAY)
    await owned.connection.execute(ADD)
    rows = await owned.connection.fetch("SELECT position FROM outbox.events ORDER BY position")
    for row in rows:
        await owned.connection.execute(
            "INSERT INTO outbox.dead_letters (position, event_id, event_type, partition_key, "
            "payload, headers, created_at, reason) "
            f"VALUES ({row['position']}, gen_random_uuid(), 'a', '', '1', '{{}}', now(), 'Invalid')"
        )
    target = parse_url(f"postgresql://{owned.role}@127.0.0.1/{owned.name}")
    positions = [row["position"] for row in rows]
    letters = DeadLetterStore(owned.connection, target, "outbox")
    assert await letters.purge(positions) == positions
    await publish_all(owned.connection, "outbox")
    await owned.admin.maintain("outbox", 0)
    await let_time_pass(owned.connection, "events_p0")
    assert (await owned.admin.maintain("outbox", 0)).truncated == ["events_p0"]
    left = await owned.connection.fetch("SELECT position FROM outbox.former_dead_letters")
    assert [row["position"] for row in left] == positions[1:]


async def test_a_writer_may_mark_no_row_as_a_copy(owned: OwnedDatabase) -> None:
    role, _ = owned.server.create_role("writer")
    await owned.migrate(DesiredDatabase(schema="outbox", writers=(role,)))
    await owned.root.execute(f"SET ROLE {role}")
    with pytest.raises(Exception, match="permission denied"):
        await owned.root.execute(
            "INSERT INTO outbox.events (event_type, payload, replay) VALUES ('a', '{}', '{}')"
        )
    await owned.root.execute("RESET ROLE")


async def test_a_table_without_partitions_is_read_and_kept_too(owned: OwnedDatabase) -> None:
    desired = DesiredDatabase(schema="outbox")
    events = replace(outbox_tables(desired)[0], partition_key=None)
    await owned.connection.execute("CREATE SCHEMA outbox")
    await owned.connection.execute("CREATE SEQUENCE outbox.events_position_seq AS bigint CACHE 1")
    await owned.connection.execute(events.create_sql())
    await owned.migrate(desired)
    for _ in range(3):
        await owned.connection.execute(ADD)
    week_ago = Selection(since=dt.datetime.now(dt.UTC) - dt.timedelta(days=7))
    store = replay(owned, week_ago)
    bounds = await store.settle()
    assert not (await store.kept()).lacks(week_ago)
    assert (await store.count(bounds, None)).chosen == 3
    await store.begin(bounds)
    await publish_all(owned.connection, "outbox")
    await owned.admin.maintain("outbox", 0)
    await let_time_pass(owned.connection, "cursors")
    kept = await owned.admin.maintain("outbox", 0)
    assert (kept.deleted, kept.deferred) == (0, ["delete rows, which a replay reads"])
    copied = await store.copy(bounds)
    assert (copied.rows, copied.all) == (3, True)
    await store.end()
    assert (await owned.admin.maintain("outbox", DAY)).deleted == 3  # and not the copies
    assert (await store.kept()).lacks(week_ago)
