"""Autoscaling on a real API server: rows and messages come, and the Deployments follow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from support.metrics_adapter import adapter
from support.nats import connected
from support.waiting import SECONDS
from support.world import HANDLER, World

PIPELINE, BILLING = ("OutboxPipeline", "orders"), ("EventConsumer", "orders-billing")
AUTOSCALING = {
    "targetBacklog": 100,
    "maxReplicas": 10,
    "scaleUp": {"maxStep": 9},
    "scaleDown": {"stabilization": "1s", "maxStep": 9},
}


def scaled_by_load(world: World) -> dict[str, Any]:
    """A relay and two consumers whose pods follow what waits; of one only one pod can work."""
    document = world.pipeline(
        outbox={"shards": 4},
        relay={"autoscaling": AUTOSCALING},
        consumers=[
            {"name": "billing", "handler": HANDLER, "autoscaling": AUTOSCALING},
            {"name": "audit", "handler": HANDLER, "autoscaling": AUTOSCALING, "ordering": "PerKey"},
        ],
    )
    document["spec"]["stream"]["subject"] = f"{world.prefix}.orders.{{shard}}.{{event_type}}"
    return document


METRIC = "outbox-consumer-pending"


def autoscaler(world: World) -> dict[str, Any]:
    """The reference case: three to ten pods by an average of 1000 messages that wait."""
    metric = {
        "metric": {"name": METRIC},
        "target": {"type": "AverageValue", "averageValue": "1000"},
    }
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "billing", "namespace": world.namespace},
        "spec": {
            "scaleTargetRef": {
                "apiVersion": "outbox.dev/v1alpha1",
                "kind": "EventConsumer",
                "name": "orders-billing",
            },
            "minReplicas": 3,
            "maxReplicas": 10,
            "metrics": [{"type": "External", "external": metric}],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
        },
    }


def wait_replicas(world: World, deployment: str, count: int, deadline: float = SECONDS) -> None:
    """Returns once a Deployment is to have so many pods."""
    seen: Any = None

    def holds() -> bool:
        nonlocal seen
        body = world.get("Deployment", deployment)
        seen = None if body is None else body["spec"]["replicas"]
        return bool(seen == count)

    what = f"{count} replicas of {deployment}"
    world.wait(holds, what, deadline, lambda: f"found {seen}\n{world.log()}")


async def test_pods_follow_what_waits_up_to_those_that_can_work(world: World) -> None:
    world.apply(world.secret("database", url=world.database), scaled_by_load(world))
    world.wait_condition(*PIPELINE, "SchemaApplied", "True")
    connection = await asyncpg.connect(world.database)
    try:
        wait_replicas(world, "orders-relay", 1)
        await connection.execute(
            "INSERT INTO outbox.events (event_type, payload) "
            "SELECT 'order.created', '{}' FROM generate_series(1, 950)"
        )
        # A pod that is asked for and not ready yet is no reason for more.
        held = world.wait_condition(*PIPELINE, "Autoscaling", "True", "ScalingHeld")
        assert held["message"] == "1 pod, and no more before all that are asked for are ready"
        world.pods_ready("orders-relay", 1)
        wait_replicas(world, "orders-relay", 4)
        world.wait_event(
            "orders", "Scaled", "from 1 to 4 pods: 950 rows wait, targetBacklog is 100"
        )
        world.pods_ready("orders-relay", 4)
        said = world.wait_condition(*PIPELINE, "Autoscaling", "True", "ScalingLimited")
        assert said["message"] == "4 of 10: outbox.shards is 4"
        world.wait_exported(4.0, "pipeline_relay_wanted_replicas", pipeline="orders")
        world.wait_exported(4.0, "pipeline_relay_limit_replicas", pipeline="orders")
        body = world.get(*PIPELINE)
        assert body is not None
        assert body["status"]["relay"]["autoscaling"]["wantedReplicas"] == 4
        assert body["status"]["relay"]["autoscaling"]["lastChange"].startswith("from 1 to 4 pods")
        assert "replicas" not in body["spec"]["relay"] or body["spec"]["relay"]["replicas"] == 1
        await connection.execute("DELETE FROM outbox.events")
        wait_replicas(world, "orders-relay", 1)
    finally:
        await connection.close()


async def test_a_consumers_pods_follow_its_messages(world: World) -> None:
    world.apply(world.secret("database", url=world.database), scaled_by_load(world))
    wait_replicas(world, "orders-billing-consumer", 1)
    wait_replicas(world, "orders-audit-consumer", 1)
    async with connected(world.nats) as client:
        for _ in range(250):
            await client.publish(f"{world.prefix}.orders.0.order.created", b"{}")
        await client.flush(30)
    world.pods_ready("orders-billing-consumer", 1)
    world.pods_ready("orders-audit-consumer", 1)
    wait_replicas(world, "orders-billing-consumer", 3)
    world.wait_event("orders-billing", "Scaled", "from 1 to 3 pods: 250 messages wait")
    body = world.get(*BILLING)
    assert body is not None
    # What is declared stays as it is declared.
    assert body["spec"]["replicas"] == 1
    said = world.wait_condition("EventConsumer", "orders-audit", "Autoscaling", "True")
    assert said["reason"] == "ScalingLimited"
    assert said["message"] == "1 of 10: ordering is PerKey, so that one pod at a time reads"
    wait_replicas(world, "orders-audit-consumer", 1)


async def test_no_pods_while_nothing_waits_and_one_with_the_first_event(world: World) -> None:
    """Of each lane by itself: the keys of the others are no reason. An inbox is none either."""
    document = scaled_by_load(world)
    document["spec"]["relay"] = {"replicas": 0}
    scaling = {**AUTOSCALING, "minReplicas": 0}
    document["spec"]["consumers"] = [
        {"name": "billing", "handler": HANDLER, "autoscaling": scaling, "ordering": "PerKey",
         "lanes": 2},
        {"name": "ledger", "handler": HANDLER, "autoscaling": scaling,
         "inbox": {"connectionSecretRef": {"name": "database"}}},
    ]  # fmt: skip
    world.apply(world.secret("database", url=world.database), document)
    lane = ("EventConsumer", "orders-billing-0")
    world.wait_ready(*lane)
    wait_replicas(world, "orders-billing-0-consumer", 0)
    wait_replicas(world, "orders-ledger-consumer", 0)
    part = world.wait_condition(*lane, "WorkloadAvailable", "True")
    assert part["reason"] == "ScaledToZero"
    async with connected(world.nats) as client:
        for _ in range(2):
            await client.publish(f"{world.prefix}.orders.2.order.created", b"{}")
            await client.flush(30)
            wait_replicas(world, "orders-billing-0-consumer", 1)
            wait_replicas(world, "orders-ledger-consumer", 1)
            world.wait_event("orders-billing-0", "Scaled", "from 0 to 1 pod: 1 message waits")
            world.pods_ready("orders-billing-0-consumer", 1)
            world.pods_ready("orders-ledger-consumer", 1)
            # All is handled, as far as anybody sees.
            await client.jetstream().purge_stream(f"{world.prefix}-orders")
            wait_replicas(world, "orders-billing-0-consumer", 0)
            wait_replicas(world, "orders-ledger-consumer", 0)
            world.wait_ready(*lane)
    assert not [one for one in world.events("orders-billing-1") if one["reason"] == "Scaled"]
    world.wait_ready(*PIPELINE)


@pytest.mark.thorough
async def test_an_autoscaler_from_outside_owns_the_number(world: World, tmp_path: Path) -> None:
    external = {"mode": "External"}
    billing = {"name": "billing", "handler": HANDLER}
    declared = world.pipeline(relay={}, consumers=[{**billing, "replicas": 2}])
    world.apply(world.secret("database", url=world.database), declared)
    wait_replicas(world, "orders-relay", 1)
    wait_replicas(world, "orders-billing-consumer", 2)
    document = world.pipeline(
        relay={"autoscaling": external}, consumers=[{**billing, "autoscaling": external}]
    )
    world.apply(document)
    # Nobody falls to the default in between.
    passed = world.wait_condition(*BILLING, "Autoscaling", "True", "ScaledExternally")
    assert passed["message"] == "spec.replicas is 2, written from outside"

    world.kubectl("scale", "obp/orders", "-n", world.namespace, "--replicas=3")
    wait_replicas(world, "orders-relay", 3)
    said = world.wait_condition(*PIPELINE, "Autoscaling", "True", "ScalingLimited")
    assert said["message"] == "1 of 3: outbox.shards is 1"
    path = f"/apis/outbox.dev/v1alpha1/namespaces/{world.namespace}/outboxpipelines/orders/scale"
    scale = json.loads(world.kubectl("get", "--raw", path))
    assert scale["spec"]["replicas"] == 3
    assert "app.kubernetes.io/instance=orders" in scale["status"]["selector"]

    # Kubernetes' own autoscaler, on the number that the operator exports.
    def pending() -> float | None:
        return world.exported("consumer_pending", consumer="orders-billing")

    async with connected(world.nats) as client:
        for _ in range(4500):
            await client.publish(f"{world.prefix}.orders.order.created", b"{}")
        await client.flush(30)
        with adapter(world, tmp_path, METRIC, pending):
            world.apply(autoscaler(world))
            wait_replicas(world, "orders-billing-consumer", 5, 180)
            world.wait_condition(*BILLING, "Autoscaling", "True", "ScaledExternally")
            # What comes from a repository again and again leaves the number alone.
            world.apply(document)
            world.annotate("OutboxPipeline", "orders", "outbox.dev/reconcile-at=now")
            world.wait_passes("OutboxPipeline", 3)
            assert world.deployment("orders-billing-consumer")["spec"]["replicas"] == 5
            assert world.deployment("orders-relay")["spec"]["replicas"] == 3
            await client.jetstream().purge_stream(f"{world.prefix}-orders")
            wait_replicas(world, "orders-billing-consumer", 3, 180)
            world.kubectl("delete", "hpa", "billing", "-n", world.namespace)
    assert not [one for one in world.events("orders") if one["reason"] == "DriftCorrected"]
