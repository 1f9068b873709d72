"""The database of a pipeline: who owns the table, migrations, grants, live numbers, upkeep."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from outbox_operator import version
from outbox_operator.adapters.postgres.admin import PostgresAdmin
from outbox_operator.adapters.postgres.url import PostgresTarget
from outbox_operator.api import meta
from outbox_operator.api.fields import seconds
from outbox_operator.api.resource import Meta, Pipeline
from outbox_operator.controller.reconcile.context import Context
from outbox_operator.controller.reconcile.outside import DatabasePlace, OutboxQuestion
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
from outbox_operator.counted import counted
from outbox_operator.plan.names import relay_name
from outbox_operator.plan.passes.approval import Vote
from outbox_operator.plan.passes.database import (
    DatabaseApplied,
    DatabaseObserved,
    DatabasePlan,
    DatabaseResult,
    OutboxReading,
    desired_database,
    plan_database,
    schema_claim,
)
from outbox_operator.plan.passes.database_result import database_result
from outbox_operator.plan.passes.pending import database_pending
from outbox_operator.plan.passes.result import SessionFailure
from outbox_operator.plan.postgres.partitions import upkeep_seconds
from outbox_operator.plan.postgres.state import MigrationPlan, ObservedDatabase, OutboxNumbers
from outbox_operator.plan.state import Owner
from outbox_operator.plan.status.workload import lacks_pods
from outbox_operator.plan.steps import Change
from outbox_operator.wire.cursors import foreign_cursor_text

log = logging.getLogger(__name__)

LOOK_AGAIN_ANNOTATIONS = frozenset({meta.APPROVE_PLAN_ANNOTATION, meta.RECONCILE_AT_ANNOTATION})
"""A person asks: the catalogue is compared whatever was found lately."""

LATELY: Final = 0.75
"""Share of the pause between two comparisons: a pass over one that rests may be a bit early, and
the next is as far away again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Compared:
    """The last comparison of a pipeline's catalogue that found all as wanted.

    The catalogue is compared now and then, and at once when the numbers, which are read at every
    pass, cannot be read: then a table is gone.
    """

    generation: int
    logins: Logins
    at: float
    fingerprint: str


