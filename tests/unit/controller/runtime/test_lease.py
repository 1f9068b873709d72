"""Who may lead, and when the heartbeat counts as silent."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from datetime import UTC, datetime
from typing import cast

import pytest

from outbox_operator.adapters.kubernetes.client import Kube
from outbox_operator.adapters.kubernetes.lease import LeaseRecord, lease_manifest, parse_lease
from outbox_operator.controller.runtime import lease as lease_module
from outbox_operator.controller.runtime.lease import (
    Heartbeat,
    Lease,
    LeaseLostError,
    StoreRestoredError,
    elapsed,
)
from outbox_operator.controller.runtime.sightings import (
    MOST_TRANSITIONS,
    Patience,
    Sighting,
    claim,
    is_of_an_earlier_store,
    may_take,
    sight,
)
from outbox_operator.controller.settings import Settings
from outbox_operator.errors import AccessDeniedError, ConflictError, OutboxError, SpecError
from support.waiting import eventually

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
        (Sighting(dataclasses.replace(record(""), duration_seconds=1), 0, 1), 0, True),
        (Sighting(record("me"), 0, 15), 0, True),
        (Sighting(record("other"), 0, 15), 0, False),
        (Sighting(record("other"), 0, 15), 15, False),
        (Sighting(record("other"), 0, 15), 15.1, True),
    ],
)
def test_may_take(sighting: Sighting, now: float, free: bool) -> None:
    assert may_take(sighting, "me", now) is free


def seen(previous: Sighting | None, record: LeaseRecord | None, now: float) -> Sighting:
    return sight(previous, record, now, Patience(unseen_seconds=4, silent_seconds=15))


def test_a_renewal_starts_the_holders_time_anew_and_silence_does_not() -> None:
    first = seen(None, record(version="1"), 0)
    assert seen(first, record(version="1"), 10) == first
    assert seen(first, record(version="2", renewed=NOW), 10).since == 10
    asked = record(version="2", asked_by="me")
    assert seen(first, asked, 10) == Sighting(asked, 0, 15), "no sign of life of its holder"


def test_a_lease_that_was_deleted_is_left_to_its_holder_for_as_long_as_a_silent_one() -> None:
    held = seen(None, record("other"), 0)
    gone = seen(held, None, 10)
    assert (gone.record.holder, gone.record.version) == ("other", None)
    gone = seen(gone, None, 25)
    assert not may_take(gone, "me", 25)
    assert may_take(gone, "me", 25.1)
    assert may_take(gone, "other", 10), "who held it takes it back at once"
    back = seen(gone, record("other", "9"), 25.1)
    assert not may_take(back, "me", 40)


def test_a_lease_whose_holder_a_person_took_away_is_left_to_him_as_well() -> None:
    held = seen(None, record("other"), 0)
    emptied = seen(held, record("", "2"), 10)
    assert not may_take(emptied, "me", 25)
    assert may_take(emptied, "me", 25.1)
    assert not may_take(seen(emptied, record("other", "3"), 12), "me", 26)


def test_a_lease_that_nobody_held_when_it_was_deleted_is_nobodys() -> None:
    gone = seen(seen(None, record(""), 0), None, 10)
    assert not may_take(gone, "me", 25)
    assert may_take(gone, "me", 25.1)


@pytest.mark.parametrize("seconds", [0, 1, 14])
def test_a_lease_that_somebody_shortened_by_hand_is_left_to_its_holder_all_the_same(
    seconds: int,
) -> None:
    """Who holds it counts on with his own times until he writes it again."""
    held = seen(None, record("other"), 0)
    shortened = seen(held, dataclasses.replace(record("other", "2"), duration_seconds=seconds), 10)
    assert not may_take(shortened, "me", 15)
    assert may_take(shortened, "me", 15.1)
    gone = seen(shortened, None, 12)
    assert not may_take(gone, "me", 27)
    assert may_take(gone, "me", 27.1)


def test_a_holder_with_longer_times_gets_them() -> None:
    slow = seen(None, dataclasses.replace(record("other"), duration_seconds=60), 0)
    assert not may_take(slow, "me", 60)
    assert may_take(slow, "me", 60.1)


def test_a_count_of_holders_that_somebody_wrote_is_no_reason_that_nobody_leads() -> None:
    """The API server takes no larger number."""
    full = dataclasses.replace(record("other"), transitions=MOST_TRANSITIONS)
    assert claim(Sighting(full, 0), "me", 15, NOW).transitions == MOST_TRANSITIONS


@pytest.mark.parametrize(
    ("known", "found", "is_earlier"),
    [("100", "99", True), ("100", "100", False), ("99", "100", False), ("9", "10", False),
     (None, "1", False), ("1", None, False)],
)  # fmt: skip
def test_versions_never_go_back_in_one_store(
    known: str | None, found: str | None, is_earlier: bool
) -> None:
    found_record = record(version=found)
    assert is_of_an_earlier_store(record(version=known), found_record) is is_earlier


def test_a_lease_that_was_never_seen_may_have_been_deleted_just_now() -> None:
    never = seen(None, None, 0)
    assert not may_take(never, "me", 4)
    assert may_take(seen(never, None, 4.1), "me", 4.1)
    assert not may_take(seen(never, record("other"), 4.1), "me", 4.1), "its holder was there"


@pytest.mark.parametrize(
    ("sighting", "acquired", "transitions", "version"),
    [
        (seen(None, None, 0), NOW, 0, None),
        (Sighting(record("other", "7"), 0), NOW, 4, "7"),
        (Sighting(record("", "7"), 0), NOW, 4, "7"),
        (Sighting(record("me", "7"), 0), THEN, 3, "7"),
    ],
)
def test_claim(
    sighting: Sighting, acquired: datetime, transitions: int, version: str | None
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
    manifest = lease_manifest("ns", "lease", claim(seen(None, None, 0), "me", 15, NOW))
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
        self.refusal: OutboxError | None = None
        self.refused = 0

    def _answer(self) -> None:
        if self.refusal is not None:
            self.refused += 1
            raise self.refusal

    async def lease(self, _namespace: str, _name: str) -> LeaseRecord | None:
        self._answer()
        return self.held

    async def put_lease(self, _namespace: str, name: str, record: LeaseRecord) -> LeaseRecord:
        self._answer()
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
    await lease.take(seen(None, None, 0))
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
    await lease.take(seen(None, None, 0))
    assert server.held is not None
    other = Lease(cast(Kube, server), settings, "lease-slice-0", "other")
    await other.ask(server.held)
    await lease.release(given_to="other")
    assert (server.held.holder, server.held.asked_by) == ("", "other")


async def test_a_note_on_a_lease_that_is_shared_is_no_renewal() -> None:
    server, now = Server(), [0.0]
    settings = Settings(image="i", lease_namespace="system", identity="me")
    lease = Lease(
        cast(Kube, server), settings, "lease", "2 slices", is_shared=True, clock=lambda: now[0]
    )
    await lease.take(seen(None, None, 0))
    for round_ in range(1, 9):
        assert server.held is not None
        noted = server.held
        await server.put_lease("system", "lease", noted)  # as `kubectl annotate`
        now[0] = 2.0 * round_
        await lease.keep()
        assert server.held.renewed > noted.renewed, "who else leads counts from that"


@pytest.mark.parametrize(
    "refusal",
    [AccessDeniedError("leases is forbidden"), SpecError("denied by a webhook")],
    ids=["forbidden", "refused"],
)
async def test_a_renewal_that_is_refused_is_tried_again_until_the_deadline(
    refusal: OutboxError,
) -> None:
    """As by an API server that has just begun, and does not know of roles yet."""
    server, now = Server(), [0.0]
    settings = Settings(image="i", lease_namespace="system", identity="me")
    lease = Lease(cast(Kube, server), settings, "lease", "me", clock=lambda: now[0])
    await lease.take(seen(None, None, 0))
    server.refusal = refusal
    for moment in (2.0, 9.9):
        now[0] = moment
        await lease.keep()
    server.refusal = None
    await lease.keep()
    assert lease.is_current
    server.refusal = refusal
    now[0] = 20.0
    with pytest.raises(LeaseLostError, match="could not be renewed for 10 s"):
        await lease.keep()


async def test_who_waits_for_a_lease_waits_through_refusals_as_well() -> None:
    server = Server()
    server.refusal = AccessDeniedError("leases is forbidden")
    settings = Settings(
        image="i", lease_namespace="system", identity="me", lease_retry_seconds=0.01
    )
    lease = Lease(cast(Kube, server), settings, "lease", "me")
    taking = asyncio.create_task(lease.acquire())
    await eventually(lambda: server.refused > 1, "it asked again", pause=0.01)
    server.refusal = None
    await asyncio.wait_for(taking, 30)
    assert lease.is_held


async def test_a_connection_that_is_dead_without_a_word_costs_an_attempt_and_not_the_lease(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The next one goes over another connection, well before the deadline."""
    monkeypatch.setattr(lease_module, "LEAST_ATTEMPT_SECONDS", 0.01)
    server, now = Server(), [0.0]
    settings = Settings(
        image="i", lease_namespace="system", identity="me", lease_retry_seconds=0.01,
        lease_deadline_seconds=0.9, lease_duration_seconds=1.5,
    )  # fmt: skip
    lease = Lease(cast(Kube, server), settings, "lease", "me", clock=lambda: now[0])
    await lease.take(seen(None, None, 0))
    server.go_on.clear()
    # By the clock of the Lease no time passes: what ends it is the bound of an attempt.
    await asyncio.wait_for(lease.keep(), 30)
    server.go_on.set()
    now[0] = 0.6
    await lease.keep()
    assert lease.is_current
    now[0] = 1.4
    assert lease.is_current, "its time began with the second attempt"


@pytest.mark.parametrize("shared", [False, True], ids=["one", "shared"])
async def test_a_store_that_is_older_than_what_is_remembered_ends_the_process(shared: bool) -> None:
    """As after a restore of etcd: no watch tells what it undid."""
    server = Server()
    settings = Settings(image="i", lease_namespace="system", identity="me")
    lease = Lease(cast(Kube, server), settings, "lease", "me", is_shared=shared)
    await lease.take(seen(None, None, 0))
    copy = server.held
    for _ in range(3):
        await lease.renew()
    server.held = copy
    with pytest.raises(StoreRestoredError, match="version 1 after 4"):
        await lease.keep()
    await lease.release()
    assert server.held is not None
    assert server.held.holder == "", "who starts anew need not wait"


def test_while_a_machine_sleeps_its_leases_run_out(monkeypatch: pytest.MonkeyPatch) -> None:
    before, monotonic = elapsed(), time.monotonic()
    real = time.clock_gettime

    def woken(clock: int) -> float:
        return real(clock) + (60.0 if clock == time.CLOCK_BOOTTIME else 0.0)

    monkeypatch.setattr(time, "clock_gettime", woken)
    assert elapsed() - before >= 60
    assert time.monotonic() - monotonic < 60
