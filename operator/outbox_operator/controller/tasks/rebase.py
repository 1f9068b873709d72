"""Action `rebase`: sets the cursors of an outbox anew, in one transaction.

A large table is rewritten in one statement, so it runs beside the passes. The transaction is
written into the task before it is committed: who takes over after a crash asks the server what
became of it, and neither does it twice nor says that it was done when it was not.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from outbox_operator.adapters.postgres import connection as postgres
from outbox_operator.adapters.postgres.rebase import Announced, PostgresRebase, became
from outbox_operator.api import meta
from outbox_operator.api.resource import Pipeline, parse_stream
from outbox_operator.api.v1alpha1.redis import RedisConnection
from outbox_operator.api.v1alpha1.task import TaskResult
from outbox_operator.controller.reconcile.redis_stream import connect_redis
from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.controller.tasks.action import Frozen, Work
from outbox_operator.controller.tasks.beside import log_in, while_wanted
from outbox_operator.controller.tasks.sessions import jetstream_of
from outbox_operator.errors import (
    ConflictError,
    DependencyError,
    SpecError,
    TaskFailedError,
)
from outbox_operator.plan.kubernetes.children import event_stream_name
from outbox_operator.plan.passes.source import no_stream
from outbox_operator.plan.postgres.rebase import Choice, StreamEnd, check_rebase
from outbox_operator.plan.tasks.rebase import announcement, answer, choice_of
from outbox_operator.plan.tasks.status import Progress
from outbox_operator.reasons import Reason
from outbox_operator.wire.headers import EMISSION
from outbox_operator.wire.subjects import SubjectTemplate

NAME: Final = "outbox-rebase"
"""In `pg_stat_activity`."""
STATEMENT_SECONDS: Final = 1700.0
"""A large table is rewritten in one statement. Less than what the background allows."""
LOCK_MILLISECONDS: Final = 10_000
_AGAIN_SECONDS: Final = 2.0
_SOON_SECONDS: Final = 0.5


class RebaseOutbox:
    """On a pipeline."""

    async def freeze(self, work: Work) -> Frozen:
        """Nothing: the transaction itself fixes which rows are meant."""
        return Frozen()

    async def step(self, work: Work, progress: Progress) -> Progress:
        """Begin, look after what was begun, or find out what became of it."""
        if progress.where:
            return await self._after_all(work, progress)
        context, owner = work.context, work.task.meta
        try:
            done = await context.background.result(
                owner, owner.uid, lambda: while_wanted(work, _rebase(work))
            )
        except TimeoutError:
            text = f"not done within {context.background.longest_seconds:g} s, and undone"
            raise DependencyError(text, reason=Reason.STATEMENT_TIMEOUT) from None
        if done is None:
            note = "looks at the rows"
            if not work.dry_run:
                note = "the outbox is being set anew; relays wait for it"
            return replace(progress, pause_seconds=_AGAIN_SECONDS, note=note)
        return _finished(progress, done)

    async def _after_all(self, work: Work, progress: Progress) -> Progress:
        """Whether the transaction that was announced has been committed."""
        where = progress.where
        announced = Announced(transaction=where["transaction"], system=where["system"])
        session, target = await log_in(work, NAME, postgres.STATEMENT_SECONDS)
        try:
            found = await became(session, target, announced)
        finally:
            await postgres.close(session)
        match found:
            case "committed":
                work.context.background.cancel(work.task.meta.uid)
                return _finished(progress, TaskResult.model_validate(where["result"]))
            case "in progress":
                return replace(progress, pause_seconds=_SOON_SECONDS)
            case "aborted":  # nothing has happened
                return replace(progress, where={})
            case _:
                raise TaskFailedError(
                    f"nobody knows whether it was done: the server has forgotten transaction "
                    f"{announced.transaction}, or is another one than before (system identifier "
                    f"{announced.system}). Look with a dry run, and make a new task if need be",
                    reason=Reason.UNCERTAIN,
                )


def _finished(progress: Progress, result: TaskResult) -> Progress:
    chosen = result.counts.get("chosen", 0)
    return replace(
        progress, selected=chosen, done=chosen, finished=True, result=result, note=result.summary
    )


async def _rebase(work: Work) -> TaskResult:
    pipeline, choice = work.pipeline, _choice(work)
    schema = pipeline.spec.database.schema_
    session, target = await log_in(work, NAME, STATEMENT_SECONDS)
    try:
        await postgres.set_in_session(session, {"lock_timeout": LOCK_MILLISECONDS})
        async with PostgresRebase.open(session, target, schema, looks=work.dry_run) as rebase:
            if await rebase.owner_uid() != pipeline.meta.uid:
                raise ConflictError(
                    f"schema {schema} of {target.address} does not carry the mark of "
                    f"{pipeline.meta.key}: see that pipeline's condition SchemaApplied"
                )
            shards = await rebase.preview(choice)
            ends = await _stream_ends(work, rebase.shards) if choice.repeats else None
            try:
                check_rebase(choice, shards, ends)
            except SpecError as error:
                raise TaskFailedError(error.message, reason=error.reason) from error
            result = answer(choice, shards, dry_run=work.dry_run)
            if work.dry_run:
                return result
            await rebase.apply(choice, ends)
            announced = await rebase.announce()
            where = announcement(announced.transaction, announced.system, result)
            await work.save(Progress(where=where, note=result.summary))
        return result
    except BaseException:
        session.terminate()  # what was not committed is undone
        raise
    finally:
        await postgres.close(session)


async def _stream_ends(work: Work, shards: list[int]) -> list[StreamEnd]:
    """The last message of each shard."""
    pipeline = work.pipeline
    if pipeline.spec.redis is not None:
        return await _redis_ends(work, pipeline.spec.redis, shards)
    admin = await jetstream_of(work, pipeline.spec.jetstream)
    template = SubjectTemplate.parse(pipeline.spec.subject)
    tail = admin.tail(_stream_name(work, pipeline))
    found = []
    for shard in shards:
        last = await tail.last_of(template.filter(shard=shard))
        emission = last.headers.get(EMISSION, "0") if last else "0"
        found.append(StreamEnd(sequence=last.sequence if last else 0, emission=int(emission)))
    return found


async def _redis_ends(work: Work, redis: RedisConnection, shards: list[int]) -> list[StreamEnd]:
    """The last id of each key, which is the number of its event."""
    admin = await connect_redis(work.context, work.pipeline.meta, redis)
    template = SubjectTemplate.parse(work.pipeline.spec.subject)
    keys = [await admin.key(template.filter(shard=shard)) for shard in shards]
    return [StreamEnd(sequence=key.last_id, emission=key.last_id) for key in keys]


def _stream_name(work: Work, pipeline: Pipeline) -> str:
    """Name of the JetStream stream."""
    if pipeline.spec.stream.name is not None:
        return pipeline.spec.stream.name
    name = event_stream_name(pipeline)
    body = work.context.objects.get(ObjectKey(meta.STREAM, pipeline.meta.namespace, name))
    if body is None:
        raise DependencyError(
            no_stream("spec.stream.ref.name", pipeline.meta.namespace, name),
            reason=Reason.STREAM_NOT_FOUND,
        )
    return parse_stream(body, stored=True).spec.name


def _choice(work: Work) -> Choice:
    asked = work.task.spec.rebase
    assert asked is not None  # noqa: S101  (the framework chooses by the action)
    return choice_of(asked)
