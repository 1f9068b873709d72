"""An outbox in a database, made by the migrations themselves, and rows in it."""

from __future__ import annotations

from typing import Literal

import asyncpg

from outbox_operator.adapters.postgres.admin import PostgresAdmin
from outbox_operator.adapters.postgres.connection import connect
from outbox_operator.adapters.postgres.url import parse_url
from outbox_operator.plan.ownership import Claim
from outbox_operator.plan.postgres.checks import event_checks
from outbox_operator.plan.postgres.migrations import (
    DesiredDatabase,
    DesiredInbox,
    plan_inbox,
    plan_migrations,
)
from outbox_operator.plan.state import Owner

OWNER = Owner(uid="00000000-0000-0000-0000-000000000001", key="OutboxPipeline/shop/orders")


async def migrate(
    url: str,
    schema: str = "outbox",
    payload_type: Literal["jsonb", "bytea"] = "jsonb",
    *,
    writers: tuple[str, ...] = (),
    relay_role: str | None = None,
    wakeup: bool = False,
    shards: int = 1,
) -> None:
    """Bring a database to the current schema version, as the operator would."""
    desired = DesiredDatabase(
        schema=schema, payload_type=payload_type, writers=writers, relay_role=relay_role,
        shards=shards, wakeup=wakeup,
    )  # fmt: skip
    target = parse_url(url)
    connection = await connect(target, application_name="test-migrations")
    try:
        admin = PostgresAdmin(connection, target)
        plan = plan_migrations(desired, await admin.observe(desired), Claim(owner=OWNER))
        await admin.apply(
            plan, desired, Claim(owner=OWNER), lock_timeout=5.0, operator_version="test"
        )
    finally:
        await connection.close()


async def migrate_inbox(url: str, schema: str = "outbox", consumer_role: str | None = None) -> None:
    """Create the inbox table, as the operator would."""
    desired = DesiredInbox(schema=schema, consumer_role=consumer_role)
    target = parse_url(url)
    connection = await connect(target, application_name="test-migrations")
    try:
        admin = PostgresAdmin(connection, target)
        plan = plan_inbox(desired, await admin.observe(desired))
        await admin.apply_inbox(plan, desired, lock_timeout=5.0)
    finally:
        await connection.close()


async def without_checks(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Take the checks of rows off, as it was before version 4."""
    for check in event_checks():
        await connection.execute(f"ALTER TABLE outbox.events DROP CONSTRAINT {check.name}")


async def publish_all(connection: asyncpg.Connection[asyncpg.Record], schema: str) -> None:
    """Move the cursor past everything committed by now, as a relay would."""
    await connection.execute(
        f'UPDATE "{schema}".cursors SET snapshot_from = pg_current_snapshot()::text, '
        "snapshot_to = NULL, published_at = clock_timestamp(), updated_at = clock_timestamp(), "
        f'emission = emission + 1, last_position = (SELECT max(position) FROM "{schema}".events)'
    )


async def let_time_pass(
    connection: asyncpg.Connection[asyncpg.Record], table: str, schema: str = "outbox"
) -> None:
    """Make the upkeep believe that the rows of a table were published three days ago."""
    name = f'"{schema}"."{table}"'
    comment = await connection.fetchval(
        f"SELECT jsonb_set(obj_description('{name}'::regclass)::jsonb, "
        "'{published_at}', to_jsonb((now() - interval '3 days')::text))::text"
    )
    assert comment, f"{table} has no stamp"
    comment = comment.replace("'", "''")
    await connection.execute(f"COMMENT ON TABLE {name} IS '{comment}'")
