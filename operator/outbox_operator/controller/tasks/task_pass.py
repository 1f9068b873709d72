"""A pass over a task that is not at its end. Used by `controller.tasks.reconciler` alone."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Coroutine, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from outbox_operator import version
from outbox_operator.adapters.kubernetes.transport import WriteConflictError
from outbox_operator.api import meta
from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import (
    Task,
    parse_consumer,
    parse_meta,
    parse_pipeline,
    parse_stream,
    parse_task,
)
from outbox_operator.api.v1alpha1.task import OutboxTaskStatus
from outbox_operator.controller.exported import Exported
from outbox_operator.controller.reconcile.context import Context
from outbox_operator.controller.reconcile.events import EventReporter
from outbox_operator.controller.runtime.objects import key_of
from outbox_operator.controller.runtime.reconciler import ObjectKey, ReconcileResult
from outbox_operator.controller.tasks.action import Action, Target, Work
from outbox_operator.controller.tasks.ledger import Ledger, TaskVanishedError
from outbox_operator.controller.tasks.registry import action_of
from outbox_operator.controller.tasks.turns import Turns
from outbox_operator.counted import counted
from outbox_operator.errors import (
    DependencyError,
    KubernetesError,
    NotSupportedError,
    OutboxError,
    SpecError,
    TaskFailedError,
    UnknownFieldError,
)
from outbox_operator.plan.status.conditions import stamp
from outbox_operator.plan.status.sampled import NOTHING, unix
from outbox_operator.plan.tasks import pace
from outbox_operator.plan.tasks.lean import is_lean
from outbox_operator.plan.tasks.status import (
    CALM,
    Progress,
    ended_labels,
    ending,
    may_go_on,
    progress_of,
    said_while_trying,
    seconds_to_live,
    settled,
    standing,
    verified_of,
    with_progress,
)
from outbox_operator.plan.tasks.target import Never, Waits
from outbox_operator.reasons import Reason

log = logging.getLogger(__name__)

T = TypeVar("T")

PASS_SECONDS: Final = 1.0
"""After that a pass begins no slice."""
SLICE_SECONDS: Final = 5.0
"""After that a slice begins no effect: well before another operator may take over."""
STEP_SECONDS: Final = 60.0
"""A slice that takes longer is cut: a server does not answer."""
SHORT_PAUSE_SECONDS: Final = 0.2
"""A pause up to that is spent in the pass."""
AGAIN_SECONDS: Final = 0.05
JITTER: Final = 1.12
"""The queue spreads pauses by a tenth, and a rate limit is a limit."""
WAITING_SECONDS: Final = 30.0
"""Who waits is woken; this is for what nobody told."""


class TaskPass:
    """One pass.

    Args:
        context: What reconcilers share.
        events: Tells people.
        turns: Whose turn it is.
        key: The task.
        body: The same, as the watch brought it.
        ledger: Its status.
        rests: By UID, until when tasks rest for their rate limit, by the clock of the loop.
    """

    def __init__(
        self,
        context: Context,
        events: EventReporter,
        turns: Turns,
        key: ObjectKey,
        body: Mapping[str, Any],
        ledger: Ledger,
        rests: dict[str, float],
    ) -> None:
        self._context = context
        self._events = events
        self._turns = turns
        self._key = key
        self._body = body
        self._meta = parse_meta(body)
        self._ledger = ledger
        self._rests = rests
        self._status = OutboxTaskStatus()

    async def run(self) -> ReconcileResult:
        """Advance the task, and say what came of it.

        Raises:
            TaskVanishedError: It was deleted meanwhile.
            WriteConflictError: Somebody wrote it meanwhile.
            KubernetesError: There is nobody to tell.
        """
        try:
            return await self._advance()
        except (KubernetesError, WriteConflictError, TaskVanishedError):
            raise
        except (TaskFailedError, NotSupportedError) as error:
            return await self._end(error.reason, error.message, failed=True)
        except OutboxError as error:
            await self._say(error.reason, error.message)
            settings = self._context.settings
            ceiling = (
                settings.retry_ceiling_seconds
                if error.retryable
                else settings.stalled_ceiling_seconds
            )
            return ReconcileResult(failed=True, requeue_after=ceiling)
        except Exception as error:
            text = (
                f"the pass ended unexpectedly ({type(error).__name__}) and is tried again; the "
                "operator's log says where. A server that answers nonsense has this effect, too"
            )
            await self._say(Reason.INTERNAL_ERROR, text)
            raise

    async def _advance(self) -> ReconcileResult:
        self._status = self._ledger.read()
        task = self._parsed()
        spec = task.spec
        verified = verified_of(
            self._status, spec.requestedBy, compares=self._context.settings.requesters_verified
        )
        self._update(
            action=spec.action, operatorVersion=version.VERSION, requestedByVerified=verified
        )
        if spec.suspend:
            await self._turns.leave(self._key, self._meta.uid)
            await self._say(Reason.SUSPENDED, "suspended; set spec.suspend to false to go on")
            return ReconcileResult()
        action = action_of(spec)
        found = self._turns.look_at(task)
        if isinstance(found, Never):
            raise TaskFailedError(found.message, reason=found.reason)
        if isinstance(found, Waits):
            await self._turns.leave(self._key, self._meta.uid)
            self._update(target=found.target or self._status.target)
            return await self._wait(found.reason, found.message)
        self._update(target=found.target)
        ahead = self._turns.take(task, found)
        if ahead is not None:
            self._update(waitsFor=ahead.name)
            return await self._wait(
                Reason.WAITS_FOR_TASK,
                f"waits for task {ahead.name} to end, which "
                f"{'is at work' if ahead.working else 'is older'} and must not run beside it",
            )
        await self._context.enter(self._key.namespace)
        if is_lean(self._body):
            task = await self._whole()
        target = await self._target(task)
        if self._status.startTime is None:
            await self._start(task, target, action)
        return await self._work(task, target, action)

    def _parsed(self) -> Task:
        """The task, if this version knows all that it says: it may say what is to be left alone."""
        try:
            task = parse_task({**self._body, "status": {}})
        except UnknownFieldError as error:  # of a later version, and fixed at creation
            raise TaskFailedError(
                f"{error.message}; this operator is older than the definition of tasks, and "
                "carries out nothing that it understands in part",
                reason=Reason.NOT_SUPPORTED_YET,
            ) from error
        except SpecError as error:
            raise TaskFailedError(error.message, reason=error.reason) from error
        return dataclasses.replace(task, status=self._status)

    async def _whole(self) -> Task:
        """The task with all that it says, which is not kept in memory.

        Raises:
            TaskVanishedError: It is gone, or another one.
            KubernetesError: Nobody answers.
        """
        body = await self._context.kube.get(self._context.ref(self._key))
        if body is None or body["metadata"]["uid"] != self._meta.uid:
            raise TaskVanishedError(f"{self._key} is gone")
        self._body = body
        return self._parsed()

    async def _target(self, task: Task) -> Target:
        kind, name = task.spec.target
        body = self._context.objects.get(ObjectKey(kind, self._key.namespace, name)) or {}
        cluster = await self._context.cluster.of(self._key.namespace)
        if kind == meta.PIPELINE:
            return parse_pipeline(body, stored=True).in_cluster(cluster)
        if kind == meta.CONSUMER:
            return parse_consumer(body, stored=True).in_cluster(cluster)
        return parse_stream(body, stored=True).in_cluster(cluster)

    async def _start(self, task: Task, target: Target, action: Action) -> None:
        """Freeze what it is about, and write that down before anything is done."""
        frozen = await _bounded(action.freeze(self._given(task, target)))
        self._update(startTime=stamp(self._now()), selection=dict(frozen.selection))
        self._status = with_progress(self._status, frozen.progress)
        selected = frozen.progress.selected
        await self._say(
            Reason.RUNNING, "" if selected is None else f"{counted(selected, 'event')} selected"
        )

    async def _work(self, task: Task, target: Target, action: Action) -> ReconcileResult:
        """Slice after slice, for a moment."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        rest = self._rests.pop(self._meta.uid, began) - began
        if rest > 0:  # woken before its time
            return self._rest(rest, rest)
        progress = progress_of(self._status)
        while may_go_on(self._context.objects.get(self._key), self._meta.uid):
            handled, at = progress.handled, loop.time()
            # What a step says of itself, or waits for, is not the next one's.
            before = dataclasses.replace(progress, note="", pause_seconds=None)
            progress = await _bounded(action.step(self._given(task, target), before))
            if progress.finished:
                progress = settled(progress, dry_run=task.spec.dryRun)
                self._status = with_progress(self._status, progress)
                reason, message, well = ending(progress, dry_run=task.spec.dryRun)
                return await self._end(reason, message, failed=not well)
            await self._save(progress)
            limit = pace.pause_seconds(
                task.spec.eventsPerSecond, progress.handled - handled, loop.time() - at
            )
            pause = max(limit, progress.pause_seconds or 0.0)
            if pause > SHORT_PAUSE_SECONDS or loop.time() - began > PASS_SECONDS:
                # What a step waits for may wake it sooner; the rate limit is a limit.
                return self._rest(limit, max(pause, AGAIN_SECONDS))
            await asyncio.sleep(pause)
        return ReconcileResult(requeue_after=AGAIN_SECONDS)  # the next pass says why it stops

    def _rest(self, limit: float, seconds: float) -> ReconcileResult:
        """Come again after some seconds, and not before the rate limit allows it."""
        if limit > 0:
            self._rests[self._meta.uid] = asyncio.get_running_loop().time() + limit
        return ReconcileResult(requeue_after=seconds * JITTER)

    def _given(self, task: Task, target: Target) -> Work:
        return Work(
            context=self._context,
            task=task,
            target=target,
            selection=self._status.selection or {},
            save=self._announce,
            most=pace.most(task.spec.eventsPerSecond),
            deadline=asyncio.get_running_loop().time() + SLICE_SECONDS,
        )

    async def _announce(self, progress: Progress) -> None:
        """Write down what is about to be done."""
        self._status = with_progress(self._status, progress)
        await self._say(*said_while_trying(self._ledger.conditions, progress.note))

    async def _save(self, progress: Progress) -> None:
        self._status = with_progress(self._status, progress)
        await self._say(Reason.RUNNING, progress.note)

    async def _wait(self, reason: Reason, message: str) -> ReconcileResult:
        await self._say(reason, message)
        return ReconcileResult(requeue_after=WAITING_SECONDS)

    async def _end(self, reason: Reason, message: str, *, failed: bool) -> ReconcileResult:
        # What goes on beside the passes must not commit behind an end that is said.
        await self._context.background.end(self._meta.uid)
        await self._say(reason, message, complete=not failed, failed=failed)
        await self._turns.leave(self._key, self._meta.uid)
        ttl = (self._body.get("spec") or {}).get("ttlSecondsAfterFinished")
        return ReconcileResult(requeue_after=seconds_to_live(self._status, ttl, self._now()))

    async def _say(
        self, reason: Reason, message: str, *, complete: bool = False, failed: bool = False
    ) -> None:
        """Write the status; what is new in how the task stands becomes an event."""
        before = _summary(self._ledger.conditions)
        self._status = standing(
            self._status, reason, message, now=self._now(), generation=self._meta.generation,
            complete=complete, failed=failed,
        )  # fmt: skip
        await self._ledger.write(self._status)
        if complete or failed:
            export_end(self._context.exported, self._body, self._status)
        else:
            self._context.exported.put(self._meta, NOTHING, self._status.conditions)
        if _summary(self._ledger.conditions) == before:
            return
        calm = reason in CALM
        log.log(logging.INFO if calm else logging.WARNING, "%s: %s", reason, message)
        await self._events.event(
            self._body, type="Normal" if calm else "Warning", reason=reason,
            note=message or f"{self._status.action} goes on",
        )  # fmt: skip

    def _update(self, **fields: object) -> None:
        self._status = self._status.model_copy(update=fields)

    def _now(self) -> datetime:
        return datetime.now(UTC)


def export_end(exported: Exported, body: Mapping[str, Any], status: OutboxTaskStatus) -> None:
    """Have the metrics say that a task is at its end."""
    metadata, dry = body["metadata"], (body.get("spec") or {}).get("dryRun") is True
    exported.end_task(
        key_of(body),
        metadata["uid"],
        ended_labels(status, metadata["namespace"]),
        None if dry else unix(status.completionTime),
    )


def _summary(conditions: list[Mapping[str, Any]]) -> tuple[str, str] | None:
    for one in conditions:
        if one.get("type") == ConditionType.COMPLETE:
            return one["status"], one["reason"]
    return None


async def _bounded(work: Coroutine[Any, Any, T]) -> T:
    try:
        async with asyncio.timeout(STEP_SECONDS):
            return await work
    except TimeoutError:
        raise DependencyError(
            f"a step took more than {STEP_SECONDS:.0f} s and was cut; it is tried again"
        ) from None
