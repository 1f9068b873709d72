"""Manifests for `outbox dev`: compiled as the operator does, refused with the field named."""

from __future__ import annotations

from typing import Any

import pytest

from outbox_operator.api import meta
from outbox_operator.dev import manifest
from outbox_operator.dev.manifest import Resources
from outbox_operator.errors import SpecError


def pipeline(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "outbox.dev/v1alpha1",
        "kind": "OutboxPipeline",
        "metadata": {"name": "orders"},
        "spec": {
            "database": {"connectionSecretRef": {"name": "db"}},
            "nats": {"url": "nats://nats:4222"},
            "stream": {"name": "ORDERS", "subject": "orders.{event_type}", "replicas": 3},
            "consumers": [
                {"name": "billing", "handler": {"http": {"url": "http://billing/events"}}},
                {"name": "audit"},
            ],
            **spec,
        },
    }


def read(*documents: object) -> Resources:
    return manifest.read(documents, "pipeline.yaml")


def test_a_pipeline_becomes_its_stream_and_consumers() -> None:
    resources = read(pipeline())
    assert [one.meta.name for one in resources.pipelines] == ["orders"]
    assert [one.spec.name for one in resources.streams] == ["ORDERS"]
    assert [one.meta.name for one in resources.consumers] == ["orders-billing", "orders-audit"]
    assert resources.stream_of(resources.pipelines[0]).spec.subjects == ["orders.>"]
    assert resources.source_of(resources.consumers[0]).spec.name == "ORDERS"


def test_one_server_has_one_replica_and_that_is_said() -> None:
    resources = read(pipeline())
    assert resources.reduced == ("ORDERS",)
    assert resources.streams[0].spec.replicas == 1


def test_the_owner_of_things_is_the_same_from_run_to_run() -> None:
    first, second = read(pipeline()), read(pipeline())
    assert first.streams[0].meta.uid == second.streams[0].meta.uid
    kinds = first.pipelines, first.streams, first.consumers
    assert len({one.meta.uid for kind in kinds for one in kind}) == 4


ARCHIVE = {
    "archive": {
        "connectionSecretRef": {"name": "db"},
        "retention": [{"name": "default", "keep": "90d"}],
    }
}


def test_every_start_is_a_first_one_whatever_a_copied_manifest_says() -> None:
    document = pipeline()
    document["metadata"]["annotations"] = {meta.PAUSE_ANNOTATION: "true", "team": "shop"}
    document["status"] = {"conditions": [], "outbox": {"backlogRows": 7}}
    resources = read(document)
    assert dict(resources.pipelines[0].meta.annotations) == {"team": "shop"}
    assert resources.pipelines[0].status.outbox is None
    children = [one.meta for one in resources.streams] + [one.meta for one in resources.consumers]
    assert not any(one.paused for one in children)


def test_other_documents_are_left_out_by_name() -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"}}
    task = {"apiVersion": meta.API_VERSION, "kind": "OutboxTask", "metadata": {"name": "again"}}
    resources = read(secret, None, pipeline(), task)
    assert resources.ignored == ("Secret db", "OutboxTask again")
    assert resources.remarks == [
        "leaving out Secret db: it needs Kubernetes",
        "leaving out OutboxTask again: it needs Kubernetes",
        "stream ORDERS: one replica, because there is one server",
    ]


def test_what_nobody_does_for_an_archive_here_is_said() -> None:
    archive = {
        **ARCHIVE["archive"], "extract": {"tenant": "$.tenant"}, "sealing": {},
        "api": {
            "connectionSecretRef": {"name": "api"}, "tenantColumn": "tenant",
            "jwt": {"issuer": "https://i/", "audience": "a", "jwksUrl": "https://i/keys"},
        },
    }  # fmt: skip
    audit = {
        "apiVersion": meta.API_VERSION, "kind": meta.CONSUMER, "metadata": {"name": "audit"},
        "spec": {"streamRef": {"name": "orders"}, "handler": {"archive": archive}},
    }  # fmt: skip
    api, seals = read(pipeline(), audit).remarks[1:]
    assert api == (
        "archive audit: its API is not served here; `outbox dev archive export audit --into "
        "events.parquet` writes what it holds"
    )
    assert seals.startswith("archive audit: nothing is sealed here by itself; `outbox archive upk")


AUDIT = {
    "apiVersion": meta.API_VERSION, "kind": meta.CONSUMER,
    "spec": {"streamRef": {"name": "orders"}, "handler": ARCHIVE},
}  # fmt: skip


AUDIT_TWICE = {**AUDIT, "metadata": {"name": "audit"}}


def named(name: object, namespace: str = "default") -> dict[str, Any]:
    """A pipeline with consumers, whose names begin with its own."""
    consumers = [{"name": "billing", "handler": ARCHIVE}]
    metadata = {"name": name, "namespace": namespace}
    return {**pipeline(consumers=consumers), "metadata": metadata}


