"""Two that want one thing, or one that is there already: the loser does no harm and says so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

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
    world.kubectl("delete", "obp", "orders", "-n", world.namespace, "--timeout=60s")
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
    world.wait_ready(*PIPELINE, deadline=90)


def test_who_loses_the_table_runs_no_relay(world: World) -> None:
    """The older pipeline comes into force later, because its Secret does."""
    late = world.pipeline("orders")
    late["spec"]["database"]["connectionSecretRef"]["name"] = "late"
    world.apply(late)
    world.wait_condition(*PIPELINE, "DatabaseReachable", "False", "SecretNotFound")
    wait_to_be_younger(world, *PIPELINE)
    world.apply(world.secret("database", url=world.database), world.pipeline("second"))
    world.wait_ready("OutboxPipeline", "second")
    world.deployment("second-relay")
    world.apply(world.secret("late", url=world.database))
    world.wait_ready(*PIPELINE, deadline=60)
    world.look_again("obp", "second")
    seen = world.wait_condition("OutboxPipeline", "second", "Stalled", "True", "ResourceConflict")
    assert f"OutboxPipeline/{world.namespace}/orders" in seen["message"]
    world.wait(lambda: world.get("Deployment", "second-relay") is None, "its relay goes")
    world.wait_ready(*PIPELINE)


def test_who_loses_the_stream_runs_no_relay(world: World) -> None:
    world.apply(world.secret("database", url=world.database), world.pipeline())
    world.wait_ready(*PIPELINE)
    other = world.pipeline("second")
    other["spec"]["database"]["schema"] = "second"
    other["spec"]["stream"] = world.pipeline()["spec"]["stream"]
    world.apply(other)
    world.wait_condition("OutboxPipeline", "second", "Stalled", "True", "ResourceConflict")
    seen = world.condition("OutboxPipeline", "second", "RelayAvailable")
    assert seen["status"] == "Unknown"
    assert "the stream belongs to another resource" in seen["message"]
    assert "applied Deployment second-relay" not in world.log(1000)
    world.kubectl("delete", "obp", "orders", "-n", world.namespace, "--timeout=60s")
    world.wait_condition("EventStream", "second", "Ready", "False", "StreamExists", deadline=60)


def test_who_loses_a_durable_consumer_runs_no_workload(world: World) -> None:
    """The older one comes into force later, because its EventStream does."""
    same: dict[str, Any] = {"durableName": "same", "handler": HANDLER, "replicas": 0}
    world.apply(world.consumer("first", streamRef={"name": "alias"}, **same))
    world.wait_condition("EventConsumer", "first", "ConsumerReady", "False", "StreamNotFound")
    wait_to_be_younger(world, "EventConsumer", "first")
    world.apply(world.stream(), world.consumer("second", **same))
    world.wait_ready("EventConsumer", "second")
    world.deployment("second-consumer")
    world.apply(world.resource("EventStream", "alias", world.stream()["spec"]))
    world.wait_ready("EventConsumer", "first")
    world.look_again("evc", "second")
    seen = world.wait_condition("EventConsumer", "second", "Stalled", "True", "ResourceConflict")
    assert f"EventConsumer/{world.namespace}/first" in seen["message"]
    world.wait(lambda: world.get("Deployment", "second-consumer") is None, "its workload goes")