class PipelineDatabase:
    """Migrates and watches the databases of pipelines."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._compared: dict[str, _Compared] = {}
        self._kept_up: dict[str, tuple[object, float]] = {}
        """By UID, how an outbox was in whose tables there was nothing to do, and until when that
        holds while it stays so."""
        self._homes: dict[str, PostgresTarget] = {}
        """By UID, the login with which the outbox was as wanted last."""
        self._last: dict[str, tuple[int, Logins, DatabaseResult]] = {}
        """By UID, what came of the last look, and of what it was one."""

    async def ensure(self, pipeline: Pipeline, votes: Sequence[Vote] = ()) -> DatabaseResult:
        """Make the database as declared and read its numbers; what goes wrong becomes a part.

        A database that keeps one waiting is left to the background, and what was known of it is
        said meanwhile.

        Args:
            pipeline: The resource.
            votes: What tasks say of plans.
        """
        owner, database = pipeline.meta, pipeline.spec.database
        logins = await read_logins(self._context, owner, "spec.database", database)
        if isinstance(logins, SessionFailure):
            cut_without_logins(self._context, owner, logins)
            return self._not_looked(pipeline, logins)
        if LOOK_AGAIN_ANNOTATIONS & owner.annotations.keys() or owner.uid in self._context.doubted:
            self._context.doubted.discard(owner.uid)
            self._compared.pop(owner.uid, None)
        result = await in_background(
            self._context,
            owner,
            logins,
            _wishes(owner, votes),
            lambda: self._look(pipeline, logins, votes),
        )
        if isinstance(result, Pending):
            generation, login, last = self._last.get(owner.uid, (0, None, None))
            same = (generation, login) == (owner.generation, logins)
            return database_pending(pipeline, last if same else None, elsewhere=result.elsewhere)
        if isinstance(result, SessionFailure):
            return self._not_looked(pipeline, result)
        _, login, last = self._last.get(owner.uid, (0, None, None))
        if last is not None and result.schema is None and login == logins:
            # Found by a pass that said nothing yet, as of what is new, and not compared again.
            result = replace(result, schema=last.schema)
        self._last[owner.uid] = owner.generation, logins, result
        return result

    def asked_again(
        self, pipeline: Pipeline, result: DatabaseResult
    ) -> tuple[DatabasePlace, OutboxQuestion, float] | None:
        """How the numbers of a result are asked for again; None: that takes a look of a pass.

        And after how many seconds a pass has to keep up the tables, or to try a login.

        Args:
            pipeline: The resource.
            result: Of this pass.
        """
        owner, schema = pipeline.meta, pipeline.status.schema_
        _, logins, last = self._last.get(owner.uid, (0, None, None))
        identity = None if schema is None else schema.database
        whole = result is last and result.error is None and result.foreign is None
        whole = whole and result.migrated and result.sample is not None
        compared = self._compared.get(owner.uid)
        if logins is None or identity is None or compared is None or not whole:
            return None
        longest = upkeep_seconds(seconds(pipeline.spec.outbox.retention))
        if logins.worker != logins.owner:
            longest = min(longest, self._context.settings.catalog_interval_seconds)
        question = OutboxQuestion(
            desired_database(pipeline, logins.worker.user), owner.uid, compared.fingerprint
        )
        return DatabasePlace(logins.owner, identity), question, longest

    def _not_looked(self, pipeline: Pipeline, failure: SessionFailure) -> DatabaseResult:
        plan = DatabasePlan(failure=failure)
        result = database_result(pipeline, plan, DatabaseApplied(), datetime.now(UTC))
        self._remember(pipeline, None, plan, result, None)
        # Nobody knows whether what was found before still holds.
        self._last.pop(pipeline.meta.uid, None)
        return result

    async def _look(
        self, pipeline: Pipeline, logins: Logins, votes: Sequence[Vote]
    ) -> DatabaseResult:
        """Gather, plan, act."""
        observed = replace(await self._gather(pipeline, logins), votes=tuple(votes))
        plan = plan_database(pipeline, observed)
        applied = DatabaseApplied()
        if plan.failure is None:
            applied = await self._act(pipeline, logins, observed, plan)
        result = database_result(pipeline, plan, applied, datetime.now(UTC))
        # What a migration has made of it is looked at by the next pass.
        seen = None if applied.migrated_now else observed.catalogue
        self._remember(pipeline, logins, plan, result, seen)
        return result

    async def _gather(self, pipeline: Pipeline, logins: Logins) -> DatabaseObserved:
        """What there is."""
        owner = pipeline.meta
        relay_role = logins.worker.user
        desired = desired_database(pipeline, relay_role)
        if self._is_fresh(pipeline, logins):
            fine = await in_session(
                self._context,
                owner,
                logins.owner,
                lambda admin: admin.still_ours(desired, owner.uid),
            )
            if isinstance(fine, SessionFailure):
                return DatabaseObserved(failure=fine)
            if fine:
                return DatabaseObserved(relay_role=relay_role)
        catalogue = await in_session(
            self._context, owner, logins.owner, lambda admin: admin.observe(desired)
        )
        if isinstance(catalogue, SessionFailure):
            return DatabaseObserved(failure=catalogue)
        return DatabaseObserved(
            relay_role=relay_role,
            catalogue=catalogue,
            left=await self._look_back(pipeline, catalogue),
            living=self._context.living(meta.PIPELINE),
        )

    async def _look_back(self, pipeline: Pipeline, found: ObservedDatabase) -> OutboxNumbers | None:
        """Numbers of the database where the outbox was, if that is another one.

        None: it is the same, or nobody can look there: this process never did.
        """
        owner, schema = pipeline.meta, pipeline.status.schema_
        before, login = schema.database if schema else None, self._homes.get(owner.uid)
        if before is None or before == found.identity or login is None:
            return None
        name = pipeline.spec.database.schema_
        numbers = await in_session(
            self._context, owner, login, lambda admin: admin.sample_at(name, before)
        )
        return None if isinstance(numbers, SessionFailure) else numbers

    async def _act(
        self,
        pipeline: Pipeline,
        logins: Logins,
        observed: DatabaseObserved,
        plan: DatabasePlan,
    ) -> DatabaseApplied:
        """Migrate unless that has to wait, read the numbers, and keep the tables up."""
        migrated_now: bool | SessionFailure = False
        if plan.change is Change.PATCHED and plan.migration is not None:
            migrated_now = await self._migrate(pipeline, logins, observed, plan.migration)
        if isinstance(migrated_now, SessionFailure):
            return DatabaseApplied(not_migrated=migrated_now)
        reading: OutboxReading | SessionFailure | None = None
        if plan.change is not Change.FROZEN:
            reading = await self._read(pipeline, logins)
        if isinstance(reading, SessionFailure):
            return DatabaseApplied(migrated_now=migrated_now, failure=reading)
        return DatabaseApplied(
            migrated_now=migrated_now,
            reading=reading,
            failure=await self._keep_up(pipeline, logins, plan, reading),
        )

    def _is_fresh(self, pipeline: Pipeline, logins: Logins) -> bool:
        """Whether the catalogue was compared lately."""
        last = self._compared.get(pipeline.meta.uid)
        return (
            last is not None
            and last.generation == pipeline.meta.generation
            and last.logins == logins
            and time.monotonic() - last.at
            < LATELY * self._context.settings.catalog_interval_seconds
        )

    async def _migrate(
        self,
        pipeline: Pipeline,
        logins: Logins,
        observed: DatabaseObserved,
        migration: MigrationPlan,
    ) -> bool | SessionFailure:
        """Run a migration; False: another one was faster."""
        desired = desired_database(pipeline, observed.relay_role)
        done = await in_session(
            self._context,
            pipeline.meta,
            logins.owner,
            lambda admin: admin.apply(
                migration,
                desired,
                schema_claim(pipeline, observed.living),
                lock_timeout=seconds(pipeline.spec.database.migrations.lockTimeout),
                operator_version=version.VERSION,
            ),
        )
        if done is True:
            count = counted(len(migration.statements), "statement")
            log.info("migrated schema %s: %s", desired.schema, count)
        return done

    async def _read(self, pipeline: Pipeline, logins: Logins) -> OutboxReading | SessionFailure:
        schema, login = pipeline.spec.database.schema_, logins.owner

        async def read(admin: PostgresAdmin) -> OutboxReading:
            found = await admin.read(schema)
            if found.behind and not pipeline.meta.paused:
                moved = await admin.mend_positions(schema)
                if moved is not None:
                    log.error("%s", moved)
                    # Somebody had a hand in it: look at its options too.
                    self._compared.pop(pipeline.meta.uid, None)
                found = await admin.read(schema)
            where, problem = f"{login.address} schema {schema}", found.foreign
            foreign = None if problem is None else foreign_cursor_text(where, problem)
            return OutboxReading(numbers=found.numbers, foreign=foreign)

        return await in_session(self._context, pipeline.meta, login, read)

    async def _keep_up(
        self,
        pipeline: Pipeline,
        logins: Logins,
        plan: DatabasePlan,
        reading: OutboxReading | None,
    ) -> SessionFailure | None:
        """What is done whenever the catalogue was compared, and not at every pass.

        The relay's login is tried then, too, and whenever its pods are not ready.
        """
        name = relay_name(pipeline.meta.name)
        relay = self._context.children.get("Deployment", pipeline.meta.namespace, name)
        if plan.migration is None and not lacks_pods(relay):
            return None
        owner = pipeline.meta
        if plan.migration is not None and plan.change is not Change.FROZEN and not owner.paused:
            kept = await self._maintain(pipeline, logins, reading)
            if isinstance(kept, SessionFailure):
                return kept
        whose = "spec.database.connectionSecretRef, the relay's login"
        return await try_worker(
            self._context, owner, logins, whose, identity=plan.identity, unwell=lacks_pods(relay)
        )

    async def _maintain(
        self, pipeline: Pipeline, logins: Logins, reading: OutboxReading | None
    ) -> SessionFailure | None:
        """Keep the tables up, unless they are as they were when there was nothing to do lately."""
        owner, schema, now = pipeline.meta, pipeline.spec.database.schema_, time.monotonic()
        of = owner.generation, logins, reading
        known, until = self._kept_up.pop(owner.uid, (None, now))
        if known == of and now < until:
            self._kept_up[owner.uid] = known, until
            return None
        retention = seconds(pipeline.spec.outbox.retention)
        kept = await in_session(
            self._context, owner, logins.owner, lambda admin: admin.maintain(schema, retention)
        )
        if isinstance(kept, SessionFailure):
            return kept
        if not kept.changed and not kept.deferred:
            self._kept_up[owner.uid] = of, now + upkeep_seconds(retention)
        return None

    def _remember(
        self,
        pipeline: Pipeline,
        logins: Logins | None,
        plan: DatabasePlan,
        result: DatabaseResult,
        found: ObservedDatabase | None,
    ) -> None:
        """When the schema was found as wanted; which login to read anew."""
        owner = pipeline.meta
        if logins is None or result.error is not None or not result.migrated:
            self._compared.pop(owner.uid, None)
        elif plan.migration is not None:
            self._compared.pop(owner.uid, None)
            if found is not None:
                self._compared[owner.uid] = _Compared(
                    generation=owner.generation,
                    logins=logins,
                    at=time.monotonic(),
                    fingerprint=found.fingerprint,
                )
            self._homes[owner.uid] = logins.owner
        forget_refused(self._context, owner, pipeline.spec.database, result.error)

    async def drop(self, pipeline: Pipeline) -> None:
        """Drop our tables, if they carry this pipeline's mark. Raises why it could not be done."""
        owner, database = pipeline.meta, pipeline.spec.database
        self._context.background.cancel(owner.uid)
        logins = await read_logins(self._context, owner, "spec.database", database)
        if isinstance(logins, SessionFailure):
            raise logins.error
        dropped = await in_session(
            self._context,
            owner,
            logins.owner,
            lambda admin: admin.drop(database.schema_, Owner.of(owner)),
        )
        if isinstance(dropped, SessionFailure):
            raise dropped.error

    def forget(self, uid: str) -> None:
        """The pipeline is gone."""
        self._compared.pop(uid, None)
        self._kept_up.pop(uid, None)
        self._homes.pop(uid, None)
        self._last.pop(uid, None)
        self._context.doubted.discard(uid)


def _wishes(owner: Meta, votes: Sequence[Vote]) -> tuple[object, ...]:
    """What a person may have asked for since a look began: it is then begun anew."""
    approved = owner.annotations.get(meta.APPROVE_PLAN_ANNOTATION)
    return owner.generation, owner.paused, approved, *votes
