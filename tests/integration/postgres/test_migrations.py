"""Migrations against a real server: create, repair, adopt, refuse."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from outbox_operator.errors import (
    AccessDeniedError,
    ConflictError,
    PostgresError,
    SpecError,
    UnsafeChangeError,
)
from outbox_operator.plan.ownership import Claim
from outbox_operator.plan.postgres.migrations import DesiredDatabase, plan_migrations
from outbox_operator.plan.state import Owner
from outbox_operator.wire.advisory_locks import schema_lock
from outbox_operator.wire.tables import CURRENT_SCHEMA_VERSION, NAME_COLUMNS, WRITABLE_COLUMNS
from support.outbox import OWNER, without_checks
from support.owned import OwnedDatabase
from support.waiting import SECONDS, eventually

pytestmark = pytest.mark.integration

OUTBOX = DesiredDatabase(schema="outbox")
CLAIM = Claim(owner=OWNER)
RIVAL = Owner(uid="00000000-0000-0000-0000-000000000002", key="OutboxPipeline/shop/rival")
ADD = "INSERT INTO outbox.events (event_type, payload) VALUES ('order.created', '{}')"


@pytest.mark.parametrize("schema", ["outbox", "user", "a_b_1"])
@pytest.mark.parametrize("payload_type", ["jsonb", "bytea"])
async def test_creates_everything_from_nothing_and_then_has_nothing_to_do(
    owned: OwnedDatabase, schema: str, payload_type: str
) -> None:
    desired = DesiredDatabase(schema=schema, payload_type=payload_type)  # type: ignore[arg-type]
    plan = await owned.migrate(desired)
    assert plan.drift == ()
    assert not plan.destructive
    assert (await owned.plan(desired)).empty
    version = await owned.connection.fetchrow(f'SELECT * FROM "{schema}".schema_version')
    assert version is not None
    assert (version["version"], version["plan_hash"]) == (CURRENT_SCHEMA_VERSION, plan.hash)
    assert version["operator_version"] == "1.2.3"
    event_id = await owned.connection.fetchval(
        f"SELECT \"{schema}\".emit('a.b', 'key', $1)", "{}" if payload_type == "jsonb" else b"\0"
    )
    (row,) = await owned.connection.fetch(f'SELECT * FROM "{schema}".events')
    decided_by_the_database = {"position", "xid", "shard", "created_at", "replay"}
    assert set(row.keys()) == {*WRITABLE_COLUMNS, *decided_by_the_database}
    assert (row["event_id"], row["partition_key"], row["shard"]) == (event_id, "key", 0)
    sample = await owned.admin.sample(schema)
    assert sample.backlog_rows == 1
    await owned.admin.maintain(schema, 3600)


async def test_writers_may_insert_and_nothing_else(owned: OwnedDatabase) -> None:
    role, writer = await owned.other_role("writer")
    await owned.migrate(DesiredDatabase(schema="outbox", writers=(role,)))
    await writer.execute(ADD)
    await writer.fetchval("SELECT outbox.emit('a.b', NULL, '{}')")
    for forbidden in (
        "SELECT * FROM outbox.events",
        "DELETE FROM outbox.events",
        "UPDATE outbox.events SET event_type = 'x'",
        "INSERT INTO outbox.events (event_type, payload, position) VALUES ('x', '{}', 7)",
        "INSERT INTO outbox.events (event_type, payload, created_at) VALUES ('x', '{}', now())",
        "SELECT * FROM outbox.cursors",
        "SELECT setval('outbox.events_position_seq', 1)",
        "CREATE TABLE outbox.mine ()",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await writer.execute(forbidden)


async def test_the_relay_role_may_read_and_keep_its_cursor(owned: OwnedDatabase) -> None:
    role, relay = await owned.other_role("relay")
    await owned.migrate(DesiredDatabase(schema="outbox", relay_role=role))
    await owned.connection.execute(ADD)
    assert await relay.fetchval("SELECT count(*) FROM outbox.events") == 1
    assert await relay.fetchval("SELECT system_identifier::text FROM pg_control_system()")
    await relay.execute("UPDATE outbox.cursors SET emission = 1")
    await relay.execute(
        "INSERT INTO outbox.dead_letters (position, event_id, event_type, partition_key, payload,"
        " headers, created_at, reason) SELECT position, event_id, event_type, partition_key,"
        " payload, headers, created_at, 'test' FROM outbox.events ON CONFLICT DO NOTHING"
    )
    assert (
        await relay.fetchval("SELECT max(version) FROM outbox.schema_version")
        == CURRENT_SCHEMA_VERSION
    )
    for forbidden in (ADD, "DELETE FROM outbox.events", "TRUNCATE outbox.events_p0"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await relay.execute(forbidden)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("DROP INDEX outbox.events_shard_xid_idx", "index events_shard_xid_idx was missing"),
        ("DROP TABLE outbox.dead_letters", "table dead_letters was missing"),
        ("DROP TABLE outbox.cursors", "table cursors was missing"),
        ("DROP TABLE outbox.schema_version", "table schema_version was missing"),
        ("DROP TABLE outbox.events", "table events was missing"),
        ("DROP TABLE outbox.events_default", "table events_default was missing"),
        ("DELETE FROM outbox.cursors", "cursor of shard 0 was missing"),
        (
            "ALTER TABLE outbox.events ALTER created_at SET DEFAULT now()",
            "events.created_at: default: wanted clock_timestamp(), found now()",
        ),
        (
            "ALTER TABLE outbox.events ALTER headers DROP DEFAULT",
            "events.headers: default: wanted '{}'::jsonb, found none",
        ),
        (
            "ALTER TABLE outbox.events ALTER event_type DROP NOT NULL",
            "events.event_type: null: wanted refused, found allowed",
        ),
        ("ALTER TABLE outbox.events DROP CONSTRAINT events_pkey", "primary key of events was"),
        (
            "ALTER TABLE outbox.events DROP CONSTRAINT partition_key_up_to_1024_bytes",
            "check partition_key_up_to_1024_bytes was missing",
        ),
        (
            "ALTER TABLE outbox.events DROP CONSTRAINT event_type_up_to_1024_bytes, ADD CONSTRAINT "
            "event_type_up_to_1024_bytes CHECK (octet_length(event_type) <= 2000)",
            "wanted (octet_length(event_type) <= 1024), found CHECK",
        ),
        ("DROP SEQUENCE outbox.events_position_seq CASCADE", "sequence events_position_seq was"),
        ("ALTER SEQUENCE outbox.events_position_seq CACHE 32", "cache: wanted 1, found 32"),
        ("DROP FUNCTION outbox.emit", "function emit was missing"),
        ("DROP FUNCTION outbox.emit_strict", "function emit_strict was missing"),
        (
            "CREATE OR REPLACE FUNCTION outbox.emit(event_type text, key text, payload jsonb,"
            " headers jsonb DEFAULT '{}') RETURNS uuid LANGUAGE sql AS 'SELECT NULL::uuid'",
            "function emit has another body",
        ),
        ("REVOKE USAGE ON SCHEMA outbox FROM {writer}", "lacks USAGE on schema outbox"),
        (
            "REVOKE INSERT (payload) ON outbox.events FROM {writer}",
            "lacks INSERT (payload) on table events",
        ),
        (
            "REVOKE UPDATE ON outbox.cursors FROM {relay}",
            "lacks UPDATE on table cursors",
        ),
    ],
)
async def test_puts_back_what_was_changed_by_hand(
    owned: OwnedDatabase, damage: str, said: str
) -> None:
    writer, writer_connection = await owned.other_role("writer")
    relay, _ = await owned.other_role("relay")
    desired = DesiredDatabase(schema="outbox", writers=(writer,), relay_role=relay)
    await owned.migrate(desired)
    await writer_connection.execute(ADD)
    await owned.root.execute(damage.replace("{writer}", writer).replace("{relay}", relay))
    plan = await owned.migrate(desired)
    assert any(said in drift for drift in plan.drift), plan.drift
    assert (await owned.plan(desired)).empty
    await writer_connection.execute(ADD)


async def test_functions_of_version_2_are_renewed_at_the_upgrade(owned: OwnedDatabase) -> None:
    """They wrote what could never be published; that they do is nobody's drift."""
    writer, connection = await owned.other_role("writer")
    desired = DesiredDatabase(schema="outbox", writers=(writer,), relay_role=None)
    await owned.migrate(desired)
    for name in ("emit", "emit_strict"):
        await owned.connection.execute(
            f"CREATE OR REPLACE FUNCTION outbox.{name}(event_type text, key text, payload jsonb, "
            "headers jsonb DEFAULT '{}') RETURNS uuid LANGUAGE plpgsql AS $$ DECLARE id uuid := "
            "gen_random_uuid(); BEGIN INSERT INTO outbox.events (event_id, event_type, payload) "
            "VALUES (id, event_type, payload); RETURN id; END $$"
        )
    await owned.connection.execute("UPDATE outbox.schema_version SET version = 2")
    await connection.execute("SELECT outbox.emit('', NULL, '{}')")
    plan = await owned.migrate(desired)
    assert (plan.drift, len(plan.statements)) == ((), 2)
    assert (await owned.plan(desired)).empty
    for name in ("emit", "emit_strict"):
        with pytest.raises(asyncpg.InvalidParameterValueError, match="wanted a dotted name"):
            await connection.execute(f"SELECT outbox.{name}('', NULL, '{{}}')")
        await connection.execute(f"SELECT outbox.{name}('a.b', NULL, '{{}}')")
    versions = await owned.connection.fetch("SELECT version FROM outbox.schema_version")
    assert max(row["version"] for row in versions) == CURRENT_SCHEMA_VERSION


