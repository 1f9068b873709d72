"""The inbox table of an EventConsumer within a pass: what to do about it, what to say then. Pure.

`plan_inbox_table` and `inbox_result` are the two halves around what
`controller.reconcile.consumer_inbox` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Consumer
from outbox_operator.api.v1alpha1.approval import PendingMove
from outbox_operator.errors import OutboxError
from outbox_operator.plan.passes.approval import Question, Vote
from outbox_operator.plan.passes.moving import InboxMove, inbox_held, inbox_move
from outbox_operator.plan.passes.result import SessionFailure
from outbox_operator.plan.postgres.migrations import plan_inbox
from outbox_operator.plan.postgres.state import DesiredInbox, MigrationPlan, ObservedDatabase
from outbox_operator.plan.status.conditions import (
    Part,
    failed,
    ok,
    settled,
    waiting,
)
from outbox_operator.plan.steps import Change
from outbox_operator.reasons import Reason
from outbox_operator.wire.tables import INBOX


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxPlan:
    """What to do about an inbox table.

    Attributes:
        failure: Why nothing can be planned; nothing is done then.
        change: NOOP: it is as wanted. PATCHED: migrate. FROZEN: paused.
        migration: Its statements; None: nothing can be planned.
        gone: That the table was there before and is not; None: it is, or never was.
        move: The login leads to another database than before.
        held: SchemaApplied while it may not.
        identity: Of the database that was found.
    """

    failure: SessionFailure | None = None
    change: Change = Change.NOOP
    migration: MigrationPlan | None = None
    gone: str | None = None
    move: InboxMove | None = None
    held: Part | None = None
    identity: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxResult:
    """An inbox after its pass.

    Attributes:
        reachable: DatabaseReachable; None: no inbox is declared.
        schema_applied: SchemaApplied; None: nobody could look.
        pending: Nothing is known of this generation yet.
        error: What went wrong.
        corrections: What somebody had changed or dropped and was put back.
        database: Identity of the database that it is in; None: nobody knows better than before.
        held: It may not move yet, and pods stay as they are.
        located: Whether the logins lead to it, as this look saw it; also when there is none.
        moved: That it is in another database now.
        question: What a person decides about it; None: nobody could look.
        pending_move: It may not move yet.
    """

    reachable: Part | None = None
    schema_applied: Part | None = None
    pending: bool = False
    error: OutboxError | None = None
    corrections: tuple[str, ...] = ()
    database: str | None = None
    held: bool = False
    located: bool = False
    moved: str | None = None
    question: Question | None = None
    pending_move: PendingMove | None = None

    @property
    def parts(self) -> tuple[Part, ...]:
        """Those that are known, in order of cause."""
        return tuple(part for part in (self.reachable, self.schema_applied) if part is not None)


def plan_inbox_table(
    consumer: Consumer,
    desired: DesiredInbox,
    observed: ObservedDatabase | SessionFailure,
    unacknowledged: int = 0,
    votes: Sequence[Vote] = (),
    *,
    known: bool = False,
) -> InboxPlan:
    """The migration that makes the table as declared, and whether it may run now.

    Args:
        consumer: The resource.
        desired: What it wants.
        observed: What there is, or why nobody could look.
        unacknowledged: Messages that were handed out and not acknowledged.
        votes: What tasks say of plans.
        known: Whether an inbox that is elsewhere than before has anything of the consumer.
    """
    if isinstance(observed, SessionFailure):
        return InboxPlan(failure=observed)
    move = inbox_move(consumer, observed, unacknowledged, known=known)
    held = None if move is None else inbox_held(consumer, move, votes)
    if held is not None:
        return InboxPlan(change=Change.FROZEN, move=move, held=held)
    try:
        migration = plan_inbox(desired, observed)
    except OutboxError as error:
        return InboxPlan(failure=SessionFailure(error=error, entered=True))
    where = observed.identity
    if migration.empty:
        return InboxPlan(migration=migration, move=move, identity=where)
    change = Change.FROZEN if consumer.meta.paused else Change.PATCHED
    gone = None
    was_here = move is None and INBOX not in observed.tables
    if was_here and settled(consumer, ConditionType.SCHEMA_APPLIED):
        gone = (
            f"table {desired.schema}.{INBOX} was gone and has been made again; which events had "
            "been handled is lost with it"
        )
    return InboxPlan(change=change, migration=migration, gone=gone, move=move, identity=where)


def inbox_result(plan: InboxPlan, failure: SessionFailure | None) -> InboxResult:
    """What a pass over an inbox comes to.

    Args:
        plan: From `plan_inbox_table`.
        failure: Why it could not be carried out.
    """
    failure = plan.failure or failure
    refused = failure is not None and failure.worker
    located = plan.failure is None and plan.held is None and not refused
    reached = ok(ConditionType.DATABASE_REACHABLE, Reason.CONNECTED)
    kind = ConditionType.SCHEMA_APPLIED
    if failure is not None:
        error = failure.error
        away = failed(ConditionType.DATABASE_REACHABLE, error)
        if failure.worker:
            return InboxResult(
                reachable=away, schema_applied=ok(kind, Reason.UP_TO_DATE), error=error
            )
        if not failure.entered or error.reason == Reason.POSTGRES_UNREACHABLE:
            return InboxResult(reachable=away, error=error)
        applied = failed(kind, error)
        return InboxResult(reachable=reached, schema_applied=applied, error=error, located=located)
    asked = None if plan.move is None or not plan.move.unacknowledged else plan.move.hash
    if plan.held is not None and plan.move is not None:
        text = f"The inbox moves to another database, and {plan.move.leaves}."
        return InboxResult(
            reachable=reached,
            schema_applied=plan.held,
            held=True,
            question=Question(part="Inbox", plan=asked, waits=True),
            pending_move=PendingMove(hash=plan.move.hash, text=text),
        )
    if plan.change is Change.FROZEN:
        text = "the inbox table differs and is left so while paused"
        held = waiting(kind, Reason.UPDATE_FROZEN, text)
        return InboxResult(reachable=reached, schema_applied=held, located=located)
    repairs = () if plan.migration is None else plan.migration.repairs
    return InboxResult(
        reachable=reached,
        schema_applied=ok(kind, Reason.UP_TO_DATE),
        corrections=repairs if plan.gone is None else (plan.gone,),
        database=plan.identity,
        located=located,
        moved=None if plan.move is None else plan.move.text,
        question=Question(part="Inbox", plan=asked),
    )
