"""What comes in about our own objects, from the watch and from lists: remembered, then passed on
to the work queue if it deserves a pass.

Called by the kopf glue (`event`) and by the resync (`listed`). Knows which objects depend on
which, so that a stream that becomes ready wakes the pipeline that waits for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from outbox_operator.api import meta
from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.v1alpha1.task import REFS
from outbox_operator.controller.metrics import OperatorMetrics
from outbox_operator.controller.runtime.child_cache import owner_of
from outbox_operator.controller.runtime.objects import (
    Body,
    Objects,
    key_of,
    stream_of,
    trigger_of,
)
from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.controller.runtime.schedule import Urgency

log = logging.getLogger(__name__)

_WRITTEN_BY_OWNER: Final = frozenset({"created", "generation", "labels"})
"""What befalls a child because the pass over its owner has written it."""

Wake = Callable[[ObjectKey, str, Urgency], None]


def relevant_fields(body: Mapping[str, Any]) -> dict[str, Any]:
    """The part of an object that others care about: not its live numbers."""
    metadata, status = body["metadata"], body.get("status") or {}
    return {
        "uid": metadata.get("uid"),
        "generation": metadata.get("generation"),
        "deleted": metadata.get("deletionTimestamp"),
        "owner": owner_of(body),
        "observed": status.get("observedGeneration"),
        "conditions": [
            (one.get("type"), one.get("status"), one.get("reason"), one.get("message"))
            for one in status.get("conditions") or ()
        ],
        "replicas": (status.get("replicas"), status.get("readyReplicas")),
    }


def urgency_of(trigger: str, body: Body) -> Urgency:
    """How soon an object of ours deserves its pass: what a person did goes first.

    Args:
        trigger: From `trigger_of`.
        body: The object now.
    """
    metadata, status = body["metadata"], body.get("status") or {}
    if trigger == "created" and not _asked_for(metadata, status):
        return Urgency.BACKGROUND  # it was there before this process, and nobody has touched it
    ours = owner_of(body) is not None and metadata.get("deletionTimestamp") is None
    if ours and trigger in _WRITTEN_BY_OWNER:
        return Urgency.ORDINARY
    return Urgency.URGENT


def _asked_for(metadata: Mapping[str, Any], status: Mapping[str, Any]) -> bool:
    """Whether somebody wants something of an object that its status does not answer yet."""
    annotations = metadata.get("annotations") or {}
    paused = any(
        one.get("type") == ConditionType.PAUSED and one.get("status") == "True"
        for one in status.get("conditions") or ()
    )
    wants_pause = annotations.get(meta.PAUSE_ANNOTATION) == "true"
    return (
        metadata.get("deletionTimestamp") is not None
        or status.get("observedGeneration") != metadata.get("generation")
        or any(name in annotations for name in meta.ONE_SHOT_ANNOTATIONS)
        # A child is paused with its owner.
        or (paused is not wants_pause and not metadata.get("ownerReferences"))
    )


def dependents(body: Mapping[str, Any], neighbours: Iterable[Body]) -> set[ObjectKey]:
    """Objects that care about this one: its owner, what refers to it, and who stands still for it.

    Args:
        body: An object of ours.
        neighbours: Our objects of its namespace that may be among them.
    """
    owner = owner_of(body)
    found = set() if owner is None else {owner}
    if body["kind"] == meta.STREAM:
        name = body["metadata"]["name"]
        found |= {key_of(other) for other in neighbours if stream_of(other) == name}
    if body["kind"] in REFS.values():
        kind, name = body["kind"], body["metadata"]["name"]
        tasks = (other for other in neighbours if other["kind"] == meta.TASK)
        found |= {key_of(task) for task in tasks if _is_about(task, kind, name)}
    if body["kind"] == meta.TASK and (spec := body.get("spec") or {}).get("resetConsumer"):
        # Its pods end for the task, and come back after it.
        name = (spec.get("consumerRef") or {}).get("name", "")
        found.add(ObjectKey(meta.CONSUMER, body["metadata"]["namespace"], name))
    return found


def _is_about(task: Mapping[str, Any], kind: str, name: str) -> bool:
    """Whether a task that is not at its end names an object."""
    status = task.get("status") or {}
    if status.get("completionTime"):
        return False
    spec = task.get("spec") or {}
    field = next((field for field, one in REFS.items() if one == kind), "")
    ref = spec.get(field)
    return isinstance(ref, dict) and ref.get("name") == name


class EventRouter:
    """Turns news about our objects into wake-ups."""

    def __init__(self, objects: Objects, wake: Wake, metrics: OperatorMetrics) -> None:
        self._objects = objects
        self._wake = wake
        self._metrics = metrics

    def event(self, kind: str | None, body: Mapping[str, Any]) -> None:
        """One event of the watch.

        Args:
            kind: ADDED, MODIFIED, DELETED, or None for what was there when the watch began.
            body: The object.
        """
        key = key_of(body)
        if kind == "DELETED":
            gone = self._objects.lost(body)
            if gone is not None and not self._objects.is_ours(key):
                self._wake_rivals(key.kind)
            elif gone is not None:
                self._wake(key, "gone", Urgency.URGENT)
                self._wake_dependents(key, gone)
            return
        old, new = self._objects.observed(body)
        if old is new or not self._objects.is_ours(key):
            return
        trigger = trigger_of(old, new)
        if trigger is not None:
            self._wake(key, trigger, urgency_of(trigger, new))
        if old is None or relevant_fields(old) != relevant_fields(new):
            self._wake_dependents(key, *(version for version in (old, new) if version is not None))

    def listed(self, kind: str, items: list[Body], version: int, namespace: str | None) -> int:
        """A fresh list of one kind: catches up with what the watch missed.

        Returns:
            How many objects deserved a pass.
        """
        missed = self._objects.compare(kind, items, version, namespace)
        for one in missed:
            if not self._objects.is_ours(one.key):  # it is gone
                self._wake_rivals(kind)
                continue
            body = self._objects.get(one.key)
            urgency = Urgency.URGENT if body is None else urgency_of(one.trigger, body)
            self._wake(one.key, f"resync:{one.trigger}", urgency)
            if body is not None:
                self._wake_dependents(one.key, body, urgency=max(urgency, Urgency.ORDINARY))
        return len(missed)

    def _wake_rivals(self, kind: str) -> None:
        """Something that another process looked after is gone: what it had may be free now."""
        for key in self._objects.in_conflict(kind):
            self._wake(key, "a rival is gone", Urgency.ORDINARY)

    def _wake_dependents(
        self, key: ObjectKey, *versions: Body, urgency: Urgency = Urgency.ORDINARY
    ) -> None:
        neighbours = self._objects.of_kind(meta.TASK, key.namespace)
        if key.kind == meta.STREAM:
            neighbours += self._objects.referring_to(key.namespace, key.name)
        found = {other for body in versions for other in dependents(body, neighbours)}
        for other in sorted(found):
            self._wake(other, f"child:{key.kind}/{key.name}", urgency)
