"""What the three reconcilers have in common: one idempotent pass over one object.

A pass reads the object from the watch cache, makes sure of our finalizer, does the kind's own
work, and writes the status whatever the outcome. It never raises: errors become conditions and
a back-off. `OutboxPipeline`, `EventStream` and `EventConsumer` each have a module beside this
one that does the work; this one must not know what the work is.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar, Generic, Literal, TypeVar

from outbox_operator import version
from outbox_operator.api import meta as names
from outbox_operator.api.conditions import Condition, ConditionType
from outbox_operator.api.resource import Meta, Resource, parse_meta, parse_status
from outbox_operator.api.v1alpha1.common import StatusBase
from outbox_operator.controller.context import Context
from outbox_operator.controller.outcome import ObjectKey, Outcome
from outbox_operator.errors import (
    ConflictError,
    CredentialsError,
    KubernetesError,
    OutboxError,
    SpecError,
)
from outbox_operator.plan.status import (
    Part,
    conditions,
    first_sight,
    info,
    stamp,
    worth_writing,
)
from outbox_operator.plan.workloads import restarted_at

log = logging.getLogger(__name__)

NO_CREDENTIALS_DEADLINE_SECONDS = 15.0
"""A deleted object whose Secret is gone is let go after this: in a namespace that goes it will
not come back."""
CLEAN_UP_SECONDS = 30.0
"""Longest single attempt to clean up."""
DEPENDENCY_BACKOFF_SECONDS = 15.0
STALLED_BACKOFF_SECONDS = 60.0
WAITING_SECONDS = 10.0
"""Next look at something on its way (pods that start, a child that works), unless it says so."""

ResourceT = TypeVar("ResourceT", bound=Resource[Any, Any])
StatusT = TypeVar("StatusT", bound=StatusBase)


@dataclass(kw_only=True)
class Pass:
    """What the work of one pass found.

    Attributes:
        parts: One per part, in order of cause.
        fields: Fields of the status besides the conditions.
        ready_reason: Reason of Ready when all is well.
        requeue_after: Seconds to the next look when nothing happens meanwhile.
        write_now: Whether the status must be written even if only live numbers changed.
    """

    parts: list[Part] = field(default_factory=list)
    fields: dict[str, Any] = field(default_factory=dict)
    ready_reason: str
    requeue_after: float
    write_now: bool = False


class BaseReconciler(ABC, Generic[ResourceT, StatusT]):
    """One pass over one object of a kind."""

    kind: ClassVar[str]
    live_fields: ClassVar[frozenset[str]] = frozenset()
    """Status fields that hold live numbers: alone they are written only every 15 s."""
    status_type: type[StatusT]

    def __init__(self, context: Context) -> None:
        self.context = context
        self._written: dict[str, dict[str, Any]] = {}
        self._uids: dict[ObjectKey, str] = {}

    @abstractmethod
    def parse(self, body: Mapping[str, Any]) -> ResourceT:
        """The typed resource. Raises SpecError."""

    @abstractmethod
    async def work(self, resource: ResourceT) -> Pass:
        """Observe, plan, execute. Errors of a part become that part; others may be raised."""

    @abstractmethod
    async def clean_up(self, resource: ResourceT) -> None:
        """Remove what the deletion policy says to remove. Raises until that is done."""

    def forget(self, key: ObjectKey, uid: str) -> None:
        """The object is gone: drop what is remembered of it."""
        self._written.pop(uid, None)
        self._uids.pop(key, None)
        self.context.nats.forget(key)
        self.context.postgres.forget(key)

    async def reconcile(self, key: ObjectKey, trigger: str) -> Outcome:
        """One pass. Called by the work queue, never twice at once for one object."""
        body = self.context.objects.get(key)
        if body is None:
            if key in self._uids:
                self.forget(key, self._uids[key])
            return Outcome()
        meta = parse_meta(body)
        self._uids[key] = meta.uid
        try:
            if meta.deleted_at is not None:
                return await self._delete(key, body, meta)
            return await self._live(key, body, meta)
        except ConflictError as error:  # a write lost a race; the watch brings the newer object
            log.info("lost a race, trying again: %s", error)
            return Outcome(requeue_after=1.0)

    async def _live(self, key: ObjectKey, body: Mapping[str, Any], meta: Meta) -> Outcome:
        if names.FINALIZER not in meta.finalizers:
            await self.context.kube.merge_metadata(
                self.context.ref(key),
                resource_version=meta.resource_version,
                finalizers=[*meta.finalizers, names.FINALIZER],
            )
        previous = self._previous(body, meta)
        if previous.observedGeneration != meta.generation:
            seen = previous.model_copy(
                update={
                    "observedGeneration": meta.generation,
                    "conditions": first_sight(
                        previous.conditions, generation=meta.generation, now=self._now()
                    ),
                }
            )
            await self._write(body, meta, seen)
            previous = seen
        try:
            resource = self.parse(body)
            result = await self.work(resource)
        except (KubernetesError, ConflictError):
            raise  # nobody to tell: the API server itself is the trouble
        except OutboxError as error:
            part = Part(
                type=ConditionType.READY, status="False", reason=error.reason,
                message=error.message, stalled=not error.retryable, failing=True,
            )  # fmt: skip
            result = Pass(parts=[part], ready_reason="", requeue_after=STALLED_BACKOFF_SECONDS)
        parts = [*result.parts, self._paused(meta)]
        after = self._conditions(parts, result.ready_reason, previous.conditions, meta)
        ready = _is_ready(after)
        version_seen = version.VERSION if ready else previous.operatorVersion
        status = self.status_type.model_validate(
            {
                **previous.model_dump(by_alias=True),
                **result.fields,
                "observedGeneration": meta.generation,
                "conditions": [c.model_dump() for c in after],
                "operatorVersion": version_seen,
            }
        )
        await self._write(body, meta, status, now=result.write_now)
        await self._announce(body, previous.conditions, after)
        if names.RECONCILE_AT_ANNOTATION in meta.annotations:
            await self.clear_annotation(key, names.RECONCILE_AT_ANNOTATION)
        if ready:
            return Outcome(requeue_after=result.requeue_after)
        if not any(part.failing for part in parts):
            return Outcome(requeue_after=WAITING_SECONDS)
        stalled = any(part.stalled for part in parts)
        return Outcome(
            failed=True,
            requeue_after=STALLED_BACKOFF_SECONDS if stalled else DEPENDENCY_BACKOFF_SECONDS,
        )

    def _conditions(
        self, parts: Sequence[Part], ready_reason: str, previous: Sequence[Condition], meta: Meta
    ) -> list[Condition]:
        singles = [part for part in parts if part.type is not ConditionType.READY]
        merged = conditions(
            parts, ready_reason=ready_reason, previous=previous, generation=meta.generation,
            now=self._now(),
        )  # fmt: skip
        wanted = {part.type.value for part in singles} | {"Ready", "Reconciling", "Stalled"}
        unique: dict[str, Condition] = {}
        for condition in merged:
            unique.setdefault(condition.type, condition)
        return [condition for kind, condition in unique.items() if kind in wanted]

    def _paused(self, meta: Meta) -> Part:
        if meta.paused:
            text = f"annotation {names.PAUSE_ANNOTATION} is set; nothing is changed until it goes"
            return info(ConditionType.PAUSED, True, "Paused", text)
        return info(ConditionType.PAUSED, False, "Active")

    def _previous(self, body: Mapping[str, Any], meta: Meta) -> StatusT:
        """The last status: what we wrote, when the watch has not brought it back yet."""
        written = self._written.get(meta.uid)
        return parse_status({**body, "status": written} if written else body, self.status_type)

    async def _write(
        self, body: Mapping[str, Any], meta: Meta, status: StatusT, *, now: bool = True
    ) -> None:
        after = status.model_dump(mode="json", by_alias=True, exclude_none=True)
        before = self._written.get(meta.uid) or dict(body.get("status") or {})
        if after == before or not (
            now or worth_writing(before, after, self.live_fields, self._now())
        ):
            return
        await self.context.kube.apply_status(
            {
                "apiVersion": names.API_VERSION,
                "kind": self.kind,
                "metadata": {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid},
                "status": after,
            }
        )
        self._written[meta.uid] = after

    async def _announce(
        self, body: Mapping[str, Any], before: Sequence[Condition], after: Sequence[Condition]
    ) -> None:
        """One Kubernetes event whenever Ready changes its status or reason."""
        old = next((c for c in before if c.type == ConditionType.READY), None)
        new = next(c for c in after if c.type == ConditionType.READY)
        if old is not None and (old.status, old.reason) == (new.status, new.reason):
            return
        level = logging.INFO if new.status == "True" else logging.WARNING
        log.log(level, "%s: %s", new.reason, new.message or "ready")
        await self.event(
            body,
            type="Normal" if new.status == "True" else "Warning",
            reason=new.reason,
            note=new.message or f"{self.kind} is ready",
        )

    async def event(
        self,
        body: Mapping[str, Any],
        *,
        type: Literal["Normal", "Warning"],
        reason: str,
        note: str,
    ) -> None:
        """Record a Kubernetes event; failing to do so is logged and nothing more."""
        try:
            await self.context.kube.record_event(
                body, type=type, reason=reason, note=note, action="Reconcile"
            )
        except OutboxError as error:
            log.warning("could not record event %s: %s", reason, error)

    async def _delete(self, key: ObjectKey, body: Mapping[str, Any], meta: Meta) -> Outcome:
        if names.FINALIZER not in meta.finalizers:
            return Outcome()
        age = (self._now() - datetime.fromisoformat(str(meta.deleted_at))).total_seconds()
        try:
            resource = self.parse(body)
            async with asyncio.timeout(CLEAN_UP_SECONDS):
                await self.clean_up(resource)
        except SpecError as error:
            log.warning("deleted with an unreadable spec, nothing is cleaned up: %s", error)
        except (OutboxError, TimeoutError) as error:
            gone = isinstance(error, CredentialsError) and error.reason.startswith("Secret")
            deadline = self.context.settings.deletion_deadline_s
            if gone:
                deadline = min(deadline, NO_CREDENTIALS_DEADLINE_SECONDS)
            text = str(error) or "timed out"
            if age < deadline:
                log.warning("clean-up failed, trying again until %ss: %s", deadline, text)
                await self.event(
                    body, type="Warning", reason="CleanupFailed",
                    note=f"will be retried until {deadline:.0f} s after deletion: {text}",
                )  # fmt: skip
                return Outcome(failed=True, requeue_after=5.0)
            log.error("clean-up abandoned after %ss, left behind: %s", deadline, text)
            await self.event(
                body, type="Warning", reason="CleanupAbandoned",
                note=f"let go after {deadline:.0f} s; what it owned outside Kubernetes was left "
                f"behind: {text}",
            )  # fmt: skip
        await self.context.kube.merge_metadata(
            self.context.ref(key),
            resource_version=meta.resource_version,
            finalizers=[name for name in meta.finalizers if name != names.FINALIZER],
        )
        self.forget(key, meta.uid)
        return Outcome()

    async def announce_drift(self, meta: Meta, drifts: Sequence[str]) -> None:
        """Say what somebody had changed and was put back."""
        for text in drifts:
            log.warning("drift corrected: %s", text)
            body = self.context.objects.get(ObjectKey(meta.kind, meta.namespace, meta.name))
            if body is not None:
                await self.event(body, type="Warning", reason="DriftCorrected", note=text)

    def restarted_at(self, meta: Meta, deployment: str, *, now: bool) -> str | None:
        """The restart stamp for pod templates: now on request, else what the pods carry."""
        if now:
            return stamp(self._now())
        return restarted_at(self.context.children.get("Deployment", meta.namespace, deployment))

    async def clear_annotation(self, key: ObjectKey, name: str) -> None:
        """Remove a one-shot annotation that was acted upon."""
        await self.context.kube.merge_metadata(self.context.ref(key), annotations={name: None})

    def _now(self) -> datetime:
        return datetime.now(UTC)


def _is_ready(after: Sequence[Condition]) -> bool:
    return any(c.type == ConditionType.READY and c.status == "True" for c in after)
