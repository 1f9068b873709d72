"""The inbox table of an EventConsumer, in the database of its handler."""

from __future__ import annotations

from functools import partial
from typing import Final

from outbox_operator.api.fields import seconds
from outbox_operator.api.resource import Consumer
from outbox_operator.api.v1alpha1.handler import Inbox
from outbox_operator.controller.reconcile.context import Context
from outbox_operator.controller.reconcile.postgres import (
    Logins,
    Pending,
    forget_refused,
    in_background,
    in_session,
    read_logins,
    try_worker,
)
from outbox_operator.plan.names import workload_name
from outbox_operator.plan.passes.inbox import (
    InboxPlan,
    InboxResult,
    inbox_result,
    plan_inbox_table,
)
from outbox_operator.plan.passes.pending import inbox_pending
from outbox_operator.plan.passes.result import SessionFailure
from outbox_operator.plan.postgres.state import DesiredInbox, MigrationPlan
from outbox_operator.plan.status.workload import lacks_pods
from outbox_operator.plan.steps import Change

LOCK_TIMEOUT_SECONDS: Final = 5.0


async def ensure_inbox(context: Context, consumer: Consumer) -> InboxResult:
    """Make the inbox table as declared, if there is to be one; what goes wrong becomes a part."""
    inbox, owner = consumer.spec.inbox, consumer.meta
    if inbox is None:
        context.background.cancel(owner.uid)
        return InboxResult()
    logins = await read_logins(context, owner, "spec.inbox", inbox)
    done: InboxResult | SessionFailure | Pending
    if isinstance(logins, SessionFailure):
        context.background.cancel(owner.uid)
        done = logins
    else:
        work = partial(_with_logins, context, consumer, inbox, logins)
        done = await in_background(context, owner, logins, (owner.generation, owner.paused), work)
    if isinstance(done, Pending):
        return inbox_pending(consumer, elsewhere=done.elsewhere)
    if isinstance(done, SessionFailure):
        done = inbox_result(InboxPlan(failure=done), None)
    forget_refused(context, owner, inbox, done.error)
    return done


async def _with_logins(
    context: Context, consumer: Consumer, inbox: Inbox, logins: Logins
) -> InboxResult:
    desired = DesiredInbox(schema=inbox.schema_, consumer_role=logins.worker.user)
    observed = await in_session(
        context, consumer.meta, logins.owner, lambda admin: admin.observe(desired)
    )
    plan = plan_inbox_table(consumer, desired, observed)
    failure: SessionFailure | None = None
    if plan.change is Change.PATCHED and plan.migration is not None:
        failure = await _migrate(context, consumer, logins, desired, plan.migration)
    elif plan.failure is None and plan.change is Change.NOOP and not consumer.meta.paused:
        failure = await _prune(context, consumer, inbox, logins)
    if plan.failure is None and failure is None:
        name = workload_name(consumer.meta.name)
        pods = context.children.get("Deployment", consumer.meta.namespace, name)
        if lacks_pods(pods):
            whose = "spec.inbox.connectionSecretRef, the consumer's login"
            failure = await try_worker(context, consumer.meta, logins, whose, unwell=True)
    return inbox_result(plan, failure)


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
