"""The bed of a measurement of the operator: a control plane, servers, and pipelines for them.

The servers are as in use: PostgreSQL with fsync, the operator with its own pauses and log level.
No pods run (there is no node), so workloads are scaled to zero.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from support.kube import Kubectl, control_plane, install_crds, kubectl_program, unique_cluster
from support.nats import NatsServer
from support.operator import OperatorProcess, running_operator
from support.postgres import PostgresServer, running_server
from support.waiting import wait_until

NAMESPACE: Final = "bench"
AT_ONCE: Final = 20
"""Pipelines of one `kubectl apply`, which is given a minute."""


@dataclass(frozen=True)
class OperatorBed:
    """One operator with its servers.

    Attributes:
        kubectl: At a control plane with our CRDs and the namespace `bench`.
    """

    kubectl: Kubectl
    server: PostgresServer
    nats: NatsServer
    operator: OperatorProcess

    @property
    def pid(self) -> int:
        """Of the operator."""
        assert self.operator.process is not None
        return self.operator.process.pid


@contextmanager
def operator_bed(name: str) -> Iterator[OperatorBed]:
    """All of it, well and without anything to do; gone afterwards."""
    with (
        tempfile.TemporaryDirectory() as folder,
        control_plane(unique_cluster(name)) as cluster,
        running_server(fsync="on") as server,
        NatsServer() as nats,
    ):
        kubectl = Kubectl(kubectl_program(), cluster.kubeconfig)
        install_crds(kubectl)
        kubectl("create", "namespace", NAMESPACE)
        log = Path(folder) / "operator.log"
        with running_operator(
            cluster.kubeconfig, log, log_level="INFO", pauses={}, forked=False
        ) as operator:
            # It leaves a Lease that it never saw alone for a while: somebody may have lost it.
            wait_until(lambda: operator.metric("outbox_operator_leader") == 1, "leads")
            yield OperatorBed(kubectl, server, nats, operator)


def pipeline(name: str, nats_url: str, schema: str, login: str) -> dict[str, Any]:
    """One pipeline with one consumer, nothing to run."""
    stream = name.upper().replace("-", "_")
    return {
        "apiVersion": "outbox.dev/v1alpha1",
        "kind": "OutboxPipeline",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "database": {"connectionSecretRef": {"name": login}, "schema": schema},
            "nats": {"url": nats_url},
            "stream": {"name": stream, "subject": f"{name}.{{event_type}}"},
            "relay": {"replicas": 0},
            "consumers": [{"name": "all", "filterEventTypes": ["order.created"]}],
        },
    }


def secret(name: str, url: str) -> dict[str, Any]:
    """A Secret with the login to a database."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "stringData": {"url": url},
    }


async def apply(kubectl: Kubectl, *documents: dict[str, Any]) -> float:
    """`kubectl apply`; seconds it took."""
    start = time.perf_counter()
    answer = await asyncio.to_thread(kubectl.apply, *documents)
    if answer.code:
        raise SystemExit(answer.err)
    return time.perf_counter() - start


@asynccontextmanager
async def watching_ready(
    kubectl: Kubectl, *which: str
) -> AsyncIterator[Callable[[int], Awaitable[None]]]:
    """Waits until so many pipelines are Ready, told by a watch: to ask for all of them again and
    again takes half a processor from what is measured. `which` go to kubectl."""
    field = '{.metadata.namespace}/{.metadata.name} {.status.conditions[?(@.type=="Ready")].status}'
    watcher = await asyncio.create_subprocess_exec(
        kubectl.program, f"--kubeconfig={kubectl.kubeconfig}", "get", "obp", *which, "--watch",
        "-o", f'jsonpath={field}{{"\\n"}}', stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    lines, ready = watcher.stdout, set[str]()

    async def until(count: int) -> None:
        assert lines is not None
        while len(ready) < count:
            name, _, status = (await lines.readline()).decode().strip().partition(" ")
            assert name, f"the watch ended; {len(ready)} are Ready"
            (ready.add if status == "True" else ready.discard)(name)

    try:
        yield until
    finally:
        watcher.kill()
        await watcher.wait()


async def ready_conditions(kubectl: Kubectl, *which: str) -> list[str]:
    """`True` or `False` for each pipeline that says whether it is Ready; `which` go to kubectl."""
    path = '{range .items[*]}{.status.conditions[?(@.type=="Ready")].status}{"\\n"}{end}'
    get = ("get", "obp", *which, "-o", f"jsonpath={path}")
    return (await asyncio.to_thread(kubectl, *get)).split()


def conditions() -> dict[str, Any]:
    """Machine and servers, for the files of figures."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cpus": os.cpu_count(),
        "machine": platform.platform(),
        "python": platform.python_version(),
        "what": "control plane, PostgreSQL (fsync on), nats-server (file storage) and operator "
        "on one machine over loopback; no node, workloads scaled to zero",
    }


def write(figures: dict[str, Any], out: Path, *, quiet: bool = False) -> None:
    """Into a file of figures, and unless `quiet` onto the screen."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(figures, indent=2) + "\n")
    if quiet:
        return
    print(yaml.safe_dump(figures, sort_keys=False))
    print(f"written to {out}")
