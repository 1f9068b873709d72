"""The archive of an EventConsumer: its tables, their upkeep, and what it says of itself."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

from outbox_operator import version
from outbox_operator.adapters.postgres.admin import PostgresAdmin
from outbox_operator.api import meta
from outbox_operator.api.fields import seconds
from outbox_operator.api.resource import Consumer
from outbox_operator.api.v1alpha1.archive import ArchiveHandler
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
from outbox_operator.plan.passes.approval import Vote
from outbox_operator.plan.passes.archive import (
    ArchivePlan,
    ArchiveResult,
    archive_claim,
    archive_result,
    desired_archive,
    plan_archive_tables,
)
from outbox_operator.plan.passes.pending import archive_pending
from outbox_operator.plan.passes.result import SessionFailure
from outbox_operator.plan.postgres.archive_numbers import ArchiveNumbers
from outbox_operator.plan.postgres.archive_schema import DesiredArchive
from outbox_operator.plan.postgres.state import MigrationPlan
from outbox_operator.plan.status.workload import lacks_pods
from outbox_operator.plan.steps import Change

log = logging.getLogger(__name__)

_FIELD = "spec.handler.archive"


async def ensure_archive(
    context: Context,
    consumer: Consumer,
    archive: ArchiveHandler,
    tried: dict[str, Logins],
    votes: Sequence[Vote] = (),
) -> ArchiveResult:
    """Make the tables as declared, keep them up and read their numbers; what goes wrong becomes a
    part.

    Args:
        context: With Secrets and connections.
        consumer: Whose it is.
        archive: What it declares.
        tried: By UID, logins of which that of the pods is known to lead to the archive.
        votes: What tasks say of plans.
    """
    owner = consumer.meta
    logins = await read_logins(context, owner, _FIELD, archive)
    done: ArchiveResult | SessionFailure | Pending
    if isinstance(logins, SessionFailure):
        context.background.cancel(owner.uid)
        done = logins
    else:
        work = partial(_with_logins, context, consumer, archive, logins, tried, votes)
        approved = owner.annotations.get(meta.APPROVE_PLAN_ANNOTATION)
        wishes = (owner.generation, owner.paused, approved, *votes)
        done = await in_background(context, owner, logins, wishes, work)
    if isinstance(done, Pending):
        return archive_pending(consumer, elsewhere=done.elsewhere)
    if isinstance(done, SessionFailure):
        plan = ArchivePlan(failure=done)
        done = archive_result(consumer, plan, None, None, datetime.now(UTC))
    forget_refused(context, owner, archive, done.error)
    return done


async def _with_logins(
    context: Context,
    consumer: Consumer,
    archive: ArchiveHandler,
    logins: Logins,
    tried: dict[str, Logins],
    votes: Sequence[Vote],
) -> ArchiveResult:
    desired = desired_archive(archive, "spec", writer=logins.worker.user)
    observed = await in_session(
        context, consumer.meta, logins.owner, lambda admin: admin.archive.observe(desired)
    )
    claim = archive_claim(consumer, archive, context.living(meta.CONSUMER))
    plan = plan_archive_tables(consumer, archive, desired, observed, claim, votes)
    failure: SessionFailure | None = None
    if plan.change is Change.PATCHED and plan.migration is not None:
        failure = await _migrate(context, consumer, archive, logins, desired, plan.migration)
    numbers: ArchiveNumbers | SessionFailure | None = None
    if plan.failure is None and failure is None and plan.part is None:
        numbers = await _keep_up(context, consumer, logins, desired.schema)
        if not isinstance(numbers, SessionFailure):
            failure = await _try_worker(context, consumer, logins, plan.identity, tried)
    if isinstance(numbers, SessionFailure):
        failure, numbers = numbers, None
    return archive_result(consumer, plan, failure, numbers, datetime.now(UTC))


async def _migrate(
    context: Context,
    consumer: Consumer,
    archive: ArchiveHandler,
    logins: Logins,
    desired: DesiredArchive,
    migration: MigrationPlan,
) -> SessionFailure | None:
    claim = archive_claim(consumer, archive, context.living(meta.CONSUMER))
    done = await in_session(
        context,
        consumer.meta,
        logins.owner,
        lambda admin: admin.archive.apply(
            migration,
            desired,
            claim,
            lock_timeout=seconds(archive.migrations.lockTimeout),
            version=version.VERSION,
        ),
    )
    if done is True:
        count = len(migration.statements)
        log.info("migrated archive %s: %d statements", desired.schema, count)
    return done if isinstance(done, SessionFailure) else None


async def _keep_up(
    context: Context, consumer: Consumer, logins: Logins, schema: str
) -> ArchiveNumbers | SessionFailure:
    """Partitions ahead, old ones dropped, and the numbers of what is left."""

    async def work(admin: PostgresAdmin) -> ArchiveNumbers:
        if not consumer.meta.paused:
            done = await admin.archive.maintain(schema)
            if done.dropped:
                log.info("archive %s: dropped %s", schema, ", ".join(done.dropped))
        return await admin.archive.numbers(schema)

    return await in_session(context, consumer.meta, logins.owner, work)


async def _try_worker(
    context: Context,
    consumer: Consumer,
    logins: Logins,
    identity: str | None,
    tried: dict[str, Logins],
) -> SessionFailure | None:
    """Why pods cannot log in where the tables are; None: they can."""
    owner = consumer.meta
    pods = context.children.get("Deployment", owner.namespace, workload_name(owner.name))
    unwell = lacks_pods(pods)
    if not unwell and tried.get(owner.uid) == logins:
        return None
    whose = f"{_FIELD}.connectionSecretRef, the login of what writes"
    failure = await try_worker(context, owner, logins, whose, identity=identity, unwell=unwell)
    if failure is None:
        tried[owner.uid] = logins
    return failure
