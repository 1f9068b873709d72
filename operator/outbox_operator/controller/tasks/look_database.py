"""Looks at the database of an outbox, inbox or archive with the logins of its resource."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Final

from outbox_operator.adapters.postgres.admin import PostgresAdmin
from outbox_operator.api import meta
from outbox_operator.api.resource import Consumer, Meta, Pipeline
from outbox_operator.api.v1alpha1.database import MigratedConnection
from outbox_operator.controller.reconcile.postgres import Logins, in_session, read_logins
from outbox_operator.controller.reconcile.postgres_connections import PER_TARGET
from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.controller.tasks.action import Work
from outbox_operator.errors import OutboxError
from outbox_operator.plan.archives import archive_of
from outbox_operator.plan.doctor.findings import Check, Finding, error
from outbox_operator.plan.doctor.logins import check_login, unreachable
from outbox_operator.plan.doctor.postgres import PostgresFacts, check_postgres, check_schema, waits
from outbox_operator.plan.passes.archive import (
    archive_claim,
)
from outbox_operator.plan.passes.archive_tables import (
    desired_archive,
    with_api_as_found,
)
from outbox_operator.plan.passes.database import desired_database, schema_claim
from outbox_operator.plan.passes.result import SessionFailure
from outbox_operator.plan.postgres.archive_migrations import plan_archive
from outbox_operator.plan.postgres.migrations import plan_inbox, plan_migrations
from outbox_operator.plan.postgres.state import DesiredInbox, MigrationPlan, ObservedDatabase

_SPARE: Final = 1

Plan = Callable[[PostgresAdmin, str], Awaitable[MigrationPlan]]


async def outbox(work: Work, pipeline: Pipeline) -> AsyncIterator[Finding]:
    """What is not well with the database of a pipeline."""
    spec = pipeline.spec

    async def plan(admin: PostgresAdmin, role: str) -> MigrationPlan:
        desired = desired_database(pipeline, role)
        found: ObservedDatabase = await admin.observe(desired)
        claim = schema_claim(pipeline, work.context.living(meta.PIPELINE))
        return plan_migrations(desired, found, claim)

    needs = spec.relay.replicas + spec.outbox.shards + PER_TARGET + _SPARE
    async for one in _look(
        work, pipeline.meta, "spec.database", spec.database, spec.database.schema_, needs, plan
    ):
        yield one


async def inbox(work: Work, consumer: Consumer) -> AsyncIterator[Finding]:
    """What is not well with the inbox of a consumer."""
    declared = consumer.spec.inbox
    if declared is None:
        return

    async def plan(admin: PostgresAdmin, role: str) -> MigrationPlan:
        desired = DesiredInbox(schema=declared.schema_, consumer_role=role)
        return plan_inbox(desired, await admin.observe(desired))

    needs = (consumer.spec.replicas or 1) + PER_TARGET + _SPARE
    async for one in _look(
        work, consumer.meta, "spec.inbox", declared, declared.schema_, needs, plan
    ):
        yield one


async def archive(work: Work, consumer: Consumer) -> AsyncIterator[Finding]:
    """What is not well with the archive of a consumer."""
    declared = archive_of(consumer.spec)
    if declared is None:
        return

    async def plan(admin: PostgresAdmin, role: str) -> MigrationPlan:
        desired = desired_archive(declared, "spec", writer=role)
        claim = archive_claim(consumer, declared, work.context.living(meta.CONSUMER))
        observed = await admin.archive.observe(desired)
        return plan_archive(with_api_as_found(declared, desired, observed), observed, claim)

    needs = (consumer.spec.replicas or 1) + PER_TARGET + _SPARE
    async for one in _look(
        work, consumer.meta, "spec.handler.archive", declared, declared.schema_, needs, plan
    ):
        yield one


async def _look(
    work: Work,
    owner: Meta,
    field: str,
    declared: MigratedConnection,
    schema: str,
    needs: int,
    plan: Plan,
) -> AsyncIterator[Finding]:
    """The session of the role that migrates, then the login of the pods.

    Args:
        work: Of the task.
        owner: The resource.
        field: Where it declares the database.
        declared: What stands there.
        schema: Of the tables.
        needs: Connections that may be wanted.
        plan: Compares the schema.
    """
    logins = await read_logins(work.context, owner, field, declared)
    if isinstance(logins, SessionFailure):
        yield unreachable(field, logins.error, owner)
        return
    found = await in_session(
        work.context, work.task.meta, logins.owner,
        lambda admin: _session(work, owner, admin, logins, schema, needs, plan), fresh=True,
    )  # fmt: skip
    where = f"PostgreSQL at {logins.owner.address}"
    if isinstance(found, SessionFailure):
        yield unreachable(where, found.error, owner)
        return
    for one in found:
        yield one
    if logins.worker == logins.owner:
        return

    async def nothing(admin: PostgresAdmin) -> None:
        await admin.ping()

    refused = await in_session(work.context, work.task.meta, logins.worker, nothing, fresh=True)
    if isinstance(refused, SessionFailure):
        pods = f"{field}.connectionSecretRef, the login of the pods, at {logins.worker.address}"
        yield unreachable(pods, refused.error, owner)


async def _session(
    work: Work,
    owner: Meta,
    admin: PostgresAdmin,
    logins: Logins,
    schema: str,
    needs: int,
    plan: Plan,
) -> list[Finding]:
    now = datetime.now(UTC)
    roles = list(dict.fromkeys([logins.owner.user, logins.worker.user]))
    found = list(check_login(await admin.look.login(), now))
    facts: PostgresFacts = await admin.look.server(schema, roles)
    found += check_postgres(facts, owner, needs=needs, now=now)
    try:
        steps = (await plan(admin, logins.worker.user)).statements
        if not waits(work.context.objects.get(ObjectKey(owner.kind, owner.namespace, owner.name))):
            found += check_schema(facts, steps, owner)
    except OutboxError as problem:
        where = f"schema {schema} of {facts.where}"
        found.append(error(Check.DATABASE_RIGHT, where, f"{problem.reason}: {problem.message}"))
    return found
