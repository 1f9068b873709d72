"""Kubernetes Events about our objects, each said once. Called through `Kube.record_event`."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal
from uuid import uuid4

from outbox_operator.adapters.kubernetes.objects import collection_path
from outbox_operator.adapters.kubernetes.transport import Transport
from outbox_operator.api import meta
from outbox_operator.errors import OutboxError
from outbox_operator.reasons import Reason
from outbox_operator.wire.times import format_time

log = logging.getLogger(__name__)

QUIET_SECONDS: Final = 600.0
"""The same thing about the same object is said again only after this time."""
NOTE_LIMIT_BYTES: Final = 1024
EVENTS_API: Final = "events.k8s.io/v1"

EventType = Literal["Normal", "Warning"]


class EventRecorder:
    """Writes Events; remembers for a while what it said."""

    def __init__(
        self, transport: Transport, instance: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._transport = transport
        self._instance = instance
        self._clock = clock
        self._said: dict[tuple[str, str, str], float] = {}

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
        self._said = {said: at for said, at in self._said.items() if now - at < QUIET_SECONDS}
        if mark in self._said:
            return
        self._said[mark] = now
        namespace = metadata.get("namespace") or "default"
        event = {
            "apiVersion": EVENTS_API,
            "kind": "Event",
            "metadata": {
                # 253 characters is the limit of a name; ours stay well below, others' may not.
                "name": f"{metadata['name'][:200]}.{uuid4().hex[:16]}",
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
        subject = f"events about {regarding['kind']} {namespace}/{metadata['name']}"
        try:
            await self._transport.request(
                "POST",
                collection_path(EVENTS_API, "events", namespace),
                body=event,
                subject=subject,
            )
        except OutboxError as error:
            del self._said[mark]
            log.warning("event not written: %s", error, extra={"event_reason": reason})


def cut(note: str) -> str:
    """The note, shortened to what the API accepts."""
    encoded = note.encode()
    if len(encoded) <= NOTE_LIMIT_BYTES:
        return note
    return encoded[: NOTE_LIMIT_BYTES - 3].decode(errors="ignore") + "…"
