"""What is planned for an archive, and what is refused, without a server."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

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
from outbox_operator.plan.postgres.archive_migrations import plan_archive
from outbox_operator.plan.postgres.archive_schema import (
    ClassTable,
    DesiredArchive,
    Leaf,
    ObservedArchive,
    keep_comment,
    leaf_index,
    leaf_name,
)
from outbox_operator.plan.postgres.mark import Mark
from outbox_operator.plan.postgres.schema import Index
from outbox_operator.plan.postgres.state import ObservedDatabase, ObservedSchema
from outbox_operator.plan.state import Owner
from support.outbox import OWNER

DESIRED = DesiredArchive(
    schema="archive", keep=(("orders", 864000.0), ("default", 86400.0)), extracted=("actor",)
)
EMPTY = ObservedArchive(
    database=ObservedDatabase(server_version=150018, database="audit", role="keeper")
)
CLAIM = Claim(owner=OWNER)
RIVAL = Owner(uid="00000000-0000-0000-0000-000000000002", key="EventConsumer/shop/rival")


def found(comment: str | None = None, *, owned: bool = True) -> ObservedDatabase:
    schema = ObservedSchema(owner="keeper", owned=owned, may_create=owned, comment=comment)
    return replace(EMPTY.database, schema=schema)


def test_everything_is_made_in_order() -> None:
    plan = plan_archive(DESIRED, EMPTY, CLAIM)
    assert [step.reason.partition(";")[0] for step in plan.statements] == [
        "create schema archive",
        "create table ledger",
        "create table schema_version",
        "create table seals",
        "create table sealed_rows",
        "create table backfills",
        "create table events",
        "create index events_stored_at_idx",
        "create index events_archived_at_idx",
        "create index events_type_idx",
        "create index events_key_idx",
        "create index events_actor_idx",
        "create class orders",
        "create the table for events of class orders that no other table takes",
        "keep events of class orders for 10 days",
        "create class default",
        "create the table for events of class default that no other table takes",
        "keep events of class default for 1 days",
        "create view gaps",
        f"mark schema archive as belonging to {OWNER.key}",
    ]
    assert not plan.destructive
    assert not plan.drift
    assert plan.hash == plan_archive(DESIRED, EMPTY, CLAIM).hash


@pytest.mark.parametrize(
    ("desired", "observed", "error", "said"),
    [
        (DESIRED, replace(EMPTY, encoding="SQL_ASCII"), UnsupportedServerError, "UTF8.*SQL_ASCII"),
        (
            DESIRED,
            replace(EMPTY, database=replace(EMPTY.database, server_version=120000)),
            UnsupportedServerError,
            "PostgreSQL 13 or newer",
        ),
        (
            DESIRED,
            replace(EMPTY, database=found(Mark(owner=RIVAL).text())),
            ConflictError,
            "mark of .*rival.*adoptionPolicy: Adopt",
        ),
        (
            DESIRED,
            replace(EMPTY, database=replace(EMPTY.database, version=7)),
            UnsafeChangeError,
            "version 7, this program knows 2",
        ),
        (replace(DESIRED, writer="w"), EMPTY, SpecError, "database: role w does not exist"),
        (replace(DESIRED, readers=("r",)), EMPTY, SpecError, "readers: role r does not exist"),
        (
            DESIRED,
            replace(EMPTY, database=replace(EMPTY.database, may_create_schema=False)),
            AccessDeniedError,
            "GRANT CREATE ON DATABASE",
        ),
        (DESIRED, replace(EMPTY, database=found(owned=False)), AccessDeniedError, "does not own"),
        (
            DESIRED,
            replace(EMPTY, database=found(owned=False)),
            AccessDeniedError,
            r"\(its owner is keeper\): is `migration` .* the login of another role by mistake\?",
        ),
    ],
)
def test_what_cannot_be_done_is_refused(
    desired: DesiredArchive, observed: ObservedArchive, error: type[OutboxError], said: str
) -> None:
    with pytest.raises(error, match=said):
        plan_archive(desired, observed, CLAIM)


def test_another_owner_is_followed_when_that_is_wanted() -> None:
    observed = replace(EMPTY, database=found(Mark(owner=RIVAL, comment="mine").text()))
    plan = plan_archive(DESIRED, observed, replace(CLAIM, adoption="Adopt"))
    assert '"comment": "mine"' in plan.statements[-1].sql


def test_names_of_tables_and_indexes_fit_whatever_classes_and_columns_are_called() -> None:
    leaf = leaf_name("x" * 30, datetime(2026, 3, 1, tzinfo=UTC))
    columns = [Index(name="i", columns=("c" * 39 + end, "stored_at")) for end in "ab"]
    names = {leaf_index(leaf, index) for index in columns}
    assert len(names) == 2
    assert all(len(name) < 64 for name in (*names, f"{leaf}_pkey"))


def test_a_class_that_is_kept_for_longer_is_told_so_and_left_alone() -> None:
    kept = ClassTable(
        name="orders",
        comment=keep_comment(60.0).strip("'"),
        leaves=(Leaf(name="rows_orders_default"),),
    )
    plan = plan_archive(DESIRED, replace(EMPTY, classes=(kept,)), CLAIM)
    about = [step.reason for step in plan.statements if "class orders" in step.reason]
    assert about == ["keep events of class orders for 10 days"]
