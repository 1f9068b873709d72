"""The database of a pipeline within a pass: what to do about its schema, what to say then. Pure.

`plan_database` here and `database_result` beside it are the two halves around what
`controller.reconcile.pipeline_database` does: it gathers `DatabaseObserved`, carries out the plan,
and hands on the result.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Sequence
from dataclasses import dataclass

from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Pipeline
from outbox_operator.api.v1alpha1.pipeline import SchemaStatus
from outbox_operator.counted import counted
from outbox_operator.errors import ConflictError, OutboxError
from outbox_operator.plan.ownership import Claim, held_before
from outbox_operator.plan.passes.approval import Question, Vote, allows, last_word
from outbox_operator.plan.passes.approval import held as held_back
from outbox_operator.plan.passes.moving import (
    Move,
    move_held,
    move_of,
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
    waiting,
)
from outbox_operator.plan.steps import Change
from outbox_operator.reasons import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseObserved:
    """What there is for the outbox of a pipeline.

    Attributes:
        failure: Why nothing could be looked at: no login, no connection, no catalogue.
        relay_role: Role that the relay logs in as.
        catalogue: What the schema holds; None: it was compared lately, and was as wanted.
        left: Numbers of the database where the outbox was, if that is another one and was asked.
        living: UIDs of all pipelines that are seen here.
        votes: What tasks say of plans.
    """

    failure: SessionFailure | None = None
    relay_role: str | None = None
    catalogue: ObservedDatabase | None = None
    left: OutboxNumbers | None = None
    living: Container[str] = frozenset()
    votes: tuple[Vote, ...] = ()


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

    @property
    def hash(self) -> str | None:
        """What a person approves or rejects; None: nothing is to be done."""
        if self.move is not None and self.move.rows:
            return self.move.hash
        return self.migration.hash if self.migration and not self.migration.empty else None


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
        question: What a person decides; None: nobody could look.
        drifts: What somebody had changed and was put back.
        foreign: Why the cursors are those of another server, so that no relay can go on.
        keeps_relay: Why the relay that runs is left as it is: a new one would need the tables of
            this version, or would leave rows behind.
        moved: That the outbox is elsewhere now, and what it left behind.
        located: Whether the logins lead to the outbox, as this look or the last one saw it.
        pending: A look is under way, and nothing is known of this generation with this login.
        waiting: A look is under way, whatever is known.
        error: What went wrong.
    """

    reachable: Part
    schema_applied: Part
    schema: SchemaStatus | None = None
    sample: OutboxNumbers | None = None
    migrated: bool = False
    question: Question | None = None
    drifts: tuple[str, ...] = ()
    foreign: str | None = None
    keeps_relay: str | None = None
    moved: str | None = None
    located: bool = False
    pending: bool = False
    waiting: bool = False
    error: OutboxError | None = None

    @property
    def lost(self) -> bool:
        """Whether the schema is another pipeline's."""
        return isinstance(self.error, ConflictError)


def desired_database(pipeline: Pipeline, relay_role: str | None) -> DesiredDatabase:
    """The outbox that a pipeline wants, with the role that its relay logs in as."""
    writers = tuple(pipeline.spec.database.grants.writers)
    return DesiredDatabase.of(pipeline.spec, writers=writers, relay_role=relay_role)


def schema_claim(pipeline: Pipeline, living: Container[str]) -> Claim:
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
    found = observed.catalogue.version
    plan = with_migration(pipeline, migration, found, move, observed.votes)
    return dataclasses.replace(plan, identity=observed.catalogue.identity)


def with_migration(
    pipeline: Pipeline,
    migration: MigrationPlan,
    found: int | None,
    move: Move | None = None,
    votes: Sequence[Vote] = (),
) -> DatabasePlan:
    """Whether a migration may run now.

    Args:
        pipeline: The resource.
        migration: Perhaps an empty one.
        found: Schema version that was found.
        move: The outbox is declared elsewhere than it was.
        votes: What tasks say of plans.
    """
    leaving = move if move is not None and move.rows else None
    if migration.empty and leaving is None:
        return DatabasePlan(migration=migration, found=found, move=move)
    held = _held_back(pipeline, migration, leaving, votes)
    change = Change.PATCHED if not migration.empty else Change.NOOP
    return DatabasePlan(
        change=change if held is None else Change.FROZEN,
        migration=migration,
        found=found,
        held=held,
        move=move,
    )


def _held_back(
    pipeline: Pipeline, plan: MigrationPlan, leaving: Move | None, votes: Sequence[Vote]
) -> Part | None:
    """Why a plan may not run now; None when it may."""
    kind = ConditionType.SCHEMA_APPLIED
    if pipeline.meta.paused:
        left = ("statement waits and is left so", "statements wait and are left so")
        text = f"{counted(len(plan.statements), *left)} while paused"
        return waiting(kind, Reason.UPDATE_FROZEN, text)
    if leaving is not None:
        return move_held(pipeline, leaving, votes)
    needs_approval = (
        plan.destructive or pipeline.spec.database.migrations.policy == "RequireApproval"
    )
    word = last_word(pipeline, "Schema", plan.hash, votes)
    if not needs_approval or allows(word):
        return None
    wait = counted(len(plan.statements), "statement waits", "statements wait")
    text = f"{wait} in status.schema.pendingPlan"
    return held_back(pipeline, kind, plan.hash, word, text)