async def test_the_index_of_dead_letters_is_renewed_at_the_upgrade(owned: OwnedDatabase) -> None:
    """Until version 3 it held the key itself, which an index cannot when it is long."""
    await owned.migrate(OUTBOX)
    await owned.connection.execute(
        "DROP INDEX outbox.dead_letters_key_idx;"
        "CREATE INDEX dead_letters_key_idx ON outbox.dead_letters (shard, partition_key);"
        "UPDATE outbox.schema_version SET version = 3"
    )
    bury = (
        "INSERT INTO outbox.dead_letters (position, event_id, event_type, partition_key, payload,"
        " headers, created_at, reason) SELECT n, gen_random_uuid(), 'a', $1 || n, '{}', '{}',"
        " now(), 'test' FROM generate_series($2::int, $3::int) n"
    )
    await owned.connection.execute(bury, "key", 1, 1000)
    plan = await owned.migrate(OUTBOX)
    assert (plan.drift, len(plan.statements)) == ((), 2)
    assert (await owned.plan(OUTBOX)).empty
    await owned.connection.execute(bury, "".join(map(chr, range(0x4E00, 0x6000))), 1001, 1002)
    assert await owned.connection.fetchval("SELECT count(*) FROM outbox.dead_letters") == 1002


LONG = """INSERT INTO outbox.events (event_type, partition_key, routing_key, payload)
          VALUES ($1, $2, $3, '{}')"""


