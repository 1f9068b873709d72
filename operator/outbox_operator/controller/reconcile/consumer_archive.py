"""The archive of an EventConsumer: its tables, their upkeep, and what it says of itself."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

from outbox_operator import version
from outbox_operator.adapters.postgres.admin import PostgresAdmin
from outbox_operator.adapters.postgres.archive_seals import Sealing, signed
from outbox_operator.adapters.signing import signer
from outbox_operator.api import meta
from outbox_operator.api.fields import seconds
from outbox_operator.api.resource import Consumer
from outbox_operator.api.v1alpha1.archive import ArchiveHandler, ArchiveSeals
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
from outbox_operator.counted import counted
from outbox_operator.errors import OutboxError
from outbox_operator.plan.archives import api_login, api_of
from outbox_operator.plan.names import workload_name
from outbox_operator.plan.passes.approval import Vote
from outbox_operator.plan.passes.archive import (
    ArchivePlan,
    ArchiveResult,
    archive_claim,
    archive_result,
    plan_archive_tables,
    seal_key_missing,
)
from outbox_operator.plan.passes.archive_status import known_seal
from outbox_operator.plan.passes.archive_tables import (
    desired_archive,
    with_api,
)
from outbox_operator.plan.passes.pending import archive_pending
from outbox_operator.plan.passes.result import SessionFailure
from outbox_operator.plan.postgres.archive_numbers import ArchiveNumbers
from outbox_operator.plan.postgres.archive_schema import DesiredArchive
from outbox_operator.plan.postgres.archive_seals import Head
from outbox_operator.plan.postgres.state import MigrationPlan
from outbox_operator.plan.status.workload import lacks_pods
from outbox_operator.plan.steps import Change

log = logging.getLogger(__name__)

_FIELD = "spec.handler.archive"
_SEALING_SECONDS = 30.0
"""Of a look; the next one goes on."""


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
    reader = await _reader(context, consumer, archive)
    done: ArchiveResult | SessionFailure | Pending
    if isinstance(logins, SessionFailure):
        cut_without_logins(context, owner, logins)
        done = logins
    else:
        work = partial(_with_logins, context, consumer, archive, logins, reader, tried, votes)
        approved = owner.annotations.get(meta.APPROVE_PLAN_ANNOTATION)
        api = str(reader) if isinstance(reader, OutboxError) else reader
        wishes = (owner.generation, owner.paused, approved, api, *votes)
        done = await in_background(context, owner, logins, wishes, work)
    if isinstance(done, Pending):
        return archive_pending(consumer, elsewhere=done.elsewhere)
    if isinstance(done, SessionFailure):
        plan = ArchivePlan(failure=done)
        done = archive_result(consumer, plan, None, None, datetime.now(UTC))
    forget_refused(context, owner, archive, done.error)
    return done


async def _reader(
    context: Context, consumer: Consumer, archive: ArchiveHandler
) -> str | OutboxError | None:
    """The role that the archive's API logs in as, None without one; or why nobody knows."""
    api = api_of(consumer.spec)
    if api is None:
        return None
    field = f"{_FIELD}.api"
    found = await read_logins(context, consumer.meta, field, api_login(archive, api))
    return found.error if isinstance(found, SessionFailure) else found.worker.user


