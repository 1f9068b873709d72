"""What pages show in SQL, and the README in Python, run as it stands, by a role that has what the
page says of it. What a person fills in is filled in."""

from __future__ import annotations

import ast
import inspect
import json
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider

from support.fences import fences
from support.shop import Shop

pytestmark = pytest.mark.integration

BACKFILLED = "outbox.events, outbox.dead_letters, outbox.former_dead_letters"


class Order(dict[str, int]):
    """As the README has it: with attributes, and JSON."""

    id = 42
    total = 1999


async def test_the_readme_writes_events(shop: Shop) -> None:
    await shop.owner.execute(
        "DROP TABLE orders; CREATE TABLE orders (id int, total int); GRANT ALL ON orders TO public"
    )
    [python], [sql] = fences("README.md", "python"), fences("README.md", "sql")
    connection = await asyncpg.connect(shop.url)
    code = compile(python, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    running = eval(code, {"connection": connection, "order": Order(id=42, total=1999)})
    assert inspect.isawaitable(running)
    await running
    await connection.execute(sql)
    await connection.close()
    assert await shop.owner.fetchval("SELECT (id, total)::text FROM orders") == "(42,1999)"
    for row in await shop.events():
        assert (row["event_type"], row["partition_key"]) == ("order.created", "42")
        assert json.loads(row["payload"]) == {"id": 42, "total": 1999}
    assert len(await shop.events()) == 2


async def test_the_sql_of_other_pages(shop: Shop) -> None:
    writer = await asyncpg.connect(shop.url)
    await shop.owner.execute("INSERT INTO orders VALUES ('42'); ALTER TABLE orders ADD state text")
    [order] = fences("docs/explanation/ordering.md", "sql")
    await writer.execute(order.replace("id = 42;", "id = '42';"))
    assert await shop.owner.fetchval("SELECT state FROM orders") == "paid"
    *_, events = fences("docs/how-to/database-roles.md", "sql")
    await writer.execute(events)
    found = [(row["event_type"], row["partition_key"]) for row in await shop.events()]
    assert found == [("order.paid", "42"), *[("order.created", "42")] * 2]

    letter = """INSERT INTO outbox.dead_letters
      (position, event_id, event_type, partition_key, payload, headers, created_at, reason, error)
    VALUES (1, gen_random_uuid(), 'a', '42', '{}', '{"Nats-X": "1", "a": "b"}', now(), 'x', 'x')"""
    await shop.owner.execute(letter)
    [mend] = fences("docs/how-to/dead-letters.md", "sql")
    await shop.owner.execute(mend)
    assert await shop.owner.fetchval("SELECT headers FROM outbox.dead_letters") == '{"a": "b"}'

    shards, rename = fences("docs/how-to/scale-with-shards.md", "sql")
    [cursor] = await shop.owner.fetch(shards)
    assert cursor["shard"] == 0
    holders, relays, drop = fences("docs/how-to/troubleshoot.md", "sql")
    relay = await asyncpg.connect(
        shop.url, server_settings={"application_name": "outbox-relay/shop"}
    )
    await relay.execute("SELECT pg_advisory_lock(7)")
    async with writer.transaction():
        await writer.execute("SELECT outbox.emit('a', 'k', '1')")
        [holder] = await shop.owner.fetch(holders)
        assert holder["pid"] == writer.get_server_pid()
        assert relay.get_server_pid() in {row["pid"] for row in await shop.owner.fetch(relays)}
    await writer.close()
    await relay.close()
    await shop.owner.execute(rename)
    assert await shop.owner.fetchval("SELECT count(*) FROM outbox_before.events") == 4
    await shop.owner.execute("ALTER SCHEMA outbox_before RENAME TO outbox")
    await shop.owner.execute(drop)
    assert await shop.owner.fetchval("SELECT to_regnamespace('outbox')") is None


async def test_the_roles_of_a_page_can_be_made(shop: Shop) -> None:
    """With the rights that the operator needs; roles are the server's, so nothing is kept."""
    made, schema, _ = fences("docs/how-to/database-roles.md", "sql")
    archive, _, reader, _ = fences("docs/how-to/keep-an-archive.md", "sql")
    api, _ = fences("docs/how-to/query-the-archive.md", "sql")
    name = await shop.owner.fetchval("SELECT current_database()")
    transaction = shop.owner.transaction()
    await transaction.start()
    try:
        await shop.owner.execute(made.replace("DATABASE shop", f'DATABASE "{name}"'))
        await shop.owner.execute(archive.replace("DATABASE audit", f'DATABASE "{name}"'))
        await shop.owner.execute(
            "SET LOCAL ROLE archive_keeper; CREATE SCHEMA archive; CREATE TABLE archive.events (); "
            "GRANT INSERT ON archive.events TO archive_writer; GRANT SELECT ON archive.events TO "
            "auditor; RESET ROLE"
        )
        await shop.owner.execute(api)
        await shop.owner.execute(reader)
        await shop.owner.execute("SET LOCAL ROLE outbox_reader")
        await shop.owner.execute(f"SELECT FROM {BACKFILLED}")
        await shop.owner.execute("SET LOCAL ROLE outbox_owner; CREATE SCHEMA mine; RESET ROLE")
        await shop.owner.execute(f"DROP SCHEMA outbox CASCADE; {schema}")
        await shop.owner.execute("SET LOCAL ROLE outbox_owner; CREATE TABLE outbox.mine ()")
    finally:
        await transaction.rollback()


async def test_a_handler_of_the_page_on_traces_adds_to_the_span() -> None:
    [python] = fences("docs/how-to/trace.md", "python")
    names: dict[str, Any] = {}
    exec(python, names)
    span = TracerProvider().get_tracer("t").start_span("process")
    with trace.use_span(span):
        await names["handle"](SimpleNamespace(key="42"), None)
    assert isinstance(span, ReadableSpan)
    assert dict(span.attributes or {}) == {"order.id": "42"}
