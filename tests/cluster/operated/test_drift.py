"""What somebody changed or wiped is put back, unless the resource is paused."""

from __future__ import annotations

from functools import partial

from outbox_operator.plan.kubernetes.contest import MANY
from support.nats import connected
from support.world import World

PIPELINE = ("OutboxPipeline", "orders")
STREAM = ("EventStream", "orders")


def has_replicas(world: World, name: str, wanted: int) -> bool:
    return bool(world.deployment(name)["spec"]["replicas"] == wanted)


def test_a_deployment_changed_by_hand_is_put_back_and_counted(world: World) -> None:
    world.apply(*world.whole())
    world.wait_ready(*PIPELINE)
    for name in ("orders-relay", "orders-billing-consumer"):
        world.kubectl("scale", "deployment", name, "-n", world.namespace, "--replicas=2")
        world.wait(partial(has_replicas, world, name, 0), "replicas: 0")
    world.kubectl("delete", "configmap", "orders-relay", "-n", world.namespace)
    world.wait(lambda: world.get("ConfigMap", "orders-relay") is not None, "the ConfigMap")

    def counted() -> bool:
        pipeline, consumer = world.get(*PIPELINE), world.get("EventConsumer", "orders-billing")
        assert pipeline is not None
        assert consumer is not None
        found = [one["status"].get("driftCorrectedCount") for one in (pipeline, consumer)]
        return found == [2, 1]

    world.wait(counted, "two and one", detail=lambda: str(world.get(*PIPELINE)))
    body = world.get("EventConsumer", "orders-billing")
    assert body is not None
    assert "spec.replicas" in body["status"]["lastDrift"]
    world.wait_event("orders-billing", "DriftCorrected", "spec.replicas")


def test_a_contest_is_recognised_and_does_not_run_hot(world: World) -> None:
    """A tool that adds to our Deployment whenever it was taken away, as fast as it hears of it."""
    annotations = '"annotations": {"outbox.dev/applied": "mine"}'
    forged = f'{{"metadata": {{{annotations}}}, "spec": {{"minReadySeconds": 7}}}}'
    world.apply(*world.whole())
    world.wait_ready(*PIPELINE)

    def add() -> None:
        world.kubectl("patch", "deployment", "orders-relay", "-n", world.namespace,
                      "--type=merge", f"-p={forged}", "--field-manager=rival")  # fmt: skip

    def put_back() -> bool:
        return "minReadySeconds" not in world.deployment("orders-relay")["spec"]

    for _ in range(MANY):
        add()
        world.wait(put_back, "it is put back")
    add()
    world.look_again("obp", "orders")
    world.settle()
    assert not put_back()
    body = world.get(*PIPELINE)
    assert body is not None
    # With our annotation forged it looks like an older manifest of ours, until it is too often.
    assert body["status"]["driftCorrectedCount"] >= 1
    assert "again and again by rival" in body["status"]["lastDrift"]
    notes = [one["note"] for one in world.events("orders")]
    assert sum("again and again by rival" in note for note in notes) == 1


def test_what_somebody_adds_is_taken_away_and_said(world: World) -> None:
    world.apply(*world.whole())
    world.wait_ready(*PIPELINE)

    def patch(kind: str, name: str, said: str) -> None:
        world.kubectl("patch", kind, name, "-n", world.namespace, "--type=strategic", f"-p={said}")

    patch(
        "deployment",
        "orders-relay",
        """{"spec": {"paused": true, "template": {"spec": {
        "hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet",
        "initContainers": [{"name": "first", "image": "i"}],
        "containers": [{"name": "spy", "image": "i"},
                       {"name": "relay", "env": [{"name": "SPY", "value": "s3cret"}]}]}}}}""",
    )
    patch("configmap", "orders-relay", '{"data": {"more": "s3cret"}}')
    world.kubectl("patch", "evs", "orders", "-n", world.namespace, "--type=merge",
                  '-p={"spec": {"description": "mine"}}')  # fmt: skip
    # A restart of kubectl's is what it says, and stays.
    world.kubectl("rollout", "restart", "deployment/orders-billing-consumer", "-n", world.namespace)

    def as_declared() -> bool:
        spec = world.deployment("orders-relay")["spec"]
        pod, config = spec["template"]["spec"], world.get("ConfigMap", "orders-relay")
        stream = world.get(*STREAM)
        assert config is not None
        assert stream is not None
        return (
            not {"paused"} & spec.keys()
            and not {"hostNetwork", "initContainers"} & pod.keys()
            and pod["dnsPolicy"] == "ClusterFirst"
            and [one["name"] for one in pod["containers"]] == ["relay"]
            and "SPY" not in str(pod)
            and "more" not in config["data"]
            and "description" not in stream["spec"]
        )

    world.wait(as_declared, "all is as declared", detail=lambda: world.log(30))
    world.wait_ready(*PIPELINE)
    wanted = (
        "Deployment orders-relay was changed and has been put back", "containers[spy]",
        "spec.template.spec.hostNetwork: wanted None, found True", "env[SPY]", "data.more",
        "spec.description",
    )  # fmt: skip

    def notes() -> str:
        return " ".join(one["note"] for one in world.events("orders"))

    world.wait(lambda: all(one in notes() for one in wanted), "all is said", detail=notes)
    assert "s3cret" not in notes()
    world.settle()
    restarted = world.deployment("orders-billing-consumer")["spec"]["template"]["metadata"]
    assert "kubectl.kubernetes.io/restartedAt" in restarted["annotations"]


def test_a_status_that_was_wiped_comes_back(world: World) -> None:
    """As after a restore from a backup, which leaves statuses out."""
    world.apply(world.stream())
    world.wait_ready(*STREAM)
    world.settle()
    world.kubectl(
        "patch", "evs", "orders", "-n", world.namespace, "--subresource=status",
        "--type=json", '-p=[{"op":"remove","path":"/status"}]',
    )  # fmt: skip
    world.look_again("evs", "orders")
    world.wait_ready(*STREAM)


async def test_paused_reaches_the_children_and_what_they_look_after(world: World) -> None:
    """Paused means paused: what the children look after is left as it is too."""
    world.apply(*world.whole())
    world.wait_ready(*PIPELINE)
    world.annotate("obp", "orders", "outbox.dev/paused=true")
    for one in (PIPELINE, STREAM, ("EventConsumer", "orders-audit")):
        world.wait_condition(*one, "Paused", "True")
    world.kubectl("scale", "deployment", "orders-billing-consumer", "-n", world.namespace,
                  "--replicas=2")  # fmt: skip
    world.kubectl("delete", "evc", "orders-audit", "-n", world.namespace)
    world.wait_condition(*PIPELINE, "ConsumersReady", "False", "UpdateFrozen")
    async with connected(world.nats) as client:
        await client.jetstream().delete_stream(f"{world.prefix}-orders")
        world.look_again("evs", "orders")
        world.look_again("evc", "orders-billing")
        world.wait_condition(*STREAM, "StreamReady", "False", "UpdateFrozen")
        billing = ("EventConsumer", "orders-billing")
        world.wait_condition(*billing, "WorkloadAvailable", "False", "UpdateFrozen")
        assert world.get("EventConsumer", "orders-audit") is None
        assert world.deployment("orders-billing-consumer")["spec"]["replicas"] == 2
        assert "created again" not in world.log(1000)
        world.annotate("obp", "orders", "outbox.dev/paused-")
        world.wait_ready(*PIPELINE)
        await client.jetstream().stream_info(f"{world.prefix}-orders")
