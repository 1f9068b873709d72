"""The inbox table of an EventConsumer, in the database of its handler."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from outbox_operator.api import meta
from outbox_operator.api.fields import seconds
from outbox_operator.api.resource import Consumer
from outbox_operator.api.v1alpha1.handler import Inbox
from outbox_operator.controller.reconcile.context import Context
from outbox_operator.controller.reconcile.postgres import (
    Logins,
    Pending,
    cut_without_logins,
    forget_refused,
    in_background,
    in_session,
    read_logins,
    try_worker,
)
from outbox_operator.plan.names import workload_name
from outbox_operator.plan.passes.approval import Vote
from outbox_operator.plan.passes.inbox import (
    InboxPlan,
    InboxResult,
    inbox_result,
    plan_inbox_table,
)
from outbox_operator.plan.passes.pending import inbox_pending
from outbox_operator.plan.passes.result import SessionFailure
from outbox_operator.plan.postgres.state import DesiredInbox, MigrationPlan, ObservedDatabase
from outbox_operator.plan.status.workload import lacks_pods
from outbox_operator.plan.steps import Change
from outbox_operator.wire.tables import INBOX_TABLES

LOCK_TIMEOUT_SECONDS: Final = 5.0


async def ensure_inbox(
    context: Context,
    consumer: Consumer,
    tried: dict[str, Logins],
    unacknowledged: int = 0,
    votes: Sequence[Vote] = (),
) -> InboxResult:
    """Make the inbox table as declared, if there is to be one; what goes wrong becomes a part.

    Args:
        context: With Secrets and connections.
        consumer: Whose it is.
        tried: By UID, logins of which that of the pods is known to lead to the inbox.
        unacknowledged: Messages that were handed out, and may come again.
        votes: What tasks say of plans.
    """
    inbox, owner = consumer.spec.inbox, consumer.meta
    if inbox is None:
        context.background.cancel(owner.uid)
        return InboxResult(located=True)
    logins = await read_logins(context, owner, "spec.inbox", inbox)
    done: InboxResult | SessionFailure | Pending
    if isinstance(logins, SessionFailure):
        cut_without_logins(context, owner, logins)
        done = logins
    else:
        work = partial(_with_logins, context, consumer, inbox, logins, tried, unacknowledged, votes)
        approved = owner.annotations.get(meta.APPROVE_PLAN_ANNOTATION)
        wishes = (owner.generation, owner.paused, approved, *votes)
        done = await in_background(context, owner, logins, wishes, work)
    if isinstance(done, Pending):
        return inbox_pending(consumer, elsewhere=done.elsewhere)
    if isinstance(done, SessionFailure):
        done = inbox_result(InboxPlan(failure=done), None)
    forget_refused(context, owner, inbox, done.error)
    return done


async def _with_logins(
    context: Context,
    consumer: Consumer,
    inbox: Inbox,
    logins: Logins,
    tried: dict[str, Logins],
    unacknowledged: int,
    votes: Sequence[Vote],
) -> InboxResult:
    desired = DesiredInbox(schema=inbox.schema_, consumer_role=logins.worker.user)
    observed = await in_session(
        context, consumer.meta, logins.owner, lambda admin: admin.observe(desired)
    )
    known = await _knows(context, consumer, logins, desired, observed)
    if isinstance(known, SessionFailure):
        observed, known = known, False
    plan = plan_inbox_table(consumer, desired, observed, unacknowledged, votes, known=known)
    failure: SessionFailure | None = None
    if plan.change is Change.PATCHED and plan.migration is not None:
        failure = await _migrate(context, consumer, logins, desired, plan.migration)
    elif plan.failure is None and plan.change is Change.NOOP and not consumer.meta.paused:
        failure = await _prune(context, consumer, inbox, logins)
    if plan.failure is None and plan.held is None and failure is None:
        name = workload_name(consumer.meta.name)
        pods = context.children.get("Deployment", consumer.meta.namespace, name)
        unwell = lacks_pods(pods)
        if unwell or tried.get(consumer.meta.uid) != logins:
            whose = "spec.inbox.connectionSecretRef, the consumer's login"
            failure = await try_worker(
                context, consumer.meta, logins, whose, identity=plan.identity, unwell=unwell
            )
            if failure is None:
                tried[consumer.meta.uid] = logins
    return inbox_result(plan, failure)


async def _knows(
    context: Context,
    consumer: Consumer,
    logins: Logins,
    desired: DesiredInbox,
    observed: ObservedDatabase | SessionFailure,
) -> bool | SessionFailure:
    """Whether an inbox that is elsewhere than before has anything of the consumer."""
    before = consumer.status.inboxDatabase
    if isinstance(observed, SessionFailure) or before in (None, observed.identity):
        return False
    tables = [one for one in INBOX_TABLES if one in observed.tables]
    name = f"{consumer.meta.namespace}/{consumer.meta.name}"
    return await in_session(
        context,
        consumer.meta,
        logins.owner,
        lambda admin: admin.knows_consumer(desired.schema, tables, name),
    )


async def _migrate(
    context: Context,
    consumer: Consumer,
    logins: Logins,
    desired: DesiredInbox,
    migration: MigrationPlan,
) -> SessionFailure | None:
    done = await in_session(
        context,
        consumer.meta,
        logins.owner,
        lambda admin: admin.apply_inbox(migration, desired, lock_timeout=LOCK_TIMEOUT_SECONDS),
    )
    return done if isinstance(done, SessionFailure) else None


async def _prune(
    context: Context, consumer: Consumer, inbox: Inbox, logins: Logins
) -> SessionFailure | None:
    owner, retention = consumer.meta, seconds(inbox.retention)
    name = f"{owner.namespace}/{owner.name}"
    pruned = await in_session(
        context,
        owner,
        logins.owner,
        lambda admin: admin.prune_inbox(inbox.schema_, name, retention),
    )
    return pruned if isinstance(pruned, SessionFailure) else None
