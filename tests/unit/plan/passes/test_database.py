"""The database of a pipeline within a pass: what is done about its schema, what is said then."""

from __future__ import annotations

import dataclasses

import pytest

from outbox_operator.api import meta
from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Pipeline
from outbox_operator.api.v1alpha1.pipeline import OutboxPipelineStatus, OutboxStatus, SchemaStatus
from outbox_operator.errors import (
    AccessDeniedError,
    ConflictError,
    CredentialsError,
    KubernetesError,
    OutboxError,
    PostgresError,
    UnsupportedServerError,
)
from outbox_operator.plan.passes.approval import Question, annotation_counted, approvals_after
from outbox_operator.plan.passes.database import (
    DatabaseApplied,
    DatabaseObserved,
    DatabasePlan,
    DatabaseResult,
    OutboxReading,
    desired_database,
    plan_database,
    with_migration,
)
from outbox_operator.plan.passes.database_result import database_result
from outbox_operator.plan.passes.result import SessionFailure
from outbox_operator.plan.postgres.state import (
    MigrationPlan,
    ObservedDatabase,
    OutboxNumbers,
    Statement,
)
from outbox_operator.plan.state import Owner
from outbox_operator.plan.status.conditions import waiting
from outbox_operator.plan.steps import Change
from outbox_operator.reasons import Reason
from outbox_operator.wire.tables import CURRENT_SCHEMA_VERSION
from support import schema
from support.passes import NOW, paused
from support.resources import pipeline

NOTHING = MigrationPlan(version=3, statements=(), records_version=False, hash="none")
CREATE = Statement(sql="CREATE TABLE events ()", reason="create events")
REPAIR = Statement(sql="ALTER TABLE events ADD c int", reason="column c was dropped", drift=True)
DB_AWAY = SessionFailure(error=PostgresError("away"), entered=False)
DB_LOCKED = SessionFailure(error=PostgresError("busy", reason=Reason.LOCK_TIMEOUT), entered=True)
DROP = Statement(sql="DROP COLUMN c", reason="drop c", destructive=True)


def steps(*statements: Statement) -> MigrationPlan:
    return MigrationPlan(version=3, statements=statements, records_version=True, hash="abc")


def approving(resource: Pipeline, value: str) -> Pipeline:
    changed = dataclasses.replace(resource.meta, annotations={meta.APPROVE_PLAN_ANNOTATION: value})
    return dataclasses.replace(resource, meta=changed)


def careful() -> Pipeline:
    """A pipeline whose migrations a person approves."""
    database = {
        "connectionSecretRef": {"name": "orders-db"},
        "migrations": {"policy": "RequireApproval"},
    }
    return pipeline(database=database)


AS_WANTED = schema.as_wanted(
    desired_database(pipeline(), relay_role=None), Owner.of(pipeline().meta)
)
READING = OutboxReading(
    numbers=OutboxNumbers(
        backlog_rows=3,
        backlog_is_estimate=False,
        oldest_age_seconds=1.0,
        dead_letters=0,
        published_total=10,
        last_published_at=NOW,
        last_position=10,
        remark=None,
        notice=None,
        position_notice=None,
        stream_created=None,
        taken_at=NOW,
    ),
    foreign="another server's",
)


def refused(error: OutboxError) -> SessionFailure:
    """The database did not let us in."""
    return SessionFailure(error=error, entered=False)


def inside(error: OutboxError) -> SessionFailure:
    """It let us in, and then something went wrong."""
    return SessionFailure(error=error, entered=True)


def relays(error: OutboxError) -> SessionFailure:
    """It let us in, and not the relay."""
    return SessionFailure(error=error, entered=True, worker=True)


def said(result: DatabaseResult) -> list[tuple[str, str]]:
    parts = (result.reachable, result.schema_applied)
    return [(part.status, part.reason) for part in parts]


