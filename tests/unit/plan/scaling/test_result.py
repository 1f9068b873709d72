"""Autoscaling within a pass: what is taken from the last status, and what is said."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest

from outbox_operator.api.v1alpha1.autoscaling import AutoscalingStatus
from outbox_operator.api.v1alpha1.pipeline import RelayStatus
from outbox_operator.plan.scaling.decide import Memory
from outbox_operator.plan.scaling.limits import Limits, Step
from outbox_operator.plan.scaling.load import Load
from outbox_operator.plan.scaling.result import Scaled, consumer_scaled, relay_scaled, scaled
from outbox_operator.plan.status.conditions import stamp
from support.passes import NOW
from support.resources import consumer, pipeline

LIMITS = Limits(
    least=1, most=10, ceiling=None, backlog=1000, drain_seconds=None,
    up=Step(after_seconds=0, most=4), down=Step(after_seconds=300, most=2), what="rows",
)  # fmt: skip
LAST = AutoscalingStatus(
    wantedReplicas=3, limit=10, perPodPerSecond=120.0, lastChange="from 1 to 3 pods: …",
    lastChangeTime="2026-01-01T00:00:00Z",
)  # fmt: skip


def deployment(wanted: int, ready: int | None = None) -> dict[str, Any]:
    ready = wanted if ready is None else ready
    return {
        "metadata": {"name": "orders-relay", "generation": 2},
        "spec": {"replicas": wanted},
        "status": {
            "observedGeneration": 2,
            "replicas": wanted,
            "readyReplicas": ready,
            "updatedReplicas": wanted,
        },
    }


def after(
    backlog: int | None,
    live: dict[str, Any] | None,
    last: AutoscalingStatus | None = None,
    memory: Memory | None = None,
    stopped: str | None = None,
) -> Scaled:
    load = None if backlog is None else Load(backlog=backlog, at_least=False, done=0, at=NOW)
    return scaled(LIMITS, load, live, last, memory, stopped=stopped, paused=False, now=NOW)


@pytest.mark.parametrize(
    ("backlog", "live", "last", "count"),
    [
        (0, None, None, 1),  # a new workload
        (99_000, None, None, 1),  # whose pods are not there yet
        (0, deployment(5), None, 5),  # declared so far: from there
        (0, deployment(0), None, 1),
        (0, deployment(5), LAST, 3),  # somebody else's number is not taken over
        (3500, deployment(3), LAST, 4),
        (3500, deployment(3, ready=2), LAST, 3),
        (None, deployment(3), LAST, 3),
    ],
)  # fmt: skip
def test_where_a_pass_begins(
    backlog: int | None, live: dict[str, Any] | None, last: AutoscalingStatus | None, count: int
) -> None:
    result = after(backlog, live, last)
    assert (result.count, result.status.wantedReplicas) == (count, count)


def test_a_change_is_written_down_and_stays_known() -> None:
    result = after(3500, deployment(3), LAST)
    assert result.change == "from 3 to 4 pods: 3500 rows wait, targetBacklog is 1000"
    assert result.status.lastChange == result.change
    assert result.status.lastChangeTime == stamp(NOW)
    unchanged = after(2500, deployment(3), LAST)
    assert unchanged.change is None
    assert unchanged.status.lastChange == LAST.lastChange
    assert unchanged.status.lastChangeTime == LAST.lastChangeTime


def test_what_an_operator_finds_after_a_restart() -> None:
    just_changed = LAST.model_copy(update={"lastChangeTime": stamp(NOW - timedelta(seconds=5))})
    assert after(9000, deployment(3), just_changed).count == 3
    restored = after(0, deployment(3), LAST)
    # Nobody knows for how long fewer would have done.
    assert restored.count == 3
    assert restored.status.perPodPerSecond == 120.0
    nonsense = LAST.model_copy(update={"lastChangeTime": "yesterday"})
    assert after(9000, deployment(3), nonsense).count == 7


def test_what_was_asked_for_counts_although_no_status_says_so() -> None:
    """The write of a status may fail after the pods of a larger number were asked for."""
    asked = after(3500, deployment(3), LAST)
    assert after(3500, deployment(4), LAST, asked.memory).count == 4
    assert asked.memory.count == 4


def test_stopped_pods_come_back_in_the_number_they_had() -> None:
    result = after(99_000, deployment(0), LAST, stopped="spec.relay.state is Stopped")
    assert (result.count, result.part.reason, result.change) == (3, "Stopped", None)
    assert result.part.message == "spec.relay.state is Stopped"


def test_what_is_not_known_is_said_and_does_not_decide_about_ready() -> None:
    result = after(None, deployment(3), LAST)
    assert (result.part.type, result.part.status) == ("Autoscaling", "Unknown")
    assert (result.part.reason, result.part.blocks) == ("BacklogUnknown", False)
    assert result.part.message == "3 pods stay: how many rows wait is not known"


EXTERNAL: dict[str, Any] = {"autoscaling": {"mode": "External", "maxReplicas": 2}}
HTTP: dict[str, Any] = {"handler": {"http": {"url": "http://billing/"}}}


@pytest.mark.parametrize(
    ("spec", "count", "reason", "message"),
    [
        # Its own bounds are the autoscaler's business.
        ({"replicas": 7}, 7, "ScaledExternally", "spec.replicas is 7, written from outside"),
        ({"replicas": 7, "ordering": "PerKey"}, 7, "ScalingLimited",
         "1 of 7: ordering is PerKey, so that one pod at a time reads"),
        ({"replicas": 1, "ordering": "PerKey"}, 1, "ScaledExternally",
         "spec.replicas is 1, written from outside"),
        ({"replicas": 7, "state": "Stopped"}, 7, "Stopped", "spec.state is Stopped"),
        ({"replicas": 0}, 0, "Stopped", "spec.replicas is 0"),
    ],
)  # fmt: skip
def test_a_number_from_outside_is_obeyed(
    spec: dict[str, Any], count: int, reason: str, message: str
) -> None:
    resource = consumer(**EXTERNAL, **HTTP, **spec)
    result = consumer_scaled(resource, None, deployment(3), None, NOW, resetting=None)
    assert result is not None
    assert (result.count, result.part.reason, result.part.message) == (count, reason, message)
    assert (result.part.status, result.change) == ("True", None)


def test_a_step_from_outside_is_told_as_our_own_are() -> None:
    resource = pipeline(relay={"replicas": 4, **EXTERNAL})
    status = resource.status.model_copy(update={"relay": RelayStatus(autoscaling=LAST)})
    changed = dataclasses.replace(resource, status=status)
    result = relay_scaled(changed, None, deployment(3), None, NOW)
    assert result is not None
    assert result.change == "from 3 to 4 pods: spec.relay.replicas was written"
    assert (result.status.wantedReplicas, result.status.limit) == (4, 1)
    assert result.status.lastChangeTime == stamp(NOW)


def test_without_autoscaling_there_is_nothing_to_say() -> None:
    assert relay_scaled(pipeline(), None, None, None, NOW) is None
    assert consumer_scaled(consumer(), None, None, None, NOW, resetting=None) is None


def test_a_consumer_that_is_set_back_keeps_its_number() -> None:
    resource = consumer(autoscaling={}, **HTTP)
    result = consumer_scaled(resource, None, deployment(3), None, NOW, resetting="task x resets it")
    assert result is not None
    assert (result.count, result.part.message) == (3, "task x resets it")
