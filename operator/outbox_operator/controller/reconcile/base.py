"""What the reconcilers of pipelines, streams and consumers share: one idempotent pass.

A pass reads the object from the watch cache, makes sure of our finalizer, does the kind's own
work, and writes the status whatever the outcome. Errors become conditions and a back-off; only
those of the API server itself are raised. `OutboxPipeline`, `EventStream` and `EventConsumer` each
have a module beside this one that does the work; this one must not know what the work is.
"""

from __future__ import annotations

import dataclasses
import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import UTC, datetime
from typing import Any, ClassVar, Final, Generic, TypeVar

from outbox_operator import version
from outbox_operator.adapters.kubernetes.transport import WriteConflictError
from outbox_operator.api import meta
from outbox_operator.api.conditions import ConditionType, known_types
from outbox_operator.api.resource import Meta, Resource, parse_meta, parse_status
from outbox_operator.api.v1alpha1.common import StatusBase
from outbox_operator.controller.reconcile.cache import LastResult
from outbox_operator.controller.reconcile.context import Context
from outbox_operator.controller.reconcile.deletion import RETRY_SECONDS, may_go
from outbox_operator.controller.reconcile.events import EventReporter
from outbox_operator.controller.reconcile.resting import Outside
from outbox_operator.controller.reconcile.statuses import Statuses, something_wrong
from outbox_operator.controller.runtime.child_cache import owner_of
from outbox_operator.controller.runtime.objects import cleaned_up_after
from outbox_operator.controller.runtime.own_writes import OwnWrites, Said
from outbox_operator.controller.runtime.reconciler import ObjectKey, ReconcileResult
from outbox_operator.errors import (
    AccessDeniedError,
    ConflictError,
    KubernetesError,
    OutboxError,
)
from outbox_operator.plan.passes.approval import Decided
from outbox_operator.plan.passes.result import PassResult
from outbox_operator.plan.status.conditions import (
    Part,
    conditions,
    failed,
    first_sight,
    info,
    with_missing,
)
from outbox_operator.plan.status.drift import DriftCount
from outbox_operator.plan.tasks.approval import what_waits
from outbox_operator.reasons import Reason

log = logging.getLogger(__name__)

LOST_RACE_SECONDS = 1.0
_MOST_OWED: Final = 20
"""Texts of each kind that an object is owed, while the API server takes no status."""
APPROVE_INSTEAD: Final = "set the field approvedPlan, or use kubectl outbox plan approve"

ResourceT = TypeVar("ResourceT", bound=Resource[Any, Any])
StatusT = TypeVar("StatusT", bound=StatusBase)


@dataclasses.dataclass(frozen=True, slots=True)
class _CameOf(Generic[StatusT]):
    """What came of a kind's own work.

    Attributes:
        result: Of the work, or why there is none.
        types: The parts that the resource has.
        pause_seconds: To the next look, if nothing happens meanwhile.
        defect: What ended it unexpectedly.
    """

    result: PassResult[StatusT]
    types: Sequence[ConditionType]
    pause_seconds: float
    defect: Exception | None


