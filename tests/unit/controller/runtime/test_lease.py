"""Who may lead, and when the heartbeat counts as silent."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from outbox_operator.adapters.kubernetes.lease import LeaseRecord, lease_manifest, parse_lease
from outbox_operator.controller.runtime.lease import Heartbeat, Sighting, claim, may_take, sight

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
