"""Fixtures with a real API server."""

from __future__ import annotations

import functools
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from outbox_operator.adapters.kubernetes.client import Kube
from support.kube import (
    Cluster,
    Kubectl,
    api,
    control_plane,
    install_crds,
    kubectl_program,
    unique_cluster,
)
from support.nats import NatsServer
from support.operator import OperatorProcess
from support.recording_operator import RecordingOperator, Start
from support.world import World

OPERATED = {
    "operated-load": (
        "test_alerts", "test_more_shards", "test_pipeline", "test_scaling", "test_shards",
    ),
    "operated-tasks": (
        "test_approvals", "test_conflicts", "test_credentials", "test_restarts", "test_skew",
        "test_task_history", "test_task_looks", "test_task_reset", "test_task_reset_places",
        "test_tasks", "test_tasks_killed",
    ),
}  # fmt: skip
"""Modules with an operator, in groups that take about as long as all that are in none of them."""


@pytest.hookimpl(tryfirst=True)  # before xdist looks at the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs a control plane; those who share one share a worker."""
    for item in items:
        if _is_here(item.path):
            item.add_marker(pytest.mark.cluster)
            if "kube_cluster" in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.xdist_group(_group(item.path)))


@functools.cache  # asked for each of thousands of tests, in each worker
def _is_here(module: Path) -> bool:
    return module.is_relative_to(Path(__file__).parent)


def _group(module: Path) -> str:
    """Those with an operator make three groups: too much for one worker, and planes are dear."""
    if module.parent.name != "operated":
        return "control-plane"
    return next((name for name, those in OPERATED.items() if module.stem in those), "operated")


@pytest.fixture(scope="package")
def kube_cluster() -> Iterator[Cluster]:
    """One control plane for all tests of this folder."""
    with control_plane(unique_cluster("cluster")) as cluster:
        yield cluster


@pytest.fixture(scope="package")
def kubectl(kube_cluster: Cluster) -> Kubectl:
    """kubectl against it, with our CRDs installed."""
    program = Kubectl(kubectl_program(), kube_cluster.kubeconfig)
    install_crds(program)
    return program


@pytest.fixture
def start(kube_cluster: Cluster, kubectl: Kubectl, namespace: str) -> Start:
    """An operator for the test's namespace, with a Lease there."""

    def make(kubeconfig: Path = kube_cluster.kubeconfig, **settings: str) -> RecordingOperator:
        return RecordingOperator(
            kubeconfig,
            OUTBOX_LEASE_NAMESPACE=namespace,
            **{"OUTBOX_NAMESPACES": namespace, **settings},
        )

    return make


@pytest.fixture
async def kube(kube_cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Kube]:
    """Our connection to it."""
    monkeypatch.setenv("KUBECONFIG", str(kube_cluster.kubeconfig))
    connection = await Kube.connect(instance="test")
    yield connection
    await connection.close()


@pytest.fixture
def namespace(kubectl: Kubectl) -> Iterator[str]:
    """A namespace for one test; what is ours in it is deleted in the background afterwards."""
    name = f"t-{uuid.uuid4().hex[:8]}"
    server = api(kubectl.kubeconfig)
    server.create("/api/v1/namespaces", {"metadata": {"name": name}})
    yield name
    server.clear(name)


@pytest.fixture
def world(
    kubectl: Kubectl,
    namespace: str,
    database: str,
    nats_server: NatsServer,
    stream_prefix: str,
    operator: OperatorProcess,
) -> Iterator[World]:
    """A namespace, a database and a stream prefix of this test alone, under an operator's care.

    The folder or module brings `operator`, on a control plane of its own: it looks after every
    namespace, and would meddle with tests that expect nobody.
    """
    world = World(
        kubectl=kubectl,
        namespace=namespace,
        database=database,
        nats=nats_server,
        prefix=stream_prefix,
        operator=operator,
    )
    yield world
    # Passes and writes are counted for the whole operator: the next test begins without these.
    world.clear()
