"""What an autoscaler may ask for, and why more pods would stand by."""

from __future__ import annotations

from typing import Any

import pytest

from outbox_operator.plan.scaling.limits import Limits, consumer_limits, relay_limits
from support.resources import consumer, pipeline

ASKED = {"minReplicas": 1, "maxReplicas": 10}
HTTP = {"handler": {"http": {"url": "http://handler/events"}}}
CONTAINER = {"handler": {"container": {"image": "theirs:1"}}}
INBOX = {"connectionSecretRef": {"name": "db"}, "mode": "PerShard"}


def of_relay(shards: int, **asked: Any) -> Limits:
    resource = pipeline(
        outbox={"shards": shards},
        stream={"name": "ORDERS", "subject": "orders.{shard}.{event_type}"},
        relay={"autoscaling": {**ASKED, **asked}},
    )
    assert resource.spec.relay.autoscaling is not None
    return relay_limits(resource.spec, resource.spec.relay.autoscaling)


def of_consumer(**spec: Any) -> Limits:
    resource = consumer(autoscaling=ASKED, **spec)
    assert resource.spec.autoscaling is not None
    return consumer_limits(resource.spec, resource.spec.autoscaling)


@pytest.mark.parametrize(
    ("shards", "asked", "limit", "why"),
    [
        (1, {}, 1, "outbox.shards is 1"),
        (4, {}, 4, "outbox.shards is 4"),
        (10, {}, 10, None),
        (64, {}, 10, None),
        # Declared is declared: the others stand by.
        (1, {"minReplicas": 3}, 3, "outbox.shards is 1"),
        (1, {"minReplicas": 0}, 1, "outbox.shards is 1"),
        # What is not counted asks for nobody; how long the oldest waits does.
        (64, {"targetBacklog": 3000}, 4, "rows are counted up to 10000, and targetBacklog is "
         "3000; with targetDrainTime their age counts too"),
        (2, {"targetBacklog": 3000}, 2, "outbox.shards is 2"),
        (64, {"targetBacklog": 3000, "targetDrainTime": "60s"}, 10, None),
    ],
)  # fmt: skip
def test_a_relays_pods_beyond_the_shards_stand_by(
    shards: int, asked: dict[str, Any], limit: int, why: str | None
) -> None:
    limits = of_relay(shards, **asked)
    assert (limits.least, limits.limit) == (max(1, asked.get("minReplicas", 1)), limit)
    assert (limits.ceiling.why if limits.ceiling else None) == why


@pytest.mark.parametrize(
    ("spec", "limit", "why"),
    [
        (HTTP, 10, None),
        ({**HTTP, "ordering": "PerKey"}, 1, "ordering is PerKey, so that one pod at a time reads"),
        ({**HTTP, "inbox": INBOX}, 1, "inbox.mode is PerShard, so that one pod at a time reads"),
        ({**HTTP, "maxAckPending": 40}, 3, "maxAckPending is 40, and a pod takes 16 at once"),
        ({**HTTP, "maxAckPending": 40, "concurrency": 1}, 10, None),
        ({**HTTP, "maxAckPending": -1}, 10, None),
        ({**CONTAINER, "maxAckPending": 4}, 4, "maxAckPending is 4"),
        ({**CONTAINER, "priorityPolicy": "PinnedClient", "priorityGroups": ["a", "b"]}, 1,
         "priorityPolicy is PinnedClient, so that one pod at a time reads"),
    ],
)  # fmt: skip
def test_a_consumers_pods_beyond_what_it_can_have_in_hand_would_idle(
    spec: dict[str, Any], limit: int, why: str | None
) -> None:
    limits = of_consumer(**spec)
    assert limits.limit == limit
    assert (limits.ceiling.why if limits.ceiling else None) == why


@pytest.mark.parametrize(
    ("asked", "backlog", "drain"),
    [
        ({}, 1000, None),
        ({"targetBacklog": 50}, 50, None),
        ({"targetDrainTime": "2m"}, None, 120.0),
        ({"targetBacklog": 50, "targetDrainTime": "2m"}, 50, 120.0),
    ],
)
def test_the_default_target_is_for_those_who_name_none(
    asked: dict[str, Any], backlog: int | None, drain: float | None
) -> None:
    limits = of_relay(64, **asked)
    assert (limits.backlog, limits.drain_seconds) == (backlog, drain)
