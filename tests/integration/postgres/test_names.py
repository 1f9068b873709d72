"""Whoever may create in a schema where a login looks names up has nothing of theirs called."""

from __future__ import annotations

import asyncpg
import pytest

from outbox_operator.adapters.postgres.connection import connect
from outbox_operator.adapters.postgres.url import parse_url
from outbox_operator.plan.postgres.migrations import DesiredDatabase
from support.outbox import publish_all
from support.owned import OwnedDatabase

pytestmark = pytest.mark.integration

EVIL = """
DO $$
DECLARE
    one record;
    kinds regtype[] := '{int2,int4,int8,numeric,float8,text,name,xid8,interval}';
BEGIN
    FOR one IN
        SELECT o.name, l.kind AS lft, r.kind AS rgt
        FROM unnest('{+,-,*,/,<,<=,>,>=,=,<>,||}'::text[]) AS o (name)
        CROSS JOIN unnest(kinds) AS l (kind)
        CROSS JOIN unnest(kinds) AS r (kind)
        WHERE NOT EXISTS (
            SELECT FROM pg_operator p
            WHERE p.oprname = o.name AND p.oprleft = l.kind AND p.oprright = r.kind)
    LOOP
        EXECUTE format(
            'CREATE OR REPLACE FUNCTION public.evil(%1$s, %2$s) RETURNS bool LANGUAGE plpgsql '
            'AS $f$ BEGIN RAISE ''called as %%'', current_user; END $f$', one.lft, one.rgt);
        EXECUTE format(
            'CREATE OPERATOR public.%3$s (LEFTARG = %1$s, RIGHTARG = %2$s, FUNCTION = public.evil)',
            one.lft, one.rgt, one.name);
    END LOOP;
END $$
"""
"""An operator for each pair of types that PostgreSQL has none for, where it would cast one."""
OUTBOX = DesiredDatabase(schema="outbox", shards=2)


async def test_migrations_looks_and_upkeep_call_nothing_of_others(owned: OwnedDatabase) -> None:
    await owned.root.execute(EVIL)
    await owned.migrate(OUTBOX)
    await owned.connection.execute(
        "INSERT INTO outbox.events (event_type, payload, created_at) "
        "SELECT 'old', '{}', now() - interval '3 days' FROM generate_series(1, 10)"
    )
    assert (await owned.admin.sample("outbox")).backlog_rows == 10
    await publish_all(owned.root, "outbox")
    for _ in range(3):
        await owned.admin.maintain("outbox", 0)
    await owned.migrate(OUTBOX)


async def test_statements_of_an_application_look_names_up_as_its_login_has_it(
    database: str,
) -> None:
    ours = await connect(parse_url(database), application_name="test")
    theirs = await connect(parse_url(database), application_name="test", statements_of_others=True)
    await theirs.execute("CREATE TABLE public.shop (id int)")
    assert await theirs.fetch("SELECT * FROM shop") == []
    with pytest.raises(asyncpg.UndefinedTableError):
        await ours.fetch("SELECT * FROM shop")
    await ours.close()
    await theirs.close()
