"""The database of a pipeline within a pass: what to do about its schema, what to say then. Pure.

`plan_database` and `database_result` are the two halves around what
`controller.reconcile.pipeline_database` does: it gathers `DatabaseObserved`, carries out the plan,
and hands on the result.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from outbox_operator.api import meta
from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Pipeline
from outbox_operator.api.v1alpha1.pipeline import PendingPlan, SchemaStatus
from outbox_operator.errors import ConflictError, CredentialsError, DependencyError, OutboxError
from outbox_operator.plan.ownership import Claim, held_before
from outbox_operator.plan.passes.moving import (
    KEPT_WHERE_IT_WAS,
    Move,
    move_held,
    move_of,
    moved_text,
)
from outbox_operator.plan.passes.result import SessionFailure
from outbox_operator.plan.postgres.migrations import plan_migrations
from outbox_operator.plan.postgres.state import (
    DesiredDatabase,
    MigrationPlan,
    ObservedDatabase,
    OutboxNumbers,
)
from outbox_operator.plan.state import Owner
from outbox_operator.plan.status.conditions import (
    Part,
    failed,
    ok,
    stamp,
    unknown,
    waiting,
)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseObserved:
    """What there is for the outbox of a pipeline.

    Attributes:
        failure: Why nothing could be looked at: no login, no connection, no catalogue.
        relay_role: Role that the relay logs in as.
        catalogue: What the schema holds; None: it was compared lately, and was as wanted.
        left: Numbers of the database where the outbox was, if that is another one and was asked.
        living: UIDs of all pipelines that are seen here.
    """

    failure: SessionFailure | None = None
    relay_role: str | None = None
    catalogue: ObservedDatabase | None = None
    left: OutboxNumbers | None = None
    living: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabasePlan:
    """What to do about the schema of a pipeline.

    Attributes:
        failure: Why nothing can be planned; nothing is done then.
        change: NOOP: it is as wanted. PATCHED: migrate. FROZEN: the migration has to wait.
        migration: Its statements; None: the schema was not compared.
        found: Schema version that was found.
        identity: Of the database that was found.
        held: SchemaApplied while the migration waits.
        move: The outbox is declared elsewhere than it was.
    """

    failure: SessionFailure | None = None
    change: Change = Change.NOOP
    migration: MigrationPlan | None = None
    found: int | None = None
    identity: str | None = None
    held: Part | None = None
    move: Move | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxReading:
    """Live numbers of an outbox.

    Attributes:
        numbers: Backlog, totals, and what the relay remarks.
        foreign: Why the cursors are those of another server, so that no relay can go on.
    """

    numbers: OutboxNumbers
    foreign: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseApplied:
    """What became of a plan; what comes after a failure was not tried.

    Attributes:
        migrated_now: Whether we ran the migration; False: there was nothing to do, or another one
            was faster.
        not_migrated: Why the migration failed.
        reading: Numbers, read afterwards; None: the schema is not as wanted.
        failure: What went wrong after the migration.
    """

    migrated_now: bool = False
    not_migrated: SessionFailure | None = None
    reading: OutboxReading | None = None
    failure: SessionFailure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseResult:
    """The database after its pass.

    Attributes:
        reachable: DatabaseReachable.
        schema_applied: SchemaApplied.
        schema: `status.schema`.
        sample: Live numbers, None when they could not be read.
        migrated: Whether the tables are as wanted, so that a relay can run.
        approved: A plan was approved and has been carried out.
        drifts: What somebody had changed and was put back.
        foreign: Why the cursors are those of another server, so that no relay can go on.
        keeps_relay: Why the relay that runs is left as it is: a new one would need the tables of
            this version, or would leave rows behind.
        moved: That the outbox is elsewhere now, and what it left behind.
        pending: A look is under way, and nothing is known of this generation with this login.
        error: What went wrong.
    """

    reachable: Part
    schema_applied: Part
    schema: SchemaStatus | None = None
    sample: OutboxNumbers | None = None
    migrated: bool = False
    approved: bool = False
    drifts: tuple[str, ...] = ()
    foreign: str | None = None
    keeps_relay: str | None = None
    moved: str | None = None
    pending: bool = False
    error: OutboxError | None = None

    @property
    def lost(self) -> bool:
        """Whether the schema is another pipeline's."""
        return isinstance(self.error, ConflictError)


