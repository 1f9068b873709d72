"""One operator for all tests of this folder, on a control plane that no other test uses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from support.kube import (
    Cluster,
    Kubectl,
    control_plane,
    install_crds,
    kubectl_program,
    unique_cluster,
)
from support.operator import OperatorProcess, running_operator
from support.redis import RedisServer


@pytest.fixture(scope="package")
def kube_cluster() -> Iterator[Cluster]:
    """The control plane that the operator works on."""
    with control_plane(unique_cluster("operated")) as cluster:
        yield cluster


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[Any]:
    """An application's client of Redis."""
    with Redis(host="127.0.0.1", port=redis_server.port, decode_responses=True) as found:
        yield found


@pytest.fixture(scope="package")
def kubectl(kube_cluster: Cluster) -> Kubectl:
    """kubectl against it, with our CRDs installed."""
    program = Kubectl(kubectl_program(), kube_cluster.kubeconfig)
    install_crds(program)
    return program


@pytest.fixture(scope="package")
def operator(
    kube_cluster: Cluster, kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProcess]:
    """The operator as a process, for all tests here; who stops it starts it again."""
    log = tmp_path_factory.mktemp("operator") / "operator.log"
    with running_operator(kube_cluster.kubeconfig, log) as process:
        yield process


@pytest.fixture
def start(
    kube_cluster: Cluster, namespace: str, tmp_path: Path
) -> Callable[..., AbstractContextManager[OperatorProcess]]:
    """Starts another operator, which sees this test's namespace only.

    It holds a Lease there, or waits for one in another namespace.
    """

    def make(
        identity: str, lease_namespace: str = namespace
    ) -> AbstractContextManager[OperatorProcess]:
        return running_operator(
            kube_cluster.kubeconfig,
            tmp_path / f"{identity}.log",
            namespaces=(namespace,),
            lease_namespace=lease_namespace,
            identity=identity,
        )

    return make
