"""Plans for the outbox tables, by tables of what is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from outbox_operator.errors import (
    AccessDeniedError,
    ConflictError,
    OutboxError,
    SpecError,
    UnsafeChangeError,
    UnsupportedServerError,
)
from outbox_operator.plan.ownership import Claim
from outbox_operator.plan.postgres.mark import Mark, parse_mark
from outbox_operator.plan.postgres.migrations import (
    DesiredDatabase,
    DesiredInbox,
    MigrationPlan,
    ObservedColumn,
    ObservedDatabase,
    ObservedIndex,
    ObservedSchema,
    ObservedSequence,
    ObservedTable,
    plan_inbox,
    plan_migrations,
)
from outbox_operator.plan.postgres.schema import (
    inbox_tables,
    shard_expression,
)
from outbox_operator.plan.state import Owner
from support.schema import NOTHING, as_wanted, found

DESIRED = DesiredDatabase(schema="outbox", writers=("app",), relay_role="relay")
OWNER = Owner(uid="1", key="OutboxPipeline/shop/orders")
RIVAL = Owner(uid="2", key="OutboxPipeline/shop/rival")
BIGINT = ObservedColumn(type="bigint")


def complete(desired: DesiredDatabase = DESIRED, owner: Owner = OWNER) -> ObservedDatabase:
    """A database in which nothing is to be done."""
    return as_wanted(desired, owner)


def plan(observed: ObservedDatabase, desired: DesiredDatabase = DESIRED) -> MigrationPlan:
    return plan_migrations(desired, observed, Claim(owner=OWNER, living={OWNER.uid, RIVAL.uid}))


def with_table(name: str, change: Callable[[ObservedTable], ObservedTable]) -> ObservedDatabase:
    whole = complete()
    return replace(whole, tables={**whole.tables, name: change(whole.tables[name])})


def with_column(table: str, column: str, **facts: object) -> ObservedDatabase:
    def change(before: ObservedTable) -> ObservedTable:
        old = before.columns.get(column, ObservedColumn(type="text"))
        return replace(
            before,
            columns={**before.columns, column: replace(old, **facts)},  # type: ignore[arg-type]
        )

    return with_table(table, change)


def with_indexes(**others: ObservedIndex) -> ObservedDatabase:
    """Other indexes on the events table than ours."""
    whole = complete()
    kept = {name: found for name, found in whole.indexes.items() if found.table != "events"}
    return replace(whole, indexes={**kept, **others})


def without(table: str) -> ObservedDatabase:
    whole = complete()
    return replace(whole, tables={n: t for n, t in whole.tables.items() if n != table})


def test_from_nothing_everything_in_an_order_that_works() -> None:
    steps = [statement.sql.split("\n")[0] for statement in plan(NOTHING).statements]
    firsts = [next(i for i, s in enumerate(steps) if s.startswith(start)) for start in (
        "CREATE SCHEMA", "CREATE SEQUENCE", 'CREATE TABLE "outbox"."events"', "CREATE INDEX",
        'CREATE TABLE "outbox"."events_default"', "ALTER SEQUENCE", "CREATE OR REPLACE FUNCTION",
        "INSERT INTO", "GRANT", "COMMENT ON SCHEMA",
    )]  # fmt: skip
    assert firsts == sorted(firsts)
    assert plan(NOTHING).records_version
    assert not plan(NOTHING).drift


def test_nothing_to_do() -> None:
    assert plan(complete()).empty
    assert plan(complete()).statements == ()


FOUR = replace(DESIRED, shards=4)


def test_several_shards_are_a_column_that_the_server_computes_and_a_cursor_each() -> None:
    steps = [statement.sql for statement in plan(NOTHING, FOUR).statements]
    (events,) = (step for step in steps if step.startswith('CREATE TABLE "outbox"."events" ('))
    assert f'"shard" smallint NOT NULL GENERATED ALWAYS AS ({shard_expression(4)}) STORED' in events
    assert sum(step.startswith("INSERT INTO") for step in steps) == 4


def test_a_generated_column_is_compared_however_it_is_broken_into_lines() -> None:
    whole = replace(complete(FOUR), cursor_shards=frozenset(range(4)))
    assert plan(whole, FOUR).empty
    events = whole.tables["events"]
    printed = replace(
        events.columns["shard"], default="\n" + shard_expression(4).replace(" ELSE", "\n  ELSE")
    )
    columns = {**events.columns, "shard": printed}
    whole = replace(whole, tables={**whole.tables, "events": replace(events, columns=columns)})
    assert plan(whole, FOUR).empty


@pytest.mark.parametrize(("wanted", "there"), [(1, 4), (4, 1), (4, 8)])
def test_another_number_of_shards_is_refused_with_what_to_do(wanted: int, there: int) -> None:
    before = complete(replace(DESIRED, shards=there))
    with pytest.raises(UnsafeChangeError, match=r"shards is fixed at creation; .*drain") as caught:
        plan(before, replace(DESIRED, shards=wanted))
    assert caught.value.reason == "IncompatibleTable"


def test_the_same_steps_have_the_same_hash_and_others_another() -> None:
    assert plan(NOTHING).hash == plan(NOTHING).hash
    other = plan_migrations(replace(DESIRED, writers=()), NOTHING, Claim(owner=OWNER))
    assert plan(NOTHING).hash != other.hash


@pytest.mark.parametrize(
    ("observed", "sql"),
    [
        (without("cursors"), ['CREATE TABLE "outbox"."cursors"']),
        (with_indexes(), ["CREATE INDEX"]),
        (
            with_indexes(
                events_shard_xid_idx=ObservedIndex(
                    table="events", columns=("shard", "xid"), valid=False
                )
            ),
            ["DROP INDEX", "CREATE INDEX"],
        ),
        (with_column("events", "headers", default=None), ["SET DEFAULT '{}'::jsonb"]),
        (with_column("events", "routing_key", default="'x'::text"), ["DROP DEFAULT"]),
        (with_column("events", "event_type", not_null=False), ["SET NOT NULL"]),
        (with_column("cursors", "owner", not_null=True), ["DROP NOT NULL"]),
        (
            with_table("cursors", lambda t: replace(t, primary_key=())),
            ['ADD CONSTRAINT "cursors_pkey" PRIMARY KEY ("shard")'],
        ),
        (
            with_table("events", lambda t: replace(t, has_default_partition=False)),
            ["events_default"],
        ),
        (replace(complete(), sequence=ObservedSequence(cache=20)), ["CACHE 1"]),
        (replace(complete(), sequence=ObservedSequence(increment=-1)), ["INCREMENT 1"]),
        (replace(complete(), sequence=ObservedSequence(maximum=9, cycle=True)), ["NO CYCLE"]),
        (replace(complete(), sequence=None), ["CREATE SEQUENCE", "setval", "OWNED BY"]),
        (replace(complete(), functions={}), ['FUNCTION "outbox".emit(', ".emit_strict("]),
        (replace(complete(), cursor_shards=frozenset()), ["INSERT INTO"]),
        (
            replace(complete(), granted=frozenset()),
            [
                "GRANT USAGE ON SCHEMA",
                "GRANT INSERT (",
                "GRANT EXECUTE",
                "GRANT EXECUTE",
                "GRANT USAGE ON SEQUENCE",
                "GRANT USAGE ON SCHEMA",
                "GRANT UPDATE (",
                "GRANT SELECT, UPDATE ON SEQUENCE",
                "GRANT INSERT, SELECT, UPDATE",
                "GRANT DELETE, INSERT, SELECT",
                "GRANT SELECT",
                "GRANT SELECT",
                "GRANT SELECT",
            ],
        ),
    ],
)
def test_a_change_by_hand_is_put_back_and_named(observed: ObservedDatabase, sql: list[str]) -> None:
    made = plan(observed)
    assert len(made.statements) == len(sql), made.statements
    for statement, text in zip(made.statements, sql, strict=True):
        assert text in statement.sql
        assert statement.drift
        assert not statement.destructive
    assert len(made.drift) == len(sql)


def test_without_a_version_the_same_difference_is_adoption_not_drift() -> None:
    observed = with_column("events", "headers", default=None)
    schema = replace(observed.schema, comment="ours since 1999")  # type: ignore[type-var]
    made = plan(replace(observed, version=None, schema=schema, granted=complete().granted))
    assert made.records_version
    assert made.drift == ()
    mark = parse_mark_of(made)
    assert mark.comment == "ours since 1999"
    assert mark.owner == OWNER


def without_column(table: str, column: str) -> ObservedDatabase:
    def change(before: ObservedTable) -> ObservedTable:
        return replace(before, columns={n: c for n, c in before.columns.items() if n != column})

    return with_table(table, change)


def test_a_column_of_a_later_version_is_added_to_an_older_installation() -> None:
    observed = without_column("cursors", "stream_sequence")
    made = plan(replace(observed, version=1))
    assert [s.sql for s in made.statements] == [
        'ALTER TABLE "outbox"."cursors" ADD COLUMN "stream_sequence" bigint'
    ]
    assert made.records_version
    assert made.drift == ()
    assert plan(observed).drift == ("column cursors.stream_sequence was missing",)


def test_an_index_of_a_later_version_is_no_drift_in_an_older_installation() -> None:
    observed = replace(
        complete(),
        indexes={n: i for n, i in complete().indexes.items() if i.table != "dead_letters"},
    )
    made = plan(replace(observed, version=1))
    assert ["CREATE INDEX" in statement.sql for statement in made.statements] == [True]
    assert made.drift == ()
    assert plan(observed).drift == ("index dead_letters_key_idx was missing",)


def parse_mark_of(made: MigrationPlan) -> Mark:
    (sql,) = [s.sql for s in made.statements if s.sql.startswith("COMMENT ON SCHEMA")]
    mark = parse_mark(sql.partition(" IS ")[2].strip()[1:-1].replace("''", "'"))
    assert mark is not None
    return mark


@pytest.mark.parametrize(
    ("observed", "error", "said"),
    [
        (
            replace(NOTHING, server_version=120022),
            UnsupportedServerError,
            "13 or newer .* found 12",
        ),
        (complete(owner=RIVAL), ConflictError, "OutboxPipeline/shop/rival"),
        (replace(complete(), version=99), UnsafeChangeError, "version 99, this operator knows"),
        (replace(NOTHING, roles=frozenset({"relay"})), SpecError, "role app does not exist"),
        (replace(NOTHING, roles=frozenset({"app"})), SpecError, "role relay does not exist"),
        (
            with_table("events", lambda t: replace(t, columns={"id": BIGINT})),
            UnsafeChangeError,
            "outbox.events, column position: wanted bigint, found no such column",
        ),
        (
            with_column("events", "payload", type="bytea"),
            UnsafeChangeError,
            "wanted jsonb, found bytea; payloadType is fixed",
        ),
        (
            with_column("events", "position", generated=True, default=None),
            UnsafeChangeError,
            "found an identity",
        ),
        (
            with_column("events", "shard", generated=True, default=shard_expression(4)),
            UnsafeChangeError,
            "column shard: wanted default 0, found generated as CASE .* shards is fixed",
        ),
        (
            with_column("events", "tenant", type="integer", not_null=True),
            UnsafeChangeError,
            "column tenant: .* found integer not null without a default",
        ),
        (
            with_table("events", lambda t: replace(t, partition_key="RANGE (created_at)")),
            UnsafeChangeError,
            'wanted RANGE \\("position"\\), found RANGE \\(created_at\\)',
        ),
        (
            with_table("cursors", lambda t: replace(t, primary_key=("owner",))),
            UnsafeChangeError,
            "primary key: wanted shard, found owner",
        ),
        (
            with_table("cursors", lambda t: replace(t, kind="v")),
            UnsafeChangeError,
            "found something else of that name",
        ),
        (
            replace(NOTHING, may_create_schema=False),
            AccessDeniedError,
            'GRANT CREATE ON DATABASE "shop" TO "owner"',
        ),
        (
            replace(
                without("cursors"),
                schema=replace(complete().schema, may_create=False),  # type: ignore[type-var]
            ),
            AccessDeniedError,
            'GRANT USAGE, CREATE ON SCHEMA "outbox" TO "owner"',
        ),
        (
            replace(
                with_table("events", lambda t: replace(t, owned=False, owner="dba")),
                indexes=with_indexes().indexes,
            ),
            AccessDeniedError,
            'ALTER TABLE "outbox"."events" OWNER TO "owner"',
        ),
    ],
)
def test_refuses(observed: ObservedDatabase, error: type[OutboxError], said: str) -> None:
    with pytest.raises(error, match=said) as caught:
        plan(observed)
    assert not caught.value.retryable


def test_more_columns_than_ours_are_welcome_if_inserts_may_leave_them_out() -> None:
    assert plan(with_column("events", "note", type="text")).empty
    assert plan(with_column("events", "n", type="int", not_null=True, default="7")).empty
    assert plan(with_column("events", "g", type="int", not_null=True, generated=True)).empty


def test_an_index_over_partitions_is_built_one_by_one_outside_the_transaction() -> None:
    observed = with_table("events", lambda t: replace(t, partitions=("events_p0", "events_p1")))
    made = plan(replace(observed, indexes=with_indexes().indexes))
    assert [
        (s.concurrent, s.sql.split(" ON ")[-1]) for s in made.statements if " ON " in s.sql
    ] == [
        (True, '"outbox"."events_p0" ("shard", "xid")'),
        (True, '"outbox"."events_p1" ("shard", "xid")'),
        (False, '"outbox"."events" ("shard", "xid")'),
    ]
    assert made.drift == ("index events_shard_xid_idx was missing",)


def test_an_index_of_another_name_does_as_well() -> None:
    index = ObservedIndex(table="events", columns=("shard", "xid"))
    assert plan(with_indexes(theirs=index)).empty


@pytest.mark.parametrize("spelling", [
    "nextval('outbox.events_position_seq'::regclass)",
    "nextval('events_position_seq'::regclass)",
    "nextval('\"outbox\".\"events_position_seq\"'::regclass)",
])  # fmt: skip
def test_the_default_of_position_may_be_spelled_as_the_search_path_has_it(spelling: str) -> None:
    assert plan(with_column("events", "position", default=spelling)).empty


def test_the_mark_of_an_earlier_resource_of_that_name_is_taken_over() -> None:
    before = Owner(uid="before", key=OWNER.key)
    made = plan_migrations(DESIRED, complete(owner=before), Claim(owner=OWNER))
    assert parse_mark_of(made).owner == OWNER
    assert "take over schema" in made.statements[-1].reason


def test_an_old_mark_is_completed_with_the_cluster() -> None:
    here = replace(OWNER, cluster="here")
    made = plan_migrations(DESIRED, complete(), Claim(owner=here))
    assert parse_mark_of(made).owner == here
    assert [statement.reason for statement in made.statements if statement.drift] == []


def test_an_older_outbox_gets_new_functions_and_nobody_is_blamed() -> None:
    strict = "emit_strict(text, text, jsonb, jsonb)"
    whole = complete()
    made = plan(
        replace(
            whole,
            version=1,
            functions={"emit": whole.functions["emit"]},
            granted=frozenset(grant for grant in whole.granted if grant.object != strict),
        )
    )
    assert [statement.sql.partition(" TO ")[0] for statement in made.statements[1:]] == [
        f'GRANT EXECUTE ON FUNCTION "outbox".{strict}'
    ]
    assert [(statement.reason, statement.drift) for statement in made.statements] == [
        ("create function emit_strict", False),
        ("role app lacks EXECUTE on function " + strict, False),
    ]


@pytest.mark.parametrize(("version", "drift"), [(1, False), (4, False), (5, True)])
def test_functions_of_before_are_renewed_and_nobody_is_blamed(version: int, drift: bool) -> None:
    whole = complete()
    made = plan(replace(whole, version=version, functions=dict.fromkeys(whole.functions, "old")))
    assert [statement.drift for statement in made.statements] == [drift, drift]
    assert [statement.reason for statement in made.statements] == [
        f"function {name} has another body" if drift else f"renew function {name}"
        for name in ("emit", "emit_strict")
    ]
    assert made.records_version is not drift


def test_a_role_that_left_the_list_loses_what_it_got() -> None:
    observed = complete(replace(DESIRED, writers=("app", "old")))
    made = plan(replace(observed, roles=frozenset({"app", "old", "relay"})))
    revokes = [s.sql for s in made.statements if s.sql.startswith("REVOKE")]
    assert len(revokes) == 5
    assert all(sql.endswith('FROM "old"') for sql in revokes)
    assert parse_mark_of(made).writers == ("app",)
    gone = plan(replace(observed, roles=frozenset({"app", "relay"})))
    assert [s.sql for s in gone.statements if s.sql.startswith("REVOKE")] == []


def test_the_role_that_migrates_needs_no_grants_to_be_the_relay() -> None:
    desired = DesiredDatabase(schema="outbox", relay_role="owner")
    made = plan_migrations(desired, replace(NOTHING, roles=frozenset()), Claim(owner=OWNER))
    assert not [s.sql for s in made.statements if "GRANT" in s.sql]


def test_names_are_quoted() -> None:
    desired = DesiredDatabase(schema='we"ird', writers=('a"b',))
    observed = replace(NOTHING, roles=frozenset({'a"b'}))
    made = plan_migrations(desired, observed, Claim(owner=OWNER))
    assert any('CREATE SCHEMA "we""ird"' in s.sql for s in made.statements)
    assert any('TO "a""b"' in s.sql for s in made.statements)


def test_an_inbox_is_created_shared_and_checked() -> None:
    desired = DesiredInbox(schema="outbox", consumer_role="handler")
    observed = replace(NOTHING, roles=frozenset({"handler"}))
    made = plan_inbox(desired, observed)
    starts = ["CREATE SCHEMA", "CREATE TABLE", "CREATE INDEX", "CREATE TABLE", "GRANT USAGE"]
    starts += ["GRANT DELETE"] * 2
    assert [s.sql.startswith(x) for s, x in zip(made.statements, starts, strict=True)] == [True] * 7
    assert not made.records_version
    with pytest.raises(SpecError, match="role handler does not exist"):
        plan_inbox(desired, NOTHING)
    table = inbox_tables(desired)[0]
    wrong = replace(found(table), columns={"id": ObservedColumn(type="text")})
    schema = ObservedSchema(owner="owner", owned=True, may_create=True)
    with pytest.raises(UnsafeChangeError, match="consumer_inbox, column event_id"):
        plan_inbox(desired, replace(observed, schema=schema, tables={table.name: wrong}))


@pytest.mark.parametrize(
    "comment",
    [
        None,
        "",
        "standard public schema",
        "{",
        "[]",
        '"x"',
        "{}",
        '{"managed-by": 1}',
        '{"managed-by": "outbox-operator"}',
        '{"managed-by": "outbox-operator", "owner": 1}',
    ],
)
def test_a_comment_that_is_not_ours_is_no_mark(comment: str | None) -> None:
    assert parse_mark(comment) is None


def test_a_mark_survives_being_written_down() -> None:
    mark = Mark(owner=OWNER, writers=("a", "b"), relay_role="r", comment='it\'s "\\" ours')
    assert parse_mark(mark.text()) == mark
