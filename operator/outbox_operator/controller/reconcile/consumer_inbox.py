"""The inbox table of an EventConsumer, in the database of its handler."""

from __future__ import annotations

from outbox_operator.adapters.postgres.admin import PostgresAdmin
from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.fields import seconds
from outbox_operator.api.resource import Consumer
from outbox_operator.api.v1alpha1.handler import Inbox
from outbox_operator.controller.reconcile.context import Context
from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.errors import CredentialsError, OutboxError
from outbox_operator.plan.postgres.migrations import DesiredInbox, plan_inbox
from outbox_operator.plan.status.conditions import Part, failed, ok, waiting
from outbox_operator.reasons import Reason

LOCK_TIMEOUT_SECONDS = 5.0


async def ensure_inbox(context: Context, consumer: Consumer) -> list[Part]:
    """Make the inbox table as declared; DatabaseReachable and SchemaApplied, or none without one.

    Whatever goes wrong becomes one of the two.
    """
    inbox, meta = consumer.spec.inbox, consumer.meta
    if inbox is None:
        return []
    key = ObjectKey(meta.kind, meta.namespace, meta.name)
    parts: list[Part] = []
    try:
        runtime = await context.secrets.postgres_target(
            meta.namespace, inbox.connectionSecretRef, "spec.inbox.connectionSecretRef"
        )
        target = runtime
        if inbox.migrationSecretRef is not None:
            target = await context.secrets.postgres_target(
                meta.namespace, inbox.migrationSecretRef, "spec.inbox.migrationSecretRef"
            )
        async with context.postgres.lease(target, key) as admin:
            parts.append(ok(ConditionType.DATABASE_REACHABLE, Reason.CONNECTED))
            parts.append(await _ensure(consumer, inbox, runtime.user, admin))
    except OutboxError as error:
        if isinstance(error, CredentialsError):
            refs = [inbox.connectionSecretRef, inbox.migrationSecretRef]
            context.secrets.forget(meta.namespace, [ref.name for ref in refs if ref is not None])
        if not parts or error.reason == Reason.POSTGRES_UNREACHABLE:
            return [failed(ConditionType.DATABASE_REACHABLE, error)]
        return [parts[0], failed(ConditionType.SCHEMA_APPLIED, error)]
    return parts


async def _ensure(consumer: Consumer, inbox: Inbox, role: str, admin: PostgresAdmin) -> Part:
    kind = ConditionType.SCHEMA_APPLIED
    desired = DesiredInbox(schema=inbox.schema_, consumer_role=role)
    plan = plan_inbox(desired, await admin.observe(desired))
    if plan.empty:
        if not consumer.meta.paused:
            name = f"{consumer.meta.namespace}/{consumer.meta.name}"
            await admin.prune_inbox(inbox.schema_, name, seconds(inbox.retention))
        return ok(kind, Reason.UP_TO_DATE)
    if consumer.meta.paused:
        return waiting(
            kind, Reason.UPDATE_FROZEN, "the inbox table differs and is left so while paused"
        )
    await admin.apply_inbox(plan, desired, lock_timeout=LOCK_TIMEOUT_SECONDS)
    return ok(kind, Reason.UP_TO_DATE)