@pytest.mark.parametrize(
    ("resource", "catalogue", "change", "statements"),
    [
        (pipeline(), None, Change.NOOP, None),  # it was compared lately
        (pipeline(), AS_WANTED, Change.NOOP, False),
        (pipeline(), schema.NOTHING, Change.PATCHED, True),
        (paused(pipeline()), schema.NOTHING, Change.FROZEN, True),
        (paused(pipeline()), AS_WANTED, Change.NOOP, False),
        (careful(), schema.NOTHING, Change.FROZEN, True),
    ],
)
def test_the_plan(
    resource: Pipeline, catalogue: ObservedDatabase | None, change: Change, statements: bool | None
) -> None:
    plan = plan_database(resource, DatabaseObserved(catalogue=catalogue))
    assert (plan.failure, plan.change) == (None, change)
    assert (plan.held is not None) is (change is Change.FROZEN)
    if statements is None:
        assert plan.migration is None
    else:
        assert plan.migration is not None
        assert plan.migration.empty is not statements


def test_the_role_of_the_relay_and_other_pipelines_are_part_of_the_plan() -> None:
    granting = plan_database(pipeline(), DatabaseObserved(catalogue=AS_WANTED, relay_role="relay"))
    assert granting.migration is not None
    assert any("relay" in str(one.sql) for one in granting.migration.statements)
    theirs = schema.as_wanted(
        desired_database(pipeline(), None), Owner(uid="2", key="OutboxPipeline/shop/rival")
    )
    plan = plan_database(pipeline(), DatabaseObserved(catalogue=theirs))
    assert plan.failure is not None
    assert isinstance(plan.failure.error, ConflictError)
    result = database_result(pipeline(), plan, DatabaseApplied(), NOW)
    assert said(result) == [("True", "Connected"), ("False", "ResourceConflict")]
    assert (result.lost, result.migrated) == (True, False)
    database = {"connectionSecretRef": {"name": "orders-db"}, "adoptionPolicy": "Adopt"}
    adopting = pipeline(database=database)
    assert plan_database(adopting, DatabaseObserved(catalogue=theirs)).failure is None


@pytest.mark.parametrize(
    ("resource", "migration", "change", "reason"),
    [
        (pipeline(), NOTHING, Change.NOOP, Reason.UP_TO_DATE),
        (pipeline(), steps(CREATE), Change.PATCHED, Reason.UP_TO_DATE),
        (paused(pipeline()), steps(CREATE), Change.FROZEN, Reason.UPDATE_FROZEN),
        (paused(pipeline()), NOTHING, Change.NOOP, Reason.UP_TO_DATE),
        (pipeline(), steps(DROP), Change.FROZEN, Reason.APPROVAL_PENDING),
        (careful(), steps(CREATE), Change.FROZEN, Reason.APPROVAL_PENDING),
        (approving(careful(), "abc"), steps(CREATE), Change.PATCHED, Reason.UP_TO_DATE),
        (approving(careful(), "old"), steps(CREATE), Change.FROZEN, Reason.APPROVAL_PENDING),
    ],
)
def test_what_is_done_with_a_migration(
    resource: Pipeline, migration: MigrationPlan, change: Change, reason: Reason
) -> None:
    plan = with_migration(resource, migration, 2)
    assert plan.change is change
    done = change is Change.PATCHED
    result = database_result(resource, plan, DatabaseApplied(migrated_now=done), NOW)
    assert said(result)[0] == ("True", "Connected")
    assert result.schema_applied.reason == reason
    assert result.migrated is (change is not Change.FROZEN)
    assert result.schema is not None
    assert result.schema.currentVersion == (3 if done else 2)
    assert (result.schema.lastAppliedTime is not None) is done
    assert (result.schema.pendingPlan is not None) is (change is Change.FROZEN)


