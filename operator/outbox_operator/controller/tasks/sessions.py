"""How actions get at the servers of their target: by its Secrets, and as owner of its things."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from outbox_operator.adapters.nats.admin import JetStreamAdmin
from outbox_operator.adapters.postgres.admin import PostgresAdmin
from outbox_operator.api.v1alpha1.common import NatsConnection
from outbox_operator.controller.reconcile import jetstream
from outbox_operator.controller.reconcile.jetstream import sight_of
from outbox_operator.controller.reconcile.postgres import forget_refused, in_session, read_logins
from outbox_operator.controller.tasks.action import Work
from outbox_operator.errors import ConflictError, DependencyError
from outbox_operator.plan.jetstream.streams import ObservedStream
from outbox_operator.plan.passes.place import is_elsewhere, place_text
from outbox_operator.plan.passes.result import SessionFailure
from outbox_operator.plan.tasks.target import DATABASE, check_database
from outbox_operator.reasons import Reason

T = TypeVar("T")


async def in_outbox(work: Work, do: Callable[[PostgresAdmin], Awaitable[T]]) -> T:
    """Do something as the owner of the tables of the pipeline that a task is about.

    Raises:
        ConflictError: The schema does not carry this pipeline's mark.
        OutboxError: Why it is not possible now.
    """
    pipeline, context = work.pipeline, work.context
    database = pipeline.spec.database
    logins = await read_logins(context, pipeline.meta, "spec.database", database)
    if isinstance(logins, SessionFailure):
        raise logins.error
    address = logins.owner.address

    async def session(admin: PostgresAdmin) -> T:
        await check_outbox(work, admin, address)
        return await do(admin)

    answer = await in_session(context, work.task.meta, logins.owner, session)
    if isinstance(answer, SessionFailure):
        forget_refused(context, pipeline.meta, database, answer.error)
        raise answer.error
    return answer


async def check_outbox(work: Work, admin: PostgresAdmin, address: str) -> None:
    """See that the tables are the pipeline's, in the database where it has them.

    A copy of the database has the same mark, and a Secret may lead there before anybody has decided
    that the outbox moves.

    Raises:
        ConflictError: The schema does not carry its mark.
        DependencyError: The outbox is in another database (yet).
        TaskFailedError: It was in another one when the task began.
    """
    pipeline = work.pipeline
    schema, status = pipeline.spec.database.schema_, pipeline.status.schema_
    if await admin.marked_uid(schema) != pipeline.meta.uid:
        raise ConflictError(
            f"schema {schema} of {address} does not carry the mark of {pipeline.meta.key}: see "
            "that pipeline's condition SchemaApplied"
        )
    known = status.database if status else None
    check_database(
        pipeline.meta, await admin.identity(), known=known, began=work.selection.get(DATABASE)
    )


async def jetstream_of(work: Work, nats: NatsConnection) -> JetStreamAdmin:
    """JetStream with a login of the target's; raises as `reconcile.jetstream.connect`."""
    return await jetstream.connect(work.context, work.task.meta, nats)


async def check_stream_home(
    work: Work, admin: JetStreamAdmin, nats: NatsConnection, name: str, found: ObservedStream | None
) -> None:
    """See that the stream is where the consumer that a task is about was seen reading it.

    Args:
        work: On a consumer.
        admin: Where its login leads.
        nats: As declared.
        name: Of the stream.
        found: The stream there.

    Raises:
        DependencyError: It is elsewhere, and nobody has decided that it moves.
    """
    before = work.consumer.status.consumer
    if before is None or before.stream != name:
        return
    if found is not None and found.created == before.streamCreated:
        return
    sight = await sight_of(admin, nats, found, None)
    if is_elsewhere(before.place, before.streamCreated, sight):
        of, there = work.consumer.meta, place_text(sight.place)
        raise DependencyError(
            f"the NATS login of {of.key} leads elsewhere ({there}) than to where it read stream "
            f"{name}: see its condition ConsumerReady. kubectl outbox plan show evc/{of.name} "
            f"-n {of.namespace}",
            reason=Reason.APPROVAL_PENDING,
        )
