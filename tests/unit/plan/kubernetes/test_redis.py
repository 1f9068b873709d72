"""What a pipeline with Redis is made of: its EventStream, what its relay is told, Secrets."""

from __future__ import annotations

from typing import Any

import pytest

from outbox_operator.api.resource import Pipeline, parse_consumer, parse_pipeline, parse_stream
from outbox_operator.errors import NotSupportedError, SpecError
from outbox_operator.plan.checks import check_pipeline
from outbox_operator.plan.kubernetes.children import event_consumers, event_stream
from outbox_operator.plan.kubernetes.runtime_config import relay_config
from outbox_operator.plan.kubernetes.workloads import relay_secret_refs
from outbox_operator.plan.passes.source import resolve
from outbox_operator.plan.redis.keys import keys_of

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
        ({"consumers": [{"name": "a"}]}, NotSupportedError, "do not exist yet"),
        ({"stream": {"name": "k", "maxBytes": "1Gi"}}, SpecError, "spec.stream.maxBytes has no"),
        ({"stream": {"ref": {"name": "k"}}}, SpecError, "spec.stream.name is missing"),
    ],
)
def test_what_a_laptop_is_told(changes: dict[str, Any], error: type[SpecError], words: str) -> None:
    with pytest.raises(error, match=words):
        check_pipeline(pipeline(**changes).spec)


def test_no_consumer_of_ours_reads_it() -> None:
    metadata = {"name": "billing", "namespace": "shop", "uid": "c", "generation": 1}
    consumer = parse_consumer(
        {
            "kind": "EventConsumer",
            "metadata": metadata,
            "spec": {"streamRef": {"name": "identity"}},
        }
    )
    with pytest.raises(NotSupportedError, match="consumer group"):
        resolve(consumer, event_stream(pipeline()))
    with pytest.raises(NotSupportedError, match="JetStream only"):
        _ = pipeline().spec.jetstream