async def test_absurd_names_are_refused_and_those_of_before_are_let_be(
    owned: OwnedDatabase,
) -> None:
    """Rows that are older than the check stand in nobody's way, a rebase's UPDATE included."""
    await owned.migrate(OUTBOX)
    checks = [f"{name}_up_to_1024_bytes" for name in NAME_COLUMNS]
    await without_checks(owned.connection)
    await owned.connection.execute("UPDATE outbox.schema_version SET version = 3")
    await owned.connection.execute(LONG, "t" * 2000, "k" * 2000, "r" * 2000)
    await owned.connection.execute(
        "INSERT INTO outbox.events (position, event_type, payload) VALUES (2000000005, $1, '{}')",
        "t" * 2000,
    )
    plan = await owned.migrate(OUTBOX)
    assert (plan.drift, [s.reason for s in plan.statements]) == (
        (), [f"create check {check}" for check in (*checks, NOBODYS)]
    )  # fmt: skip
    assert (await owned.plan(OUTBOX)).empty
    await owned.connection.execute("UPDATE outbox.events SET xid = pg_current_xact_id()")
    await owned.connection.execute("SELECT setval('outbox.events_position_seq', 2000000006)")
    edge = ["ü" * 512] * 3
    await owned.connection.execute(LONG, *edge)
    for number, check in enumerate(checks):
        names = edge.copy()
        names[number] = "ü" * 512 + "x"
        with pytest.raises(asyncpg.CheckViolationError, match=check):
            await owned.connection.execute(LONG, *names)
    # New partitions have the checks too, and the pass goes on adding them.
    assert (await owned.admin.maintain("outbox", 3600)).created
    assert (await owned.plan(OUTBOX)).empty


