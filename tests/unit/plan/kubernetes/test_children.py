"""A pipeline compiles into the EventStream and EventConsumers a person would have written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from outbox_operator.api.resource import parse_consumer, parse_stream
from outbox_operator.api.v1alpha1.pipeline import PipelineConsumer
from outbox_operator.errors import SpecError
from outbox_operator.plan.kubernetes import children
from outbox_operator.plan.kubernetes.diff import differences
from outbox_operator.wire.subjects import SubjectTemplate
from support import resources
from support.golden import assert_golden

GOLDEN = Path(__file__).parent / "golden"

FULL: dict[str, Any] = {
    "deletionPolicy": "Delete",
    "nats": {
        "url": "nats://nats.nats:4222",
        "credentialsSecretRef": {"name": "nats-login", "key": "creds"},
    },
    "stream": {
        "name": "ORDERS",
        "subject": "orders.{event_type}",
        "maxAge": "30d",
        "maxBytes": "1Gi",
        "deadLetter": {"maxAge": "90d"},
    },
    "consumers": [
        {
            "name": "billing",
            "filterEventTypes": ["order.created", "order.paid"],
            "handler": {"http": {"url": "http://billing.shop/events"}},
            "inbox": {"connectionSecretRef": {"name": "billing-db"}},
            "backoff": ["1s", "5s", "30s"],
            "podTemplate": {"spec": {"nodeSelector": {"disk": "fast"}}},
        },
        {"name": "audit", "durableName": "AUDIT"},
    ],
}


def test_children_of_a_full_pipeline() -> None:
    pipeline = resources.pipeline(FULL)
    stream = children.event_stream(pipeline)
    assert stream is not None
    assert_golden(GOLDEN / "children.yaml", [stream, *children.event_consumers(pipeline)])


def test_children_are_resources_of_ours() -> None:
    pipeline = resources.pipeline(FULL)
    stream = children.event_stream(pipeline)
    assert stream is not None
    parsed = parse_stream(stream)
    assert parsed.meta.owner_uid == pipeline.meta.uid
    assert parsed.spec.maxAge == "30d"
    billing, audit = (parse_consumer(body) for body in children.event_consumers(pipeline))
    assert billing.meta.owner_uid == audit.meta.owner_uid == pipeline.meta.uid
    assert billing.spec.filterSubjects == ["orders.order.created", "orders.order.paid"]
    assert audit.spec.durableName == "AUDIT"
    assert audit.spec.filterSubjects == []


def test_lanes_divide_the_shards_and_read_all_of_them() -> None:
    pipeline = resources.pipeline(
        outbox={"shards": 5},
        stream={"name": "ORDERS", "subject": "orders.{shard}.{event_type}"},
        consumers=[
            {**FULL["consumers"][0], "ordering": "PerKey", "lanes": 2, "filterEventTypes": []},
            {**FULL["consumers"][1], "ordering": "PerKey", "lanes": 3, "filterEventTypes": ["a.>"]},
            {"name": "all"},
        ],
    )
    found = [parse_consumer(body) for body in children.event_consumers(pipeline)]
    assert [(one.meta.name, one.spec.durableName, one.spec.filterSubjects) for one in found] == [
        ("orders-billing-0", None, ["orders.0.>", "orders.2.>", "orders.4.>"]),
        ("orders-billing-1", None, ["orders.1.>", "orders.3.>"]),
        ("orders-audit-0", "AUDIT-0", ["orders.0.a.>", "orders.3.a.>"]),
        ("orders-audit-1", "AUDIT-1", ["orders.1.a.>", "orders.4.a.>"]),
        ("orders-audit-2", "AUDIT-2", ["orders.2.a.>"]),
        ("orders-all", None, []),
    ]
    assert {one.meta.labels["outbox.dev/consumer"] for one in found} == {
        "billing-0", "billing-1", "audit-0", "audit-1", "audit-2", "all",
    }  # fmt: skip


EXTERNAL = {"mode": "External"}


@pytest.mark.parametrize(
    ("before", "status", "passes"),
    [
        ({"replicas": 5}, {}, 5),
        ({}, {}, 1),
        # The number is in the status, and nobody has written the field.
        ({"replicas": 1, "autoscaling": {"mode": "Builtin"}},
         {"autoscaling": {"wantedReplicas": 7}}, 7),
        ({"replicas": 4, "autoscaling": {"mode": "Builtin"}}, {}, 4),
        # It is the autoscaler's already; nobody repeats what it had said.
        ({"replicas": 9, "autoscaling": EXTERNAL}, {}, None),
    ],
)  # fmt: skip
def test_an_autoscaler_begins_with_the_pods_that_there_are(
    before: dict[str, Any], status: dict[str, Any], passes: int | None
) -> None:
    pipeline = resources.pipeline(
        consumers=[{**FULL["consumers"][0], "replicas": 3, "autoscaling": EXTERNAL}]
    )
    (wanted,) = children.event_consumers(pipeline)
    assert "replicas" not in wanted["spec"]
    live = {**wanted, "spec": {**wanted["spec"], "autoscaling": None, **before}, "status": status}
    passed = children.handed_over(wanted, live)
    assert (None if passed is None else passed["spec"]) == (
        None if passes is None else {"replicas": passes}
    )
    assert children.handed_over(wanted, None) is None


@pytest.mark.parametrize("autoscaling", [None, {"mode": "Builtin"}])
def test_a_number_that_is_ours_is_not_handed_over(autoscaling: dict[str, Any] | None) -> None:
    pipeline = resources.pipeline(
        consumers=[{**FULL["consumers"][0], "replicas": 3, "autoscaling": autoscaling}]
    )
    (wanted,) = children.event_consumers(pipeline)
    assert wanted["spec"]["replicas"] == 3
    assert children.handed_over(wanted, wanted) is None


def test_the_subjects_of_the_stream_default_to_those_of_the_template() -> None:
    stream = children.event_stream(resources.pipeline())
    assert stream is not None
    assert stream["spec"]["subjects"] == ["orders.>"]


def test_a_pipelines_stream_always_keeps_dead_letters() -> None:
    stream = children.event_stream(resources.pipeline())
    assert stream is not None
    assert stream["spec"]["deadLetter"] == {
        "maxAge": "0", "maxBytes": "-1", "maxMessages": -1, "captureAdvisories": True,
    }  # fmt: skip


def test_with_a_reference_no_stream_is_made_and_consumers_read_the_other() -> None:
    pipeline = resources.pipeline(
        stream={"ref": {"name": "shared"}, "subject": "orders.{event_type}"},
        consumers=[{"name": "billing"}],
    )
    assert children.event_stream(pipeline) is None
    assert children.event_consumers(pipeline)[0]["spec"]["streamRef"] == {"name": "shared"}


def test_rendering_what_the_server_completed_changes_nothing() -> None:
    """What comes back from the API server has every default; rendering again must not differ."""
    pipeline = resources.pipeline(FULL)
    once = children.event_consumers(pipeline)[0]
    stored = parse_consumer(once)
    completed = {**once, "spec": stored.spec.model_dump(by_alias=True, exclude_none=True)}
    assert differences(once, completed) == ()


@pytest.mark.parametrize(
    ("template", "types", "wanted"),
    [
        ("orders.{event_type}", ["order.created"], ["orders.order.created"]),
        ("orders.{event_type}", ["order.*"], ["orders.order.*"]),
        ("orders.{event_type}", ["order.>"], ["orders.order.>"]),
        ("orders.{event_type}", [">"], ["orders.>"]),
        ("orders.{event_type}", ["a b"], ["orders.a%20b"]),
        ("orders.{event_type}", ["a*"], ["orders.a%2A"]),
        ("x-{event_type}", ["a.b"], ["x-a.b"]),
        ("{schema}.{event_type}.{partition_key}", ["a.b"], ["*.a.b.*"]),
        ("o.{event_type}.{routing_key}", ["a"], ["o.a.>"]),
        ("o.{shard}-x.{event_type}", ["a"], ["o.*.a"]),
        ("o.{event_type}", ["a.>", "a.b", "a.b"], ["o.a.>"]),
        ("o.{event_type}", ["b", "a"], ["o.b", "o.a"]),
        ("o.{event_type}", [], []),
    ],
)
def test_event_types_become_subject_filters(
    template: str, types: list[str], wanted: list[str]
) -> None:
    consumer = PipelineConsumer(name="c", filterEventTypes=types)
    assert children.filter_subjects(SubjectTemplate.parse(template), consumer) == wanted


@pytest.mark.parametrize(
    ("template", "types", "message"),
    [
        ("orders.all", ["a"], r"consumers\[c\].*holds no \{event_type\}"),
        ("{routing_key}.{event_type}", ["a"], r"routing_key.*move it to the end"),
        ("{shard}-{event_type}", ["a"], r"shares a token"),
        ("{event_type}.{partition_key}", ["a.>"], r"not a subject filter"),
        ("x-{event_type}", ["*"], r"not a subject filter"),
        ("o.{event_type}", ["a.*.c", "a.b.*"], r"overlap in part"),
    ],
)
def test_filters_that_cannot_work_are_refused(
    template: str, types: list[str], message: str
) -> None:
    consumer = PipelineConsumer(name="c", filterEventTypes=types)
    with pytest.raises(SpecError, match=message):
        children.filter_subjects(SubjectTemplate.parse(template), consumer)
