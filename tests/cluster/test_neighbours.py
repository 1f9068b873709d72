"""Neighbours whose servers hang, beside a pipeline whose servers are well."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from support.kube import Cluster, Kubectl, api
from support.operator import OperatorProcess, running_operator
from support.tcp_proxy import TcpProxy
from support.world import World

WORKERS = 2
NEIGHBOURS = [f"slow-{number}" for number in range(2 * WORKERS)]


@pytest.fixture
def elsewhere(kubectl: Kubectl, namespace: str) -> Iterator[str]:
    name, server = f"{namespace}-slow", api(kubectl.kubeconfig)
    server.create("/api/v1/namespaces", {"metadata": {"name": name}})
    yield name
    server.clear(name)


@pytest.fixture
def operator(
    kube_cluster: Cluster, kubectl: Kubectl, namespace: str, elsewhere: str, tmp_path: Path
) -> Iterator[OperatorProcess]:
    """One with few workers, for the two namespaces of the test."""
    with running_operator(
        kube_cluster.kubeconfig,
        tmp_path / "operator.log",
        namespaces=(namespace, elsewhere),
        lease_namespace=namespace,
        variables={"OUTBOX_WORKERS": str(WORKERS)},
    ) as process:
        yield process


@pytest.fixture
async def hanging(database: str) -> AsyncIterator[str]:
    """The database behind a proxy that lets nothing through."""
    port = urlsplit(database).port or 5432
    proxy = await TcpProxy(lambda: port).start()
    proxy.hold()
    yield database.replace(f":{port}/", f":{proxy.port}/")
    await proxy.close()


async def test_a_pipeline_is_ready_while_all_its_neighbours_wait(
    world: World, elsewhere: str, hanging: str
) -> None:
    red = replace(world, namespace=elsewhere)
    await asyncio.to_thread(
        red.apply, red.secret("database", url=hanging), *(red.pipeline(one) for one in NEIGHBOURS)
    )
    for one in NEIGHBOURS:
        await asyncio.to_thread(red.wait_condition, "EventStream", one, "Ready", "True")
    await asyncio.to_thread(
        world.apply, world.secret("database", url=world.database), world.pipeline()
    )
    await asyncio.to_thread(world.wait_ready, "OutboxPipeline", "orders")
    for one in NEIGHBOURS:
        assert red.condition("OutboxPipeline", one, "DatabaseReachable").get("status") != "True"
    red.clear()
