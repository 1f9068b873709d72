"""The objects behind a relay and behind consumers, as the operator applies them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from outbox_operator.adapters.postgres.url import LOGIN_KEYS, Login
from outbox_operator.api.resource import Consumer, Pipeline
from outbox_operator.api.v1alpha1.common import NatsConnection
from outbox_operator.api.v1alpha1.redis import RedisConnection
from outbox_operator.controller.runtime.child_cache import KINDS, NETWORK_KINDS
from outbox_operator.errors import SpecError
from outbox_operator.plan.kubernetes import workloads
from outbox_operator.plan.kubernetes.podsettings import (
    NetworkPolicySettings,
    PodPolicy,
    PodSettings,
)
from outbox_operator.plan.sources import RedisSource, Source
from outbox_operator.wire.config import SECRETS_MOUNT, DatabaseConfig
from support import resources
from support.golden import assert_golden

GOLDEN = Path(__file__).parent / "golden"
INBOX = {
    "connectionSecretRef": {"name": "db"},
    "host": "db.data",
    "port": 5433,
    "name": "shop",
    "tls": {
        "mode": "VerifyCa",
        "caSecretRef": {"name": "db-tls", "key": "ca"},
        "certSecretRef": {"name": "db-tls", "key": "crt"},
        "keySecretRef": {"name": "db-tls", "key": "key"},
    },
}
NATS = NatsConnection(url="nats://nats.nats:4222")
NATS_ALL = NatsConnection.model_validate(
    {
        "url": "tls://nats.nats:4222",
        "userSecretRef": {"name": "nats-login"},
        "tls": {
            "caSecretRef": {"name": "nats-tls", "key": "ca.crt"},
            "certSecretRef": {"name": "nats-tls", "key": "tls.crt"},
            "keySecretRef": {"name": "nats-tls", "key": "tls.key"},
            "handshakeFirst": True,
        },
        "domain": "hub",
    }
)
HTTP = {"http": {"url": "http://billing.shop/events", "headers": {"X-Team": "billing"}}}
PYTHON = {"python": {"image": "registry.example/shop:1", "module": "shop.handlers:on_event"}}
CONTAINER = {
    "container": {
        "image": "registry.example/legacy:7",
        "args": ["--verbose"],
        "env": [{"name": "MODE", "value": "fast"}, {"name": "NATS_URL", "value": "nats://other"}],
    }
}


def relay(pipeline: Pipeline | None = None, **over: Any) -> list[dict[str, Any]]:
    settings: dict[str, Any] = {
        "stream_name": "ORDERS",
        "image": "outbox-operator:0.1.0",
        "secret_checksum": "of-secrets",
        "logins": "of-logins",
        "restarted_at": None,
        "replicas": 1,
        "settings": PodSettings(),
        **over,
    }
    return workloads.relay_objects(pipeline or resources.pipeline(), **settings)


def handle(consumer: Consumer, **over: Any) -> list[dict[str, Any]]:
    source = Source(stream="ORDERS", nats=NATS, dead_letter_prefix="dlq.ORDERS")
    settings: dict[str, Any] = {
        "source": source,
        "image": "outbox-operator:0.1.0",
        "secret_checksum": "of-secrets",
        "logins": "of-logins",
        "restarted_at": None,
        "replicas": consumer.spec.replicas,
        "settings": PodSettings(),
        **over,
    }
    return workloads.consumer_objects(consumer, **settings)


def of_kind(objects: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    return next(one for one in objects if one["kind"] == kind)


def template(objects: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = of_kind(objects, "Deployment")["spec"]["template"]
    return found


def checksum(objects: list[dict[str, Any]]) -> str:
    found: str = template(objects)["metadata"]["annotations"]["outbox.dev/checksum"]
    return found


def config(objects: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(of_kind(objects, "ConfigMap")["data"]["config.json"])
    return found


WITH_POLICY = PodSettings(network_policy=NetworkPolicySettings())
ALL_WORKLOADS = [
    pytest.param(relay(settings=WITH_POLICY), id="relay-with-policy"),
    pytest.param(relay(), id="relay"),
    pytest.param(handle(resources.consumer(handler=HTTP)), id="http"),
    pytest.param(handle(resources.consumer(handler=PYTHON)), id="python"),
    pytest.param(handle(resources.consumer(handler=CONTAINER)), id="container"),
]


def test_relay_manifests() -> None:
    pipeline = resources.pipeline(
        nats=NATS_ALL.model_dump(exclude_none=True),
        relay={
            "replicas": 2,
            "podTemplate": {
                "metadata": {"labels": {"team": "shop"}},
                "spec": {
                    "terminationGracePeriodSeconds": 60,
                    "containers": [{"name": "relay", "resources": {"limits": {"memory": "1Gi"}}}],
                },
            },
        },
    )
    objects = relay(pipeline, replicas=2, restarted_at="2026-01-02T03:04:05Z")
    assert_golden(GOLDEN / "relay.yaml", objects)


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("http", {"handler": HTTP, "inbox": {"connectionSecretRef": {"name": "billing-db"}}}),
        ("python", {"handler": PYTHON, "replicas": 3}),
        ("container", {"handler": CONTAINER, "filterSubjects": ["orders.a", "orders.b"]}),
    ],
)
def test_consumer_manifests(name: str, spec: dict[str, Any]) -> None:
    objects = handle(
        resources.consumer(**spec),
        source=Source(stream="ORDERS", nats=NATS_ALL, dead_letter_prefix="dlq.ORDERS"),
    )
    assert_golden(GOLDEN / f"consumer-{name}.yaml", objects)


EGRESS = {"ports": [{"port": 4222, "protocol": "TCP"}]}
FROM = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}


def test_network_policies_as_the_installation_wants_them() -> None:
    network = NetworkPolicySettings(metrics_from=(FROM,), egress=(EGRESS,))
    objects = relay(settings=PodSettings(network_policy=network))
    assert_golden(GOLDEN / "relay-network-policy.yaml", objects)


@pytest.mark.parametrize(
    ("handler", "ingress"),
    [(HTTP, [8080]), (PYTHON, [8080]), (CONTAINER, None)],
    ids=["http", "python", "container"],
)
def test_a_policy_lets_pods_do_what_is_known_of_them(handler: Any, ingress: Any) -> None:
    objects = handle(resources.consumer(handler=handler), settings=WITH_POLICY)
    policy = of_kind(objects, "NetworkPolicy")["spec"]
    selector = of_kind(objects, "Deployment")["spec"]["selector"]
    assert policy["podSelector"] == selector
    assert policy["egress"] == [{}]
    rules = policy.get("ingress")
    assert (rules and [port["port"] for rule in rules for port in rule["ports"]]) == ingress
    assert not any("from" in rule for rule in rules or ())
    # A program of the user's listens where it likes: only what it sends is spoken of.
    assert policy["policyTypes"] == (["Egress"] if ingress is None else ["Ingress", "Egress"])
    assert "NetworkPolicy" not in {one["kind"] for one in handle(resources.consumer(handler=HTTP))}


def test_a_consumer_without_handler_has_no_workload() -> None:
    assert handle(resources.consumer()) == []


@pytest.mark.parametrize("objects", ALL_WORKLOADS)
def test_pods_satisfy_the_restricted_pod_security_standard(objects: list[dict[str, Any]]) -> None:
    spec = template(objects)["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert of_kind(objects, "ServiceAccount")["automountServiceAccountToken"] is False
    for container in spec["containers"]:
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("objects", ALL_WORKLOADS)
def test_every_object_is_owned_labelled_and_known_for_pruning(
    objects: list[dict[str, Any]],
) -> None:
    for one in objects:
        assert {**KINDS, **NETWORK_KINDS}[one["kind"]] == one["apiVersion"]
        assert one["metadata"]["ownerReferences"][0]["controller"] is True
        assert one["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "outbox-operator"
    deployment = of_kind(objects, "Deployment")
    selector = deployment["spec"]["selector"]["matchLabels"]
    assert selector.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    assert of_kind(objects, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == selector
    assert objects[-1] is deployment


def test_rendering_is_stable() -> None:
    assert relay() == relay()


def test_a_changed_secret_config_or_restart_rolls_the_pods() -> None:
    base = relay()
    assert checksum(base) != checksum(relay(secret_checksum="other"))
    slower = resources.pipeline(relay={"polling": {"max": "5s"}})
    assert checksum(base) != checksum(relay(slower))
    assert template(base) != template(relay(restarted_at="2026-01-02T03:04:05Z"))


def test_a_change_of_the_replicas_alone_leaves_the_pods_alone() -> None:
    assert template(relay(replicas=1)) == template(relay(replicas=3))


def test_the_annotation_does_not_show_a_plain_hash_of_secrets() -> None:
    other = resources.pipeline(name="other")
    assert checksum(relay()) != checksum(relay(other))
    assert "of-secrets" not in json.dumps(relay())


def test_only_the_keys_needed_are_mounted_where_the_config_says() -> None:
    objects = relay(resources.pipeline(nats=NATS_ALL.model_dump(exclude_none=True)))
    told = config(objects)
    volumes = {volume["name"]: volume for volume in template(objects)["spec"]["volumes"]}
    projected = volumes["secrets"]["projected"]
    mounted = {
        f"{SECRETS_MOUNT}/{item['path']}": (source["secret"]["name"], item["key"])
        for source in projected["sources"]
        for item in source["secret"]["items"]
    }
    assert mounted == {
        f"{told['database']['login_directory']}/{key}": ("orders-db", key) for key in LOGIN_KEYS
    } | {
        told["nats"]["username_file"]: ("nats-login", "username"),
        told["nats"]["password_file"]: ("nats-login", "password"),
        told["nats"]["ca_file"]: ("nats-tls", "ca.crt"),
        told["nats"]["cert_file"]: ("nats-tls", "tls.crt"),
        told["nats"]["key_file"]: ("nats-tls", "tls.key"),
    }
    assert set(mounted.values()) == set(
        workloads.relay_secret_refs(
            resources.pipeline(nats=NATS_ALL.model_dump(exclude_none=True)).spec
        )
    )
    assert projected["defaultMode"] == 0o440
    # What the process needs keeps the pod from starting when it is missing, and the kubelet says
    # so; nobody knows which form of a login a Secret has.
    optional = [s["secret"]["name"] for s in projected["sources"] if s["secret"].get("optional")]
    assert optional == ["orders-db"]


@pytest.mark.parametrize("key", ["uri", None])
def test_a_database_login_is_found_where_the_config_says(key: str | None, tmp_path: Path) -> None:
    """What the operator makes of a Secret and a resource, the process makes of its files."""
    database = {
        **INBOX,
        "connectionSecretRef": {"name": "db", **({"key": key} if key else {})},
    }
    secret = {"uri": "postgresql://app@/", "username": "no", "ca": "CA", "crt": "C", "key": "K"}
    objects = relay(resources.pipeline(database=database))
    volumes = {volume["name"]: volume for volume in template(objects)["spec"]["volumes"]}
    for source in volumes["secrets"]["projected"]["sources"]:
        for item in source["secret"]["items"]:
            path = tmp_path / item["path"]
            path.parent.mkdir(exist_ok=True)
            if item["key"] in secret:
                path.write_text(secret[item["key"]])
    told = json.loads(json.dumps(config(objects)["database"]).replace(SECRETS_MOUNT, str(tmp_path)))
    assert Login.from_files(DatabaseConfig(**told)) == Login(
        url="postgresql://app@/", host="db.data", port="5433", database="shop",
        tls_mode="verify-ca", ca_pem="CA", cert_pem="C", key_pem="K",
    )  # fmt: skip


def test_a_consumer_that_needs_no_secret_mounts_none() -> None:
    objects = handle(resources.consumer(handler=HTTP))
    assert workloads.consumer_secret_refs(resources.consumer(handler=HTTP).spec, NATS) == ()
    assert [volume["name"] for volume in template(objects)["spec"]["volumes"]] == ["config", "tmp"]


def test_the_process_drains_before_the_pod_is_killed() -> None:
    longer = resources.consumer(
        handler=HTTP, podTemplate={"spec": {"terminationGracePeriodSeconds": 120}}
    )
    objects = handle(longer)
    assert template(objects)["spec"]["terminationGracePeriodSeconds"] == 120
    assert config(objects)["drain_seconds"] == 115
    assert config(handle(resources.consumer(handler=HTTP)))["drain_seconds"] == 25


@pytest.mark.parametrize(
    ("spec", "scaled", "wanted"),
    [
        ({}, None, 1),
        ({"replicas": 4}, None, 4),
        ({"replicas": 4, "state": "Stopped"}, None, 0),
        ({"autoscaling": {}, "replicas": 4}, 7, 7),
        ({"autoscaling": {}, "state": "Stopped"}, 7, 0),
    ],
)
def test_replicas(spec: dict[str, Any], scaled: int | None, wanted: int) -> None:
    pipeline, consumer = resources.pipeline(relay=spec), resources.consumer(handler=HTTP, **spec)
    assert workloads.relay_replicas(pipeline.spec, scaled) == wanted
    assert workloads.consumer_replicas(consumer.spec, scaled) == wanted
    for objects in (handle(consumer, replicas=wanted), relay(pipeline, replicas=wanted)):
        assert of_kind(objects, "Deployment")["spec"]["replicas"] == wanted


def test_a_user_s_environment_wins_and_no_variable_is_there_twice() -> None:
    container = template(handle(resources.consumer(handler=CONTAINER)))["spec"]["containers"][0]
    values = [(variable["name"], variable["value"]) for variable in container["env"]]
    assert len(dict(values)) == len(values)
    assert dict(values)["NATS_URL"] == "nats://other"
    assert dict(values)["OUTBOX_CONSUMER"] == "billing"
    assert dict(values)["OUTBOX_DEAD_LETTER_SUBJECT"] == "dlq.ORDERS.billing"


def test_the_restart_time_is_read_back_from_the_live_deployment() -> None:
    moment = "2026-01-02T03:04:05Z"
    deployment = of_kind(relay(restarted_at=moment), "Deployment")
    assert workloads.restarted_at(deployment) == moment
    assert workloads.restarted_at(of_kind(relay(), "Deployment")) is None
    assert workloads.restarted_at(None) is None


def test_what_the_policy_forbids_is_refused_by_name() -> None:
    settings = PodSettings(policy=PodPolicy(fields=("metadata",), images=("shop/*",)))
    pipeline = resources.pipeline(relay={"podTemplate": {"spec": {"hostNetwork": True}}})
    where = r"OutboxPipeline/shop/orders: spec\.relay\.podTemplate\.spec\.hostNetwork: not allowed"
    with pytest.raises(SpecError, match=where) as caught:
        relay(pipeline, settings=settings)
    assert caught.value.reason == "ForbiddenByPolicy"
    for handler in (PYTHON, CONTAINER):
        with pytest.raises(SpecError, match=r"image 'registry\.example/.* of container consumer"):
            handle(resources.consumer(handler=handler), settings=settings)
    assert handle(resources.consumer(handler=HTTP), settings=settings)


def test_a_pod_template_that_breaks_the_pods_names_resource_and_field() -> None:
    pipeline = resources.pipeline(relay={"podTemplate": {"spec": {"restartPolicy": "Never"}}})
    where = r"OutboxPipeline/shop/orders: spec\.relay\.podTemplate\.spec\.restartPolicy"
    with pytest.raises(SpecError, match=where):
        relay(pipeline)


def test_every_variable_of_a_container_is_documented_and_no_other() -> None:
    spec = {
        "credentialsSecretRef": {"name": "s", "key": "creds"},
        "tokenSecretRef": {"name": "s", "key": "token"},
        "nkeySecretRef": {"name": "s", "key": "nkey"},
    }
    nats = NatsConnection.model_validate({**NATS_ALL.model_dump(exclude_none=True), **spec})
    consumer = resources.consumer(handler={"container": {"image": "x"}}, inbox=INBOX)
    source = Source(stream="ORDERS", nats=nats, dead_letter_prefix="dlq.ORDERS")
    container = template(handle(consumer, source=source))["spec"]["containers"][0]
    page = Path(__file__).resolve().parents[4] / "docs/reference/container-environment.md"
    in_nats, in_redis = page.read_text().split("## In Redis")
    assert _documented(in_nats) == [variable["name"] for variable in container["env"]]

    redis = RedisConnection.model_validate(
        {
            "url": "rediss://redis.redis:6379", "userSecretRef": {"name": "s"},
            "tls": {
                "caSecretRef": {"name": "s", "key": "ca"},
                "certSecretRef": {"name": "s", "key": "cert"},
                "keySecretRef": {"name": "s", "key": "key"},
            },
        }
    )  # fmt: skip
    other = RedisSource(stream="k", redis=redis, keys=("k",), letters="k.dlq", follows="orders")
    bare = resources.consumer(handler={"container": {"image": "x"}})
    container = template(handle(bare, source=other))["spec"]["containers"][0]
    assert _documented(in_redis) == [variable["name"] for variable in container["env"]]


def _documented(text: str) -> list[str]:
    return [line.split("`")[1] for line in text.splitlines() if "| `" in line]
