"""The database of a pipeline within a pass: what is done about its schema, what is said then."""

from __future__ import annotations

import dataclasses

import pytest

from outbox_operator.api import meta
from outbox_operator.api.resource import Pipeline
from outbox_operator.api.v1alpha1.pipeline import OutboxPipelineStatus, SchemaStatus
from outbox_operator.errors import (
    AccessDeniedError,
    ConflictError,
    CredentialsError,
    OutboxError,
    PostgresError,
)
from outbox_operator.plan.passes.database import (
    CONNECTED,
    MIGRATED,
    DatabaseResult,
    claimed_elsewhere,
    database_failed,
    schema_change,
    schema_result,
)
from outbox_operator.plan.postgres.state import MigrationPlan, Statement
from outbox_operator.plan.steps import Change
from outbox_operator.reasons import Reason
from support.passes import NOW, paused
from support.resources import pipeline

NOTHING = MigrationPlan(version=3, statements=(), records_version=False, hash="none")
CREATE = Statement(sql="CREATE TABLE events ()", reason="create events")
REPAIR = Statement(sql="ALTER TABLE events ADD c int", reason="column c was dropped", drift=True)
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


@pytest.mark.parametrize(
    ("resource", "plan", "change", "reason"),
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
def test_what_is_done_with_a_plan(
    resource: Pipeline, plan: MigrationPlan, change: Change, reason: Reason
) -> None:
    assert schema_change(resource, plan) is change
    done = change is Change.PATCHED
    result = schema_result(resource, plan, 2, done=done, now=NOW)
    assert result.parts[-1].reason == reason
    assert result.migrated is (change is not Change.FROZEN)
    assert result.schema is not None
    assert result.schema.currentVersion == (3 if done else 2)
    assert (result.schema.lastAppliedTime is not None) is done
    assert (result.schema.pendingPlan is not None) is (change is Change.FROZEN)


def test_an_approval_is_used_up_once_nothing_waits_any_more() -> None:
    resource = approving(careful(), "abc")
    assert schema_result(resource, NOTHING, 3, done=False, now=NOW).approved
    assert schema_result(resource, steps(CREATE), 2, done=True, now=NOW).approved
    wrong = approving(careful(), "old")
    held = schema_result(wrong, steps(CREATE), 2, done=False, now=NOW)
    assert not held.approved
    assert "approves 'old', another plan" in held.parts[-1].message


def test_one_migration_counts_once_whatever_it_puts_back() -> None:
    before = OutboxPipelineStatus(schema=SchemaStatus(driftCorrectedCount=4))
    resource = dataclasses.replace(pipeline(), status=before)
    result = schema_result(resource, steps(REPAIR, REPAIR), 3, done=True, now=NOW)
    assert result.schema is not None
    assert result.schema.driftCorrectedCount == 5
    assert result.drifts == ("column c was dropped", "column c was dropped")
    # Another operator was faster: its drift to count.
    assert schema_result(resource, steps(REPAIR), 3, done=False, now=NOW).drifts == ()


@pytest.mark.parametrize(
    ("so_far", "error", "said"),
    [
        ((), PostgresError("away"), [("False", "PostgresUnreachable"),
                                     ("Unknown", "PostgresUnreachable")]),
        ((), CredentialsError("refused"), [("False", "CredentialsRejected"),
                                           ("Unknown", "CredentialsRejected")]),
        ((), claimed_elsewhere(pipeline(), "db:5432/shop", "OutboxPipeline/shop/elder"),
         [("True", "Connected"), ("False", "ResourceConflict")]),
        ((CONNECTED,), AccessDeniedError("no"), [("True", "Connected"),
                                                 ("False", "PermissionDenied")]),
        ((CONNECTED,), PostgresError("locked", reason=Reason.LOCK_TIMEOUT),
         [("True", "Connected"), ("False", "LockTimeout")]),
        ((CONNECTED, MIGRATED), PostgresError("away"), [("False", "PostgresUnreachable"),
                                                        ("Unknown", "PostgresUnreachable")]),
        # The role that migrates got in, the relay's did not.
        ((CONNECTED, MIGRATED), CredentialsError("refused"), [("False", "CredentialsRejected"),
                                                              ("True", "UpToDate")]),
    ],
)  # fmt: skip
def test_which_part_an_error_is(
    so_far: tuple[object, ...], error: OutboxError, said: list[tuple[str, str]]
) -> None:
    reached = DatabaseResult(
        parts=so_far,  # type: ignore[arg-type]
        migrated=len(so_far) == 2,
    )
    result = database_failed(reached, error)
    assert [(part.status, part.reason) for part in result.parts] == said
    assert result.lost is isinstance(error, ConflictError)
