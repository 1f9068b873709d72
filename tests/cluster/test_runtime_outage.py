"""The operator process when the API server goes away, on a control plane of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from outbox_operator.api import meta
from support.api_server import ApiServer, Etcd
from support.kube import (
    Cluster,
    Kubectl,
    control_plane,
    install_crds,
    kubectl_program,
    unique_cluster,
)
from support.recording_operator import SHORT_LEASE, RecordingOperator
from support.waiting import eventually, wait_until


@pytest.fixture(scope="module")
def fragile() -> Iterator[Cluster]:
    """A control plane that may be broken; no resource definitions yet."""
    with control_plane(unique_cluster("outage")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def kubectl(fragile: Cluster) -> Kubectl:
    return Kubectl(kubectl_program(), fragile.kubeconfig)


@pytest.fixture(scope="module")
def etcd(fragile: Cluster) -> Iterator[Etcd]:
    """Its etcd."""
    server = Etcd(fragile)
    yield server
    server.close()


@pytest.fixture(scope="module")
def api_server(fragile: Cluster, kubectl: Kubectl, etcd: Etcd) -> Iterator[ApiServer]:
    """Its API server, with our kinds."""
    install_crds(kubectl)
    server = ApiServer(fragile)
    yield server
    server.close()


def stream(name: str) -> dict[str, Any]:
    return {
        "apiVersion": meta.API_VERSION,
        "kind": meta.STREAM,
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"name": "A", "subjects": ["a.>"], "nats": {"url": "nats://nats:4222"}},
    }


async def applied(kubectl: Kubectl, name: str) -> None:
    """Applies a stream as soon as the API server takes it."""

    async def taken() -> bool:
        return (await asyncio.to_thread(kubectl.apply, stream(name))).code == 0

    await eventually(taken, "the API server is back")


def operator(kubeconfig: Path, lease: str, **settings: str) -> RecordingOperator:
    return RecordingOperator(
        kubeconfig, OUTBOX_LEASE_NAMESPACE="default", OUTBOX_LEASE_NAME=lease, **settings
    )


# First in this file: later tests install the resource definitions.
async def test_missing_resource_definitions_are_named(fragile: Cluster) -> None:
    async with operator(fragile.kubeconfig, "first") as process:
        assert await process.exit_code() == 1
        line = await process.logged("CustomResourceDefinition")
    assert all(f"{plural}.{meta.GROUP}" in line["message"] for plural in meta.PLURALS.values())


async def test_definitions_of_an_older_release_lack_a_kind_and_stop_nothing(
    fragile: Cluster, kubectl: Kubectl, api_server: ApiServer
) -> None:
    """It is said, all others are looked after, and it is worked on once it is there."""
    kubectl("delete", "crd", f"outboxtasks.{meta.GROUP}")
    # What is discovered follows with some delay.
    listed = ("api-resources", "--cached=false", f"--api-group={meta.GROUP}", "-o", "name")
    wait_until(lambda: "outboxtasks" not in kubectl(*listed), "it is served no more", pause=0.1)
    quick = {"OUTBOX_RESYNC": "1"}
    async with operator(fragile.kubeconfig, "older", **quick) as process:
        line = await process.logged("as of an older release")
        assert f"outboxtasks.{meta.GROUP}" in line["message"]
        await process.leads()
        await applied(kubectl, "beside")
        await process.worked_on("beside")
        install_crds(kubectl)
        task = {
            "apiVersion": meta.API_VERSION,
            "kind": meta.TASK,
            "metadata": {"name": "late", "namespace": "default"},
            "spec": {"pipelineRef": {"name": "orders"}, "diagnose": {}},
        }
        assert kubectl.apply(task).code == 0
        await process.worked_on("late")
        kubectl("delete", "obt", "late", "-n", "default")
        await process.worked_on("late", exists=False)


async def test_a_restart_of_the_api_server_is_survived(
    fragile: Cluster, kubectl: Kubectl, api_server: ApiServer
) -> None:
    async with operator(fragile.kubeconfig, "survivor") as process:
        await process.leads()
        await applied(kubectl, "before")
        await process.worked_on("before")

        api_server.kill()
        await process.logged("not renewed")
        assert (await asyncio.to_thread(process.probe, "/healthz"))[0] == 200
        api_server.start()

        await applied(kubectl, "after")
        await process.worked_on("after")


async def test_a_leader_that_cannot_renew_ends_and_a_new_one_waits_for_the_api_server(
    fragile: Cluster, kubectl: Kubectl, api_server: ApiServer
) -> None:
    async with operator(fragile.kubeconfig, "unlucky", **SHORT_LEASE) as process:
        await process.leads()
        api_server.kill()
        assert await process.exit_code() == 1
        line = await process.logged("ended")
        assert "could not be renewed" in line["message"]

    async with operator(fragile.kubeconfig, "unlucky") as process:
        await process.logged("waiting for the API server")
        assert (await asyncio.to_thread(process.probe, "/readyz"))[0] == 503
        api_server.start()
        await applied(kubectl, "later")
        await process.worked_on("later")


async def test_an_api_server_that_hangs_ends_the_leader_and_the_next_one_goes_on(
    fragile: Cluster, kubectl: Kubectl, api_server: ApiServer
) -> None:
    """What was asked of it meanwhile is carried out late, the renewal of who has ended as well."""
    async with operator(fragile.kubeconfig, "hangs", **SHORT_LEASE) as process:
        await process.leads()
        await applied(kubectl, "calm")
        await process.worked_on("calm")
        api_server.hang()
        try:
            assert await process.exit_code() == 1
            line = await process.logged("ended")
            assert line["reason"] == "LeaseLost"
            async with operator(fragile.kubeconfig, "hangs", **SHORT_LEASE) as following:
                api_server.go_on()
                await following.leads()
                await following.worked_on("calm", exists=True)
                await applied(kubectl, "stirred")
                await following.worked_on("stirred")
                assert not following.ended
        finally:
            api_server.go_on()


@pytest.mark.thorough
async def test_a_store_restored_from_an_earlier_copy_is_looked_at_anew(
    fragile: Cluster, kubectl: Kubectl, api_server: ApiServer, etcd: Etcd, tmp_path: Path
) -> None:
    """No watch tells of what is gone then, or back: its versions are older than what is known.

    The API server comes back in time for the Lease, which is held for long here.
    """
    async with operator(fragile.kubeconfig, "restored") as process:
        await process.leads()
        await applied(kubectl, "kept")
        await process.worked_on("kept")
        api_server.kill()
        etcd.kill()
        etcd.save(tmp_path / "copy")
        etcd.start()
        api_server.start()
        await applied(kubectl, "late")
        await process.worked_on("late")
        kubectl("delete", "evs", "kept", "-n", "default")
        await process.worked_on("kept", exists=False)
        assert not process.ended

        api_server.kill()
        etcd.kill()
        etcd.restore(tmp_path / "copy")
        etcd.start()
        api_server.start()
        assert await process.exit_code() == 1
        line = await process.logged("ended")
        assert line["reason"] == "StoreRestored"
        assert "restored from an earlier copy" in line["message"]

    async with operator(fragile.kubeconfig, "restored") as process:
        await process.worked_on("kept", exists=True)
        await process.leads()
        assert not [one for one in process.passes if one["pass"].endswith("/late")]
