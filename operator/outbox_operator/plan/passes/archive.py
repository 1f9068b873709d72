"""The archive of an EventConsumer within a pass: what to do about it, what to say then. Pure.

`plan_archive_tables` and `archive_result` are the two halves around what
`controller.reconcile.consumer_archive` does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Sequence
from dataclasses import dataclass
from datetime import datetime

from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Consumer
from outbox_operator.api.v1alpha1.approval import PendingMove
from outbox_operator.api.v1alpha1.archive import (
    ArchiveHandler,
    ArchiveState,
    PendingArchivePlan,
)
from outbox_operator.counted import counted
from outbox_operator.errors import ConflictError, OutboxError
from outbox_operator.plan.ownership import Claim, held_before
from outbox_operator.plan.passes.approval import Question, Vote, allows, held, last_word
from outbox_operator.plan.passes.archive_status import (
    archive_numbers,
    backfilled_part,
    complete_part,
)
from outbox_operator.plan.passes.inbox import InboxResult
from outbox_operator.plan.passes.result import SessionFailure
from outbox_operator.plan.plan_hash import plan_hash
from outbox_operator.plan.postgres.archive_migrations import plan_archive
from outbox_operator.plan.postgres.archive_numbers import ArchiveNumbers
from outbox_operator.plan.postgres.archive_schema import (
    ARCHIVE_VERSION,
    DesiredArchive,
    ObservedArchive,
)
from outbox_operator.plan.postgres.archive_seals import Head
from outbox_operator.plan.postgres.mark import parse_mark
from outbox_operator.plan.postgres.state import MigrationPlan
from outbox_operator.plan.state import Owner
from outbox_operator.plan.status.conditions import Part, failed, ok, waiting
from outbox_operator.plan.steps import Change
from outbox_operator.reasons import Reason

KEPT_WHERE_ARCHIVE_WAS = "left as it is until the archive may move, see SchemaApplied"
"""Of pods."""
_HASH_LENGTH = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivePlan:
    """What to do about an archive.

    Attributes:
        failure: Why nothing can be planned; nothing is done then.
        change: NOOP: it is as wanted. PATCHED: migrate. FROZEN: the migration has to wait.
        migration: Its statements; None: nothing can be planned.
        identity: Of the database that was found.
        found: Version of the tables that were found.
        move: Hash of the move to that database from another one; None: it is where it was.
        part: SchemaApplied while it may not.
    """

    failure: SessionFailure | None = None
    change: Change = Change.NOOP
    migration: MigrationPlan | None = None
    identity: str | None = None
    found: int | None = None
    move: str | None = None
    part: Part | None = None

    @property
    def held_as_it_is(self) -> bool:
        """Whether what is there is of this version, and waits for a person."""
        held = self.part is not None and self.move is None
        return held and self.found == ARCHIVE_VERSION

    @property
    def hash(self) -> str | None:
        """What a person approves or rejects; None: nothing is to be done."""
        if self.move is not None:
            return self.move
        return self.migration.hash if self.migration and not self.migration.empty else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveResult(InboxResult):
    """An archive after its pass, beside what is said of an inbox.

    Attributes:
        state: `status.archive`.
        complete: ArchiveComplete; None: nobody could look.
        backfilled: ArchiveBackfilled; None: the same, or no outbox is named.
        fresh: Whether `state` has numbers of this pass; None: a look is under way.
        api_error: Why its API cannot answer as declared.
    """

    state: ArchiveState | None = None
    complete: Part | None = None
    backfilled: Part | None = None
    fresh: bool | None = False
    api_error: OutboxError | None = None


def archive_claim(consumer: Consumer, archive: ArchiveHandler, living: Container[str]) -> Claim:
    """What a consumer says of the schema of its archive."""
    before = consumer.status.archive
    has_it = before is not None and before.version is not None
    return Claim(
        owner=Owner.of(consumer.meta),
        adoption=archive.adoptionPolicy,
        held=held_before(consumer, ConditionType.SCHEMA_APPLIED, has_it=has_it),
        living=living,
    )


def plan_archive_tables(
    consumer: Consumer,
    archive: ArchiveHandler,
    desired: DesiredArchive,
    observed: ObservedArchive | SessionFailure,
    claim: Claim,
    votes: Sequence[Vote] = (),
) -> ArchivePlan:
    """The migration that makes the tables as declared, and whether it may run now.

    Args:
        consumer: The resource.
        archive: What it declares.
        desired: The tables of that.
        observed: What there is, or why nobody could look.
        claim: See `archive_claim`.
        votes: What tasks say of plans.
    """
    if isinstance(observed, SessionFailure):
        return ArchivePlan(failure=observed)
    found = observed.database
    try:
        migration = plan_archive(desired, observed, claim)
    except OutboxError as error:
        return ArchivePlan(failure=SessionFailure(error=error, entered=True))
    move = _move(consumer, observed)
    part = _held_back(consumer, archive, migration, move, found.identity, votes)
    change = Change.NOOP if migration.empty else Change.PATCHED
    return ArchivePlan(
        change=change if part is None else Change.FROZEN,
        migration=migration,
        identity=found.identity,
        found=found.version,
        move=move,
        part=part,
    )


def _move(consumer: Consumer, observed: ObservedArchive) -> str | None:
    """Hash of the move of an archive that was elsewhere, and is not there with its events."""
    before, now = consumer.status.archive, observed.database.identity
    if before is None or before.database is None or now in (None, before.database):
        return None
    schema = observed.database.schema
    mark = parse_mark(schema.comment) if schema else None
    if mark is not None and mark.owner.uid == consumer.meta.uid:
        return None  # it came with them, from a dump for example
    digest = f"{consumer.meta.uid} archive {before.database} {now}"
    return plan_hash(hashlib.sha256(digest.encode()).hexdigest(), _HASH_LENGTH)


def _held_back(
    consumer: Consumer,
    archive: ArchiveHandler,
    migration: MigrationPlan,
    move: str | None,
    identity: str | None,
    votes: Sequence[Vote],
) -> Part | None:
    """Why it may not run now; None when it may."""
    kind = ConditionType.SCHEMA_APPLIED
    if move is not None and not allows(word := last_word(consumer, "Schema", move, votes)):
        text = (
            "spec.handler.archive.connectionSecretRef: the login leads to another database "
            f"(identity {identity}), and what is archived stays where it was. Point it back, or "
            "copy the schema, or approve that the archive goes on there without it"
        )
        return held(consumer, kind, move, word, text)
    if migration.empty:
        return None
    count = len(migration.statements)
    if consumer.meta.paused:
        left = ("statement waits and is left so", "statements wait and are left so")
        text = f"{counted(count, *left)} while paused"
        return waiting(kind, Reason.UPDATE_FROZEN, text)
    word = last_word(consumer, "Schema", migration.hash, votes)
    needed = migration.destructive or archive.migrations.policy == "RequireApproval"
    if not needed or allows(word):
        return None
    text = f"{counted(count, 'statement waits', 'statements wait')} in status.archive.pendingPlan"
    return held(consumer, kind, migration.hash, word, text)


def archive_result(
    consumer: Consumer,
    plan: ArchivePlan,
    failure: SessionFailure | None,
    numbers: ArchiveNumbers | None,
    now: datetime,
    api_error: OutboxError | None = None,
    seal: Head | None = None,
) -> ArchiveResult:
    """What a pass over an archive comes to.

    Args:
        consumer: The resource.
        plan: From `plan_archive_tables`.
        failure: Why it could not be carried out.
        numbers: Read afterwards; None: nobody could.
        now: Time of the pass.
        api_error: Why its API cannot answer as declared.
        seal: The last one, of a chain that has the one that was known; None: nobody looked.
    """
    failure = plan.failure or failure
    refused = failure is not None and failure.worker
    located = plan.failure is None and plan.part is None and not refused
    asks = plan.part is not None and plan.part.stalled
    question = None
    if plan.failure is None:
        question = Question(part="Schema", plan=plan.hash, waits=asks or bool(failure))
    reachable, schema_applied = _parts(plan, failure)
    return ArchiveResult(
        reachable=reachable,
        schema_applied=schema_applied,
        error=None if failure is None else failure.error,
        held=plan.move is not None and plan.part is not None,
        located=located,
        question=question,
        pending_move=_pending_move(plan),
        corrections=_corrections(plan) if failure is None else (),
        state=_state(consumer, plan, failure, numbers, now, seal),
        complete=complete_part(consumer, numbers),
        backfilled=backfilled_part(consumer, numbers),
        fresh=numbers is not None,
        api_error=api_error,
    )


def _parts(plan: ArchivePlan, failure: SessionFailure | None) -> tuple[Part | None, Part | None]:
    """DatabaseReachable and SchemaApplied."""
    reached = ok(ConditionType.DATABASE_REACHABLE, Reason.CONNECTED)
    kind = ConditionType.SCHEMA_APPLIED
    up_to_date = ok(kind, Reason.UP_TO_DATE)
    if failure is None:
        return reached, plan.part or up_to_date
    away = failed(ConditionType.DATABASE_REACHABLE, failure.error)
    if failure.worker:
        return away, plan.part or up_to_date
    if not failure.entered or failure.error.reason == Reason.POSTGRES_UNREACHABLE:
        return away, None
    return reached, failed(kind, failure.error)


def _pending_move(plan: ArchivePlan) -> PendingMove | None:
    if plan.move is None or plan.part is None:
        return None
    text = "The archive goes on in another database, and what is archived stays where it was."
    return PendingMove(hash=plan.move, text=text)


def _corrections(plan: ArchivePlan) -> tuple[str, ...]:
    if plan.change is not Change.PATCHED or plan.migration is None:
        return ()
    return plan.migration.repairs


def _state(
    consumer: Consumer,
    plan: ArchivePlan,
    failure: SessionFailure | None,
    numbers: ArchiveNumbers | None,
    now: datetime,
    seal: Head | None,
) -> ArchiveState | None:
    """`status.archive`; what nobody could look at stays as it was."""
    state = consumer.status.archive or ArchiveState()
    if plan.failure is not None or plan.migration is None:
        return consumer.status.archive
    as_wanted = failure is None and plan.part is None
    pending = None
    if plan.part is not None and not plan.migration.empty:
        statements = [step.sql for step in plan.migration.statements]
        pending = PendingArchivePlan(hash=plan.migration.hash, statements=statements)
    update: dict[str, object] = {"pendingPlan": pending}
    if as_wanted:
        version = plan.found if plan.migration.empty else plan.migration.version
        update |= {"database": plan.identity, "version": version}
    if numbers is not None:
        update |= archive_numbers(consumer, numbers, now)
    # What is remembered of the chain is proof: nobody replaces it who has not seen that it holds.
    same = state.database == plan.identity
    if as_wanted or same:
        remembered = state.lastSeal if same or state.database is None else None
        update["lastSeal"] = remembered if seal is None else str(seal)
    return state.model_copy(update=update)


def seal_key_missing(schema: str) -> OutboxError:
    """What is said of an archive whose seals are signed, and that has no key any more."""
    return ConflictError(
        "spec.handler.archive.sealing.signingSecretRef: wanted a key, since the seals of archive "
        f"{schema} are signed, found none; nothing is sealed, and no partition dropped, until "
        "there is one, the same or a new one",
        reason=Reason.SEAL_KEY_MISSING,
    )
