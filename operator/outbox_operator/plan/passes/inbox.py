"""The inbox table of an EventConsumer within a pass: what to do about it, what to say then. Pure.

`plan_inbox_table` and `inbox_result` are the two halves around what
`controller.reconcile.consumer_inbox` does.
"""

from __future__ import annotations

from dataclasses import dataclass

from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Consumer
from outbox_operator.errors import OutboxError
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
    """

    failure: SessionFailure | None = None
    change: Change = Change.NOOP
    migration: MigrationPlan | None = None
    gone: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxResult:
    """An inbox after its pass.

    Attributes:
        reachable: DatabaseReachable; None: no inbox is declared.
        schema_applied: SchemaApplied; None: nobody could look.
        pending: Nothing is known of this generation yet.
        error: What went wrong.
        corrections: What somebody had changed or dropped and was put back.
    """

    reachable: Part | None = None
    schema_applied: Part | None = None
    pending: bool = False
    error: OutboxError | None = None
    corrections: tuple[str, ...] = ()

    @property
    def parts(self) -> tuple[Part, ...]:
        """Those that are known, in order of cause."""
        return tuple(part for part in (self.reachable, self.schema_applied) if part is not None)


def plan_inbox_table(
    consumer: Consumer, desired: DesiredInbox, observed: ObservedDatabase | SessionFailure
) -> InboxPlan:
    """The migration that makes the table as declared, and whether it may run now.

    Args:
        consumer: The resource.
        desired: What it wants.
        observed: What there is, or why nobody could look.
    """
    if isinstance(observed, SessionFailure):
        return InboxPlan(failure=observed)
    try:
        migration = plan_inbox(desired, observed)
    except OutboxError as error:
        return InboxPlan(failure=SessionFailure(error=error, entered=True))
    if migration.empty:
        return InboxPlan(migration=migration)
    change = Change.FROZEN if consumer.meta.paused else Change.PATCHED
    gone = None
    if INBOX not in observed.tables and settled(consumer, ConditionType.SCHEMA_APPLIED):
        gone = (
            f"table {desired.schema}.{INBOX} was gone and has been made again; which events had "
            "been handled is lost with it"
        )
    return InboxPlan(change=change, migration=migration, gone=gone)


def inbox_result(plan: InboxPlan, failure: SessionFailure | None) -> InboxResult:
    """What a pass over an inbox comes to.

    Args:
        plan: From `plan_inbox_table`.
        failure: Why it could not be carried out.
    """
    failure = plan.failure or failure
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
        return InboxResult(reachable=reached, schema_applied=failed(kind, error), error=error)
    if plan.change is Change.FROZEN:
        text = "the inbox table differs and is left so while paused"
        held = waiting(kind, Reason.UPDATE_FROZEN, text)
        return InboxResult(reachable=reached, schema_applied=held)
    repairs = () if plan.migration is None else plan.migration.repairs
    return InboxResult(
        reachable=reached,
        schema_applied=ok(kind, Reason.UP_TO_DATE),
        corrections=repairs if plan.gone is None else (plan.gone,),
    )
