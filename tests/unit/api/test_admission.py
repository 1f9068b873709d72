"""What an API server would refuse, said without one. `tests/cluster/test_crds.py` compares."""

from __future__ import annotations

from typing import Any

import pytest

from outbox_operator.api.admission import refusals
from outbox_operator.api.v1alpha1.consumer import EventConsumerSpec
from outbox_operator.api.v1alpha1.pipeline import OutboxPipelineSpec
from outbox_operator.api.v1alpha1.stream import EventStreamSpec

HTTP = {"http": {"url": "http://billing/events"}}


def pipeline(*consumers: dict[str, Any], **fields: Any) -> OutboxPipelineSpec:
    return OutboxPipelineSpec.model_validate(
        {
            "database": {"connectionSecretRef": {"name": "db"}},
            "nats": {"url": "nats://nats:4222"},
            "outbox": {"shards": 4},
            "stream": {"name": "ORDERS", "subject": "orders.{shard}.{event_type}"},
            "consumers": [{"ordering": "PerKey", "handler": HTTP, **one} for one in consumers],
            **fields,
        }
    )


def stream(**fields: Any) -> EventStreamSpec:
    nats = {"url": "nats://nats:4222"}
    return EventStreamSpec.model_validate({"nats": nats, "name": "S", "subjects": ["s"], **fields})


def consumer(**fields: Any) -> EventConsumerSpec:
    return EventConsumerSpec.model_validate({"streamRef": {"name": "s"}, **fields})


def test_a_consumer_is_known_again_by_its_name() -> None:
    before = pipeline({"name": "a", "lanes": 2}, {"name": "b"})
    assert refusals(before) == refusals(before, before) == []
    assert refusals(pipeline({"name": "b"}, {"name": "a", "lanes": 2}), before) == []
    assert refusals(pipeline({"name": "c", "lanes": 3}, {"name": "b"}), before) == []
    assert refusals(pipeline({"name": "b", "lanes": 2}, {"name": "a"}), before) == [
        "spec.consumers[b]: lanes is fixed at creation",
        "spec.consumers[a]: lanes is fixed at creation",
    ]


def test_a_way_back_that_there_is_not() -> None:
    assert refusals(stream(denyPurge=True), stream()) == []
    assert refusals(stream(), stream(denyPurge=True)) == ["spec: denyPurge cannot be undone"]


def test_what_appears_or_goes_where_it_has_to_stay() -> None:
    """A rule of the field itself says nothing then, as in a cluster; one above it does."""
    named, inbox = consumer(durableName="d"), {"connectionSecretRef": {"name": "db"}}
    assert refusals(named, consumer()) == ["spec: durableName is fixed at creation"]
    assert refusals(consumer(), named) == ["spec: durableName is fixed at creation"]
    shards = {**inbox, "mode": "PerShard"}
    assert refusals(consumer(inbox=shards), consumer()) == []
    assert refusals(consumer(inbox=shards), consumer(inbox=inbox)) == [
        "spec.inbox.mode: this field is fixed at creation"
    ]


@pytest.mark.parametrize(
    ("moment", "well"),
    [
        ("2026-01-31T12:00:00Z", True),
        ("2026-01-31t12:00:00.25z", True),
        ("2026-01-31T12:00:00+01:00", True),
        ("2026-01-31", False),
        ("2026-01-31T12:00:00", False),
        ("2026-02-31T12:00:00Z", False),
        ("yesterday", False),
    ],
)
def test_a_moment(moment: str, well: bool) -> None:
    found = refusals(consumer(deliverPolicy="ByStartTime", startTime=moment))
    said = "spec.startTime: must be of type date-time, for example 2026-01-31T12:00:00Z"
    assert found == ([] if well else [said])


def test_a_name_twice() -> None:
    found = refusals(pipeline({"name": "a"}, {"name": "a"}))
    assert found == ["spec.consumers[a]: Duplicate value"]
