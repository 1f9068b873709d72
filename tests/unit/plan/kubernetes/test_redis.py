"""What a pipeline with Redis is made of: its EventStream, what its relay is told, Secrets."""

from __future__ import annotations

from typing import Any

import pytest

from outbox_operator.api.resource import (
    Consumer,
    Pipeline,
    parse_consumer,
    parse_pipeline,
    parse_stream,
)
from outbox_operator.errors import NotSupportedError, SpecError
from outbox_operator.plan.checks import check_pipeline
from outbox_operator.plan.kubernetes.children import event_consumers, event_stream
from outbox_operator.plan.kubernetes.podsettings import PodSettings
from outbox_operator.plan.kubernetes.runtime_config import consumer_config, relay_config
from outbox_operator.plan.kubernetes.workloads import consumer_objects, relay_secret_refs
from outbox_operator.plan.passes.source import resolve, resolve_any
from outbox_operator.plan.redis.keys import keys_of
from outbox_operator.plan.sources import RedisSource

SPEC: dict[str, Any] = {
    "database": {"connectionSecretRef": {"name": "db", "key": "url"}},
    "redis": {
        "url": "rediss://redis.redis:6379",
        "userSecretRef": {"name": "login"},
        "tls": {"caSecretRef": {"name": "tls", "key": "ca.crt"}},
    },
    "stream": {"name": "identity.user.v1", "maxMessages": 9},
}


def pipeline(**changes: Any) -> Pipeline:
    metadata = {"name": "identity", "namespace": "shop", "uid": "u", "generation": 1}
    body = {"kind": "OutboxPipeline", "metadata": metadata, "spec": {**SPEC, **changes}}
    return parse_pipeline({"apiVersion": "outbox.dev/v1alpha1", **body})


def _consumer(**fields: Any) -> dict[str, Any]:
    return {"consumers": [{"name": "a", **fields}]}


@pytest.mark.parametrize(
    ("shards", "subject", "keys"),
    [
        (1, "identity.user.v1", ["identity.user.v1"]),
        (2, "identity.user.v1.{shard}", ["identity.user.v1.0", "identity.user.v1.1"]),
    ],
)
def test_the_relay_writes_the_keys_that_the_stream_has(
    shards: int, subject: str, keys: list[str]
) -> None:
    one = pipeline(outbox={"shards": shards})
    check_pipeline(one.spec)
    manifest = event_stream(one)
    assert manifest is not None
    stream = parse_stream(manifest).spec
    assert (keys_of(stream), stream.maxMessages, stream.deadLetter) == (keys, 9, None)
    assert not {"nats", "deadLetter"} & manifest["spec"].keys()
    config = relay_config(one, stream_name=stream.name)
    assert (config.nats, config.subject) == (None, subject)
    assert config.redis is not None
    assert config.redis.password_file == "/var/run/outbox/secrets/redis/password"
    assert config.redis.ca_file == "/var/run/outbox/secrets/redis/ca.crt"
    refs = {("db", "url"), ("login", "username"), ("login", "password"), ("tls", "ca.crt")}
    assert set(relay_secret_refs(one.spec)) == refs
    assert event_consumers(one) == []


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"nats": {"url": "nats://n"}}, SpecError, "exactly one of nats and redis"),
        (_consumer(lanes=2), SpecError, r"spec.consumers\[a\].lanes: wanted 1 with redis"),
        (_consumer(ordering="PerKey", replicas=2), SpecError, "as long as one pod reads"),
        (_consumer(deliverPolicy="Last"), SpecError, "deliverPolicy: wanted All or New"),
        (_consumer(replayPolicy="Original"), SpecError, "replayPolicy has no meaning with redis"),
        (
            _consumer(inbox={"mode": "PerShard", "connectionSecretRef": {"name": "i", "key": "u"}}),
            SpecError,
            "inbox.mode PerShard needs a stream",
        ),
        ({"stream": {"name": "k", "maxBytes": "1Gi"}}, SpecError, "spec.stream.maxBytes has no"),
        ({"stream": {"ref": {"name": "k"}}}, SpecError, "spec.stream.name is missing"),
    ],
)
def test_what_a_laptop_is_told(changes: dict[str, Any], error: type[SpecError], words: str) -> None:
    with pytest.raises(error, match=words):
        check_pipeline(pipeline(**changes).spec)


def test_what_pods_of_its_consumers_are_told() -> None:
    handled = {
        "handler": {"http": {"url": "http://billing/"}}, "filterEventTypes": ["user.*"],
        "ordering": "PerKey",
    }  # fmt: skip
    one = pipeline(**_consumer(**handled), outbox={"shards": 2})
    check_pipeline(one.spec)
    (manifest,) = event_consumers(one)
    assert manifest["spec"]["filterEventTypes"] == ["user.*"]
    assert "filterSubjects" not in manifest["spec"]
    manifest["metadata"] |= {"uid": "c", "generation": 1}
    consumer = parse_consumer(manifest)
    source = resolve_any(consumer, event_stream(one))
    assert isinstance(source, RedisSource)
    config = consumer_config(consumer, source)
    assert config.nats is None
    assert config.redis is not None
    assert config.redis.password_file == "/var/run/outbox/secrets/redis/password"
    assert config.shard_streams == ("identity.user.v1.0", "identity.user.v1.1")
    assert (config.stream, config.durable) == ("identity.user.v1", "identity-a")
    assert (config.event_types, config.dead_letter_subject) == (
        ("user.*",),
        "identity.user.v1.dlq",
    )
    objects = consumer_objects(
        consumer, source, image="i", secret_checksum="", logins="", restarted_at=None, replicas=1,
        settings=PodSettings(),
    )  # fmt: skip
    (deployment,) = (each for each in objects if each["kind"] == "Deployment")
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}, "one pod reads at a time"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"filterSubjects": ["a.>"]}, "filterSubjects: the stream is in Redis"),
        ({"deadLetter": {"subjectPrefix": "a"}}, "deadLetter: the stream is in Redis"),
        ({"nats": {"url": "nats://n"}}, "nats: the stream is in Redis"),
        ({"maxAckPending": 5}, "spec.maxAckPending has no meaning with redis"),
    ],
)
def test_what_a_consumer_of_its_stream_is_told(spec: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        resolve_any(_reader(**spec), event_stream(pipeline()))


def test_types_are_for_redis_alone() -> None:
    body = event_stream(pipeline())
    assert body is not None
    del body["spec"]["redis"], body["spec"]["shards"]
    body["spec"] |= {"name": "ORDERS", "subjects": ["o.>"], "nats": {"url": "nats://n"}}
    with pytest.raises(SpecError, match="use filterSubjects"):
        resolve_any(_reader(filterEventTypes=["a"]), body)


def test_what_works_with_jetstream_only_says_so() -> None:
    with pytest.raises(NotSupportedError, match="JetStream only"):
        resolve(_reader(), event_stream(pipeline()))
    with pytest.raises(NotSupportedError, match="JetStream only"):
        _ = pipeline().spec.jetstream


def _reader(**spec: Any) -> Consumer:
    metadata = {"name": "billing", "namespace": "shop", "uid": "c", "generation": 1}
    return parse_consumer(
        {
            "kind": "EventConsumer",
            "metadata": metadata,
            "spec": {"streamRef": {"name": "identity"}, **spec},
        }
    )
