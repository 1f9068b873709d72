"""The demo's cluster, operator and shop, once for all end-to-end tests."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from demo.cli import install
from demo.clusters import Cluster
from demo.shop import NAMESPACE, Shop

from support.operator import QUICK
from support.stage import Stage

KEEP_ENV = "OUTBOX_E2E_CLUSTER"
"""Name of a cluster to use and keep; without it the tests make their own and remove it."""

POLICIES = {
    "dataPlane.networkPolicy.enabled": True,
    "dataPlane.networkPolicy.metricsFrom": [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}}}
    ],
}
"""The local cluster enforces none; the test of them does."""


@pytest.hookimpl(tryfirst=True)  # before xdist looks at the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs a node that runs pods; who shares one shares a worker."""
    for item in items:
        if _is_here(item.path):
            item.add_marker(pytest.mark.e2e)
            if "stage" in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.xdist_group("stage"))


@functools.cache  # asked for each of thousands of tests, in each worker
def _is_here(module: Path) -> bool:
    return module.is_relative_to(Path(__file__).parent)


@pytest.fixture(scope="package")
def stage() -> Iterator[Stage]:
    """What `make demo` sets up, before the shop opens."""
    kept = os.environ.get(KEEP_ENV)
    cluster = Cluster(kept or f"test-e2e-{os.getpid()}")
    try:
        kubectl = cluster.up()
        images = cluster.images()
        install(cluster.program("helm"), kubectl, images.operator, QUICK, POLICIES)
        shop = Shop(kubectl)
        shop.apply(images.shop, cluster.volumes(kubectl))
        shop.wait_ready(timeout=300)
        yield Stage(kubectl, shop, images)
    finally:
        if not kept:
            cluster.down()
