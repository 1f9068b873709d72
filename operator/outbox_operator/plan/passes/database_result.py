"""The database of a pipeline after its pass: what is said, and what its status keeps. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Pipeline
from outbox_operator.api.v1alpha1.pipeline import PendingPlan, SchemaStatus
from outbox_operator.counted import counted
from outbox_operator.errors import AccessDeniedError, CredentialsError, DependencyError
from outbox_operator.plan.passes.approval import Question
from outbox_operator.plan.passes.database import DatabaseApplied, DatabasePlan, DatabaseResult
from outbox_operator.plan.passes.moving import KEPT_WHERE_IT_WAS, moved_text
from outbox_operator.plan.passes.result import SessionFailure
from outbox_operator.plan.postgres.state import OutboxNumbers
from outbox_operator.plan.status.conditions import Part, failed, ok, stamp, unknown
from outbox_operator.plan.status.drift import LONGEST_TEXT
from outbox_operator.plan.steps import Change
from outbox_operator.reasons import Reason
from outbox_operator.wire.tables import CURRENT_SCHEMA_VERSION

CONNECTED = ok(ConditionType.DATABASE_REACHABLE, Reason.CONNECTED)
MIGRATED = ok(ConditionType.SCHEMA_APPLIED, Reason.UP_TO_DATE)
KEPT_UNTIL_MIGRATED = (
    "left as it is until the schema is migrated to this version, see SchemaApplied"
)
"""Of the relay."""


def database_result(
    pipeline: Pipeline, plan: DatabasePlan, applied: DatabaseApplied, now: datetime
) -> DatabaseResult:
    """What a pass over a database comes to.

    Args:
        pipeline: The resource.
        plan: From `plan_database`.
        applied: What became of it.
        now: Time of the pass.
    """
    failure = plan.failure or applied.not_migrated or applied.failure
    as_wanted = (
        plan.failure is None and applied.not_migrated is None and plan.change is not Change.FROZEN
    )
    reachable, schema_applied = _parts(plan.held, failure, as_wanted)
    drifts = _drifts(pipeline, plan) if applied.migrated_now else ()
    return DatabaseResult(
        reachable=reachable,
        schema_applied=schema_applied,
        schema=_schema_status(pipeline.status.schema_, plan, applied, drifts, now),
        sample=_sample(plan, applied),
        migrated=as_wanted and (failure is None or failure.entered),
        question=_question(pipeline, plan, waits=not as_wanted),
        drifts=drifts,
        foreign=applied.reading.foreign if applied.reading else None,
        keeps_relay=_keeps_relay(pipeline.status.schema_, plan, as_wanted=as_wanted),
        moved=moved_text(plan.move) if plan.move and as_wanted else None,
        located=_is_located(plan, failure),
        error=failure.error if failure else None,
    )


def _is_located(plan: DatabasePlan, failure: SessionFailure | None) -> bool:
    if plan.failure is not None or (failure is not None and failure.worker):
        return False
    return plan.move is None or plan.held is None


def _question(pipeline: Pipeline, plan: DatabasePlan, *, waits: bool) -> Question | None:
    """What a person decides; what nobody could look at is as it was."""
    schema = pipeline.status.schema_
    before = schema.pendingPlan.hash if schema and schema.pendingPlan else None
    if plan.migration is None:
        return Question.unchanged("Schema", before)
    return Question(part="Schema", before=before, plan=plan.hash, waits=waits)


def _drifts(pipeline: Pipeline, plan: DatabasePlan) -> tuple[str, ...]:
    """What a migration that has run has put back."""
    before, outbox = pipeline.status.schema_, pipeline.status.outbox
    had = before is not None and before.currentVersion is not None
    if had and plan.found is None and plan.move is None:
        rows = 0 if outbox is None else outbox.backlogRows
        return (
            f"the tables of schema {pipeline.spec.database.schema_} were gone and have been made "
            f"again; {counted(rows, 'row')} waited when last counted, and "
            f"{'is' if rows == 1 else 'are'} lost",
        )
    return () if plan.migration is None else plan.migration.repairs


def _sample(plan: DatabasePlan, applied: DatabaseApplied) -> OutboxNumbers | None:
    """Live numbers; those of where the outbox was, as long as it has to stay there."""
    if applied.reading is not None:
        return applied.reading.numbers
    return plan.move.numbers if plan.move is not None and plan.held is not None else None


def _keeps_relay(before: SchemaStatus | None, plan: DatabasePlan, *, as_wanted: bool) -> str | None:
    compared = plan.migration is not None
    if compared and as_wanted:
        return None
    if plan.move is not None:
        return KEPT_WHERE_IT_WAS
    found = plan.found if compared else before.currentVersion if before else None
    behind = found is not None and found < CURRENT_SCHEMA_VERSION
    return KEPT_UNTIL_MIGRATED if behind else None


def _parts(held: Part | None, failure: SessionFailure | None, as_wanted: bool) -> tuple[Part, Part]:
    """DatabaseReachable and SchemaApplied."""
    if failure is None:
        return CONNECTED, held or MIGRATED
    error = failure.error
    kinds = CredentialsError | DependencyError | AccessDeniedError
    away = not failure.entered and isinstance(error, kinds)
    if away or error.reason == Reason.POSTGRES_UNREACHABLE:
        unread = error.reason == Reason.KUBERNETES_UNAVAILABLE
        why = "nobody could read the login" if unread else "the database is away"
        text = f"not looked at: {why}"
        return (
            failed(ConditionType.DATABASE_REACHABLE, error),
            unknown(ConditionType.SCHEMA_APPLIED, error.reason, text),
        )
    if as_wanted and failure.worker:
        return failed(ConditionType.DATABASE_REACHABLE, error), MIGRATED
    return CONNECTED, failed(ConditionType.SCHEMA_APPLIED, error)


def _schema_status(
    before: SchemaStatus | None,
    plan: DatabasePlan,
    applied: DatabaseApplied,
    drifts: tuple[str, ...],
    now: datetime,
) -> SchemaStatus | None:
    """`status.schema`, which stays while nobody knows better."""
    migration = plan.migration
    if migration is None or applied.not_migrated is not None:
        return before
    before = before or SchemaStatus()
    if plan.held is not None:
        pending = PendingPlan(
            hash=plan.hash or migration.hash,
            statements=[str(statement.sql) for statement in migration.statements],
            destructive=migration.destructive,
        )
        if plan.move is not None:  # nothing else is known of where it was
            return before.model_copy(update={"pendingPlan": pending})
        return before.model_copy(update={"pendingPlan": pending, "currentVersion": plan.found})
    update: dict[str, Any] = {
        "pendingPlan": None,
        "database": plan.identity or before.database,
        "currentVersion": plan.found if migration.empty else migration.version,
    }
    if applied.migrated_now:
        update |= {"lastAppliedTime": stamp(now), **_drift(before, drifts)}
    return before.model_copy(update=update)


def _drift(before: SchemaStatus, drifts: tuple[str, ...]) -> Mapping[str, Any]:
    """One migration counts once, whatever it has put back."""
    if not drifts:
        return {}
    return {
        "driftCorrectedCount": before.driftCorrectedCount + 1,
        "lastDrift": "; ".join(drifts)[:LONGEST_TEXT],
    }
