"""KEDA drives the number of a consumer's pods: `make check-keda`, which builds it first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from support.fences import fences
from support.keda import running_keda
from support.nats import connected
from support.prometheus import running_prometheus
from support.waiting import eventually
from support.world import HANDLER, World

PAGE = "docs/how-to/scale.md"
BILLING = ("EventConsumer", "orders-billing")
SECONDS = 180.0
"""KEDA and Kubernetes' autoscaler look every 15 to 30 s."""


def scaled_object(world: World, prometheus: str) -> dict[str, Any]:
    """The one of the page, in this namespace, with the Prometheus that there is."""
    [text] = [one for one in fences(PAGE, "yaml") if "kind: ScaledObject" in one]
    text = text.replace("http://prometheus.monitoring:9090", prometheus)
    document: dict[str, Any] = yaml.safe_load(text.replace("shop", world.namespace))
    # Down again at once, too, which takes five minutes otherwise.
    behavior = {"scaleDown": {"stabilizationWindowSeconds": 0}}
    document["spec"]["advanced"] = {"horizontalPodAutoscalerConfig": {"behavior": behavior}}
    document["spec"]["pollingInterval"] = document["spec"]["cooldownPeriod"] = 1
    return document


@pytest.mark.keda
async def test_keda_owns_the_number(world: World, tmp_path: Path) -> None:
    consumer = {"name": "billing", "handler": HANDLER, "autoscaling": {"mode": "External"}}
    world.apply(
        world.secret("database", url=world.database),
        world.pipeline(relay={"replicas": 0}, consumers=[consumer]),
    )
    world.wait_condition(*BILLING, "Autoscaling", "True", "ScaledExternally")

    def replicas() -> int:
        found: int = world.deployment("orders-billing-consumer")["spec"]["replicas"]
        return found

    async def publish(count: int) -> None:
        async with connected(world.nats) as client:
            for _ in range(count):
                await client.publish(f"{world.prefix}.orders.order.created", b"{}")
            await client.flush(30)

    async def purge() -> None:
        async with connected(world.nats) as client:
            await client.jetstream().purge_stream(f"{world.prefix}-orders")

    with running_prometheus() as prometheus, running_keda(world, tmp_path):
        address = f"127.0.0.1:{world.operator.port}"
        prometheus.scrape(address)
        await prometheus.wait_scraped(address)
        declared = scaled_object(world, prometheus.url)
        world.apply(declared)
        await publish(4500)
        await eventually(lambda: replicas() == 5, "five pods for 4500 messages", seconds=SECONDS)
        said = world.wait_condition(*BILLING, "Autoscaling", "True", "ScaledExternally")
        assert said["message"] == "spec.replicas is 5, written from outside"
        await purge()
        await eventually(lambda: replicas() == 1, "one pod for none", seconds=SECONDS)

        # What KEDA alone does: none while nothing waits.
        declared["spec"]["minReplicaCount"] = 0
        world.apply(declared)
        await eventually(lambda: replicas() == 0, "no pod for none", seconds=SECONDS)
        await publish(1500)
        await eventually(lambda: replicas() == 2, "two pods for 1500 messages", seconds=SECONDS)
        world.kubectl("delete", "scaledobject", "billing", "-n", world.namespace)
    assert not [one for one in world.events("orders-billing") if one["reason"] == "DriftCorrected"]