NOBODYS = "no_negative_position_without_key"
AT = """INSERT INTO outbox.events (position, partition_key, event_type, payload)
        VALUES ($1, $2, 'a', '{}')"""


async def test_a_row_that_no_shard_would_own_is_refused(owned: OwnedDatabase) -> None:
    """Also where such rows are there from before, which nothing writes to any more."""
    desired = DesiredDatabase(schema="outbox", shards=4)
    await owned.migrate(desired)
    await without_checks(owned.connection)
    await owned.connection.execute("UPDATE outbox.schema_version SET version = 3")
    await owned.connection.execute(AT, -1, "")
    plan = await owned.migrate(desired)
    assert plan.drift == ()
    assert (await owned.plan(desired)).empty
    for position in (-2, -3, -5, -2000000005):
        with pytest.raises(asyncpg.CheckViolationError, match=NOBODYS):
            await owned.connection.execute(AT, position, "")
    # What has an owner is as good as ever: a key, or a multiple of the shards.
    for position, key in ((-2, "k"), (-4, ""), (0, ""), (7, "")):
        await owned.connection.execute(AT, position, key)
    await owned.connection.execute("SELECT setval('outbox.events_position_seq', 2000000006)")
    assert (await owned.admin.maintain("outbox", 3600)).created
    assert (await owned.plan(desired)).empty


async def test_a_lost_index_is_built_again_while_writers_write(owned: OwnedDatabase) -> None:
    await owned.migrate(OUTBOX)
    await owned.connection.execute(
        "INSERT INTO outbox.events (event_type, payload) "
        "SELECT 'a', '{}' FROM generate_series(1, 20000)"
    )
    await owned.connection.execute("DROP INDEX outbox.events_shard_xid_idx")
    plan = await owned.plan(OUTBOX)
    assert all("CONCURRENTLY" in s.sql for s in plan.statements[:-1])
    repair = asyncio.create_task(
        owned.admin.apply(plan, OUTBOX, CLAIM, lock_timeout=5, operator_version="x")
    )
    written = 0
    while not repair.done():
        await asyncio.wait_for(owned.root.execute(ADD), SECONDS)
        written += 1
    assert await repair
    assert written > 1
    assert (await owned.plan(OUTBOX)).empty
    assert await owned.connection.fetchval("SHOW lock_timeout") == "0"
    assert await owned.connection.fetchval("SHOW statement_timeout") == "30s"


async def test_a_half_built_index_is_replaced(owned: OwnedDatabase) -> None:
    await owned.migrate(OUTBOX)
    await owned.connection.execute(
        "DROP INDEX outbox.events_shard_xid_idx;"
        "CREATE INDEX events_shard_xid_idx ON ONLY outbox.events (shard, xid);"
        "CREATE INDEX events_p0_shard_xid_idx ON outbox.events_p0 (shard, xid);"
        "ALTER INDEX outbox.events_shard_xid_idx ATTACH PARTITION outbox.events_p0_shard_xid_idx"
    )
    assert not (await owned.plan(OUTBOX)).empty
    await owned.migrate(OUTBOX)
    assert (await owned.plan(OUTBOX)).empty


async def test_a_new_sequence_never_repeats_a_position(owned: OwnedDatabase) -> None:
    await owned.migrate(OUTBOX)
    await owned.connection.execute(ADD)
    await owned.connection.execute(ADD)
    await owned.connection.execute("DROP SEQUENCE outbox.events_position_seq CASCADE")
    await owned.migrate(OUTBOX)
    await owned.connection.execute(ADD)
    positions = await owned.connection.fetch("SELECT position FROM outbox.events ORDER BY 1")
    assert [row[0] for row in positions] == [1, 2, 3]


