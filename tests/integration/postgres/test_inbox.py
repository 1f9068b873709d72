"""The inbox table: made once for all consumers of a database, and pruned for each."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from outbox_operator.errors import PostgresError, UnsafeChangeError
from outbox_operator.plan.postgres.migrations import DesiredDatabase, DesiredInbox
from support.outbox import OWNER
from support.owned import OwnedDatabase

pytestmark = pytest.mark.integration

INBOX = DesiredInbox(schema="outbox")
ADD = (
    "INSERT INTO outbox.consumer_inbox (event_id, consumer_name, source_topic, event_type,"
    " consumed_at) SELECT gen_random_uuid(), $1, 'orders.a', 'a', now() - make_interval(days => $2)"
    " FROM generate_series(1, $3)"
)


async def make(owned: OwnedDatabase, desired: DesiredInbox = INBOX) -> bool:
    plan = await owned.plan_inbox(desired)
    return await owned.admin.apply_inbox(plan, desired, lock_timeout=5)


async def test_the_consumer_role_may_claim_finish_and_prune(owned: OwnedDatabase) -> None:
    role, consumer = await owned.other_role("consumer")
    desired = DesiredInbox(schema="outbox", consumer_role=role)
    assert await make(owned, desired)
    assert (await owned.plan_inbox(desired)).empty
    await consumer.execute(ADD, "billing", 1, 1)
    await consumer.execute("UPDATE outbox.consumer_inbox SET processing_duration_ms = 5")
    await consumer.execute("DELETE FROM outbox.consumer_inbox")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await consumer.execute("DROP TABLE outbox.consumer_inbox")


async def test_one_event_is_kept_once_per_consumer(owned: OwnedDatabase) -> None:
    await make(owned)
    event = (
        "INSERT INTO outbox.consumer_inbox (event_id, consumer_name, source_topic, event_type) "
        "VALUES ('00000000-0000-0000-0000-000000000001', $1, '', '') ON CONFLICT DO NOTHING"
    )
    assert await owned.connection.execute(event, "billing") == "INSERT 0 1"
    assert await owned.connection.execute(event, "billing") == "INSERT 0 0"
    assert await owned.connection.execute(event, "mailing") == "INSERT 0 1"


async def test_prunes_the_old_rows_of_one_consumer(owned: OwnedDatabase) -> None:
    await make(owned)
    await owned.connection.execute(ADD, "billing", 8, 2500)
    await owned.connection.execute(ADD, "billing", 6, 3)
    await owned.connection.execute(ADD, "mailing", 8, 4)
    assert await owned.admin.prune_inbox("outbox", "billing", 7 * 86_400.0) == 2500
    assert await owned.admin.prune_inbox("outbox", "billing", 7 * 86_400.0) == 0
    assert await owned.connection.fetchval("SELECT count(*) FROM outbox.consumer_inbox") == 7


async def test_lives_beside_the_outbox_and_outlives_it(owned: OwnedDatabase) -> None:
    await make(owned)
    desired = DesiredDatabase(schema="outbox")
    await owned.migrate(desired)
    assert (await owned.plan_inbox(INBOX)).empty
    assert (await owned.plan(desired)).empty
    assert await owned.admin.drop("outbox", OWNER)
    assert (await owned.plan_inbox(INBOX)).empty


async def test_refuses_a_foreign_table_of_that_name(owned: OwnedDatabase) -> None:
    await owned.connection.execute(
        "CREATE SCHEMA outbox CREATE TABLE consumer_inbox (id bigint PRIMARY KEY)"
    )
    with pytest.raises(UnsafeChangeError, match="column event_id: wanted uuid"):
        await owned.plan_inbox(INBOX)


async def test_of_two_consumers_at_once_both_end_with_a_table(owned: OwnedDatabase) -> None:
    plan = await owned.plan_inbox(INBOX)
    _, second = await owned.second_owner()
    done = await asyncio.gather(
        *(a.apply_inbox(plan, INBOX, lock_timeout=10) for a in (owned.admin, second))
    )
    assert sorted(done) == [False, True]


async def test_pruning_a_missing_table_is_an_error(owned: OwnedDatabase) -> None:
    with pytest.raises(PostgresError, match="consumer_inbox"):
        await owned.admin.prune_inbox("outbox", "billing", 1.0)
