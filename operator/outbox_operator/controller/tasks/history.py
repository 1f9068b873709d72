"""Events of the past, sent again through the relay: rows that are kept are written anew.

What a replay has done is stored with what it did (`adapters.postgres.replays`), so a slice needs
no announcement: who comes after a crash goes on behind the last row that was copied.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, Final, cast

from outbox_operator import version
from outbox_operator.adapters.postgres.admin import PostgresAdmin
from outbox_operator.adapters.postgres.replays import (
    BATCH_ROWS,
    Bounds,
    ReplayStore,
    Selection,
)
from outbox_operator.api import meta
from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Stream, parse_stream
from outbox_operator.api.v1alpha1.task import MOST_FAILURES
from outbox_operator.api.v1alpha1.task_actions import ReplayHistory, moment
from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.controller.tasks.action import Frozen, Work
from outbox_operator.controller.tasks.sessions import in_outbox, jetstream_of
from outbox_operator.counted import counted
from outbox_operator.errors import DependencyError
from outbox_operator.plan.kubernetes.children import event_stream_name
from outbox_operator.plan.names import durable_name
from outbox_operator.plan.tasks.history import (
    HistorySelection,
    HistoryWhere,
    answered,
    check_renewed,
    consumer_meant,
    counted_anew,
    emptied_meanwhile,
    no_longer_kept,
    other_readers,
    readers_of,
    refused_for,
    replay_name,
    with_left_out,
)
from outbox_operator.plan.tasks.letters import kept, remembered
from outbox_operator.plan.tasks.status import Progress
from outbox_operator.reasons import Reason

_SLICE_SECONDS: Final = 1.0
_WAIT_SECONDS: Final = 0.5
_RELAY_BEHIND: Final = "waits for the relay to publish what was copied"


class ReplayEvents:
    """Send events of the past again."""

    async def freeze(self, work: Work) -> Frozen:
        """The rows that there are now, and who is meant."""
        check_renewed(_body(work, meta.PIPELINE, work.pipeline.meta.name),
                      ConditionType.RELAY_AVAILABLE, version.VERSION)  # fmt: skip
        to = await self._reader(work)
        selection = await in_outbox(work, lambda admin: self._settle(work, admin, to))
        return Frozen(selection=kept(selection))

    async def step(self, work: Work, progress: Progress) -> Progress:
        """Count some, or copy some, or wait for the relay."""
        return await in_outbox(work, lambda admin: self._step(work, progress, admin))

    async def _reader(self, work: Work) -> str | None:
        """The durable consumer that is meant; None: all are."""
        wanted, pipeline = _wanted(work), work.pipeline
        if wanted.toConsumer is None:
            return None
        stream = _stream(work)
        bodies = work.context.objects.everywhere(meta.CONSUMER)
        consumer = consumer_meant(
            wanted.toConsumer, stream.spec.name, bodies, pipeline.meta.namespace,
            pipeline.meta.name,
        )  # fmt: skip
        meant = durable_name(consumer)
        if not wanted.allowOtherReaders:
            admin = await jetstream_of(work, stream.spec.jetstream)
            there = await admin.durables(stream.spec.name)
            if others := other_readers(stream.spec.name, there, bodies, meant):
                raise refused_for(others, stream.spec.name)
        for body in readers_of(stream.spec.name, bodies):
            check_renewed(body, ConditionType.WORKLOAD_AVAILABLE, version.VERSION)
        return meant

    async def _settle(self, work: Work, admin: PostgresAdmin, to: str | None) -> HistorySelection:
        store = _store(work, admin, to)
        bounds = await store.settle()
        there, noted = await store.kept(), await store.noted_since()
        if there.lacks(_selection(work)) and not _wanted(work).allowPartial:
            raise no_longer_kept(there.oldest, there.first)
        oldest = _selection(work).since or there.oldest
        unknown = noted is not None and oldest is not None and oldest < noted
        return HistorySelection(
            snapshot=bounds.snapshot,
            up_to=bounds.up_to,
            first=bounds.first,
            to=to,
            noted_since=noted if unknown else None,
            database=await admin.identity(),
        )

    async def _step(self, work: Work, progress: Progress, admin: PostgresAdmin) -> Progress:
        selection = remembered(HistorySelection, work.selection)
        where = remembered(HistoryWhere, progress.where)
        bounds = Bounds(
            snapshot=where.snapshot or selection.snapshot,
            up_to=selection.up_to,
            first=selection.first,
        )
        store = _store(work, admin, selection.to)
        if not work.dry_run:
            copied = await store.begin(bounds)
            if await store.lost(bounds, copied):
                raise emptied_meanwhile(copied.rows, copied.up_to)
        if where.phase == "Counting":
            return await count(store, bounds, progress, where, dry_run=work.dry_run)
        if where.phase == "Copying":
            return await self._copy(work, progress, where, store, bounds)
        return await self._publish(progress, selection, work, store)

    async def _copy(
        self,
        work: Work,
        progress: Progress,
        where: HistoryWhere,
        store: ReplayStore,
        bounds: Bounds,
    ) -> Progress:
        """Copy what the relay can publish at once: what others write waits behind it."""
        if not await store.published():
            return replace(progress, pause_seconds=_WAIT_SECONDS, note=_RELAY_BEHIND)
        limited = work.task.spec.eventsPerSecond is not None
        until = asyncio.get_running_loop().time() + _SLICE_SECONDS
        while True:
            copied = await store.copy(bounds, work.most if limited else BATCH_ROWS)
            late = asyncio.get_running_loop().time() > until or work.time_left <= 0
            if copied.all or limited or late:
                break
        after = where.model_copy(update={"phase": "Publishing"}) if copied.all else where
        return replace(
            progress,
            done=copied.rows,
            where=kept(after),
            note=f"{counted(copied.rows, 'event is', 'events are')} copied",
        )

    async def _publish(
        self, progress: Progress, selection: HistorySelection, work: Work, store: ReplayStore
    ) -> Progress:
        if not await store.published():
            return replace(progress, pause_seconds=_WAIT_SECONDS, note=_RELAY_BEHIND)
        await store.end()
        progress = with_left_out(progress)
        number, letters = await store.failed(MOST_FAILURES)
        for letter in letters:
            text = f"its copy is a dead letter (position {letter.position}): {letter.error}"
            progress = progress.failing(letter.event_id, _reason(letter.reason), text)
        progress = replace(
            progress, done=progress.done - number, failed=progress.failed + number - len(letters)
        )
        result = answered(progress, selection, work.pipeline.meta)
        return replace(progress, finished=True, result=result)


async def count(
    store: ReplayStore, bounds: Bounds, progress: Progress, where: HistoryWhere, *, dry_run: bool
) -> Progress:
    """One slice of counting; all over again when rows are no longer as they were settled."""
    after, unfit, selected = where.after, where.unfit, progress.selected or 0
    until = asyncio.get_running_loop().time() + _SLICE_SECONDS
    while True:
        found = await store.count(bounds, after)
        if found.moved:
            return counted_anew(progress, where, (await store.settle()).snapshot)
        selected, unfit, after = selected + found.chosen, unfit + found.unfit, found.up_to
        if after is None or asyncio.get_running_loop().time() > until:
            break
    progress = replace(
        progress, selected=selected, note=f"{counted(selected, 'event')} counted so far"
    )
    where = where.model_copy(update={"after": after, "unfit": unfit})
    if after is not None:
        return replace(progress, where=kept(where))
    if unfit:
        progress = replace(progress, selected=selected + unfit).failing(
            counted(unfit, "event"), Reason.COLUMN_TOO_LONG,
            "from before the table refused names of more than 1024 bytes; it takes no copies "
            "of them", count=unfit,
        )  # fmt: skip
    if dry_run:
        return replace(progress, finished=True)
    return replace(progress, where=kept(where.model_copy(update={"phase": "Copying"})))


def _reason(text: str) -> Reason:
    """Of a dead letter, which somebody may have written by hand."""
    try:
        return Reason(text)
    except ValueError:
        return Reason.UNREADABLE


def _store(work: Work, admin: PostgresAdmin, to: str | None) -> ReplayStore:
    schema = work.pipeline.spec.database.schema_
    return admin.replay(schema, replay_name(work.task.meta), _selection(work), to)


def _wanted(work: Work) -> ReplayHistory:
    return cast(ReplayHistory, work.task.spec.replayHistory)


def _selection(work: Work) -> Selection:
    wanted = _wanted(work)
    return Selection(
        event_types=tuple(wanted.eventTypes) or None,
        keys=tuple(wanted.keys) or None,
        since=moment(wanted.fromTime) if wanted.fromTime else None,
        until=moment(wanted.toTime) if wanted.toTime else None,
        first=wanted.fromPosition,
        last=wanted.toPosition,
    )


def _stream(work: Work) -> Stream:
    name = event_stream_name(work.pipeline)
    return parse_stream(_body(work, meta.STREAM, name), stored=True)


def _body(work: Work, kind: str, name: str) -> dict[str, Any]:
    found = work.context.objects.get(ObjectKey(kind, work.task.meta.namespace, name))
    if found is None:
        raise DependencyError(f"{kind} {name} does not exist (yet)")
    return found
