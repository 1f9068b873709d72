"""The database of a pipeline: who owns the table, migrations, grants, live numbers, upkeep."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from outbox_operator import version
from outbox_operator.adapters.postgres.admin import PostgresAdmin
from outbox_operator.adapters.postgres.url import PostgresTarget
from outbox_operator.api import meta as names
from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.fields import seconds
from outbox_operator.api.resource import Pipeline
from outbox_operator.api.v1alpha1.pipeline import PendingPlan, SchemaStatus
from outbox_operator.controller.reconcile.claims import Claims, Rivals
from outbox_operator.controller.reconcile.context import Context
from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.errors import ConflictError, CredentialsError, DependencyError, OutboxError
from outbox_operator.plan.postgres.migrations import DesiredDatabase, MigrationPlan, plan_migrations
from outbox_operator.plan.state import Owner
from outbox_operator.plan.status.conditions import Part, failed, ok, stamp, unknown, waiting
from outbox_operator.plan.status.pipeline import OutboxNumbers
from outbox_operator.reasons import Reason
from outbox_operator.wire.cursors import foreign_cursor_text

log = logging.getLogger(__name__)

"""The catalogue is compared with the wanted schema this often, and at once when the numbers, which
are read at every pass, cannot be read: then a table is gone."""


@dataclass(kw_only=True)
class DatabaseLook:
    """The database after a pass.

    Attributes:
        parts: DatabaseReachable and SchemaApplied.
        schema: `status.schema`, as a dictionary.
        sample: Live numbers, None when they could not be read.
        migrated: Whether the tables are as wanted, so that a relay can run.
        approved: A plan was approved and has been carried out.
        drifts: What somebody had changed and was put back.
        lost: The schema is another pipeline's.
        foreign: Why the cursors are those of another server, so that no relay can go on.
    """

    parts: list[Part] = field(default_factory=list)
    schema: dict[str, Any] | None = None
    sample: OutboxNumbers | None = None
    migrated: bool = False
    approved: bool = False
    drifts: list[str] = field(default_factory=list)
    lost: bool = False
    foreign: str | None = None


@dataclass
class _Memory:
    """What is remembered of one pipeline between passes."""

    generation: int = -1
    targets: tuple[PostgresTarget, PostgresTarget] | None = None
    looked_at: float = float("-inf")
    parts: list[Part] = field(default_factory=list)


class PipelineDatabase:
    """Migrates and watches the databases of pipelines."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._memory: dict[str, _Memory] = {}
        self._claims = Claims(ConditionType.SCHEMA_APPLIED)

    async def ensure(self, pipeline: Pipeline) -> DatabaseLook:
        """One look at the database; never raises for what is wrong with it."""
        before = pipeline.status.schema_
        look = DatabaseLook(schema=before.model_dump() if before else None)
        try:
            relay, owner = await self._targets(pipeline)
            rivals = self._claim(pipeline, owner)
            await self._look(pipeline, relay, owner, rivals, look)
        except OutboxError as error:
            self._memory.pop(pipeline.meta.uid, None)
            if isinstance(error, CredentialsError):
                self._context.secrets.forget(pipeline.meta.namespace, _secret_names(pipeline))
            look.lost = isinstance(error, ConflictError)
            kind = ConditionType.DATABASE_REACHABLE
            away = not look.parts and isinstance(error, CredentialsError | DependencyError)
            if away or error.reason == Reason.POSTGRES_UNREACHABLE:
                text = "not looked at: the database is away"
                look.parts = [
                    failed(kind, error),
                    unknown(ConditionType.SCHEMA_APPLIED, error.reason, text),
                ]
            elif look.migrated and isinstance(error, CredentialsError):
                # The role that migrates got in, the relay's did not.
                look.parts = [failed(kind, error), *look.parts[1:]]
            else:
                reached = look.parts[:1] or [ok(kind, Reason.CONNECTED)]
                look.parts = [*reached, failed(ConditionType.SCHEMA_APPLIED, error)]
        return look

    async def _targets(self, pipeline: Pipeline) -> tuple[PostgresTarget, PostgresTarget]:
        """Logins of the relay and of the role that migrates."""
        database = pipeline.spec.database
        secrets, namespace = self._context.secrets, pipeline.meta.namespace
        relay = await secrets.postgres_target(
            namespace, database.connectionSecretRef, "spec.database.connectionSecretRef"
        )
        if database.migrationSecretRef is None:
            return relay, relay
        return relay, await secrets.postgres_target(
            namespace, database.migrationSecretRef, "spec.database.migrationSecretRef"
        )

    def _claim(self, pipeline: Pipeline, target: PostgresTarget) -> Rivals:
        """Of two pipelines for one schema of one database the older one has it."""
        meta, schema = pipeline.meta, pipeline.spec.database.schema_
        claim = (target.address, schema)
        self._claims.set(meta.uid, claim)
        pipelines = self._context.objects.of_kind(names.PIPELINE)
        rivals = self._claims.rivals(meta, pipelines, claim)
        if rivals.older is not None:
            raise ConflictError(
                f"schema {schema} of database {target.address} is already the outbox of "
                f"{rivals.older}, which is older; set another spec.database.schema or delete one "
                "of the two"
            )
        return rivals

    async def _look(
        self,
        pipeline: Pipeline,
        relay: PostgresTarget,
        owner: PostgresTarget,
        rivals: Rivals,
        look: DatabaseLook,
    ) -> None:
        key = ObjectKey(pipeline.meta.kind, pipeline.meta.namespace, pipeline.meta.name)
        memory = self._memory.setdefault(pipeline.meta.uid, _Memory())
        fresh = (
            memory.generation == pipeline.meta.generation
            and memory.targets == (relay, owner)
            and time.monotonic() - memory.looked_at < self._context.settings.catalog_interval_s
            and not {names.APPROVE_PLAN_ANNOTATION, names.RECONCILE_AT_ANNOTATION}
            & pipeline.meta.annotations.keys()
        )
        async with self._context.postgres.lease(owner, key) as admin:
            if fresh:
                look.parts = list(memory.parts)
            else:
                look.parts = [ok(ConditionType.DATABASE_REACHABLE, Reason.CONNECTED, "")]
                look.parts.append(await self._migrate(pipeline, relay, admin, rivals, look))
            look.migrated = look.parts[-1].status == "True"
            if look.migrated:
                look.sample = await self._sample(pipeline, admin)
                schema = pipeline.spec.database.schema_
                problem = await admin.foreign_cursor(schema)
                if problem is not None:
                    place = f"{owner.address} schema {schema}"
                    look.foreign = foreign_cursor_text(place, problem)
                if not fresh and not pipeline.meta.paused:
                    retention = seconds(pipeline.spec.outbox.retention)
                    await admin.maintain(pipeline.spec.database.schema_, retention)
        if not fresh and relay != owner:
            # The relay's own login is tried as well: its password may be the wrong one.
            try:
                async with self._context.postgres.lease(relay, key):
                    pass
            except CredentialsError as error:
                where = "spec.database.connectionSecretRef, the relay's login"
                raise CredentialsError(f"{where}: {error.message}", reason=error.reason) from None
        if look.migrated and not fresh:
            memory.generation = pipeline.meta.generation
            memory.targets = (relay, owner)
            memory.looked_at = time.monotonic()
            memory.parts = list(look.parts)

    async def _migrate(
        self,
        pipeline: Pipeline,
        relay: PostgresTarget,
        admin: PostgresAdmin,
        rivals: Rivals,
        look: DatabaseLook,
    ) -> Part:
        spec = pipeline.spec
        before = pipeline.status.schema_ or SchemaStatus()
        desired = DesiredDatabase.of(
            spec, writers=tuple(spec.database.grants.writers), relay_role=relay.user
        )
        owner, live = Owner.of(pipeline.meta), self._live_owners() - rivals.younger
        observed = await admin.observe(desired)
        plan = plan_migrations(desired, observed, owner, live)
        kept = {"pendingPlan": None, "currentVersion": observed.version}
        look.approved = plan.empty and names.APPROVE_PLAN_ANNOTATION in pipeline.meta.annotations
        if plan.empty:
            look.schema = before.model_copy(update=kept).model_dump()
            return ok(ConditionType.SCHEMA_APPLIED, Reason.UP_TO_DATE)
        held = self._held_back(pipeline, plan)
        if held is not None:
            pending = PendingPlan(
                hash=plan.hash,
                statements=[str(statement.sql) for statement in plan.statements],
                destructive=plan.destructive,
            )
            look.schema = before.model_copy(update={**kept, "pendingPlan": pending}).model_dump()
            return held
        done = await admin.apply(
            plan,
            desired,
            owner,
            live,
            lock_timeout=seconds(spec.database.migrations.lockTimeout),
            operator_version=version.VERSION,
        )
        update: dict[str, Any] = {"pendingPlan": None, "currentVersion": plan.version}
        if done:
            update["lastAppliedTime"] = stamp(datetime.now(UTC))
            log.info("migrated schema %s: %d statements", desired.schema, len(plan.statements))
            if plan.drift:
                look.drifts = list(plan.drift)
                update["driftCorrectedCount"] = before.driftCorrectedCount + 1
                update["lastDrift"] = "; ".join(plan.drift)[:1000]
        look.approved = names.APPROVE_PLAN_ANNOTATION in pipeline.meta.annotations
        look.schema = before.model_copy(update=update).model_dump()
        return ok(ConditionType.SCHEMA_APPLIED, Reason.UP_TO_DATE)

    def _held_back(self, pipeline: Pipeline, plan: MigrationPlan) -> Part | None:
        """Why a plan may not run now; None when it may."""
        kind = ConditionType.SCHEMA_APPLIED
        if pipeline.meta.paused:
            text = f"{len(plan.statements)} statements wait and are left so while paused"
            return waiting(kind, Reason.UPDATE_FROZEN, text)
        needs_approval = (
            plan.destructive or pipeline.spec.database.migrations.policy == "RequireApproval"
        )
        approved = pipeline.meta.annotations.get(names.APPROVE_PLAN_ANNOTATION)
        if not needs_approval or approved == plan.hash:
            return None
        wrong = f" (the annotation approves {approved!r}, another plan)" if approved else ""
        return Part(
            type=kind,
            status="False",
            reason=Reason.APPROVAL_PENDING,
            message=f"{len(plan.statements)} statements wait in status.schema.pendingPlan; approve "
            f"with annotation {names.APPROVE_PLAN_ANNOTATION}={plan.hash}{wrong}",
            stalled=True,
        )

    async def _sample(self, pipeline: Pipeline, admin: PostgresAdmin) -> OutboxNumbers:
        sample = await admin.sample(pipeline.spec.database.schema_)
        return OutboxNumbers(
            backlog_rows=sample.backlog_rows,
            backlog_is_estimate=sample.backlog_is_estimate,
            oldest_age_seconds=sample.oldest_age_seconds,
            dead_letters=sample.dead_letters,
            published_total=sample.published_total,
            last_published_at=sample.last_published_at,
            last_position=sample.last_position,
            remark=sample.remark,
            taken_at=datetime.now(UTC),
        )

    def _live_owners(self) -> frozenset[str]:
        objects = self._context.objects.of_kind(names.PIPELINE)
        return frozenset(body["metadata"]["uid"] for body in objects)

    async def drop(self, pipeline: Pipeline) -> None:
        """Drop our tables, if they carry this pipeline's mark."""
        key = ObjectKey(pipeline.meta.kind, pipeline.meta.namespace, pipeline.meta.name)
        _, owner = await self._targets(pipeline)
        async with self._context.postgres.lease(owner, key) as admin:
            await admin.drop(pipeline.spec.database.schema_, Owner.of(pipeline.meta))

    def forget(self, uid: str) -> frozenset[str]:
        """The pipeline is gone; UIDs of those that claim the same schema."""
        self._memory.pop(uid, None)
        return self._claims.drop(uid)


def _secret_names(pipeline: Pipeline) -> list[str]:
    database = pipeline.spec.database
    refs = [database.connectionSecretRef, database.migrationSecretRef]
    return [ref.name for ref in refs if ref is not None]
