"""The database of a pipeline within a pass: what to do about its schema, what to say then. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from outbox_operator.api import meta
from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Pipeline
from outbox_operator.api.v1alpha1.pipeline import PendingPlan, SchemaStatus
from outbox_operator.errors import ConflictError, CredentialsError, DependencyError, OutboxError
from outbox_operator.plan.postgres.migrations import MigrationPlan
from outbox_operator.plan.status.conditions import Part, failed, ok, stamp, unknown, waiting
from outbox_operator.plan.status.drift import LONGEST_TEXT
from outbox_operator.plan.status.pipeline import OutboxNumbers
from outbox_operator.plan.steps import Change
from outbox_operator.reasons import Reason

CONNECTED = ok(ConditionType.DATABASE_REACHABLE, Reason.CONNECTED)
MIGRATED = ok(ConditionType.SCHEMA_APPLIED, Reason.UP_TO_DATE)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseResult:
    """The database, as far as a pass has come.

    Attributes:
        parts: DatabaseReachable, then SchemaApplied; empty before the database let us in.
        schema: `status.schema`.
        sample: Live numbers, None when they could not be read.
        migrated: Whether the tables are as wanted, so that a relay can run.
        approved: A plan was approved and has been carried out.
        drifts: What somebody had changed and was put back.
        lost: The schema is another pipeline's.
        foreign: Why the cursors are those of another server, so that no relay can go on.
    """

    parts: tuple[Part, ...] = ()
    schema: SchemaStatus | None = None
    sample: OutboxNumbers | None = None
    migrated: bool = False
    approved: bool = False
    drifts: tuple[str, ...] = ()
    lost: bool = False
    foreign: str | None = None


def claimed_elsewhere(pipeline: Pipeline, address: str, older: str) -> ConflictError:
    """Of two pipelines for one schema of one database the older one has it.

    Args:
        pipeline: The younger one.
        address: Of the database.
        older: `Kind/namespace/name` of the older one.
    """
    return ConflictError(
        f"schema {pipeline.spec.database.schema_} of database {address} is already the outbox of "
        f"{older}, which is older; set another spec.database.schema or delete one of the two"
    )


def schema_change(pipeline: Pipeline, plan: MigrationPlan) -> Change:
    """What to do with a plan now."""
    if plan.empty:
        return Change.NOOP
    return Change.PATCHED if _held_back(pipeline, plan) is None else Change.FROZEN


def schema_result(
    pipeline: Pipeline, plan: MigrationPlan, version: int | None, *, done: bool, now: datetime
) -> DatabaseResult:
    """The schema once its change was made.

    Args:
        pipeline: The resource.
        plan: The plan; `schema_change` said what to do with it.
        version: Schema version that was found.
        done: Whether we ran it; False: there was nothing to do, or another one was faster.
        now: Time of the pass.
    """
    before = pipeline.status.schema_ or SchemaStatus()
    asked = meta.APPROVE_PLAN_ANNOTATION in pipeline.meta.annotations
    held = None if plan.empty else _held_back(pipeline, plan)
    if held is not None:
        pending = PendingPlan(
            hash=plan.hash,
            statements=[str(statement.sql) for statement in plan.statements],
            destructive=plan.destructive,
        )
        schema = before.model_copy(update={"pendingPlan": pending, "currentVersion": version})
        return DatabaseResult(parts=(CONNECTED, held), schema=schema)
    update: dict[str, Any] = {
        "pendingPlan": None,
        "currentVersion": version if plan.empty else plan.version,
    }
    drifts: tuple[str, ...] = ()
    if done:
        drifts = plan.drift
        update |= {"lastAppliedTime": stamp(now), **_drift(before, drifts)}
    return DatabaseResult(
        parts=(CONNECTED, MIGRATED),
        schema=before.model_copy(update=update),
        migrated=True,
        approved=asked,
        drifts=drifts,
    )


def _drift(before: SchemaStatus, drifts: tuple[str, ...]) -> Mapping[str, Any]:
    """One migration counts once, whatever it has put back."""
    if not drifts:
        return {}
    return {
        "driftCorrectedCount": before.driftCorrectedCount + 1,
        "lastDrift": "; ".join(drifts)[:LONGEST_TEXT],
    }


def database_failed(so_far: DatabaseResult, error: OutboxError) -> DatabaseResult:
    """The database when something went wrong.

    Args:
        so_far: How far the pass had come.
        error: What went wrong then.
    """
    away = not so_far.parts and isinstance(error, CredentialsError | DependencyError)
    if away or error.reason == Reason.POSTGRES_UNREACHABLE:
        text = "not looked at: the database is away"
        parts = (
            failed(ConditionType.DATABASE_REACHABLE, error),
            unknown(ConditionType.SCHEMA_APPLIED, error.reason, text),
        )
    elif so_far.migrated and isinstance(error, CredentialsError):
        # The role that migrates got in, the relay's did not.
        parts = (failed(ConditionType.DATABASE_REACHABLE, error), so_far.parts[1])
    else:
        reached = so_far.parts[0] if so_far.parts else CONNECTED
        parts = (reached, failed(ConditionType.SCHEMA_APPLIED, error))
    return replace(so_far, parts=parts, lost=isinstance(error, ConflictError))


def _held_back(pipeline: Pipeline, plan: MigrationPlan) -> Part | None:
    """Why a plan may not run now; None when it may."""
    kind = ConditionType.SCHEMA_APPLIED
    if pipeline.meta.paused:
        text = f"{len(plan.statements)} statements wait and are left so while paused"
        return waiting(kind, Reason.UPDATE_FROZEN, text)
    needs_approval = (
        plan.destructive or pipeline.spec.database.migrations.policy == "RequireApproval"
    )
    approved = pipeline.meta.annotations.get(meta.APPROVE_PLAN_ANNOTATION)
    if not needs_approval or approved == plan.hash:
        return None
    wrong = f" (the annotation approves {approved!r}, another plan)" if approved else ""
    return Part(
        type=kind,
        status="False",
        reason=Reason.APPROVAL_PENDING,
        message=f"{len(plan.statements)} statements wait in status.schema.pendingPlan; approve "
        f"with annotation {meta.APPROVE_PLAN_ANNOTATION}={plan.hash}{wrong}",
        stalled=True,
    )
