"""Who may lead, and when the heartbeat counts as silent."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import UTC, datetime
from typing import cast

import pytest

from outbox_operator.adapters.kubernetes.client import Kube
from outbox_operator.adapters.kubernetes.lease import LeaseRecord, lease_manifest, parse_lease
from outbox_operator.controller.runtime.lease import (
    Heartbeat,
    Lease,
    Sighting,
    claim,
    may_take,
    sight,
)
from outbox_operator.controller.settings import Settings
from outbox_operator.errors import ConflictError

THEN = datetime(2026, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 1, 1, 0, 0, 5, 250_000, tzinfo=UTC)


def record(
    holder: str = "other", version: str | None = "1", renewed: datetime = THEN, asked_by: str = ""
) -> LeaseRecord:
    return LeaseRecord(
        holder=holder,
        duration_seconds=15,
        acquired=THEN,
        renewed=renewed,
        transitions=3,
        version=version,
        asked_by=asked_by,
    )


@pytest.mark.parametrize(
    ("sighting", "now", "free"),
    [
        (None, 0, True),
        (Sighting(record(""), 0), 0, True),
        (Sighting(record("me"), 0), 0, True),
        (Sighting(record("other"), 0), 0, False),
        (Sighting(record("other"), 0), 15, False),
        (Sighting(record("other"), 0), 15.1, True),
    ],
)
def test_may_take(sighting: Sighting | None, now: float, free: bool) -> None:
    assert may_take(sighting, "me", now) is free


def test_a_renewal_starts_the_holders_time_anew_and_silence_does_not() -> None:
    first = sight(None, record(version="1"), 0)
    assert sight(first, record(version="1"), 10) == first
    again = sight(first, record(version="2", renewed=NOW), 10)
    assert again is not None
    assert again.since == 10
    asked = record(version="2", asked_by="me")
    assert sight(first, asked, 10) == Sighting(asked, 0), "that is no sign of life of its holder"
    assert sight(first, None, 10) is None


@pytest.mark.parametrize(
    ("sighting", "acquired", "transitions", "version"),
    [
        (None, NOW, 0, None),
        (Sighting(record("other", "7"), 0), NOW, 4, "7"),
        (Sighting(record("", "7"), 0), NOW, 4, "7"),
        (Sighting(record("me", "7"), 0), THEN, 3, "7"),
    ],
)
def test_claim(
    sighting: Sighting | None, acquired: datetime, transitions: int, version: str | None
) -> None:
    assert claim(sighting, "me", 15, NOW) == LeaseRecord(
        holder="me",
        duration_seconds=15,
        acquired=acquired,
        renewed=NOW,
        transitions=transitions,
        version=version,
    )


def test_a_lease_survives_its_way_through_the_api() -> None:
    manifest = lease_manifest("ns", "lease", claim(None, "me", 15, NOW))
    manifest["metadata"]["resourceVersion"] = "9"
    back = parse_lease(manifest)
    assert (back.holder, back.acquired, back.renewed, back.version) == ("me", NOW, NOW, "9")


def test_an_empty_lease_is_free() -> None:
    back = parse_lease({"metadata": {"resourceVersion": "1"}})
    assert may_take(Sighting(back, 0), "me", 0)


def test_the_heartbeat_is_silent_only_while_renewals_succeed() -> None:
    heart = Heartbeat()
    assert heart.silent_seconds() == 0
    heart.renewed(10)
    assert heart.silent_seconds() == 0
    heart.seen(11)
    heart.renewed(12)
    assert heart.silent_seconds() == 1
    # The API server is away: neither renewals nor sightings.
    assert heart.silent_seconds() == 1
    heart.renewed(200)
    assert heart.silent_seconds() == 189
    heart.seen(200.5)
    assert heart.silent_seconds() == 0


class Server:
    """Leases of an API server that takes its time over a write."""

    def __init__(self) -> None:
        self.held: LeaseRecord | None = None
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def lease(self, _namespace: str, _name: str) -> LeaseRecord | None:
        return self.held

    async def put_lease(self, _namespace: str, name: str, record: LeaseRecord) -> LeaseRecord:
        self.begun.set()
        await self.go_on.wait()
        version = None if self.held is None else self.held.version
        if record.version != version:
            raise ConflictError(f"{name} was written meanwhile")
        self.held = dataclasses.replace(record, version=str(int(version or 0) + 1))
        return self.held


async def test_what_is_given_back_is_not_taken_again_by_a_renewal_under_way() -> None:
    server = Server()
    settings = Settings(image="i", lease_namespace="system", identity="me")
    lease = Lease(cast(Kube, server), settings, "lease-slice-0", "me")
    await lease.take(None)
    server.begun.clear()
    server.go_on.clear()
    renewal = asyncio.create_task(lease.keep())
    await server.begun.wait()
    release = asyncio.create_task(lease.release(given_to="other"))
    server.go_on.set()
    await asyncio.gather(renewal, release)
    assert server.held is not None
    assert (server.held.holder, server.held.asked_by) == ("", "other")
    assert not lease.is_held
    await lease.keep()
    assert server.held.holder == ""


async def test_what_somebody_asked_for_can_be_given_back() -> None:
    server = Server()
    settings = Settings(image="i", lease_namespace="system", identity="me")
    lease = Lease(cast(Kube, server), settings, "lease-slice-0", "me")
    await lease.take(None)
    assert server.held is not None
    other = Lease(cast(Kube, server), settings, "lease-slice-0", "other")
    await other.ask(server.held)
    await lease.release(given_to="other")
    assert (server.held.holder, server.held.asked_by) == ("", "other")
