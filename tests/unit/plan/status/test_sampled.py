"""What a pass says of the numbers to export: read, not read, or not asked for."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest

from outbox_operator.api.conditions import Condition
from outbox_operator.api.resource import Consumer
from outbox_operator.api.v1alpha1.archive import ArchiveState
from outbox_operator.api.v1alpha1.autoscaling import AutoscalingStatus
from outbox_operator.api.v1alpha1.consumer import DurableState, EventConsumerStatus
from outbox_operator.api.v1alpha1.pipeline import OutboxPipelineStatus, OutboxStatus
from outbox_operator.api.v1alpha1.stream import EventStreamStatus, StreamState
from outbox_operator.plan.postgres.state import OutboxNumbers
from outbox_operator.plan.status.sampled import (
    Sampled,
    of_archive,
    of_conditions,
    of_consumer,
    of_pipeline,
    of_stream,
    unix,
)
from outbox_operator.plan.status.workload import Replicas
from support.passes import NOW
from support.resources import consumer, pipeline, stream

PODS = Replicas(wanted=3, existing=3, ready=2, updated=3)
NONE = Replicas(wanted=0, existing=0, ready=0, updated=0)
EARLIER = "2020-01-02T03:04:05Z"
HANDLER = {"http": {"url": "http://billing/"}}
SAMPLE = OutboxNumbers(
    backlog_rows=5000, backlog_is_estimate=True, oldest_age_seconds=61.5, dead_letters=2,
    published_total=1000, last_published_at=NOW - timedelta(hours=1), last_position=1000,
    remark=None, notice=None, position_notice=None, stream_created=None, taken_at=NOW,
)  # fmt: skip
READ = {
    "outbox_pipeline_backlog_rows": 5000,
    "outbox_pipeline_backlog_is_estimate": 1,
    "outbox_pipeline_oldest_age_seconds": 61.5,
    "outbox_pipeline_dead_letters": 2,
    "outbox_pipeline_published_total": 1000,
}


def values(sampled: Sampled) -> dict[str, float] | None:
    return None if sampled.values is None else {m.name: v for m, v in sampled.values.items()}


def pods(sampled: Sampled) -> dict[str, float]:
    """By the word before `_replicas`."""
    assert sampled.pods is not None
    return {
        m.name.rpartition("_replicas")[0].rpartition("_")[2]: v for m, v in sampled.pods.items()
    }


@pytest.mark.parametrize(
    ("sample", "waiting", "wanted", "at"),
    [
        (SAMPLE, False, READ, NOW.timestamp()),
        (None, False, {}, unix(EARLIER)),  # it could not be read: not there, rather than 0
        (None, True, None, unix(EARLIER)),  # the answer is not there yet
    ],
)
def test_numbers_of_a_pipeline(
    sample: OutboxNumbers | None, waiting: bool, wanted: dict[str, float] | None, at: float
) -> None:
    status = OutboxPipelineStatus(outbox=OutboxStatus(backlogRows=7, sampledAt=EARLIER))
    resource = dataclasses.replace(pipeline(), status=status)
    found = of_pipeline(resource, sample, PODS, waiting=waiting)
    assert found.labels == (resource.meta.namespace, resource.meta.name)
    assert (values(found), found.at) == (wanted, at)


@pytest.mark.parametrize(
    ("relay", "found", "wanted"),
    [
        ({"replicas": 2}, PODS, {"wanted": 2, "ready": 2}),
        ({"replicas": 2}, NONE, {"wanted": 2, "ready": 0}),  # it waits for the schema
        ({"replicas": 2, "state": "Stopped"}, PODS, {"wanted": 0, "ready": 2}),
    ],
)
def test_pods_of_a_relay(relay: dict[str, Any], found: Replicas, wanted: dict[str, float]) -> None:
    assert pods(of_pipeline(pipeline(relay=relay), SAMPLE, found, waiting=False)) == wanted


SCALED = AutoscalingStatus(wantedReplicas=5, limit=8)


@pytest.mark.parametrize(
    ("spec", "scaled", "wanted"),
    [
        ({"autoscaling": {}}, SCALED, {"wanted": 5, "ready": 2, "limit": 8}),
        ({"autoscaling": {}}, None, {"wanted": 3, "ready": 2}),  # not decided yet
        ({"autoscaling": {}, "state": "Stopped"}, SCALED, {"wanted": 0, "ready": 2, "limit": 8}),
    ],
)
def test_pods_that_follow_the_load(
    spec: dict[str, Any], scaled: AutoscalingStatus | None, wanted: dict[str, float]
) -> None:
    relay = of_pipeline(pipeline(relay=spec), SAMPLE, PODS, waiting=False, scaled=scaled)
    handled = consumer(handler=HANDLER, **spec)
    assert pods(relay) == pods(of_consumer(handled, None, None, PODS, NOW, scaled=scaled)) == wanted


def made_by(resource: Consumer, pipeline: str) -> Consumer:
    return dataclasses.replace(resource, meta=dataclasses.replace(resource.meta, pipeline=pipeline))


def test_numbers_of_a_consumer() -> None:
    state = DurableState(
        name="b", stream="ORDERS", pending=4, ackPending=3, redelivered=1, deadLetters=None
    )
    resource = made_by(consumer(), "orders")
    found = of_consumer(resource, state, 12.5, PODS, NOW)
    ref = resource.spec.streamRef
    assert found.labels == (
        resource.meta.namespace, resource.meta.name, "orders", ref.name if ref else "",
    )  # fmt: skip
    assert values(found) == {
        "outbox_consumer_pending": 4,
        "outbox_consumer_ack_pending": 3,
        "outbox_consumer_redelivered": 1,
        "outbox_consumer_oldest_unread_age_seconds": 12.5,
    }
    assert found.at == NOW.timestamp()
    unknown = of_consumer(resource, state, None, PODS, NOW)
    assert "outbox_consumer_oldest_unread_age_seconds" not in (values(unknown) or {})


def test_numbers_of_a_consumer_that_could_not_be_read() -> None:
    status = EventConsumerStatus(
        consumer=DurableState(name="b", stream="ORDERS", pending=4), sampledAt=EARLIER
    )
    resource = dataclasses.replace(consumer(), status=status)
    found = of_consumer(resource, None, None, PODS, NOW)
    assert (values(found), found.at) == ({}, unix(EARLIER))


ARCHIVED = ArchiveState(
    rows=9, bytes=8192, partitions=5, unpartitioned=1, oldest=EARLIER, newest=EARLIER,
    completeTo=EARLIER, gaps=0, sampledAt=EARLIER,
)  # fmt: skip


@pytest.mark.parametrize(
    ("state", "fresh", "wanted"),
    [
        (None, False, {}),  # there is none
        (ARCHIVED, None, None),  # the answer is not there yet: what was known holds
        (ARCHIVED, False, {"sample_timestamp_seconds": unix(EARLIER)}),  # unknown, since then
        (ArchiveState(), False, {}),  # never read
        (
            ARCHIVED,
            True,
            {
                "rows": 9, "bytes": 8192, "partitions": 5, "unpartitioned_rows": 1, "gaps": 0,
                "oldest_timestamp_seconds": unix(EARLIER),
                "newest_timestamp_seconds": unix(EARLIER),
                "complete_to_timestamp_seconds": unix(EARLIER),
                "sample_timestamp_seconds": unix(EARLIER),
            },
        ),
        (  # with a filter nobody can tell, and it is empty
            ArchiveState(partitions=5, bytes=8192, sampledAt=EARLIER),
            True,
            {
                "rows": 0, "bytes": 8192, "partitions": 5, "unpartitioned_rows": 0,
                "sample_timestamp_seconds": unix(EARLIER),
            },
        ),
    ],
)  # fmt: skip
def test_numbers_of_an_archive(
    state: ArchiveState | None, fresh: bool | None, wanted: dict[str, float | None] | None
) -> None:
    found = of_archive(state, fresh=fresh)
    prefix = "outbox_consumer_archive_"
    named = None if found is None else {m.name.removeprefix(prefix): v for m, v in found.items()}
    assert named == wanted


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ({}, {}),  # nothing of ours handles it
        ({"handler": HANDLER}, {"wanted": 1, "ready": 2}),
        ({"handler": HANDLER, "replicas": 4}, {"wanted": 4, "ready": 2}),
        ({"handler": HANDLER, "state": "Stopped"}, {"wanted": 0, "ready": 2}),
    ],
)
def test_pods_of_a_consumer(spec: dict[str, Any], wanted: dict[str, float]) -> None:
    assert pods(of_consumer(consumer(**spec), None, None, PODS, NOW)) == wanted


@pytest.mark.parametrize(
    ("config", "limits"),
    [
        (
            {"max_bytes": 1024, "max_msgs": 7, "max_age": 3_600_000_000_000, "discard": "new"},
            {
                "max_bytes": 1024,
                "max_messages": 7,
                "max_age_seconds": 3600,
                "refuses_when_full": 1,
            },
        ),
        (
            {"max_bytes": -1, "max_msgs": -1, "max_age": 0, "discard": "old"},  # no limit
            {"refuses_when_full": 0},
        ),
        (
            {"max_bytes": "much", "max_age": None, "discard": ["new"]},
            {},
        ),  # a server that answers nonsense
    ],
)
def test_numbers_of_a_stream(config: dict[str, Any], limits: dict[str, float]) -> None:
    state = StreamState(name="ORDERS", messages=9, bytes=90, deadLetters=2)
    resource = stream()
    found = of_stream(resource, state, config, NOW)
    assert found.labels == (resource.meta.namespace, resource.meta.name, "")
    read = {"messages": 9, "bytes": 90, "dead_letters": 2} | limits
    assert values(found) == {f"outbox_stream_{name}": value for name, value in read.items()}
    status = EventStreamStatus(stream=state, sampledAt=EARLIER)
    away = of_stream(dataclasses.replace(resource, status=status), None, {}, NOW)
    assert (values(away), away.at) == ({}, unix(EARLIER))


def test_each_condition_has_its_three_statuses() -> None:
    said = [Condition(type="Ready", status="Unknown", reason="NotObserved")]
    series = dict(of_conditions("EventStream", "shop", "orders", said))
    prefix = ("EventStream", "shop", "orders", "Ready")
    assert series == {(*prefix, "True"): 0, (*prefix, "False"): 0, (*prefix, "Unknown"): 1}


@pytest.mark.parametrize("text", [None, "", "yesterday"])
def test_a_time_that_cannot_be_read_is_none(text: str | None) -> None:
    assert unix(text) is None