async def test_adopts_a_table_that_fits_and_keeps_its_rows(owned: OwnedDatabase) -> None:
    await owned.connection.execute(
        """
        CREATE SCHEMA outbox;
        CREATE TABLE outbox.events (
            position bigint PRIMARY KEY, xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
            shard smallint NOT NULL DEFAULT 0, event_id uuid NOT NULL, event_type text NOT NULL,
            partition_key text NOT NULL DEFAULT '', routing_key text, payload jsonb NOT NULL,
            headers jsonb NOT NULL DEFAULT '{}', created_at timestamptz NOT NULL DEFAULT now(),
            note text);
        INSERT INTO outbox.events (position, event_id, event_type, payload, note)
        VALUES (41, gen_random_uuid(), 'old', '{}', 'kept');
        """
    )
    plan = await owned.migrate(OUTBOX)
    assert plan.drift == ()
    assert (await owned.plan(OUTBOX)).empty
    await owned.connection.execute(ADD)
    rows = await owned.connection.fetch("SELECT position, note FROM outbox.events ORDER BY 1")
    assert [tuple(row) for row in rows] == [(41, "kept"), (42, None)]
    assert (await owned.admin.sample("outbox")).backlog_rows == 2


@pytest.mark.parametrize(
    ("existing", "said"),
    [
        ("TABLE outbox.events (id bigint)", "column position: wanted bigint, found no such"),
        (
            "TABLE outbox.cursors (shard integer)",
            "table outbox.cursors, column shard: wanted smallint, found integer",
        ),
        ("VIEW outbox.events AS SELECT 1 AS position", "found something else"),
        (
            "TABLE outbox.schema_version (version integer PRIMARY KEY, plan_hash text,"
            " applied_at timestamptz, operator_version text, by_whom text NOT NULL)",
            "column by_whom",
        ),
    ],
)
async def test_refuses_a_foreign_table_of_that_name(
    owned: OwnedDatabase, existing: str, said: str
) -> None:
    await owned.connection.execute(f"CREATE SCHEMA outbox; CREATE {existing}")
    with pytest.raises(UnsafeChangeError, match=said):
        await owned.plan(OUTBOX)


async def test_refuses_another_payload_type(owned: OwnedDatabase) -> None:
    await owned.migrate(OUTBOX)
    with pytest.raises(UnsafeChangeError, match="payload: wanted bytea, found jsonb; payloadType"):
        await owned.plan(DesiredDatabase(schema="outbox", payload_type="bytea"))


async def test_refuses_a_schema_of_a_newer_operator(owned: OwnedDatabase) -> None:
    await owned.migrate(OUTBOX)
    await owned.connection.execute("INSERT INTO outbox.schema_version VALUES (99, '', now(), '')")
    with pytest.raises(UnsafeChangeError) as caught:
        await owned.plan(OUTBOX)
    assert caught.value.reason == "SchemaNewer"


async def test_a_role_without_ddl_is_told_the_grant_and_the_grant_helps(
    owned: OwnedDatabase,
) -> None:
    await owned.root.execute(f'REVOKE CREATE ON DATABASE "{owned.name}" FROM "{owned.role}"')
    with pytest.raises(AccessDeniedError) as caught:
        await owned.plan(OUTBOX)
    grant = f'GRANT CREATE ON DATABASE "{owned.name}" TO "{owned.role}"'
    assert grant in caught.value.message
    await owned.root.execute(grant)
    await owned.migrate(OUTBOX)


async def test_a_schema_of_somebody_else_is_told_the_remedy(owned: OwnedDatabase) -> None:
    await owned.root.execute("CREATE SCHEMA outbox")
    with pytest.raises(AccessDeniedError, match="does not own schema outbox") as caught:
        await owned.plan(OUTBOX)
    remedy = f'ALTER SCHEMA "outbox" OWNER TO "{owned.role}"'
    assert remedy in caught.value.message
    await owned.root.execute(remedy)
    await owned.migrate(OUTBOX)


async def test_a_role_that_only_looks_needs_no_right_when_nothing_is_to_be_done(
    owned: OwnedDatabase,
) -> None:
    await owned.migrate(OUTBOX)
    await owned.root.execute(f'REVOKE CREATE ON DATABASE "{owned.name}" FROM "{owned.role}"')
    assert (await owned.plan(OUTBOX)).empty


