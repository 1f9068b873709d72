"""Two that want one thing, or one that is there already: the loser does no harm and says so."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

from support.nats import NatsOptions, NatsServer
from support.postgres import with_login
from support.world import HANDLER, World

PIPELINE = ("OutboxPipeline", "orders")
STREAM = ("EventStream", "orders")


def wait_to_be_younger(world: World, kind: str, name: str) -> None:
    """What is made now counts as younger than an object: times of creation are whole seconds."""
    body = world.get(kind, name)
    assert body is not None
    created = datetime.fromisoformat(body["metadata"]["creationTimestamp"])
    later = created + timedelta(seconds=1)
    world.wait(lambda: datetime.now(UTC) > later, "another second than that of its creation")


def test_a_pipeline_into_a_shared_stream(world: World) -> None:
    document = world.pipeline(consumers=[{"name": "audit"}])
    document["spec"]["stream"] = {
        "ref": {"name": "shared"}, "subject": f"{world.prefix}.shared.{{event_type}}",
    }  # fmt: skip
    world.apply(world.secret("database", url=world.database), document)
    seen = world.wait_condition(*PIPELINE, "StreamReady", "False", "StreamNotFound")
    assert f"{world.namespace}/shared" in seen["message"]
    world.apply(world.stream("shared"))
    world.wait_ready(*PIPELINE)
    body = world.get(*PIPELINE)
    assert body is not None
    assert body["status"]["stream"]["name"] == f"{world.prefix}-shared"
    world.kubectl("delete", "obp", "orders", "-n", world.namespace, "--timeout=120s")
    world.wait_ready("EventStream", "shared")


def test_an_event_stream_of_that_name_that_is_not_the_pipelines(world: World) -> None:
    world.apply(world.stream("orders"))
    world.wait_ready(*STREAM)
    world.apply(world.secret("database", url=world.database), world.pipeline())
    seen = world.wait_condition(*PIPELINE, "Stalled", "True", "ResourceConflict")
    assert f"EventStream {world.namespace}/orders" in seen["message"]
    assert world.condition(*PIPELINE, "SchemaApplied")["status"] == "True"
    assert world.get("Deployment", "orders-relay") is None


def test_a_deployment_of_that_name_that_is_not_ours_is_left_alone(world: World) -> None:
    world.kubectl("create", "deployment", "orders-relay", "-n", world.namespace,
                  "--image=theirs", "--replicas=0")  # fmt: skip
    world.apply(*world.whole())
    seen = world.wait_condition(*PIPELINE, "RelayAvailable", "False", "ResourceConflict")
    assert f"Deployment {world.namespace}/orders-relay" in seen["message"]
    containers = world.deployment("orders-relay")["spec"]["template"]["spec"]["containers"]
    assert [container["image"] for container in containers] == ["theirs"]
    assert world.condition(*PIPELINE, "SchemaApplied")["status"] == "True"
    world.kubectl("delete", "deployment", "orders-relay", "-n", world.namespace)
    world.wait_ready(*PIPELINE)


def test_who_has_the_table_keeps_it_whoever_is_older(world: World) -> None:
    """The older pipeline comes into force later, because its Secret does."""
    late = world.pipeline("orders")
    late["spec"]["database"]["connectionSecretRef"]["name"] = "late"
    world.apply(late)
    world.wait_condition(*PIPELINE, "DatabaseReachable", "False", "SecretNotFound")
    world.apply(world.secret("database", url=world.database), world.pipeline("second"))
    world.wait_ready("OutboxPipeline", "second")
    world.apply(world.secret("late", url=world.database))
    seen = world.wait_condition(*PIPELINE, "Stalled", "True", "ResourceConflict")
    assert f"OutboxPipeline/{world.namespace}/second" in seen["message"]
    assert world.get("Deployment", "orders-relay") is None
    world.look_again("obp", "second")
    world.wait_ready("OutboxPipeline", "second")
    world.deployment("second-relay")


def test_who_cannot_log_in_claims_nothing(world: World) -> None:
    """Somebody else names the database and the stream of a pipeline at work, and is older."""
    name = f"{world.namespace}-stranger"
    world.kubectl("create", "namespace", name)
    try:
        stranger = dataclasses.replace(world, namespace=name)
        wrong = with_login(world.database, "postgres", "not-the-password")
        nats = {"url": world.nats.url, "tokenSecretRef": {"name": "none", "key": "token"}}
        stranger.apply(
            stranger.secret("database", url=wrong),
            stranger.pipeline("older"),
            stranger.resource("EventStream", "thief", {**stranger.stream()["spec"], "nats": nats}),
        )
        stranger.wait_condition("OutboxPipeline", "older", "DatabaseReachable", "False")
        wait_to_be_younger(stranger, "OutboxPipeline", "older")
        world.apply(*world.whole())
        world.wait_ready(*PIPELINE)
        world.deployment("orders-relay")
        stranger.look_again("obp", "older")
        stranger.look_again("evs", "thief")
        world.look_again("obp", "orders")
        world.look_again("evs", "orders")
        world.wait_ready(*PIPELINE)
        world.wait_ready(*STREAM)
        world.deployment("orders-relay")
    finally:
        world.kubectl("delete", "namespace", name, "--timeout=120s")


def test_who_loses_the_stream_runs_no_relay(world: World) -> None:
    world.apply(world.secret("database", url=world.database), world.pipeline())
    world.wait_ready(*PIPELINE)
    other = world.pipeline("second")
    other["spec"]["database"]["schema"] = "second"
    other["spec"]["stream"] = world.pipeline()["spec"]["stream"]
    world.apply(other)
    world.wait_condition("OutboxPipeline", "second", "Stalled", "True")
    seen = world.condition("OutboxPipeline", "second", "RelayAvailable")
    assert seen["status"] == "Unknown"
    assert "the stream belongs to another resource" in seen["message"]
    assert "applied Deployment second-relay" not in world.log(1000)
    world.kubectl("delete", "obp", "orders", "-n", world.namespace, "--timeout=120s")
    world.wait_condition("EventStream", "second", "Ready", "False", "StreamExists")


ACCOUNTS = {
    "accounts": {
        name: {"users": [{"user": name, "password": name}], "jetstream": "enabled"}
        for name in ("blue", "green")
    }
}


def test_accounts_of_one_server_are_tenants(world: World) -> None:
    with NatsServer(NatsOptions(extra=ACCOUNTS)) as server:
        for name in ("blue", "green"):
            nats = {"url": server.url, "userSecretRef": {"name": name}}
            world.apply(
                world.secret(name, username=name, password=name),
                world.resource("EventStream", name, {**world.stream()["spec"], "nats": nats}),
            )
        for name in ("blue", "green"):
            world.wait_ready("EventStream", name)
            world.kubectl("delete", "evs", name, "-n", world.namespace, "--timeout=120s")


def test_who_has_a_durable_consumer_keeps_it(world: World) -> None:
    """The older one comes into force later, because its EventStream does."""
    same: dict[str, Any] = {"durableName": "same", "handler": HANDLER, "replicas": 0}
    world.apply(world.consumer("first", streamRef={"name": "alias"}, **same))
    world.wait_condition("EventConsumer", "first", "ConsumerReady", "False", "StreamNotFound")
    world.apply(world.stream(), world.consumer("second", **same))
    world.wait_ready("EventConsumer", "second")
    world.apply(world.resource("EventStream", "alias", world.stream()["spec"]))
    world.look_again("evc", "first")
    world.wait_condition("EventStream", "alias", "StreamReady", "False", "ResourceConflict")
    seen = world.wait_condition("EventConsumer", "first", "Stalled", "True", "ResourceConflict")
    assert f"EventConsumer/{world.namespace}/second" in seen["message"]
    assert world.get("Deployment", "first-consumer") is None
    world.look_again("evc", "second")
    world.wait_ready("EventConsumer", "second")
    world.deployment("second-consumer")
