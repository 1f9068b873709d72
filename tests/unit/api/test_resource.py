"""Raw objects to values."""

from __future__ import annotations

from typing import Any

import pytest

from outbox_operator.api import meta
from outbox_operator.api.resource import parse_meta, parse_pipeline, parse_stream
from outbox_operator.errors import SpecError, UnknownFieldError


def body(**changes: Any) -> dict[str, Any]:
    return {
        "apiVersion": meta.API_VERSION,
        "kind": meta.STREAM,
        "metadata": {"name": "orders", "namespace": "shop", "uid": "u1", "generation": 3},
        "spec": {"nats": {"url": "nats://nats:4222"}, "name": "ORDERS", "subjects": ["orders.>"]},
        **changes,
    }


def test_a_stream_and_what_is_left_out() -> None:
    stream = parse_stream(body())
    assert stream.spec.name == "ORDERS"
    assert stream.spec.duplicateWindow == "2m"
    assert stream.status.conditions == []
    assert stream.meta.key == "EventStream/shop/orders"
    assert stream.meta.generation == 3


def test_problems_name_object_field_and_what_is_wanted() -> None:
    spec = {"nats": {"url": "http://nats"}, "name": "ORDERS", "colour": "red"}
    with pytest.raises(SpecError) as caught:
        parse_stream(body(spec=spec))
    message = str(caught.value)
    assert message.startswith("EventStream orders: ")
    assert "spec.nats.url" in message
    assert "spec.colour" in message


def test_what_a_newer_definition_added_is_no_reason_to_do_nothing() -> None:
    spec = {
        "nats": {"url": "nats://nats:4222", "tomorrow": True},
        "name": "ORDERS",
        "sources": [{"name": "OTHER", "tomorrow": [1]}],
        "tomorrow": {"a": 1},
    }
    newer = body(spec=spec, status={"observedGeneration": 3, "tomorrow": 1})
    parsed = parse_stream(newer, stored=True)
    assert parsed.spec.sources[0].name == "OTHER"
    assert parsed.status.observedGeneration == 3
    with pytest.raises(SpecError, match=r"spec\.tomorrow: is not known"):
        parse_stream(newer)


def test_what_nobody_knows_is_told_from_what_is_wrong() -> None:
    with pytest.raises(UnknownFieldError):
        parse_stream(body(spec={"nats": {"url": "nats://nats:4222", "tomorrow": True}}))
    with pytest.raises(SpecError) as caught:
        parse_stream(body(spec={"nats": {"url": "http://nats"}}))
    assert not isinstance(caught.value, UnknownFieldError)