async def test_gives_up_on_a_locked_table_and_leaves_no_trace(owned: OwnedDatabase) -> None:
    await owned.migrate(OUTBOX)
    await owned.connection.execute("DROP TABLE outbox.dead_letters")
    await owned.connection.execute("ALTER TABLE outbox.events ALTER shard DROP NOT NULL")
    async with owned.root.transaction():
        await owned.root.execute(ADD)  # any writer that has not committed yet
        with pytest.raises(PostgresError, match=r"events\.shard") as caught:
            await owned.migrate(OUTBOX, lock_timeout=0.05)
        assert caught.value.reason == "LockTimeout"
        assert await owned.root.fetchval("SELECT to_regclass('outbox.dead_letters')") is None
    await owned.migrate(OUTBOX)
    assert (await owned.plan(OUTBOX)).empty


async def test_of_two_at_once_one_migrates_and_the_other_finds_it_done(
    owned: OwnedDatabase,
) -> None:
    plan = await owned.plan(OUTBOX)
    _, second = await owned.second_owner()

    done = await asyncio.gather(
        *(
            admin.apply(plan, OUTBOX, CLAIM, lock_timeout=10, operator_version="x")
            for admin in (owned.admin, second)
        )
    )
    assert sorted(done) == [False, True]


async def test_waits_for_another_migration_no_longer_than_told(owned: OwnedDatabase) -> None:
    plan = await owned.plan(OUTBOX)
    other, _ = await owned.second_owner()
    await other.execute("SELECT pg_advisory_lock($1)", schema_lock("migrations", "outbox"))
    with pytest.raises(PostgresError, match="another migration") as caught:
        await owned.admin.apply(plan, OUTBOX, CLAIM, lock_timeout=0.05, operator_version="x")
    assert caught.value.reason == "LockTimeout"
    assert (await owned.plan(OUTBOX)).hash == plan.hash


async def test_a_plan_that_waits_for_approval_keeps_its_hash(owned: OwnedDatabase) -> None:
    first, again = await owned.plan(OUTBOX), await owned.plan(OUTBOX)
    assert first.hash == again.hash
    assert len(first.statements) > 10


async def test_an_approved_plan_does_not_run_when_the_database_has_changed(
    owned: OwnedDatabase,
) -> None:
    plan = await owned.plan(OUTBOX)
    await owned.connection.execute("CREATE SCHEMA outbox")
    with pytest.raises(PostgresError) as caught:
        await owned.admin.apply(plan, OUTBOX, CLAIM, lock_timeout=5, operator_version="x")
    assert caught.value.reason == "PlanOutdated"
    assert caught.value.retryable


async def test_the_schema_of_another_pipeline_is_taken_only_by_adoption(
    owned: OwnedDatabase,
) -> None:
    await owned.migrate(OUTBOX)
    with pytest.raises(ConflictError, match="OutboxPipeline/shop/orders"):
        await owned.plan(OUTBOX, RIVAL)
    living = Claim(owner=RIVAL, adoption="Adopt", living={OWNER.uid})
    with pytest.raises(ConflictError, match="belongs to OutboxPipeline/shop/orders"):
        plan_migrations(OUTBOX, await owned.admin.observe(OUTBOX), living)
    plan = await owned.migrate(OUTBOX, RIVAL, "Adopt")
    assert [s.reason for s in plan.statements] == [
        "take over schema outbox from OutboxPipeline/shop/orders"
    ]
    assert (await owned.plan(OUTBOX, RIVAL)).empty


async def test_a_role_that_does_not_exist_is_named_and_later_found(owned: OwnedDatabase) -> None:
    desired = DesiredDatabase(schema="outbox", writers=("late_role",))
    with pytest.raises(SpecError, match="role late_role does not exist"):
        await owned.plan(desired)
    await owned.root.execute("CREATE ROLE late_role")
    try:
        await owned.migrate(desired)
        assert (await owned.plan(desired)).empty
    finally:
        await owned.root.execute("DROP OWNED BY late_role; DROP ROLE late_role")


