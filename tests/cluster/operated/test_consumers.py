"""EventConsumers: their workload, their scale, streams that something else declares."""

from __future__ import annotations

from support.nats import connected
from support.world import HANDLER, World


def test_a_handler_taken_out_takes_its_workload_along(world: World) -> None:
    world.apply(world.stream(), world.consumer(handler=HANDLER, replicas=0))
    billing = ("EventConsumer", "billing")
    world.wait_ready(*billing)
    world.deployment("billing-consumer")
    world.apply(world.consumer())
    world.wait_ready(*billing)
    world.wait(lambda: world.get("Deployment", "billing-consumer") is None, "no Deployment")
    body = world.get(*billing)
    assert body is not None
    assert "WorkloadAvailable" not in {c["type"] for c in body["status"]["conditions"]}


async def test_a_consumer_of_a_stream_that_something_else_declares(world: World) -> None:
    name = f"{world.prefix}-theirs"
    spec = {"streamName": name, "nats": {"url": world.nats.url}, "filterSubjects": []}
    document = world.resource("EventConsumer", "billing", {**spec, "deletionPolicy": "Delete"})
    billing = ("EventConsumer", "billing")
    world.apply(document)
    seen = world.wait_condition(*billing, "ConsumerReady", "False", "StreamNotFound")
    assert name in seen["message"]
    async with connected(world.nats) as client:
        js = client.jetstream()
        await js.add_stream(name=name, subjects=[f"{world.prefix}.theirs.>"])
        world.wait_ready(*billing)
        await js.consumer_info(name, "billing")
        await js.delete_consumer(name, "billing")
        world.look_again("evc", "billing")

        def counted() -> bool:
            body = world.get(*billing)
            return body is not None and body["status"]["consumer"]["driftCorrectedCount"] == 1

        world.wait(counted, "the repair is counted")
        world.kubectl("delete", "evc", "billing", "-n", world.namespace, "--timeout=120s")
        assert await js.consumers_info(name) == []


def test_scale(world: World) -> None:
    world.apply(world.stream(), world.consumer(handler=HANDLER, replicas=0))
    world.wait_ready("EventConsumer", "billing")
    world.kubectl("scale", "evc/billing", "-n", world.namespace, "--replicas=3")
    world.wait(
        lambda: world.deployment("billing-consumer")["spec"]["replicas"] == 3, "three replicas"
    )
    body = world.get("EventConsumer", "billing")
    assert body is not None
    assert "app.kubernetes.io/instance=billing" in body["status"]["selector"]


def test_the_scale_of_a_pipelines_consumer_belongs_to_the_pipeline(world: World) -> None:
    world.apply(*world.whole())
    world.wait_ready("OutboxPipeline", "orders")
    world.kubectl("scale", "evc/orders-billing", "-n", world.namespace, "--replicas=3")

    def put_back() -> bool:
        body = world.get("EventConsumer", "orders-billing")
        return body is not None and body["spec"]["replicas"] == 0

    world.wait(put_back, "replicas: 0")
    world.wait_event("orders", "DriftCorrected", "spec.replicas")
