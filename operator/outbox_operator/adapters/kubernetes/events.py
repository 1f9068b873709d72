"""Kubernetes Events about our objects. Called through `Kube.record_event`.

What is said again within a while is the same Event, seen once more: `kubectl events` counts it and
puts it last. So the last thing that a person sees is the last thing that was said.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal
from uuid import uuid4

from outbox_operator.adapters.kubernetes.objects import collection_path
from outbox_operator.adapters.kubernetes.transport import MERGE_PATCH, Transport
from outbox_operator.api import meta
from outbox_operator.errors import OutboxError
from outbox_operator.reasons import Reason
from outbox_operator.wire.times import format_time

log = logging.getLogger(__name__)

SERIES_SECONDS: Final = 600.0
"""The same thing about the same object makes another Event only after this time without it."""
MOST_REMEMBERED: Final = 5_000
"""What somebody has us say, with another name each time, must not fill memory."""
NOTE_LIMIT_BYTES: Final = 1024
EVENTS_API: Final = "events.k8s.io/v1"

EventType = Literal["Normal", "Warning"]


@dataclass(slots=True)
class _Said:
    name: str
    count: int
    at: float


class EventRecorder:
    """Writes Events; remembers for a while what it said, and in which Event."""

    def __init__(
        self, transport: Transport, instance: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._transport = transport
        self._instance = instance
        self._clock = clock
        self._said: dict[tuple[str, str, str], _Said] = {}
        """By object, reason and digest of the note; what was said last comes last."""

    async def record(
        self,
        regarding: Mapping[str, Any],
        *,
        type: EventType,
        reason: Reason,
        note: str,
        action: str,
    ) -> None:
        """Say something about an object.

        Events are a courtesy: a failure to write one is logged and changes nothing else.

        Args:
            regarding: The object, with apiVersion, kind and metadata.
            type: Normal or Warning.
            reason: CamelCase word.
            note: A sentence; cut at 1 kB.
            action: CamelCase verb: what the operator did.
        """
        metadata = regarding["metadata"]
        uid = metadata.get("uid", "")
        mark = (uid, reason, hashlib.sha256(note.encode()).hexdigest())
        now = self._clock()
        self._forget_old(now)
        namespace = metadata.get("namespace") or "default"
        subject = f"events about {regarding['kind']} {namespace}/{metadata['name']}"
        # 253 characters is the limit of a name; ours stay well below, others' may not.
        fresh = _Said(f"{metadata['name'][:200]}.{uuid4().hex[:16]}", 1, now)
        said = self._said[mark] = self._said.pop(mark, fresh)
        if said is not fresh:
            said.count, said.at = said.count + 1, now
            if await self._count(said, namespace, subject):
                return
            said = self._said[mark] = fresh
        event = {
            "apiVersion": EVENTS_API,
            "kind": "Event",
            "metadata": {
                "name": said.name,
                "namespace": namespace,
            },
            "eventTime": format_time(datetime.now(UTC), "microseconds"),
            "reportingController": f"{meta.GROUP}/{meta.MANAGED_BY}",
            "reportingInstance": self._instance[:128],
            "type": type,
            "reason": reason,
            "action": action,
            "note": cut(note),
            "regarding": {
                "apiVersion": regarding["apiVersion"],
                "kind": regarding["kind"],
                "name": metadata["name"],
                "namespace": metadata.get("namespace", ""),
                "uid": uid,
                "resourceVersion": metadata.get("resourceVersion", ""),
            },
        }
        try:
            await self._transport.request(
                "POST",
                collection_path(EVENTS_API, "events", namespace),
                body=event,
                subject=subject,
            )
        except OutboxError as error:
            self._said.pop(mark, None)
            log.warning("event not written: %s", error, extra={"event_reason": reason})

    def _forget_old(self, now: float) -> None:
        while self._said:
            oldest = next(iter(self._said))
            recent = now - self._said[oldest].at < SERIES_SECONDS
            if recent and len(self._said) < MOST_REMEMBERED:
                return
            del self._said[oldest]

    async def _count(self, said: _Said, namespace: str, subject: str) -> bool:
        """See an Event once more; False: it is gone, or may not be changed."""
        seen = format_time(datetime.now(UTC), "microseconds")
        try:
            await self._transport.request(
                "PATCH",
                f"{collection_path(EVENTS_API, 'events', namespace)}/{said.name}",
                body={"series": {"count": said.count, "lastObservedTime": seen}},
                content_type=MERGE_PATCH,
                subject=subject,
            )
        except OutboxError as error:
            log.info("event not counted, written anew: %s", error)
            return False
        return True


def cut(note: str) -> str:
    """The note, shortened to what the API accepts."""
    encoded = note.encode()
    if len(encoded) <= NOTE_LIMIT_BYTES:
        return note
    return encoded[: NOTE_LIMIT_BYTES - 3].decode(errors="ignore") + "…"