async def test_a_writer_taken_off_the_list_loses_what_we_gave_and_keeps_the_rest(
    owned: OwnedDatabase,
) -> None:
    role, writer = await owned.other_role("writer")
    await owned.migrate(DesiredDatabase(schema="outbox", writers=(role,)))
    await owned.connection.execute(
        f'GRANT SELECT ON outbox.events TO "{role}"; GRANT USAGE ON SCHEMA outbox TO PUBLIC'
    )
    plan = await owned.migrate(OUTBOX)
    assert plan.drift == ()
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await writer.execute(ADD)
    assert await writer.fetchval("SELECT count(*) FROM outbox.events") == 0
    assert (await owned.plan(OUTBOX)).empty


async def test_a_formerly_granted_role_may_be_gone(owned: OwnedDatabase) -> None:
    role, connection = await owned.other_role("writer")
    await owned.migrate(DesiredDatabase(schema="outbox", writers=(role,)))
    await connection.close()
    await owned.root.execute(f'DROP OWNED BY "{role}"; DROP ROLE "{role}"')
    await owned.migrate(OUTBOX)
    assert (await owned.plan(OUTBOX)).empty


async def test_drop_removes_the_schema_when_nothing_else_is_in_it(owned: OwnedDatabase) -> None:
    await owned.migrate(OUTBOX)
    assert not await owned.admin.drop("outbox", RIVAL)
    assert await owned.admin.drop("outbox", OWNER)
    assert await owned.root.fetchval("SELECT to_regnamespace('outbox')") is None
    assert not await owned.admin.drop("outbox", OWNER)


async def test_drop_leaves_a_schema_that_the_role_could_not_create_again(
    owned: OwnedDatabase,
) -> None:
    await owned.root.execute(f'REVOKE CREATE ON DATABASE "{owned.name}" FROM "{owned.role}"')
    await owned.root.execute(f'CREATE SCHEMA outbox AUTHORIZATION "{owned.role}"')
    await owned.migrate(OUTBOX)
    assert await owned.admin.drop("outbox", OWNER)
    await owned.migrate(OUTBOX, RIVAL)


async def test_drop_leaves_what_is_not_ours(owned: OwnedDatabase) -> None:
    await owned.migrate(OUTBOX)
    await owned.connection.execute("CREATE TABLE outbox.theirs ()")
    assert await owned.admin.drop("outbox", OWNER)
    left = await owned.connection.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = 'outbox'::regnamespace"
    )
    assert [row[0] for row in left] == ["theirs"]
    assert not await owned.admin.drop("outbox", OWNER)


async def test_drop_fails_whole_when_a_view_needs_a_table(owned: OwnedDatabase) -> None:
    await owned.migrate(OUTBOX)
    await owned.connection.execute(
        "CREATE SCHEMA reports CREATE VIEW report AS SELECT * FROM outbox.dead_letters"
    )
    with pytest.raises(PostgresError, match="dead_letters"):
        await owned.admin.drop("outbox", OWNER)
    assert (await owned.plan(OUTBOX)).empty


async def test_strict_emit_makes_writers_of_a_key_wait_for_each_other(owned: OwnedDatabase) -> None:
    """Without the lock the later position could be committed first."""
    await owned.migrate(OUTBOX)
    (first, _), (second, _) = await owned.second_owner(), await owned.second_owner()
    writer = await first.fetchval("SELECT pg_backend_pid()")
    async with first.transaction():
        await first.execute("SELECT outbox.emit_strict('a.b', 'key', '1')")
        await second.execute("SELECT outbox.emit_strict('a.b', 'other key', '2')")
        await second.execute("SELECT outbox.emit_strict('a.b', '', '3')")
        await second.execute("SELECT outbox.emit_strict('a.b', NULL, '4')")
        waiting = asyncio.create_task(
            second.execute("SELECT outbox.emit_strict('a.b', 'key', '5')")
        )

        async def blocked() -> bool:
            found: bool = await owned.connection.fetchval(
                "SELECT EXISTS (SELECT FROM pg_stat_activity "
                "WHERE $1 = ANY (pg_blocking_pids(pid)))",
                writer,
            )
            return found

        await eventually(blocked, "the second writer waits for the first")
        await first.execute("SELECT outbox.emit_strict('a.b', 'key', '6')")
    await waiting
    rows = await owned.connection.fetch("SELECT payload FROM outbox.events ORDER BY position")
    assert [row[0] for row in rows] == ["1", "2", "3", "4", "6", "5"]
