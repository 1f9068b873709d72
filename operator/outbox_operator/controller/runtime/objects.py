"""The latest body of each of our objects, and what in a change deserves a pass.

Fed by the kopf watch (`observed`, `lost`) and by the resync's lists (`compare`), read by the
reconcilers. It also knows how far the watch is behind the lists: a watch can go deaf while its
connection looks healthy, and the liveness probe must notice.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from outbox_operator.api import meta
from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.plan.kubernetes.surplus import entries_of_others
from outbox_operator.plan.ownership import CONFLICTS
from outbox_operator.plan.tasks.lean import lean

Body = dict[str, Any]

_OF_OTHERS: Final = ("name", "namespace", "uid", "resourceVersion")


@dataclass(frozen=True, slots=True)
class Missed:
    """An object the watch has not told us of, or told us an older version of."""

    key: ObjectKey
    trigger: str


def key_of(body: Mapping[str, Any]) -> ObjectKey:
    """Key of a raw object of ours."""
    metadata = body["metadata"]
    return ObjectKey(body["kind"], metadata.get("namespace", ""), metadata["name"])


def version_of(body: Mapping[str, Any]) -> int:
    """The resource version as a number: within one kind, newer is larger."""
    return int(body["metadata"]["resourceVersion"])


def trigger_of(old: Body | None, new: Body) -> str | None:
    """Why a change deserves a pass, or None when it does not (a status was written).

    Args:
        old: The body before, None when there was none.
        new: The body now.
    """
    if old is None:
        return "created"
    before, now = old["metadata"], new["metadata"]
    if before.get("uid") != now.get("uid"):
        return "created"
    if before.get("deletionTimestamp") != now.get("deletionTimestamp"):
        return "deleted"
    if before.get("generation") != now.get("generation"):
        return "generation"
    if _annotations_differ(before.get("annotations") or {}, now.get("annotations") or {}):
        return "annotation"
    if (before.get("labels") or {}) != (now.get("labels") or {}):
        return "labels"
    if _finalizer(before) and not _finalizer(now) and cleaned_up_after(new):
        return "finalizer"
    return None


def cleaned_up_after(body: Mapping[str, Any]) -> bool:
    """Whether an object leaves something to remove when it goes: only then it is held back.

    Of the raw body, because one that cannot be read in full may have to go as well.
    """
    spec = body.get("spec")
    return isinstance(spec, Mapping) and spec.get("deletionPolicy") == "Delete"


def _annotations_differ(old: Mapping[str, str], new: Mapping[str, str]) -> bool:
    if old.get(meta.PAUSE_ANNOTATION) != new.get(meta.PAUSE_ANNOTATION):
        return True
    # We remove one-shot annotations ourselves when done; that must not wake us again.
    return any(new.get(name) not in (None, old.get(name)) for name in meta.ONE_SHOT_ANNOTATIONS)


def _finalizer(metadata: Mapping[str, Any]) -> bool:
    return meta.FINALIZER in (metadata.get("finalizers") or ())


def _owners(body: Mapping[str, Any]) -> list[str]:
    references = (body.get("metadata") or {}).get("ownerReferences") or ()
    return [owner["uid"] for owner in references if owner.get("controller")]


def stream_of(body: Mapping[str, Any]) -> str | None:
    """Name of the EventStream that an object refers to, in its own namespace."""
    spec = body.get("spec") or {}
    if body["kind"] == meta.PIPELINE:
        ref = (spec.get("stream") or {}).get("ref")
    elif body["kind"] == meta.CONSUMER:
        ref = spec.get("streamRef")
    else:
        ref = None
    return ref.get("name") if isinstance(ref, dict) else None


def trimmed(body: Mapping[str, Any]) -> Body:
    """The body without the bookkeeping of field managers, which is half of it, and without long
    lists of tasks.

    What others added to an object that we made is kept: it is drift.
    """
    metadata = {k: v for k, v in body["metadata"].items() if k != "managedFields"}
    if metadata.get("ownerReferences") and (others := entries_of_others(body["metadata"])):
        metadata["managedFields"] = others
    return lean({**body, "metadata": metadata})


def stub(body: Mapping[str, Any]) -> Body:
    """What has to be known of an object that another process looks after.

    That it lives, and of a consumer what it reads and how.
    """
    metadata = {name: body["metadata"].get(name) for name in _OF_OTHERS}
    found: Body = {"kind": body["kind"], "metadata": metadata}
    if body["kind"] == meta.CONSUMER:
        status = body.get("status") or {}
        known = ("consumer", "conditions", "operatorVersion")
        found |= {"apiVersion": body["apiVersion"], "spec": body.get("spec")}
        found["status"] = {name: status[name] for name in known if name in status}
    return found


class Objects:
    """Our objects by key. Bodies are shared: read-only.

    Args:
        clock: Monotonic seconds.
        leads: Whether this process looks after a namespace. Of what is elsewhere little is kept,
            and it is in nothing but `everywhere`.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        leads: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self._clock = clock
        self._leads = leads
        self._bodies: dict[str, dict[ObjectKey, Body]] = defaultdict(dict)
        """By kind first: passes ask for all objects of a kind."""
        self._elsewhere: dict[str, dict[ObjectKey, Body]] = defaultdict(dict)
        self._uids: defaultdict[str, set[str]] = defaultdict(set)
        """Of both: each pass asks whether one of thousands lives."""
        self._owned: defaultdict[tuple[str, str], set[ObjectKey]] = defaultdict(set)
        """By namespace and UID of the owner: anybody may write a foreign UID into their objects."""
        self._referring: defaultdict[tuple[str, str], set[ObjectKey]] = defaultdict(set)
        """By namespace and name of an EventStream: there may be thousands in a namespace."""
        self._watched: dict[ObjectKey, int] = {}
        """Version the watch last told us of; a list does not change it."""
        self._deleted: dict[ObjectKey, int] = {}
        """Version of recent deletions: a list that is older must not bring an object back."""
        self._behind: dict[ObjectKey, tuple[int | None, float]] = {}
        """Version the watch should have told us of (None: deletion), and since when."""

    def get(self, key: ObjectKey) -> Body | None:
        """Latest body, or None when there is no such object."""
        return self._bodies[key.kind].get(key)

    def uid(self, key: ObjectKey) -> str | None:
        """UID of an object that is there."""
        body = self.get(key)
        return None if body is None else str(body["metadata"]["uid"])

    def of_kind(self, kind: str, namespace: str | None = None) -> list[Body]:
        """All objects of a kind, in one namespace or all."""
        return [
            body for key, body in self._bodies[kind].items() if namespace in (None, key.namespace)
        ]

    def everywhere(self, kind: str) -> list[Body]:
        """All objects of a kind; of what other processes look after only what `stub` keeps."""
        return [*self._bodies[kind].values(), *self._elsewhere[kind].values()]

    def uids(self, kind: str) -> Container[str]:
        """UIDs of all objects of a kind, whichever process looks after them; as it is now."""
        return self._uids[kind]

    def is_ours(self, key: ObjectKey) -> bool:
        """Whether this process looks after it."""
        return self._leads(key.namespace)

    def in_conflict(self, kind: str) -> list[ObjectKey]:
        """Objects that lack something because it is somebody else's."""
        return [
            key
            for key, body in self._bodies[kind].items()
            if any(
                one.get("reason") in CONFLICTS
                for one in (body.get("status") or {}).get("conditions") or ()
            )
        ]

    def leave_others(self) -> dict[ObjectKey, str]:
        """Keep little of what this process does not look after any more; returns its UIDs."""
        left = [
            (key, body)
            for bodies in self._bodies.values()
            for key, body in bodies.items()
            if not self.is_ours(key)
        ]
        for key, body in left:
            self._keep(key, body)
        return {key: str(body["metadata"]["uid"]) for key, body in left}

    def namespaces(self) -> set[str]:
        """Where there are any."""
        return {key.namespace for bodies in self._bodies.values() for key in bodies}

    def owned_by(self, namespace: str, uid: str) -> list[Body]:
        """All objects of ours that another one of ours controls, in its own namespace."""
        keys = sorted(self._owned.get((namespace, uid), ()))
        return [self._bodies[key.kind][key] for key in keys]

    def referring_to(self, namespace: str, stream: str) -> list[Body]:
        """All objects of ours that name an EventStream."""
        keys = sorted(self._referring.get((namespace, stream), ()))
        return [self._bodies[key.kind][key] for key in keys]

    def _known(self, key: ObjectKey) -> Body | None:
        return (self._bodies if self.is_ours(key) else self._elsewhere)[key.kind].get(key)

    def _keep(self, key: ObjectKey, raw: Mapping[str, Any]) -> Body:
        self._drop(key)
        self._uids[key.kind].add(raw["metadata"]["uid"])
        if not self.is_ours(key):
            body = self._elsewhere[key.kind][key] = stub(raw)
            return body
        body = self._bodies[key.kind][key] = trimmed(raw)
        for index, name in self._places(key, body):
            index[name].add(key)
        return body

    def _drop(self, key: ObjectKey) -> Body | None:
        away = self._elsewhere[key.kind].pop(key, None)
        body = self._bodies[key.kind].pop(key, None)
        for one in (away, body):
            if one is not None:
                self._uids[key.kind].discard(one["metadata"]["uid"])
        for index, name in () if body is None else self._places(key, body):
            index[name].discard(key)
            if not index[name]:
                del index[name]
        return body or away

    def _places(
        self, key: ObjectKey, body: Body
    ) -> Iterator[tuple[defaultdict[Any, set[ObjectKey]], Any]]:
        """Where an object stands in the indexes."""
        for uid in _owners(body):
            yield self._owned, (key.namespace, uid)
        if (stream := stream_of(body)) is not None:
            yield self._referring, (key.namespace, stream)

    def observed(self, body: Mapping[str, Any]) -> tuple[Body | None, Body]:
        """The watch brought an object: returns the bodies before and now.

        An older version than we have changes nothing.
        """
        key, version = key_of(body), version_of(body)
        self._watched[key] = max(version, self._watched.get(key, 0))
        self._caught_up(key)
        old = self._known(key)
        if old is not None and version_of(old) >= version:
            return old, old
        new = self._keep(key, body)
        return old, new

    def lost(self, body: Mapping[str, Any]) -> Body | None:
        """The watch brought a deletion: returns what we had, None if that was a newer namesake."""
        key, version = key_of(body), version_of(body)
        old = self._known(key)
        if old is not None and version_of(old) > version:
            return None
        self._deleted[key] = version
        self._watched.pop(key, None)
        self._behind.pop(key, None)
        return self._drop(key) or trimmed(body)

    def compare(
        self, kind: str, listed: Iterable[Body], version: int, namespace: str | None
    ) -> list[Missed]:
        """Compare a fresh list with what the watch told us, and take over what is newer.

        Args:
            kind: Kind of the list.
            listed: All objects, in `namespace` or everywhere.
            version: Version of the list: the watch may know better by now.
            namespace: None for everywhere.

        Returns:
            Objects that deserve a pass.
        """
        missed: list[Missed] = []
        now = self._clock()
        found: set[ObjectKey] = set()
        for raw in listed:
            key = key_of(raw)
            found.add(key)
            if self._deleted.get(key, 0) > version_of(raw):
                continue
            if self._watched.get(key, 0) < version_of(raw):
                self._behind.setdefault(key, (version_of(raw), now))
            old = self._known(key)
            if old is None or version_of(old) < version_of(raw):
                body = self._keep(key, raw)
                if self.is_ours(key) and (trigger := trigger_of(old, body)) is not None:
                    missed.append(Missed(key, trigger))
        for key, body in [*self._bodies[kind].items(), *self._elsewhere[kind].items()]:
            ours = namespace in (None, key.namespace)
            if ours and key not in found and version_of(body) <= version:
                self._drop(key)
                if self._watched.pop(key, None) is not None:
                    self._behind[key] = (None, now)
                else:
                    self._behind.pop(key, None)
                missed.append(Missed(key, "gone"))
        self._deleted = {
            key: at
            for key, at in self._deleted.items()
            if key.kind != kind or namespace not in (None, key.namespace) or at > version
        }
        return missed

    def newer(self, listed: Iterable[Body]) -> list[ObjectKey]:
        """Of a list, what is not known, or in an older version only."""
        found = []
        for raw in listed:
            old = self._known(key := key_of(raw))
            if old is None or version_of(old) < version_of(raw):
                found.append(key)
        return found

    def behind_seconds(self) -> float:
        """For how long the watch has owed us a change; 0 when it owes none."""
        since = min((since for _, since in self._behind.values()), default=None)
        return 0.0 if since is None else self._clock() - since

    def _caught_up(self, key: ObjectKey) -> None:
        owed = self._behind.get(key)
        if owed is not None and owed[0] is not None and self._watched[key] >= owed[0]:
            del self._behind[key]