@pytest.mark.parametrize(
    ("documents", "said"),
    [
        ([], "holds no OutboxPipeline"),
        (["text"], "is not a Kubernetes manifest"),
        ([{"metadata": {}}], "has no apiVersion"),
        (
            [named("Orders")],
            "^OutboxPipeline Orders: metadata.name: wanted a name of a-z, 0-9 and - that begins "
            "and ends with a letter or digit, found 'Orders'$",
        ),
        ([named("orders", "Shop")], "^OutboxPipeline orders: metadata.namespace: .* 'Shop'$"),
        ([named(None)], r"^OutboxPipeline \(without a name\): metadata.name: is missing$"),
        ([named(5)], "^OutboxPipeline 5: metadata.name: wanted .* found '5'$"),
        ([pipeline(stream={"name": "ORDERS", "subject": "a..b"})], "empty token"),
        ([pipeline(database={})], "spec.database.connectionSecretRef"),
        (
            [pipeline(stream={"subject": "a.{event_type}", "ref": {"name": "x"}})],
            "no manifest declares EventStream default/x; there is none, and references do not",
        ),
        (
            [pipeline(), {**AUDIT, "metadata": {"name": "audit", "namespace": "office"}}],
            "EventStream office/orders; there is default/orders, and references do not cross name",
        ),
        (
            [
                pipeline(
                    consumers=[{"name": "a", "handler": ARCHIVE}, {"name": "b", "handler": ARCHIVE}]
                )
            ],
            "'archive' is that of orders-a too",
        ),
        (
            [pipeline(), pipeline(consumers=[])],
            "^pipeline.yaml: OutboxPipeline default/orders stands twice, or is made by a pipeline",
        ),
        (
            [pipeline(), {**AUDIT, "metadata": {"name": "orders-billing"}}],
            "EventConsumer default/orders-billing stands twice, or is made by a pipeline as well",
        ),
        ([AUDIT_TWICE, AUDIT_TWICE, pipeline()], "EventConsumer default/audit stands twice"),
        (
            [pipeline(relay={"replicas": "2"})],
            "^OutboxPipeline orders: spec.relay.replicas: wanted an integer, found '2'$",
        ),
        (
            [pipeline(consumers=[{"name": "a", "maxDeliver": True}])],
            r"spec.consumers\[0\].maxDeliver: wanted an integer, found True$",
        ),
        (
            [pipeline(stream={"name": "O", "subject": "o.{event_type}", "denyDelete": "yes"})],
            "spec.stream.denyDelete: wanted true or false, found 'yes'$",
        ),
        (
            [pipeline(stream={"name": "O", "subject": "o.{event_type}", "denyDelete": 1})],
            "spec.stream.denyDelete: wanted true or false, found 1$",
        ),
        (
            [pipeline(relay={"replicas": "postgres://me:secret@db"})],
            "^OutboxPipeline orders: spec.relay.replicas: wanted an integer$",
        ),
        (
            [pipeline(relay={"replicas": {"password": "secret"}})],
            "^OutboxPipeline orders: spec.relay.replicas: wanted an integer, found a map$",
        ),
        (
            [pipeline(relay={"replicas": "9" * 99})],
            f"^OutboxPipeline orders: spec.relay.replicas: wanted an integer, found '{'9' * 63}…$",
        ),
    ],
)
def test_what_cannot_run_is_refused(documents: list[object], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        read(*documents)


def test_what_a_cluster_refuses_is_refused_in_its_words() -> None:
    consumer = {"name": "billing", "handler": {"python": {"image": "i", "module": "m:f"}}}
    with pytest.raises(SpecError) as caught:
        read(pipeline(consumers=[{**consumer, "headersOnly": True}, {"name": "audit"}]))
    assert str(caught.value) == (
        "OutboxPipeline orders: spec.consumers[billing]: headersOnly leaves the payload out of "
        "dead letters too, for good: use it with programs that read by themselves "
        "(handler.container, or no handler)"
    )


def test_a_change_that_a_cluster_refuses_is_refused_in_its_words() -> None:
    def with_lanes(number: int) -> Resources:
        handler = {"http": {"url": "http://billing/events"}}
        stream = {"name": "ORDERS", "subject": "orders.{shard}.{event_type}"}
        billing = {"name": "billing", "ordering": "PerKey", "lanes": number, "handler": handler}
        return read(pipeline(outbox={"shards": 4}, stream=stream, consumers=[billing]))

    before = with_lanes(1)
    manifest.check_change(before, before.documents)
    with pytest.raises(SpecError) as caught:
        manifest.check_change(with_lanes(2), before.documents)
    assert str(caught.value) == (
        "OutboxPipeline orders: spec.consumers[billing]: lanes is fixed at creation"
    )
    # What nobody can read any more says nothing; nor does what another one was.
    others = [{**body, "metadata": {**body["metadata"], "name": "o"}} for body in before.documents]
    unknown = {**before.documents[0], "spec": {"database": 7}}
    manifest.check_change(with_lanes(2), [*others, unknown, {"kind": "EventMill"}, None])


def test_a_handler_is_found_by_either_name() -> None:
    resources = read(pipeline())
    assert resources.consumer_with_http_handler("billing") == "orders-billing"
    assert resources.consumer_with_http_handler("orders-billing") == "orders-billing"
    with pytest.raises(SpecError, match="there are: orders-billing"):
        resources.consumer_with_http_handler("audit")
