"""The database of a pipeline: who owns the table, migrations, grants, live numbers, upkeep."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from outbox_operator import version
from outbox_operator.adapters.postgres.admin import PostgresAdmin
from outbox_operator.adapters.postgres.url import PostgresTarget
from outbox_operator.api import meta
from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.fields import seconds
from outbox_operator.api.resource import Pipeline
from outbox_operator.controller.reconcile.claims import Claims, Rivals
from outbox_operator.controller.reconcile.context import Context
from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.errors import CredentialsError, OutboxError
from outbox_operator.plan.passes.database import (
    CONNECTED,
    MIGRATED,
    DatabaseResult,
    claimed_elsewhere,
    database_failed,
    schema_change,
    schema_result,
)
from outbox_operator.plan.postgres.migrations import DesiredDatabase, plan_migrations
from outbox_operator.plan.state import Owner
from outbox_operator.plan.status.pipeline import OutboxNumbers
from outbox_operator.plan.steps import Change
from outbox_operator.wire.cursors import foreign_cursor_text

log = logging.getLogger(__name__)

LOOK_AGAIN_ANNOTATIONS = frozenset({meta.APPROVE_PLAN_ANNOTATION, meta.RECONCILE_AT_ANNOTATION})
"""A person asks: the catalogue is compared whatever was found lately."""


@dataclass(frozen=True, slots=True)
class _Targets:
    """Logins of the relay and of the role that migrates."""

    relay: PostgresTarget
    owner: PostgresTarget


@dataclass(frozen=True, slots=True, kw_only=True)
class _Compared:
    """The last comparison of a pipeline's catalogue that found all as wanted.

    The catalogue is compared now and then, and at once when the numbers, which are read at every
    pass, cannot be read: then a table is gone.
    """

    generation: int
    targets: _Targets
    at: float


class PipelineDatabase:
    """Migrates and watches the databases of pipelines."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._compared: dict[str, _Compared] = {}
        self._claims = Claims(ConditionType.SCHEMA_APPLIED)

    async def ensure(self, pipeline: Pipeline) -> DatabaseResult:
        """Make the database as declared and read its numbers; what goes wrong becomes a part."""
        owner, schema = pipeline.meta, pipeline.spec.database.schema_
        key = ObjectKey(owner.kind, owner.namespace, owner.name)
        result = DatabaseResult(schema=pipeline.status.schema_)
        try:
            targets = await self._targets(pipeline)
            rivals = self._rivals(pipeline, targets)
            fresh = self._is_fresh(pipeline, targets)
            async with self._context.postgres.lease(targets.owner, key) as admin:
                result = replace(result, parts=(CONNECTED,))
                if fresh:
                    result = replace(result, parts=(CONNECTED, MIGRATED), migrated=True)
                else:
                    result = await self._migrate(pipeline, targets, rivals, admin)
                if result.migrated:
                    result = replace(
                        result,
                        sample=await _sample(admin, schema),
                        foreign=await _foreign(admin, schema, targets.owner),
                    )
                    if not fresh and not owner.paused:
                        await admin.maintain(schema, seconds(pipeline.spec.outbox.retention))
            if not fresh and targets.relay != targets.owner:
                await self._try_login(targets.relay, key)
        except OutboxError as error:
            self._compared.pop(owner.uid, None)
            if isinstance(error, CredentialsError):
                self._context.secrets.forget(owner.namespace, _secret_names(pipeline))
            return database_failed(result, error)
        if result.migrated and not fresh:
            self._compared[owner.uid] = _Compared(
                generation=owner.generation, targets=targets, at=time.monotonic()
            )
        elif not result.migrated:
            self._compared.pop(owner.uid, None)
        return result

    def _is_fresh(self, pipeline: Pipeline, targets: _Targets) -> bool:
        """Whether the catalogue was compared lately, and nothing asks for doing so again."""
        last = self._compared.get(pipeline.meta.uid)
        return (
            last is not None
            and last.generation == pipeline.meta.generation
            and last.targets == targets
            and time.monotonic() - last.at < self._context.settings.catalog_interval_s
            and not LOOK_AGAIN_ANNOTATIONS & pipeline.meta.annotations.keys()
        )

    async def _targets(self, pipeline: Pipeline) -> _Targets:
        database = pipeline.spec.database
        secrets, namespace = self._context.secrets, pipeline.meta.namespace
        relay = await secrets.postgres_target(
            namespace, database.connectionSecretRef, "spec.database.connectionSecretRef"
        )
        if database.migrationSecretRef is None:
            return _Targets(relay, relay)
        owner = await secrets.postgres_target(
            namespace, database.migrationSecretRef, "spec.database.migrationSecretRef"
        )
        return _Targets(relay, owner)

    def _rivals(self, pipeline: Pipeline, targets: _Targets) -> Rivals:
        """Who else claims the schema. Raises ConflictError when an older one does."""
        address = targets.owner.address
        claim = (address, pipeline.spec.database.schema_)
        self._claims.set(pipeline.meta.uid, claim)
        pipelines = self._context.objects.of_kind(meta.PIPELINE)
        rivals = self._claims.rivals(pipeline.meta, pipelines, claim)
        if rivals.older is not None:
            raise claimed_elsewhere(pipeline, address, rivals.older)
        return rivals

    async def _try_login(self, relay: PostgresTarget, key: ObjectKey) -> None:
        """The relay's own login is tried as well: its password may be the wrong one."""
        try:
            async with self._context.postgres.lease(relay, key):
                pass
        except CredentialsError as error:
            where = "spec.database.connectionSecretRef, the relay's login"
            raise CredentialsError(f"{where}: {error.message}", reason=error.reason) from None

    async def _migrate(
        self, pipeline: Pipeline, targets: _Targets, rivals: Rivals, admin: PostgresAdmin
    ) -> DatabaseResult:
        """Compare the catalogue with what is wanted, and migrate unless that has to wait."""
        database = pipeline.spec.database
        desired = DesiredDatabase.of(
            pipeline.spec, writers=tuple(database.grants.writers), relay_role=targets.relay.user
        )
        owner, live = Owner.of(pipeline.meta), self._live_owners() - rivals.younger
        observed = await admin.observe(desired)
        plan = plan_migrations(desired, observed, owner, live)
        done = False
        if schema_change(pipeline, plan) is Change.PATCHED:
            done = await admin.apply(
                plan,
                desired,
                owner,
                live,
                lock_timeout=seconds(database.migrations.lockTimeout),
                operator_version=version.VERSION,
            )
        if done:
            log.info("migrated schema %s: %d statements", desired.schema, len(plan.statements))
        return schema_result(pipeline, plan, observed.version, done=done, now=datetime.now(UTC))

    def _live_owners(self) -> frozenset[str]:
        objects = self._context.objects.of_kind(meta.PIPELINE)
        return frozenset(body["metadata"]["uid"] for body in objects)

    async def drop(self, pipeline: Pipeline) -> None:
        """Drop our tables, if they carry this pipeline's mark."""
        key = ObjectKey(pipeline.meta.kind, pipeline.meta.namespace, pipeline.meta.name)
        targets = await self._targets(pipeline)
        async with self._context.postgres.lease(targets.owner, key) as admin:
            await admin.drop(pipeline.spec.database.schema_, Owner.of(pipeline.meta))

    def forget(self, uid: str) -> frozenset[str]:
        """The pipeline is gone; UIDs of those that claim the same schema."""
        self._compared.pop(uid, None)
        return self._claims.drop(uid)


async def _sample(admin: PostgresAdmin, schema: str) -> OutboxNumbers:
    sample = await admin.sample(schema)
    return OutboxNumbers(
        backlog_rows=sample.backlog_rows,
        backlog_is_estimate=sample.backlog_is_estimate,
        oldest_age_seconds=sample.oldest_age_seconds,
        dead_letters=sample.dead_letters,
        published_total=sample.published_total,
        last_published_at=sample.last_published_at,
        last_position=sample.last_position,
        remark=sample.remark,
        notice=sample.notice,
        taken_at=datetime.now(UTC),
    )


async def _foreign(admin: PostgresAdmin, schema: str, owner: PostgresTarget) -> str | None:
    """Why the cursors are those of another server."""
    problem = await admin.foreign_cursor(schema)
    if problem is None:
        return None
    return foreign_cursor_text(f"{owner.address} schema {schema}", problem)


def _secret_names(pipeline: Pipeline) -> list[str]:
    database = pipeline.spec.database
    refs = [database.connectionSecretRef, database.migrationSecretRef]
    return [ref.name for ref in refs if ref is not None]