async def _with_logins(
    context: Context,
    consumer: Consumer,
    archive: ArchiveHandler,
    logins: Logins,
    reader: str | OutboxError | None,
    tried: dict[str, Logins],
    votes: Sequence[Vote],
) -> ArchiveResult:
    role = None if isinstance(reader, OutboxError) else reader
    wanted = desired_archive(archive, "spec", writer=logins.worker.user, api_role=role)
    observed = await in_session(
        context, consumer.meta, logins.owner, lambda admin: admin.archive.observe(wanted)
    )
    desired, api_error = wanted, reader if isinstance(reader, OutboxError) else None
    if not isinstance(observed, SessionFailure):
        desired, api_error = with_api(archive, wanted, observed, api_error)
    claim = archive_claim(consumer, archive, context.living(meta.CONSUMER))
    plan = plan_archive_tables(consumer, archive, desired, observed, claim, votes)
    failure: SessionFailure | None = None
    if plan.change is Change.PATCHED and plan.migration is not None:
        failure = await _migrate(context, consumer, archive, logins, desired, plan.migration)
    numbers: ArchiveNumbers | SessionFailure | None = None
    seal: Head | None = None
    if plan.failure is None and failure is None and plan.part is None:
        failure, seal = await _keep_up(context, consumer, archive, logins, desired, plan.identity)
        numbers = await _read(context, consumer, logins, desired.schema)
        if isinstance(numbers, SessionFailure):
            failure = failure or numbers
        elif failure is None:
            failure = await _try_worker(context, consumer, logins, plan.identity, tried)
    elif plan.held_as_it_is:
        numbers = await _read(context, consumer, logins, desired.schema)
    if isinstance(numbers, SessionFailure):
        numbers = None
    return archive_result(consumer, plan, failure, numbers, datetime.now(UTC), api_error, seal)


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
        log.info("migrated archive %s: %s", desired.schema, counted(count, "statement"))
    return done if isinstance(done, SessionFailure) else None


async def _keep_up(
    context: Context,
    consumer: Consumer,
    archive: ArchiveHandler,
    logins: Logins,
    desired: DesiredArchive,
    identity: str | None,
) -> tuple[SessionFailure | None, Head | None]:
    """Partitions ahead, what is new sealed, old ones dropped.

    Returns:
        Why not all of that could be done; and the last seal of the chain, which has the one that
        was known, or None if nobody looked.
    """
    if consumer.meta.paused:
        return None, None
    schema = desired.schema
    sealing: Sealing | None = None
    no_key: SessionFailure | None = None
    if archive.sealing is not None:
        try:
            sealing = await _sealing(context, consumer, archive.sealing, identity)
        except OutboxError as error:  # partitions are looked after all the same
            no_key = SessionFailure(error=error, entered=True)

    async def work(admin: PostgresAdmin) -> Head | None:
        done = await admin.archive.maintain(desired, sealing)
        if done.dropped:
            log.info("archive %s: dropped %s", schema, ", ".join(done.dropped))
        if done.sealed:
            seals = counted(done.sealed, "seal")
            log.info("archive %s: %s, the last is %s", schema, seals, done.head)
        for what in done.short:
            log.error("archive %s: %s", schema, what)
        if done.lacks_key and no_key is None:
            raise seal_key_missing(schema)
        return done.head

    found = await in_session(context, consumer.meta, logins.owner, work)
    if isinstance(found, SessionFailure):
        return found, None
    return no_key, found


async def _sealing(
    context: Context, consumer: Consumer, declared: ArchiveSeals, identity: str | None
) -> Sealing:
    """How it is sealed. Raises CredentialsError."""
    how = Sealing(
        every=timedelta(seconds=seconds(declared.every)),
        seconds=_SEALING_SECONDS,
        known=known_seal(consumer, identity),
    )
    ref = declared.signingSecretRef
    if ref is None:
        return how
    where = f"{_FIELD}.sealing.signingSecretRef"
    pem = await context.secrets.value(consumer.meta.namespace, ref, where)
    secret = f"{where}: Secret {consumer.meta.namespace}/{ref.name}, key {ref.key!r}"
    try:
        return signed(how, signer(pem.decode(), secret))
    except OutboxError:
        context.secrets.forget(consumer.meta.namespace, {ref.name})
        raise


async def _read(
    context: Context, consumer: Consumer, logins: Logins, schema: str
) -> ArchiveNumbers | SessionFailure:
    """The numbers, whatever else could not be done."""
    return await in_session(
        context, consumer.meta, logins.owner, lambda admin: admin.archive.numbers(schema)
    )


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
