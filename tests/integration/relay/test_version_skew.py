"""A relay that is newer than the schema it reads: until the migration has been approved."""

from __future__ import annotations

from outbox_operator.plan.postgres.schema import outbox_tables
from outbox_operator.plan.postgres.state import DesiredDatabase
from outbox_operator.wire.tables import CURRENT_SCHEMA_VERSION
from support.outbox import migrate
from support.relaying import Outbox
from support.waiting import eventually


async def test_a_relay_waits_for_the_migration_that_it_needs(outbox: Outbox) -> None:
    desired = DesiredDatabase(schema="outbox", writers=(), relay_role=None)
    newest = [
        (table.name, column.name)
        for table in outbox_tables(desired)
        for column in table.columns
        if column.since == CURRENT_SCHEMA_VERSION
    ]
    assert newest, "nothing to take away: this version has brought no column"
    for table, column in newest:
        await outbox.connection.execute(f"ALTER TABLE outbox.{table} DROP COLUMN {column}")
    await outbox.connection.execute("UPDATE outbox.schema_version SET version = version - 1")
    event = await outbox.add()
    relay = outbox.relay().start()
    await eventually(lambda: "migrations" in str(relay.failing()), "it says why", relay=relay)
    assert relay.running
    assert await outbox.stored() == []
    await migrate(outbox.url)
    await relay.ready()
    assert [message.event_id for message in await outbox.stored(1)] == [event]
