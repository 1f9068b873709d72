"""Let a consumer read from another place on: its pods end, its durable consumer is reset.

Nothing of what a pod has in hand may be acknowledged afterwards, nor be written to the inbox after
that was told to forget: so the pods end first. The consumer's own pass does that while the task
says so (`plan.standing.standing_still_for`), and brings them back when the task is at its end,
suspended, or gone.

A server that can resets the durable consumer as it stands, in one request that may be repeated.
Else it is deleted and made anew. How far it was is noted on its resource before, so that whoever
finds none, whatever became of the task, makes it there again (`plan.jetstream.starts.LeftAt`).

Before each change the task is written, which fails when somebody else is at it; and no change is
sent when time has run out since.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Final, TypeVar, cast

from outbox_operator.adapters.nats.admin import JetStreamAdmin
from outbox_operator.adapters.postgres.admin import PostgresAdmin
from outbox_operator.api import meta
from outbox_operator.api.v1alpha1.handler import Inbox
from outbox_operator.api.v1alpha1.task import Finding, TaskResult
from outbox_operator.api.v1alpha1.task_actions import ResetConsumer
from outbox_operator.controller.reconcile.pods import NOT_ENDED
from outbox_operator.controller.reconcile.postgres import in_session, read_logins
from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.controller.tasks.action import Frozen, Work
from outbox_operator.controller.tasks.sessions import check_stream_home, jetstream_of
from outbox_operator.counted import counted
from outbox_operator.errors import ConflictError, DependencyError
from outbox_operator.plan.jetstream.consumers import (
    ObservedConsumer,
    desired_consumer,
    settles_itself,
)
from outbox_operator.plan.jetstream.starts import START, LeftAt, at_sequence, lowest_place, reset_by
from outbox_operator.plan.jetstream.streams import ObservedStream
from outbox_operator.plan.names import durable_name, selector_labels, selector_text
from outbox_operator.plan.passes.result import SessionFailure
from outbox_operator.plan.passes.source import StreamNotFoundError, resolve
from outbox_operator.plan.sources import Source
from outbox_operator.plan.state import Owner
from outbox_operator.plan.tasks.letters import kept, remembered
from outbox_operator.plan.tasks.reset import (
    ResetSelection,
    ResetWhere,
    check_inbox,
    check_place,
    check_stream,
    config_at,
    forgets_since,
    goes_in_place,
    place_now,
    retention_of,
    settle,
    time_of,
)
from outbox_operator.plan.tasks.status import Progress
from outbox_operator.wire.tables import INBOX_TABLES

T = TypeVar("T")
Announce = Callable[[], Awaitable[None]]
"""Writes down that something is about to be changed; raises when somebody else is at it."""
_WAIT_SECONDS: Final = 0.5
_SHOWN_PODS: Final = 3


class ResetDurable:
    """Make the durable consumer of an EventConsumer anew, at another place."""

    async def freeze(self, work: Work) -> Frozen:
        """Where that is, and whether it can be."""
        source, wanted = _source(work), _wanted(work)
        admin = await jetstream_of(work, source.nats)
        stream = await admin.stream_info(source.stream)
        await check_stream_home(work, admin, source.nats, source.stream, stream)
        if stream is None:
            raise StreamNotFoundError(f"stream {source.stream} does not exist (yet)")
        first = await admin.first_message(source.stream, ">", max(1, stream.first_sequence))
        since = time_of(wanted)
        selection = settle(
            wanted, stream, None if first is None else first.stored_at, datetime.now(UTC),
            reached=None if since is None else await admin.first_since(stream, since),
        )  # fmt: skip
        found = await admin.consumer_info(source.stream, durable_name(work.consumer))
        if found is not None and await _in_place(work, admin, selection, stream, found):
            await admin.check_reset(source.stream, found.name)
        if (inbox := work.consumer.spec.inbox) is not None:  # before a pod ends for it
            await _look_at(work, inbox)
        return Frozen(selection=kept(selection), progress=Progress(where=_kept(ResetWhere())))

    async def step(self, work: Work, progress: Progress) -> Progress:
        """Wait for the pods to end, or forget some of the inbox, or reset it."""
        selection = remembered(ResetSelection, work.selection)
        where = remembered(ResetWhere, progress.where)
        if work.dry_run:
            result = TaskResult(summary=f"would go on with {selection.text}")
            return replace(progress, finished=True, result=result)
        if waits := await self._pods(work):  # they come back while a task is suspended
            self._wake(work)
            where = where.model_copy(update={"phase": "PodsEnding"})
            return replace(progress, where=_kept(where), pause_seconds=_WAIT_SECONDS, note=waits)
        if where.phase == "PodsEnding":
            where = where.model_copy(update={"phase": "Moving"})
            return replace(progress, where=_kept(where))
        admin = await jetstream_of(work, _source(work).nats)
        stream, found, place = await _place(work, admin, selection)
        where = where.model_copy(update={"announced": where.announced + 1})
        announce = partial(work.save, replace(progress, where=_kept(where)))
        inbox = work.consumer.spec.inbox
        if inbox is not None and _wanted(work).inbox == "Forget" and _wanted(work).to != "End":
            gone = await self._forget(work, inbox, selection, announce)
            where = where.model_copy(update={"forgotten": where.forgotten + gone})
            if gone:
                note = f"the inbox has forgotten {counted(where.forgotten, 'event')}"
                return replace(progress, where=_kept(where), note=note)
        pending = await self._move(work, admin, selection, stream, found, announce)
        self._wake(work)
        return replace(
            progress, where=_kept(where), finished=True,
            result=_result(work, place, where.forgotten, pending),
        )  # fmt: skip

    async def _pods(self, work: Work) -> str:
        """What is still to be waited for; nothing when no pod is left."""
        consumer = work.consumer
        if consumer.spec.handler is None:
            return ""
        selector = selector_text(selector_labels("consumer", consumer.meta.name))
        pods, _ = await work.context.kube.list(
            "v1", "pods", consumer.meta.namespace, selector,
            field_selector=NOT_ENDED, metadata_only=True,
        )  # fmt: skip
        owner = consumer.meta
        deployment = work.context.children.owned_by(owner.namespace, owner.uid)
        wanted = [
            one["metadata"]["name"]
            for one in deployment
            if one["kind"] == "Deployment" and (one.get("spec") or {}).get("replicas") != 0
        ]
        if wanted:
            return f"waits for Deployment {wanted[0]} to be scaled to 0"
        if not pods:
            return ""
        names = ", ".join(pod["metadata"]["name"] for pod in pods[:_SHOWN_PODS])
        return f"waits for {counted(len(pods), 'pod')} to end: {names}"

    async def _forget(
        self, work: Work, inbox: Inbox, selection: ResetSelection, announce: Announce
    ) -> int:
        async def session(admin: PostgresAdmin) -> int:
            await announce()
            if work.time_left <= 0:
                raise DependencyError(
                    "the inbox was not told to forget: it took too long until here"
                )
            return await admin.forget_handled(inbox.schema_, _name(work), forgets_since(selection))

        return await _in_inbox(work, inbox, session)

    async def _move(
        self,
        work: Work,
        admin: JetStreamAdmin,
        selection: ResetSelection,
        stream: ObservedStream,
        found: ObservedConsumer | None,
        announce: Announce,
    ) -> int:
        """Set it to its place, unless that was done; how many messages it is to deliver."""
        consumer, uid = work.consumer, work.task.meta.uid
        durable = durable_name(consumer)
        if found is not None and reset_by(found.config) == uid:
            return found.pending
        if found is not None and found.owner_uid != consumer.meta.uid:
            raise ConflictError(
                f"durable consumer {durable} of stream {stream.name} does not carry the mark of "
                f"{consumer.meta.key}: see that consumer's condition ConsumerReady"
            )
        start = selection.start
        in_place = found is not None and await _in_place(work, admin, selection, stream, found)
        inbox = consumer.spec.inbox
        if in_place and inbox is not None and inbox.mode == "PerShard":
            await _part(work, inbox, stream.name)
        await announce()
        if found is not None:
            sequence = place_now(_wanted(work), selection, found)
            if in_place:
                reset = await admin.reset_consumer(
                    stream.name, durable, sequence, until=work.deadline
                )
                return reset.pending
            if start != START:
                start = at_sequence(sequence)
            if retention_of(stream) != "workqueue":  # which has one place only
                await _note(work, stream, found)
            await admin.delete_consumer(stream.name, durable, until=work.deadline)
        desired = desired_consumer(
            consumer.spec, durable, Owner.of(consumer.meta),
            runtime=settles_itself(consumer.spec), api_level=admin.api_level,
        )  # fmt: skip
        config = config_at(desired, start, uid)
        made = await admin.create_consumer(stream.name, config, until=work.deadline)
        return made.pending

    def _wake(self, work: Work) -> None:
        work.context.wake(ObjectKey.of(work.consumer.meta), f"task:{work.task.meta.name}")


async def _place(
    work: Work, admin: JetStreamAdmin, selection: ResetSelection
) -> tuple[ObservedStream, ObservedConsumer | None, str]:
    """Stream and durable consumer, and the place, as they are now; raises as `check_place`."""
    there = await admin.stream_info(selection.stream)
    await check_stream_home(work, admin, _source(work).nats, selection.stream, there)
    stream = check_stream(selection, there)
    found = await admin.consumer_info(stream.name, durable_name(work.consumer))
    if found is not None and reset_by(found.config) == work.task.meta.uid:
        return stream, found, selection.text  # it was there, and may have gone on since
    first = await admin.first_message(stream.name, ">", max(1, stream.first_sequence))
    stored = None if first is None else first.stored_at
    return stream, found, check_place(_wanted(work), selection, stream, stored)


async def _in_place(
    work: Work,
    admin: JetStreamAdmin,
    selection: ResetSelection,
    stream: ObservedStream,
    found: ObservedConsumer,
) -> bool:
    """Whether it is reset as it stands; raises as `goes_in_place`."""
    lowest = lowest_place(found.config)
    if isinstance(lowest, datetime):
        lowest = await admin.first_since(stream, lowest)
    sequence = place_now(_wanted(work), selection, found)
    return goes_in_place(stream, found, sequence, admin.api_level, lowest=lowest)


async def _part(work: Work, inbox: Inbox, stream: str) -> None:
    """Have the inbox take the durable consumer for another one: it may pass messages over."""

    async def session(admin: PostgresAdmin) -> None:
        await admin.part_positions(inbox.schema_, _name(work), stream)

    await _in_inbox(work, inbox, session)


async def _look_at(work: Work, inbox: Inbox) -> None:
    """See that the inbox can be told."""

    async def session(admin: PostgresAdmin) -> bool:
        return await admin.knows_consumer(inbox.schema_, INBOX_TABLES, _name(work))

    await _in_inbox(work, inbox, session)


async def _in_inbox(
    work: Work, inbox: Inbox, session: Callable[[PostgresAdmin], Awaitable[T]]
) -> T:
    consumer, context = work.consumer, work.context
    logins = await read_logins(context, consumer.meta, "spec.inbox", inbox)
    if isinstance(logins, SessionFailure):
        raise logins.error

    async def at_home(admin: PostgresAdmin) -> T:
        check_inbox(consumer.meta, await admin.identity(), consumer.status.inboxDatabase)
        return await session(admin)

    answer = await in_session(context, work.task.meta, logins.owner, at_home)
    if isinstance(answer, SessionFailure):
        raise answer.error
    return answer


def _name(work: Work) -> str:
    """Who the consumer is in its inbox."""
    return f"{work.consumer.meta.namespace}/{work.consumer.meta.name}"


async def _note(work: Work, stream: ObservedStream, found: ObservedConsumer) -> None:
    """Write down how far a durable consumer is, where it outlives it and the task."""
    consumer = work.consumer.meta
    left = LeftAt(
        task=work.task.meta.uid, consumer=consumer.uid, stream=stream.name, created=stream.created,
        sequence=found.ack_floor + 1,
    )  # fmt: skip
    annotations = {meta.RESET_LEFT_ANNOTATION: left.text()}
    ref = work.context.ref(ObjectKey.of(consumer))
    written = await work.context.kube.merge_metadata(ref, annotations=annotations)
    if written is None or written["metadata"]["uid"] != consumer.uid:
        raise ConflictError(f"{consumer.key} is gone or another one now")


def _result(work: Work, place: str, forgotten: int, pending: int) -> TaskResult:
    spec, wanted = work.consumer.spec, _wanted(work)
    summary = f"goes on with {place}: {counted(pending, 'message')} to deliver"
    findings = []
    if spec.inbox is not None and wanted.to != "End" and wanted.inbox == "Keep":
        findings.append(
            Finding(
                severity="Warning", check="InboxKept", object=work.consumer.meta.key,
                message="events that are in the inbox are skipped when they come again",
                remedy="make the task again with resetConsumer.inbox: Forget, or by "
                "`kubectl outbox reset … --inbox forget`",
            )
        )  # fmt: skip
    if spec.handler is None:
        findings.append(
            Finding(
                severity="Warning", check="ForeignReader", object=work.consumer.meta.key,
                message="its program is not the operator's to stop: what that had in hand it may "
                "still acknowledge, and then it does not come again",
                remedy="stop the program before a reset",
            )
        )  # fmt: skip
    counts = {"pending": pending, "forgotten": forgotten}
    return TaskResult(summary=summary, counts=counts, findings=findings)


def _source(work: Work) -> Source:
    return resolve(work.consumer, work.event_stream)


def _wanted(work: Work) -> ResetConsumer:
    return cast(ResetConsumer, work.task.spec.resetConsumer)


def _kept(where: ResetWhere) -> dict[str, object]:
    """With the phase, which the pass of the consumer looks for."""
    return {**kept(where), "phase": where.phase}