@pytest.mark.parametrize(
    ("annotation", "migration", "approved"),
    [
        ("abc", NOTHING, True),
        ("abc", steps(CREATE), True),
        ("old", NOTHING, True),  # nothing waits for it any more
        ("old", steps(CREATE), False),
    ],
)
def test_an_approval_is_used_up_once_nothing_waits_any_more(
    annotation: str, migration: MigrationPlan, approved: bool
) -> None:
    resource = approving(careful(), annotation)
    plan = with_migration(resource, migration, 2)
    done = DatabaseApplied(migrated_now=plan.change is Change.PATCHED)
    result = database_result(resource, plan, done, NOW)
    approvals = approvals_after(resource, [result.question], (), NOW)
    assert annotation_counted(resource, [result.question], approvals) is approved
    assert approved or "approves 'old', another plan" in result.schema_applied.message


def test_one_migration_counts_once_whatever_it_puts_back() -> None:
    before = OutboxPipelineStatus(schema=SchemaStatus(driftCorrectedCount=4))
    resource = dataclasses.replace(pipeline(), status=before)
    plan = with_migration(resource, steps(REPAIR, REPAIR), 3)
    result = database_result(resource, plan, DatabaseApplied(migrated_now=True), NOW)
    assert result.schema is not None
    assert result.schema.driftCorrectedCount == 5
    assert result.drifts == 2 * ("column c was dropped (put right)",)
    # Another operator was faster: its drift to count.
    assert database_result(resource, plan, DatabaseApplied(), NOW).drifts == ()


def test_the_numbers_of_an_outbox_compared_lately() -> None:
    before = OutboxPipelineStatus(schema=SchemaStatus(currentVersion=3))
    resource = dataclasses.replace(pipeline(), status=before)
    result = database_result(resource, DatabasePlan(), DatabaseApplied(reading=READING), NOW)
    assert said(result) == [("True", "Connected"), ("True", "UpToDate")]
    assert (result.sample, result.foreign) == (READING.numbers, READING.foreign)
    assert (result.migrated, result.schema) == (True, before.schema_)


AWAY = [("False", "PostgresUnreachable"), ("Unknown", "PostgresUnreachable")]
LOCKED = PostgresError("locked", reason=Reason.LOCK_TIMEOUT)
CREATING = with_migration(pipeline(), steps(CREATE), 2)
HELD = with_migration(careful(), steps(CREATE), 2)


@pytest.mark.parametrize(
    ("plan", "applied", "expected", "migrated"),
    [
        # Before anything could be looked at.
        (DatabasePlan(failure=refused(PostgresError("away"))), DatabaseApplied(), AWAY, False),
        (DatabasePlan(failure=refused(CredentialsError("refused"))), DatabaseApplied(),
         [("False", "CredentialsRejected"), ("Unknown", "CredentialsRejected")], False),
        (DatabasePlan(failure=refused(PostgresError("full", reason=Reason.TOO_MANY_CONNECTIONS))),
         DatabaseApplied(),
         [("False", "TooManyConnections"), ("Unknown", "TooManyConnections")], False),
        (DatabasePlan(failure=refused(UnsupportedServerError("a pooler"))), DatabaseApplied(),
         [("True", "Connected"), ("False", "UnsupportedServer")], False),
        # Nobody could read the Secret.
        (DatabasePlan(failure=refused(KubernetesError("etcd"))), DatabaseApplied(),
         [("Unknown", "KubernetesUnavailable"), ("Unknown", "KubernetesUnavailable")], False),
        (DatabasePlan(failure=refused(AccessDeniedError("no"))), DatabaseApplied(),
         [("False", "PermissionDenied"), ("Unknown", "PermissionDenied")], False),
        (DatabasePlan(failure=inside(AccessDeniedError("no"))), DatabaseApplied(),
         [("True", "Connected"), ("False", "PermissionDenied")], False),
        (DatabasePlan(failure=inside(PostgresError("away"))), DatabaseApplied(), AWAY, False),
        # In the migration.
        (CREATING, DatabaseApplied(not_migrated=inside(LOCKED)),
         [("True", "Connected"), ("False", "LockTimeout")], False),
        (CREATING, DatabaseApplied(not_migrated=inside(PostgresError("away"))), AWAY, False),
        # Afterwards.
        (CREATING, DatabaseApplied(migrated_now=True, failure=inside(LOCKED)),
         [("True", "Connected"), ("False", "LockTimeout")], True),
        (CREATING, DatabaseApplied(migrated_now=True, failure=inside(PostgresError("away"))),
         AWAY, True),
        (DatabasePlan(), DatabaseApplied(failure=refused(PostgresError("away"))), AWAY, False),
        # The role that migrates got in, the relay's did not.
        (CREATING, DatabaseApplied(migrated_now=True, failure=relays(CredentialsError("refused"))),
         [("False", "CredentialsRejected"), ("True", "UpToDate")], True),
        (HELD, DatabaseApplied(failure=relays(CredentialsError("refused"))),
         [("True", "Connected"), ("False", "CredentialsRejected")], False),
    ],
)  # fmt: skip
def test_which_part_an_error_is(
    plan: DatabasePlan,
    applied: DatabaseApplied,
    expected: list[tuple[str, str]],
    migrated: bool,
) -> None:
    result = database_result(pipeline(), plan, applied, NOW)
    assert (said(result), result.migrated, result.lost) == (expected, migrated, False)
    assert result.error is not None


