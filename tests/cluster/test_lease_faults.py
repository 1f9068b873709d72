"""Leases that people edit, rights that come late, connections that die: who leads goes on."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from outbox_operator.adapters.kubernetes.client import Kube
from outbox_operator.adapters.kubernetes.lease import LeaseRecord
from outbox_operator.errors import ConflictError
from support.kube import Cluster, Kubectl
from support.recording_operator import Start, stream
from support.tcp_proxy import TcpProxy
from support.waiting import eventually

LEASE = "outbox-operator"


@dataclasses.dataclass
class Renewals:
    """What a Lease says, each time that it is looked at."""

    kube: Kube
    namespace: str
    seen: list[LeaseRecord] = dataclasses.field(default_factory=list)

    async def look(self) -> LeaseRecord | None:
        found = await self.kube.lease(self.namespace, LEASE)
        if found is not None:
            self.seen.append(found)
        return found

    @property
    def times(self) -> list[datetime]:
        """When it was renewed."""
        return sorted({one.renewed for one in self.seen})

    @property
    def holders(self) -> set[str]:
        """Who had it."""
        return {one.holder for one in self.seen}


async def test_a_lease_that_somebody_shortens_stays_with_its_holder(
    start: Start, kube: Kube, namespace: str
) -> None:
    """Again and again, beside a standby that looks more often than the holder renews."""
    renewals = Renewals(kube, namespace)
    async with start(OUTBOX_IDENTITY="leader", OUTBOX_LEASE_RETRY="3") as leader:
        await leader.leads()
        async with start(OUTBOX_IDENTITY="standby", OUTBOX_LEASE_RETRY="0.2") as standby:
            await standby.logged("standing by")

            async def shortened() -> bool:
                found = await renewals.look()
                if found is not None and found.duration_seconds != 1:
                    with contextlib.suppress(ConflictError):
                        shorter = dataclasses.replace(found, duration_seconds=1)
                        await kube.put_lease(namespace, LEASE, shorter)
                return len(renewals.times) > 2 or renewals.holders != {"leader"}

            await eventually(shortened, "it was renewed twice, or taken")
            assert renewals.holders == {"leader"}
            assert not leader.ended


@pytest.fixture
def account(kube_cluster: Cluster, kubectl: Kubectl, namespace: str, tmp_path: Path) -> Path:
    """A kubeconfig with the token of an account that may do nothing yet."""
    kubectl("create", "serviceaccount", "operator", "-n", namespace)
    admin = yaml.safe_load(kube_cluster.kubeconfig.read_text())
    token = kubectl("create", "token", "operator", "-n", namespace).strip()
    admin["users"] = [{"name": "operator", "user": {"token": token}}]
    admin["contexts"][0]["context"]["user"] = "operator"
    path = tmp_path / "account"
    path.write_text(yaml.safe_dump(admin))
    return path


async def test_rights_that_come_late_or_go_for_a_moment_are_waited_for(
    start: Start, kubectl: Kubectl, kube: Kube, namespace: str, account: Path
) -> None:
    """An API server that has just begun does not know of roles yet, and says that we may not."""
    user = f"system:serviceaccount:{namespace}:operator"
    grant = ("create", "rolebinding", "operator", "-n", namespace,
             "--clusterrole=cluster-admin", f"--serviceaccount={namespace}:operator")  # fmt: skip
    async with start(account) as operator:
        await operator.logged("cannot read or take Lease")
        await asyncio.to_thread(kubectl, *grant)
        await operator.leads()
        await asyncio.to_thread(kubectl, "delete", "rolebinding", "operator", "-n", namespace)
        line = await operator.logged("not renewed")
        assert user in line["message"], "the message says whose rights are missing"
        renewals = Renewals(kube, namespace)
        await renewals.look()
        await asyncio.to_thread(kubectl, *grant)

        async def renewed() -> bool:
            await renewals.look()
            return len(renewals.times) > 1 or operator.ended

        await eventually(renewed, "it is renewed again")
        assert not operator.ended
        await asyncio.to_thread(kubectl.apply, stream(namespace, "after"))
        await operator.worked_on("after")


@pytest.fixture
async def between(kube_cluster: Cluster, tmp_path: Path) -> AsyncIterator[tuple[TcpProxy, Path]]:
    """A way to the API server that may lead nowhere, and a kubeconfig that takes it."""
    document = yaml.safe_load(kube_cluster.kubeconfig.read_text())
    cluster = document["clusters"][0]["cluster"]
    port = urlsplit(cluster["server"]).port or 443
    proxy = await TcpProxy(lambda: port).start()
    cluster["server"] = f"https://127.0.0.1:{proxy.port}"
    path = tmp_path / "between"
    path.write_text(yaml.safe_dump(document))
    yield proxy, path
    await proxy.close()


async def test_an_api_server_that_vanishes_beside_others_costs_no_lease(
    start: Start, kube: Kube, namespace: str, between: tuple[TcpProxy, Path]
) -> None:
    """Its connections stay open and nothing comes; a new one leads to one that lives."""
    proxy, kubeconfig = between
    times = {
        "OUTBOX_LEASE_RETRY": "0.5",
        "OUTBOX_LEASE_DEADLINE": "10",
        "OUTBOX_LEASE_DURATION": "15",
    }
    async with start(kubeconfig, **times) as operator:
        await operator.leads()
        renewals = Renewals(kube, namespace)
        proxy.mute()
        await operator.logged("not renewed: timed out")
        await renewals.look()

        async def renewed() -> bool:
            await renewals.look()
            return len(renewals.times) > 2 or operator.ended

        await eventually(renewed, "it is renewed again")
        assert not operator.ended, operator.logs[-5:]
        assert len(renewals.holders) == 1
