"""The inbox table of an EventConsumer, in the database of its handler."""

from __future__ import annotations

from outbox_operator.adapters.postgres.url import PostgresTarget
from outbox_operator.api.fields import seconds
from outbox_operator.api.resource import Consumer
from outbox_operator.api.v1alpha1.handler import Inbox
from outbox_operator.controller.reconcile.context import Context
from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.errors import CredentialsError, OutboxError
from outbox_operator.plan.passes.consumer import inbox_change, inbox_failed, inbox_parts
from outbox_operator.plan.postgres.migrations import DesiredInbox, plan_inbox
from outbox_operator.plan.status.conditions import Part
from outbox_operator.plan.steps import Change

LOCK_TIMEOUT_SECONDS = 5.0


async def ensure_inbox(context: Context, consumer: Consumer) -> tuple[Part, ...]:
    """Make the inbox table as declared; DatabaseReachable and SchemaApplied, or none without one.

    Whatever goes wrong becomes one of the two.
    """
    inbox, meta = consumer.spec.inbox, consumer.meta
    if inbox is None:
        return ()
    key = ObjectKey(meta.kind, meta.namespace, meta.name)
    reached = False
    try:
        runtime, owner = await _targets(context, meta.namespace, inbox)
        desired = DesiredInbox(schema=inbox.schema_, consumer_role=runtime.user)
        async with context.postgres.lease(owner, key) as admin:
            reached = True
            plan = plan_inbox(desired, await admin.observe(desired))
            change = inbox_change(consumer, empty=plan.empty)
            if change is Change.PATCHED:
                await admin.apply_inbox(plan, desired, lock_timeout=LOCK_TIMEOUT_SECONDS)
            elif change is Change.NOOP and not meta.paused:
                name = f"{meta.namespace}/{meta.name}"
                await admin.prune_inbox(inbox.schema_, name, seconds(inbox.retention))
    except OutboxError as error:
        if isinstance(error, CredentialsError):
            refs = [inbox.connectionSecretRef, inbox.migrationSecretRef]
            context.secrets.forget(meta.namespace, [ref.name for ref in refs if ref is not None])
        return inbox_failed(error, reached=reached)
    return inbox_parts(change)


async def _targets(
    context: Context, namespace: str, inbox: Inbox
) -> tuple[PostgresTarget, PostgresTarget]:
    """Logins of the consumer and of the role that migrates."""
    runtime = await context.secrets.postgres_target(
        namespace, inbox.connectionSecretRef, "spec.inbox.connectionSecretRef"
    )
    if inbox.migrationSecretRef is None:
        return runtime, runtime
    return runtime, await context.secrets.postgres_target(
        namespace, inbox.migrationSecretRef, "spec.inbox.migrationSecretRef"
    )