def test_what_was_done_before_a_failure_is_kept() -> None:
    plan = with_migration(pipeline(), steps(REPAIR), 2)
    applied = DatabaseApplied(migrated_now=True, reading=READING, failure=inside(LOCKED))
    result = database_result(pipeline(), plan, applied, NOW)
    assert result.schema is not None
    assert (result.schema.currentVersion, result.schema.driftCorrectedCount) == (3, 1)
    assert (result.sample, len(result.drifts)) == (READING.numbers, 1)
    # A migration that failed has changed nothing.
    failed = database_result(pipeline(), plan, DatabaseApplied(not_migrated=inside(LOCKED)), NOW)
    assert (failed.schema, failed.drifts) == (None, ())


@pytest.mark.parametrize(
    ("known", "found", "held", "failure", "behind"),
    [
        (None, None, False, None, False),  # made now
        (CURRENT_SCHEMA_VERSION, CURRENT_SCHEMA_VERSION, True, None, False),  # only drift waits
        (CURRENT_SCHEMA_VERSION - 1, CURRENT_SCHEMA_VERSION - 1, True, None, True),
        (CURRENT_SCHEMA_VERSION - 1, CURRENT_SCHEMA_VERSION - 1, False, None, False),  # has run
        (CURRENT_SCHEMA_VERSION - 1, CURRENT_SCHEMA_VERSION - 1, False, DB_LOCKED, True),
        # The database is away at the first look of the new operator.
        (CURRENT_SCHEMA_VERSION - 1, None, False, DB_AWAY, True),
        (CURRENT_SCHEMA_VERSION, None, False, DB_AWAY, False),
    ],
)
def test_whether_the_schema_is_of_an_older_version(
    known: int | None,
    found: int | None,
    held: bool,
    failure: SessionFailure | None,
    behind: bool,
) -> None:
    before = SchemaStatus(currentVersion=known)
    resource = dataclasses.replace(
        pipeline(), status=pipeline().status.model_copy(update={"schema_": before})
    )
    waits = waiting(ConditionType.SCHEMA_APPLIED, Reason.APPROVAL_PENDING, "waits")
    plan = DatabasePlan(failure=failure if failure is DB_AWAY else None)
    if failure is not DB_AWAY:
        plan = DatabasePlan(
            change=Change.FROZEN if held else Change.PATCHED,
            migration=steps(CREATE),
            found=found,
            held=waits if held else None,
        )
    applied = DatabaseApplied(not_migrated=failure if failure is DB_LOCKED else None)
    assert bool(database_result(resource, plan, applied, NOW).keeps_relay) is behind


HOME, ELSEWHERE = "71/5", "71/6"


