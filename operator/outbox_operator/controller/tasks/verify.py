"""Compares the outbox of a pipeline with its stream, window after window. Changes nothing.

A window may take minutes, so it runs beside the passes (`Context.background`), and a pass only
looks whether it has ended. It takes memory, and there may be any number of pipelines, so it needs a
place of `Context.comparisons`. What is written down is the end of the last window and the verdict
until there: who takes over begins the window that was under way anew.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from typing import Final, TypeVar

from outbox_operator.adapters.compare import Bounds, Compared, Range, Stretch, bounds, compare
from outbox_operator.adapters.postgres.admin import PostgresAdmin
from outbox_operator.adapters.postgres.rows_range import RowsRange
from outbox_operator.api import meta
from outbox_operator.api.resource import parse_stream
from outbox_operator.api.v1alpha1.task_actions import Verify, moment
from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.controller.tasks.action import Frozen, Work
from outbox_operator.controller.tasks.sessions import in_outbox, jetstream_of
from outbox_operator.errors import DependencyError, TaskFailedError
from outbox_operator.plan.doctor.delivery_result import kept_verdict, result_of, verdict_of
from outbox_operator.plan.doctor.verdict import Verdict
from outbox_operator.plan.kubernetes.children import event_stream_name
from outbox_operator.plan.passes.source import no_stream
from outbox_operator.plan.tasks.status import Progress
from outbox_operator.plan.tasks.target import DATABASE
from outbox_operator.reasons import Reason
from outbox_operator.wire.message import event_source
from outbox_operator.wire.subjects import SubjectTemplate

T = TypeVar("T")

LOOK_SECONDS: Final = 30.0
"""The end of a window wakes the task; this is for what nobody told."""


class VerifyOutbox:
    """Compare table and stream over a range."""

    async def freeze(self, work: Work) -> Frozen:
        """The positions that there are now: what is written later is not compared."""
        _ = work.pipeline.spec.jetstream  # a stream in Redis cannot be compared (yet)
        within, database = await in_outbox(work, lambda admin: _begin(work, admin))
        verdict = Verdict()
        if within.unproven:
            verdict.cannot(within.unproven)
        selection = {"low": within.low, "high": within.high, DATABASE: database}
        progress = _progress(within.low, verdict)
        return Frozen(selection=selection, progress=progress)

    async def step(self, work: Work, progress: Progress) -> Progress:
        """Look whether the window has ended; then go on with the next one."""
        low, high = int(progress.where["next"]), int(work.selection["high"])
        verdict = verdict_of(progress.where["verdict"])
        if low >= high:
            return replace(
                progress,
                finished=True,
                where={},
                result=result_of(verdict, work.pipeline.meta),
            )
        owner, room = work.task.meta, work.context.comparisons
        waiting = room.enter(ObjectKey.of(owner), owner.uid)
        if waiting is not None:
            text = (
                f"waits to compare from position {low} on: this operator compares {room.places} "
                f"outboxes at once, and {waiting} wait, whose namespaces take turns"
            )
            return replace(progress, note=text, pause_seconds=LOOK_SECONDS)
        wanted = work.task.spec.verify or Verify()
        within = Bounds(
            low=low, high=high, since=_moment(wanted.fromTime), until=_moment(wanted.toTime)
        )
        try:
            done = await work.context.background.result(
                owner, (low, high), lambda: self._window(work, within)
            )
        except TimeoutError:
            room.leave(owner.uid)
            longest = work.context.background.longest_seconds
            raise DependencyError(
                f"rows from position {low} on were not compared within {longest:g} s, and are "
                "compared again; a shorter range takes less"
            ) from None
        except BaseException:
            room.leave(owner.uid)
            raise
        if done is None:
            text = f"compares from position {low} on, up to {high - 1}: {verdict}"
            return replace(progress, note=text, pause_seconds=LOOK_SECONDS)
        room.leave(owner.uid)  # who waits comes before the next window
        after = _progress(done.next, verdict.merged(done.verdict))
        return replace(progress, where=after.where, note=f"position {done.next} of {high}")

    async def _window(self, work: Work, within: Bounds) -> Compared:
        pipeline = work.pipeline

        async def session(reading: Callable[[RowsRange], Awaitable[T]]) -> T:
            return await in_outbox(work, lambda admin: reading(_rows(work, admin)))

        return await compare(
            session,
            await jetstream_of(work, pipeline.spec.jetstream),
            Stretch(
                stream=_stream_name(work),
                subject_filter=SubjectTemplate.parse(pipeline.spec.subject).filter(),
                source=event_source(pipeline.meta.namespace, pipeline.meta.name),
                ordered=pipeline.spec.outbox.ordering == "PerKey",
            ),
            within,
        )


async def _begin(work: Work, admin: PostgresAdmin) -> tuple[Bounds, str]:
    return await bounds(_rows(work, admin), _range(work)), await admin.identity()


def _progress(low: int, verdict: Verdict) -> Progress:
    return Progress(where={"next": low, "verdict": kept_verdict(verdict)})


def _rows(work: Work, admin: PostgresAdmin) -> RowsRange:
    return admin.rows(work.pipeline.spec.database.schema_)


def _range(work: Work) -> Range:
    wanted = work.task.spec.verify or Verify()
    return Range(
        low=wanted.fromPosition,
        high=None if wanted.toPosition is None else wanted.toPosition + 1,
        since=_moment(wanted.fromTime),
        until=_moment(wanted.toTime),
    )


def _moment(text: str | None) -> datetime | None:
    return None if text is None else moment(text)


def _stream_name(work: Work) -> str:
    """Name of the JetStream stream. Raises TaskFailedError."""
    pipeline = work.pipeline
    if pipeline.spec.stream.name is not None:
        return pipeline.spec.stream.name
    name = event_stream_name(pipeline)
    body = work.context.objects.get(ObjectKey(meta.STREAM, pipeline.meta.namespace, name))
    if body is None:
        raise TaskFailedError(
            no_stream("spec.stream.ref.name", pipeline.meta.namespace, name),
            reason=Reason.STREAM_NOT_FOUND,
        )
    return parse_stream(body, stored=True).spec.name