def desired_database(pipeline: Pipeline, relay_role: str | None) -> DesiredDatabase:
    """The outbox that a pipeline wants, with the role that its relay logs in as."""
    writers = tuple(pipeline.spec.database.grants.writers)
    return DesiredDatabase.of(pipeline.spec, writers=writers, relay_role=relay_role)


def schema_claim(pipeline: Pipeline, living: frozenset[str]) -> Claim:
    """What a pipeline says of its schema."""
    before = pipeline.status.schema_
    has_it = before is not None and before.currentVersion is not None
    return Claim(
        owner=Owner.of(pipeline.meta),
        adoption=pipeline.spec.database.adoptionPolicy,
        held=held_before(pipeline, ConditionType.SCHEMA_APPLIED, has_it=has_it),
        living=living,
    )


def plan_database(pipeline: Pipeline, observed: DatabaseObserved) -> DatabasePlan:
    """The migration that makes the schema as declared, and whether it may run now."""
    if observed.failure is not None:
        return DatabasePlan(failure=observed.failure)
    if observed.catalogue is None:
        return DatabasePlan()
    try:
        migration = plan_migrations(
            desired_database(pipeline, observed.relay_role),
            observed.catalogue,
            schema_claim(pipeline, observed.living),
        )
    except OutboxError as error:
        return DatabasePlan(failure=SessionFailure(error=error, entered=True))
    move = move_of(pipeline, observed.catalogue, observed.left)
    plan = with_migration(pipeline, migration, observed.catalogue.version, move)
    return dataclasses.replace(plan, identity=observed.catalogue.identity)


def with_migration(
    pipeline: Pipeline, migration: MigrationPlan, found: int | None, move: Move | None = None
) -> DatabasePlan:
    """Whether a migration may run now.

    Args:
        pipeline: The resource.
        migration: Perhaps an empty one.
        found: Schema version that was found.
        move: The outbox is declared elsewhere than it was.
    """
    leaving = move if move is not None and move.rows else None
    if migration.empty and leaving is None:
        return DatabasePlan(migration=migration, found=found, move=move)
    held = _held_back(pipeline, migration, leaving)
    change = Change.PATCHED if not migration.empty else Change.NOOP
    return DatabasePlan(
        change=change if held is None else Change.FROZEN,
        migration=migration,
        found=found,
        held=held,
        move=move,
    )


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
    asked = meta.APPROVE_PLAN_ANNOTATION in pipeline.meta.annotations
    return DatabaseResult(
        reachable=reachable,
        schema_applied=schema_applied,
        schema=_schema_status(pipeline.status.schema_, plan, applied, drifts, now),
        sample=_sample(plan, applied),
        migrated=as_wanted and (failure is None or failure.entered),
        approved=as_wanted and asked and plan.migration is not None,
        drifts=drifts,
        foreign=applied.reading.foreign if applied.reading else None,
        keeps_relay=_keeps_relay(pipeline.status.schema_, plan, as_wanted=as_wanted),
        moved=moved_text(plan.move) if plan.move and as_wanted else None,
        error=failure.error if failure else None,
    )


def _drifts(pipeline: Pipeline, plan: DatabasePlan) -> tuple[str, ...]:
    """What a migration that has run has put back."""
    before, outbox = pipeline.status.schema_, pipeline.status.outbox
    had = before is not None and before.currentVersion is not None
    if had and plan.found is None and plan.move is None:
        rows = 0 if outbox is None else outbox.backlogRows
        return (
            f"the tables of schema {pipeline.spec.database.schema_} were gone and have been made "
            f"again; {rows} rows waited when they were counted last, and are lost",
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
    away = not failure.entered and isinstance(error, CredentialsError | DependencyError)
    if away or error.reason == Reason.POSTGRES_UNREACHABLE:
        text = "not looked at: the database is away"
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
            hash=migration.hash if plan.move is None else plan.move.hash,
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


def _held_back(pipeline: Pipeline, plan: MigrationPlan, leaving: Move | None) -> Part | None:
    """Why a plan may not run now; None when it may."""
    kind = ConditionType.SCHEMA_APPLIED
    if pipeline.meta.paused:
        text = f"{len(plan.statements)} statements wait and are left so while paused"
        return waiting(kind, Reason.UPDATE_FROZEN, text)
    approved = pipeline.meta.annotations.get(meta.APPROVE_PLAN_ANNOTATION)
    if leaving is not None:
        return None if approved == leaving.hash else move_held(pipeline, leaving)
    needs_approval = (
        plan.destructive or pipeline.spec.database.migrations.policy == "RequireApproval"
    )
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
