"""The record of a coordination Lease, as a value. Pure.

What to do with it is decided in `controller.runtime.sightings`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from outbox_operator.wire.times import format_time

LEASE_API: Final = "coordination.k8s.io/v1"
ASKED_BY_ANNOTATION: Final = "outbox.dev/asked-by"
"""On the Lease of a slice: which process would like to have it, or was given it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRecord:
    """What a Lease says.

    Attributes:
        holder: Identity of the holder; empty when it was released.
        duration_seconds: How long the holder may be silent.
        acquired: When the holder took it.
        renewed: When the holder last renewed it.
        transitions: How often the holder changed.
        version: The object's resourceVersion; None for one that does not exist yet.
        asked_by: Who would like to hold it.
    """

    holder: str
    duration_seconds: int
    acquired: datetime
    renewed: datetime
    transitions: int
    version: str | None
    asked_by: str = ""


def parse_lease(body: Mapping[str, Any]) -> LeaseRecord:
    """The record of a raw Lease; fields that are missing count as empty or long ago."""
    spec = body.get("spec") or {}
    return LeaseRecord(
        holder=spec.get("holderIdentity") or "",
        duration_seconds=spec.get("leaseDurationSeconds") or 0,
        acquired=_parse_time(spec.get("acquireTime")),
        renewed=_parse_time(spec.get("renewTime")),
        transitions=spec.get("leaseTransitions") or 0,
        version=body["metadata"]["resourceVersion"],
        asked_by=(body["metadata"].get("annotations") or {}).get(ASKED_BY_ANNOTATION, ""),
    )


def lease_manifest(namespace: str, name: str, record: LeaseRecord) -> dict[str, Any]:
    """The Lease that says `record`."""
    metadata: dict[str, Any] = {"namespace": namespace, "name": name}
    if record.version is not None:
        metadata["resourceVersion"] = record.version
    if record.asked_by:
        metadata["annotations"] = {ASKED_BY_ANNOTATION: record.asked_by}
    return {
        "apiVersion": LEASE_API,
        "kind": "Lease",
        "metadata": metadata,
        "spec": {
            "holderIdentity": record.holder,
            "leaseDurationSeconds": record.duration_seconds,
            "acquireTime": format_time(record.acquired, "microseconds"),
            "renewTime": format_time(record.renewed, "microseconds"),
            "leaseTransitions": record.transitions,
        },
    }


def _parse_time(text: str | None) -> datetime:
    if not text:
        return datetime.fromtimestamp(0, UTC)
    return datetime.fromisoformat(text)