@pytest.mark.parametrize(
    ("kind", "spec", "said"),
    [
        (meta.STREAM, {"maxage": "1h"}, "spec.maxage: is not known (did you mean spec.maxAge?)"),
        (meta.STREAM, {"colour": "red"}, "spec.colour: is not known"),
        (
            meta.PIPELINE,
            {"maxDelivery": 3},
            "spec.maxDelivery: is not known (did you mean spec.consumers[].maxDeliver?)",
        ),
        (
            meta.PIPELINE,
            {"consumers": [{"name": "a", "hanlder": {}}]},
            "spec.consumers[0].hanlder: is not known (did you mean spec.consumers[0].handler?)",
        ),
        (
            meta.PIPELINE,
            {"consumers": [{}, {"name": "b", "handler": {"htp": {"url": "http://b"}}}]},
            "spec.consumers[1].handler.htp: is not known "
            "(did you mean spec.consumers[1].handler.http?)",
        ),
        (
            meta.PIPELINE,
            {"consumers": [{}, {"name": "b", "handler": {"http": {"timout": "1s"}}}]},
            "spec.consumers[1].handler.http.timout: is not known "
            "(did you mean spec.consumers[1].handler.http.timeout?)",
        ),
        (
            meta.PIPELINE,
            {"consumers": [{}, {"name": "b", "http": {"url": "http://b"}}]},
            "spec.consumers[1].http: is not known (did you mean spec.consumers[1].handler.http?)",
        ),
        (
            meta.PIPELINE,
            {"consumers": [{"name": "a", "handler": {"url": "http://b"}}]},
            "spec.consumers[0].handler.url: is not known "
            "(did you mean spec.consumers[0].handler.http.url?)",
        ),
        (
            meta.PIPELINE,
            {"database": {"shema": "shop"}},
            "spec.database.shema: is not known (did you mean spec.database.schema?)",
        ),
        (meta.PIPELINE, {}, "spec.database: is missing"),
        (
            meta.PIPELINE,
            {"consumers": [{"name": "a", "handler": {"python": {"image": "i", "module": "shop"}}}]},
            "spec.consumers[0].handler.python.module: wanted package.module:function, or of "
            "Handlers package.module:app, found 'shop'",
        ),
        (
            meta.STREAM,
            {"maxAge": "soon"},
            "spec.maxAge: wanted a duration such as 500ms, 30s, 5m, 24h or 30d, found 'soon'",
        ),
        (
            meta.STREAM,
            {"maxAge": 90},
            "spec.maxAge: wanted a duration such as 500ms, 30s, 5m, 24h or 30d, found a number",
        ),
        (
            meta.PIPELINE,
            {"consumers": [{"name": "a", "backoff": "1s"}]},
            "spec.consumers[0].backoff: wanted a list, found a text",
        ),
        (
            meta.PIPELINE,
            {"consumers": [{"name": "a", "backoff": [1]}]},
            "spec.consumers[0].backoff[0]: wanted a duration such as 500ms, 30s, 5m, 24h or 30d, "
            "found a number",
        ),
        (
            meta.PIPELINE,
            {"consumers": {"name": "a"}},
            "spec.consumers: wanted a list, found a mapping",
        ),
        (meta.PIPELINE, {"database": "shop"}, "spec.database: wanted a mapping, found a text"),
        (
            meta.PIPELINE,
            {"nats": {"url": 7}},
            "spec.nats.url: wanted URLs such as nats://nats.nats:4222 or tls://nats.nats:4222, "
            "separated by commas, without credentials, found a number",
        ),
        (meta.STREAM, {"replicas": "many"}, "spec.replicas: wanted a whole number, found a text"),
        (
            meta.STREAM,
            {"replicas": 1.5},
            "spec.replicas: wanted a whole number, found a number with a fraction",
        ),
        (
            meta.STREAM,
            {"name": None},
            "spec.name: wanted a name without spaces and without * > / \\, found nothing",
        ),
        (
            meta.PIPELINE,
            {"consumers": [{"handler": {"archive": {"retention": [{"name": "x", "keep": 90}]}}}]},
            "spec.consumers[0].handler.archive.retention[0].keep: wanted a duration such as "
            "500ms, 30s, 5m, 24h or 30d, found a number",
        ),
        (
            meta.STREAM,
            {"nats": {"url": "nats.shop:4222"}},
            "spec.nats.url: wanted URLs such as nats://nats.nats:4222 or tls://nats.nats:4222, "
            "separated by commas, without credentials",
        ),
    ],
)
def test_says_of_a_field_what_was_wanted(kind: str, spec: dict[str, Any], said: str) -> None:
    parse = parse_stream if kind == meta.STREAM else parse_pipeline
    with pytest.raises(SpecError) as caught:
        parse(body(kind=kind, spec=spec))
    assert said in caught.value.message.partition(": ")[2].split("; ")


def test_passwords_in_a_refused_url_are_not_repeated() -> None:
    spec = {"nats": {"url": "nats://user:hunter2@nats"}, "name": "ORDERS"}
    with pytest.raises(SpecError) as caught:
        parse_stream(body(spec=spec))
    assert "hunter2" not in str(caught.value)


def test_an_unreadable_status_counts_as_empty() -> None:
    stream = parse_stream(body(status={"observedGeneration": "many", "colour": 1}))
    assert stream.status.observedGeneration is None


def test_a_missing_spec_is_refused() -> None:
    with pytest.raises(SpecError, match=r"spec\.database"):
        parse_pipeline(body(kind=meta.PIPELINE, spec=None))


def test_metadata() -> None:
    owners = [
        {"kind": "Other", "uid": "x"},
        {"kind": "OutboxPipeline", "name": "orders", "uid": "p1", "controller": True},
    ]
    raw = body()
    raw["metadata"] |= {
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "annotations": {meta.PAUSE_ANNOTATION: "true"},
        "ownerReferences": owners,
        "finalizers": [meta.FINALIZER],
        "deletionTimestamp": "2026-01-02T00:00:00Z",
        "resourceVersion": "42",
    }
    parsed = parse_meta(raw)
    assert parsed.paused
    assert parsed.owner_uid == "p1"
    assert parsed.deleted_at == "2026-01-02T00:00:00Z"
    assert parsed.owner_reference()["uid"] == "u1"
