"""Two operators that cannot see each other, one copied manifest: never two at work on one thing.

Two releases in one cluster stand for two clusters as well: each sees its own namespaces only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.kube import (
    Cluster,
    Kubectl,
    control_plane,
    install_crds,
    kubectl_program,
    unique_cluster,
)
from support.nats import NatsServer
from support.operator import OperatorProcess, running_operator
from support.postgres import fetch_value
from support.world import HANDLER, World

PIPELINE = ("OutboxPipeline", "orders")
MARK = "SELECT obj_description('outbox'::regnamespace)"


@dataclass(frozen=True)
class Two:
    """A control plane with an operator for the namespace blue and one for green."""

    kubectl: Kubectl
    blue: OperatorProcess
    green: OperatorProcess


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    with control_plane(unique_cluster("two")) as cluster:
        kubectl = Kubectl(kubectl_program(), cluster.kubeconfig)
        install_crds(kubectl)
        for namespace in ("blue", "green"):
            kubectl("create", "namespace", namespace)
        folder = tmp_path_factory.mktemp("operators")
        with _operator(cluster, "blue", folder) as blue, _operator(cluster, "green", folder) as g:
            yield Two(kubectl, blue, g)


def _operator(
    cluster: Cluster, namespace: str, folder: Path
) -> AbstractContextManager[OperatorProcess]:
    return running_operator(
        cluster.kubeconfig,
        folder / f"{namespace}.log",
        namespaces=(namespace,),
        lease_namespace=namespace,
        identity=namespace,
        forked=False,
    )


@pytest.mark.thorough
async def test_a_copied_manifest_takes_nothing_until_it_says_adopt(
    two: Two, database: str, nats_server: NatsServer, stream_prefix: str
) -> None:
    blue, green = (
        World(
            kubectl=two.kubectl, namespace=name, database=database, nats=nats_server,
            prefix=stream_prefix, operator=operator,
        )
        for name, operator in (("blue", two.blue), ("green", two.green))
    )  # fmt: skip
    consumers = [{"name": "billing", "handler": HANDLER, "replicas": 0, "durableName": "billing"}]
    for world in (blue, green):
        world.apply(world.secret("database", url=database))
    blue.apply(blue.pipeline(consumers=consumers))
    blue.wait_ready(*PIPELINE)
    marked = await fetch_value(database, MARK)
    # The copy.
    green.apply(green.pipeline(consumers=consumers))
    seen = green.wait_condition(*PIPELINE, "SchemaApplied", "False", "ResourceConflict")
    assert "spec.database.adoptionPolicy: Adopt" in seen["message"]
    assert "blue" not in seen["message"]
    green.wait_condition("EventStream", "orders", "StreamReady", "False", "StreamExists")
    assert green.get("Deployment", "orders-relay") is None
    assert await fetch_value(database, MARK) == marked
    blue.wait_ready(*PIPELINE)
    blue.deployment("orders-relay")
    # The word. Whoever had it says so, and takes nothing back, however often it looks.
    adopting = green.pipeline(
        database={"connectionSecretRef": {"name": "database"}, "adoptionPolicy": "Adopt"}
    )
    adopting["spec"]["stream"]["adoptionPolicy"] = "Adopt"
    adopting["spec"]["consumers"] = [{**consumers[0], "adoptionPolicy": "Adopt"}]
    green.apply(adopting)
    green.wait_ready(*PIPELINE)
    taken = await fetch_value(database, MARK)
    assert taken != marked
    seen = blue.wait_condition(*PIPELINE, "SchemaApplied", "False", "TakenOver")
    assert "green" not in seen["message"]
    blue.wait_condition(*PIPELINE, "Stalled", "True")
    for world, operator in ((blue, two.blue), (green, two.green)):
        world.look_again("obp", "orders")
        world.wait_passes("OutboxPipeline", 2, operator=operator)
    assert await fetch_value(database, MARK) == taken
    assert green.condition(*PIPELINE, "Ready")["status"] == "True"
    blue.wait_condition("EventStream", "orders", "StreamReady", "False", "TakenOver")
    blue.wait_condition("EventConsumer", "orders-billing", "ConsumerReady", "False", "TakenOver")
    blue.wait(lambda: blue.get("Deployment", "orders-billing-consumer") is None, "it handles none")
    # What has gone from blue is not missed by green.
    two.kubectl("delete", "obp", "orders", "-n", "blue", "--timeout=120s")
    green.wait_ready(*PIPELINE)
    assert await fetch_value(database, MARK) == taken


async def test_who_comes_again_under_its_name_finds_its_things(
    two: Two, database: str, nats_server: NatsServer, stream_prefix: str
) -> None:
    world = World(
        kubectl=two.kubectl, namespace="green", database=database, nats=nats_server,
        prefix=stream_prefix, operator=two.green,
    )  # fmt: skip
    world.apply(world.secret("again", url=database))
    again = world.pipeline("again", database={"connectionSecretRef": {"name": "again"}})
    world.apply(again)
    world.wait_ready("OutboxPipeline", "again")
    two.kubectl("delete", "obp", "again", "-n", "green", "--timeout=120s")
    world.apply(again)
    world.wait_ready("OutboxPipeline", "again")