def lived_at_home(rows: int, annotations: dict[str, str] | None = None) -> Pipeline:
    """A pipeline whose outbox was in one database, with so many rows when it was looked at."""
    status = OutboxPipelineStatus(
        schema=SchemaStatus(currentVersion=CURRENT_SCHEMA_VERSION, database=HOME),
        outbox=OutboxStatus(backlogRows=rows),
    )
    changed = dataclasses.replace(pipeline().meta, annotations=annotations or {})
    return dataclasses.replace(pipeline(), status=status, meta=changed)


def numbers(rows: int) -> OutboxNumbers:
    return dataclasses.replace(READING.numbers, backlog_rows=rows)


@pytest.mark.parametrize(
    ("rows", "found", "left", "says"),
    [
        (3, dataclasses.replace(AS_WANTED, identity=HOME), None, None),
        (3, dataclasses.replace(AS_WANTED, identity=None), None, None),
        # Tables that are there already, as when it comes back to where it was once, change nothing.
        (3, dataclasses.replace(AS_WANTED, identity=ELSEWHERE), None, "3 rows waited when"),
        (3, dataclasses.replace(schema.NOTHING, identity=ELSEWHERE), None, "3 rows waited when"),
        (0, dataclasses.replace(schema.NOTHING, identity=ELSEWHERE), None, None),
        # Who can look there knows better than the last status.
        (3, dataclasses.replace(schema.NOTHING, identity=ELSEWHERE), numbers(0), None),
        (0, dataclasses.replace(schema.NOTHING, identity=ELSEWHERE), numbers(2), "2 rows wait in"),
        # The same database of another server: from a dump, with its rows, or a new one.
        (3, dataclasses.replace(AS_WANTED, identity="72/5", cursor_systems=frozenset({"71"})),
         None, None),
        (3, dataclasses.replace(AS_WANTED, identity="72/5", cursor_systems=frozenset({"72"})),
         None, "3 rows waited when"),
    ],
)  # fmt: skip
def test_what_waits_where_the_outbox_was(
    rows: int, found: ObservedDatabase, left: OutboxNumbers | None, says: str | None
) -> None:
    resource = lived_at_home(rows)
    plan = plan_database(resource, DatabaseObserved(catalogue=found, left=left))
    result = database_result(resource, plan, DatabaseApplied(), NOW)
    assert (plan.held is not None) is (says is not None)
    assert result.migrated is (says is None)
    assert bool(result.keeps_relay) is (says is not None)
    assert result.schema is not None
    if says is None:
        assert result.schema.database == (found.identity or HOME)
        if result.moved is not None:  # what was not looked at is not said to be empty
            assert ("nobody can look there now" in result.moved) is (left is None)
        return
    assert says in result.schema_applied.message
    assert result.schema_applied.stalled
    assert (result.sample, result.schema.database) == (left, HOME)
    pending = result.schema.pendingPlan
    assert pending is not None
    allowed = lived_at_home(rows, {meta.APPROVE_PLAN_ANNOTATION: pending.hash})
    plan = plan_database(allowed, DatabaseObserved(catalogue=found, left=left))
    result = database_result(allowed, plan, DatabaseApplied(reading=READING), NOW)
    assert (result.migrated, result.keeps_relay) == (True, None)
    assert result.question == Question(part="Schema", before=None, plan=pending.hash)
    assert "and stay there" in (result.moved or "")
    paused_plan = plan_database(paused(allowed), DatabaseObserved(catalogue=found, left=left))
    assert paused_plan.change is Change.FROZEN


def test_tables_that_were_dropped_are_made_again_and_said() -> None:
    dropped = dataclasses.replace(schema.NOTHING, identity=HOME)
    for resource, said in ((lived_at_home(3), ["3 rows waited"]), (pipeline(), [])):
        plan = plan_database(resource, DatabaseObserved(catalogue=dropped))
        result = database_result(resource, plan, DatabaseApplied(migrated_now=True), NOW)
        assert [one for one in said if one not in " ".join(result.drifts)] == []
        assert bool(result.drifts) is bool(said)