class BaseReconciler(ABC, Generic[ResourceT, StatusT]):
    """One pass over one object of a kind."""

    kind: ClassVar[str]
    live_fields: ClassVar[frozenset[str]] = frozenset()
    """Status fields that hold live numbers: alone they are written only now and then."""
    status_type: type[StatusT]

    def __init__(self, context: Context) -> None:
        self.context = context
        self.events = EventReporter(context.kube)
        self._own = OwnWrites()
        self._statuses = Statuses(context, self.kind, self._own, self.live_fields, self._now)
        self._uids: dict[ObjectKey, str] = {}
        self._parsed: LastResult[ResourceT] = LastResult()
        self._owed: dict[str, PassResult[StatusT]] = {}
        """By UID, what passes did whose status could not be written."""
        self._saw: dict[str, Outside] = {}
        """By UID, what the last pass saw, if all that it looked at can be asked for again."""

    @abstractmethod
    def parse(self, body: Mapping[str, Any]) -> ResourceT:
        """The typed resource. Raises SpecError."""

    @abstractmethod
    def condition_types(self, resource: ResourceT) -> Sequence[ConditionType]:
        """The parts this resource has; a pass that did not get to one says so."""

    @abstractmethod
    async def work(self, resource: ResourceT) -> PassResult[StatusT]:
        """Gather, plan, act. Errors of a part become that part; others may be raised."""

    @abstractmethod
    def interval_seconds(self, resource: ResourceT) -> float:
        """Seconds to the next look at one that is ready, when nothing happens meanwhile."""

    @abstractmethod
    async def clean_up(self, resource: ResourceT) -> None:
        """Remove what the deletion policy says to remove. Raises until that is done."""

    def saw(self, resource: Decided, outside: Outside) -> None:
        """Called by `work`, when what it saw can be asked for again; else a pass has to look."""
        if not resource.meta.paused and not what_waits(resource):
            self._saw[resource.meta.uid] = outside

    def forget(self, key: ObjectKey, uid: str) -> None:
        """The object is gone: drop what is remembered of it."""
        self._own.forget(uid)
        self._statuses.forget(uid)
        self._parsed.forget(uid)
        self._owed.pop(uid, None)
        self._uids.pop(key, None)
        self._saw.pop(uid, None)
        self.context.resting.leave(key)
        self.context.resting.confirmed(key)
        self.context.exported.forget(key)
        self.context.nats.forget(key)
        self.context.redis.forget(key)
        self.context.postgres.forget(key)
        self.context.background.cancel(uid)
        self._wake_rivals()

    def _wake_rivals(self) -> None:
        """What the gone one had may be free now: those that wait for something look again."""
        for key in self.context.objects.in_conflict(self.kind):
            self.context.wake(key, "a rival is gone")

    async def reconcile(self, key: ObjectKey, trigger: str) -> ReconcileResult:
        """One pass. Called by the work queue, never twice at once for one object."""
        self.context.resting.leave(key)
        body = self.context.objects.get(key)
        known = self._uids.get(key)
        if known is not None and (body is None or body["metadata"]["uid"] != known):
            self.forget(key, known)
        if body is None:
            return ReconcileResult()
        cluster = await self.context.cluster.of(key.namespace)
        metadata = dataclasses.replace(parse_meta(body), cluster=cluster)
        self._uids[key] = metadata.uid
        try:
            if metadata.deleted_at is not None:
                return await self._delete(key, body, metadata)
            return await self._live(key, body, self._effective(body, metadata))
        except ConflictError as error:  # a write lost a race; the watch brings the newer object
            log.info("lost a race, trying again: %s", error)
            return ReconcileResult(requeue_after=LOST_RACE_SECONDS)

    def _effective(self, body: Mapping[str, Any], metadata: Meta) -> Meta:
        """The metadata with the owner's pause, and without what we have acted on already."""
        annotations = dict(metadata.annotations)
        if self._own.is_stale(body):
            for name in meta.ONE_SHOT_ANNOTATIONS:
                annotations.pop(name, None)
        owner = owner_of(body)
        above = self.context.objects.get(owner) if owner is not None else None
        if above is not None and parse_meta(above).paused:
            annotations[meta.PAUSE_ANNOTATION] = "true"
        return dataclasses.replace(metadata, annotations=annotations)

    async def _live(
        self, key: ObjectKey, body: Mapping[str, Any], metadata: Meta
    ) -> ReconcileResult:
        denied = await self._denied(key)
        if denied is None:
            await self._hold(key, body, metadata)
        previous = parse_status({**body, "status": self._own.status(body)}, self.status_type)
        meanwhile: AbstractAsyncContextManager[None] = nullcontext()
        if previous.observedGeneration != metadata.generation:
            is_new = previous.observedGeneration is None
            previous = previous.model_copy(
                update={
                    "observedGeneration": metadata.generation,
                    "conditions": first_sight(
                        previous.conditions, generation=metadata.generation, now=self._now()
                    ),
                }
            )
            if is_new:
                meanwhile = self._statuses.seen(body, metadata, previous)
            else:  # what it says is of before, and may be taken for true
                await self._statuses.write(body, metadata, previous, now=True)
        settings = self.context.settings
        saw_before = self._saw.pop(metadata.uid, None)
        async with meanwhile:
            came_of = await self._came_of(body, metadata, previous, denied)
        result, types, pause_seconds = came_of.result, came_of.types, came_of.pause_seconds
        result = self._owed[metadata.uid] = self._with_owed(metadata.uid, result)
        parts = [*with_missing(result.parts, types), self._paused(body, metadata)]
        after = conditions(
            parts, ready_reason=result.ready_reason, previous=previous.conditions,
            generation=metadata.generation, now=self._now(),
        )  # fmt: skip
        self.context.exported.put(metadata, result.sampled, after)
        ready = after[0].status == "True"
        drift = DriftCount.after(previous, result.drifts, self._now())
        status = result.status.model_copy(
            update={
                "observedGeneration": metadata.generation,
                "conditions": after,
                "operatorVersion": version.VERSION if ready else previous.operatorVersion,
                "driftCorrectedCount": drift.count,
                "lastDriftTime": drift.time,
                "lastDrift": drift.text,
            }
        )
        repaired = [*result.drifts, *result.corrections]
        failing = any(part.failing for part in parts)
        happened = (result.scaled, result.moves, result.notices, result.acted_on)
        news = bool(repaired) or any(happened)
        wrong = something_wrong(parts)
        may_wait = 0.0 if ready or wrong or news else self._statuses.may_wait(metadata.uid)
        if may_wait:  # on its way: what comes next is told, not each step
            self._owed.pop(metadata.uid, None)
            return ReconcileResult(requeue_after=may_wait)
        # Who asks for a look wants what it found, whenever numbers were last told.
        asked = meta.RECONCILE_AT_ANNOTATION in metadata.annotations
        now = bool(repaired or result.scaled or result.notices or asked)
        says = await self._statuses.write(body, metadata, status, now=now)
        self._statuses.told(metadata.uid, on_its_way=not (ready or wrong))
        if says is Said.LATER:
            pause_seconds = min(pause_seconds, settings.status_interval_seconds)
        self._owed.pop(metadata.uid, None)
        await self.events.drift(body, repaired)
        await self.events.moved(body, result.moves)
        await self.events.scaled(body, result.scaled)
        await self.events.noticed(body, result.notices)
        await self.events.ready(body, previous.conditions, after)
        if meta.APPROVE_PLAN_ANNOTATION in result.acted_on:
            await self.events.deprecated(body, meta.APPROVE_PLAN_ANNOTATION, APPROVE_INSTEAD)
        if came_of.defect is not None:
            raise came_of.defect  # once it has been said
        await self._remove_annotations(key, metadata, result.acted_on)
        if ready:
            saw = self._saw.get(metadata.uid)
            if saw is not None and saw == saw_before and says is Said.SAME and not result.busy:
                newest, confirming = self._own.newest(body), self._statuses.confirming(body)
                self.context.resting.rest(key, saw, newest, pause_seconds, confirming)
                rest_seconds = min(settings.rest_seconds, saw.longest_seconds)
                pause_seconds = max(pause_seconds, rest_seconds)
            return ReconcileResult(requeue_after=pause_seconds)
        if not failing:
            soon = min(settings.waiting_interval_seconds, pause_seconds)
            return ReconcileResult(requeue_after=soon)
        stalled = any(part.stalled for part in parts)
        return ReconcileResult(
            failed=True,
            requeue_after=settings.stalled_ceiling_seconds
            if stalled
            else settings.retry_ceiling_seconds,
        )

    async def _came_of(
        self,
        body: Mapping[str, Any],
        metadata: Meta,
        previous: StatusT,
        denied: AccessDeniedError | None,
    ) -> _CameOf[StatusT]:
        """What came of the kind's own work; only errors of the API server itself are raised."""
        types: Sequence[ConditionType] = known_types(previous.conditions)
        pause_seconds = self.context.settings.busy_interval_seconds
        defect: Exception | None = None
        try:
            if denied is not None:
                raise denied
            parsed = self._parsed.get(metadata.uid, metadata.generation, lambda: self.parse(body))
            resource = dataclasses.replace(parsed, meta=metadata, status=previous)
            types = self.condition_types(resource)
            result = await self.work(resource)
            interval = self.interval_seconds(dataclasses.replace(resource, status=result.status))
            pause_seconds = min(interval, pause_seconds) if result.busy else interval
        except (KubernetesError, WriteConflictError):
            raise  # nobody to tell: the API server itself is the trouble
        except OutboxError as error:  # nobody's part: it becomes Ready itself
            result = PassResult(parts=(failed(ConditionType.READY, error),), status=previous)
        except Exception as error:  # noqa: BLE001 - ours, or nonsense; raised again once it is said
            defect = error
            said = OutboxError(
                f"the pass ended unexpectedly ({type(error).__name__}) and is tried again; the "
                "operator's log says where. A server that answers nonsense has this effect, too"
            )
            result = PassResult(parts=(failed(ConditionType.READY, said),), status=previous)
        return _CameOf(result, types, pause_seconds, defect)

    def _with_owed(self, uid: str, result: PassResult[StatusT]) -> PassResult[StatusT]:
        """A result, and what earlier passes did and could tell nobody."""
        owed = self._owed.get(uid)
        if owed is None:
            return result
        return dataclasses.replace(
            result,
            drifts=(*owed.drifts, *result.drifts)[-_MOST_OWED:],
            corrections=(*owed.corrections, *result.corrections)[-_MOST_OWED:],
            moves=(*owed.moves, *result.moves)[-_MOST_OWED:],
            scaled=(*owed.scaled, *result.scaled)[-_MOST_OWED:],
            notices=(*owed.notices, *result.notices)[-_MOST_OWED:],
        )

    async def _denied(self, key: ObjectKey) -> AccessDeniedError | None:
        """Why the operator may not work in a namespace that has not let it in."""
        try:
            await self.context.enter(key.namespace)
        except AccessDeniedError as error:
            return error
        return None

    async def _hold(self, key: ObjectKey, body: Mapping[str, Any], metadata: Meta) -> None:
        """Our finalizer, where something has to be removed first; nowhere else.

        A namespace can then go while no operator is there.
        """
        wanted = cleaned_up_after(body)
        if wanted is (meta.FINALIZER in metadata.finalizers) or self._own.is_stale(body):
            return
        others = [name for name in metadata.finalizers if name != meta.FINALIZER]
        written = await self.context.kube.merge_metadata(
            self.context.ref(key),
            resource_version=metadata.resource_version,
            finalizers=[*others, meta.FINALIZER] if wanted else others,
        )
        if written is not None:
            self._own.wrote_metadata(written)

    def _paused(self, body: Mapping[str, Any], metadata: Meta) -> Part:
        if not metadata.paused:
            return info(ConditionType.PAUSED, False, Reason.ACTIVE)
        if parse_meta(body).paused:
            text = f"annotation {meta.PAUSE_ANNOTATION} is set; nothing is changed until it goes"
        else:
            text = f"its owner {owner_of(body)} is paused; nothing is changed until that ends"
        return info(ConditionType.PAUSED, True, Reason.PAUSED, text)

    async def _remove_annotations(
        self, key: ObjectKey, metadata: Meta, acted_on: frozenset[str]
    ) -> None:
        """Remove one-shot annotations acted upon; a pass is all that reconcile-at asks for."""
        done = (acted_on | {meta.RECONCILE_AT_ANNOTATION}) & metadata.annotations.keys()
        if not done:
            return
        written = await self.context.kube.merge_metadata(
            self.context.ref(key), annotations=dict.fromkeys(sorted(done))
        )
        if written is not None:
            self._own.wrote_metadata(written)

    async def _delete(
        self, key: ObjectKey, body: Mapping[str, Any], metadata: Meta
    ) -> ReconcileResult:
        if meta.FINALIZER not in metadata.finalizers:
            return ReconcileResult()

        async def clean_up() -> None:
            resource = self.parse(body)
            if resource.spec.deletionPolicy != "Retain":
                await self.context.enter(key.namespace)
            await self.clean_up(resource)

        asked = datetime.fromisoformat(str(metadata.deleted_at))
        if not await may_go(
            body,
            clean_up(),
            age=(self._now() - asked).total_seconds(),
            deadline=self.context.settings.deletion_deadline_seconds,
            events=self.events,
        ):
            return ReconcileResult(failed=True, requeue_after=RETRY_SECONDS)
        await self.context.kube.merge_metadata(
            self.context.ref(key),
            resource_version=metadata.resource_version,
            finalizers=[name for name in metadata.finalizers if name != meta.FINALIZER],
        )
        self.forget(key, metadata.uid)
        return ReconcileResult()

    def _now(self) -> datetime:
        return datetime.now(UTC)
