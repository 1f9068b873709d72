"""How long a healthy pipeline waits beside many whose PostgreSQL hardly answers.

Run by `make bench-neighbours`; writes build/bench/neighbours.json. The neighbours are in namespaces
of their own, each with a login of its own, at a real PostgreSQL behind a proxy that holds every
piece back for so long that nobody gets in; `--slow-nats` does the same to their NATS.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import yaml

from bench.reconcile import NAMESPACE, apply, percentiles, pipeline, secret
from support.kube import Kubectl, control_plane, install_crds, kubectl_program, unique_cluster
from support.nats import NatsServer
from support.operator import running_operator
from support.options import positive, whole
from support.postgres import PostgresServer, running_server
from support.tcp_proxy import TcpProxy
from support.waiting import eventually

OUT: Final = Path("build/bench/neighbours.json")
NEIGHBOURS: Final = "neighbours"
_LABEL: Final = "bench.outbox.dev/neighbour"
_AT_ONCE: Final = 20
"""kubectl is given a minute a call."""


async def healthy(
    kubectl: Kubectl, server: PostgresServer, nats_server: NatsServer, name: str
) -> float:
    """Seconds from the answer of `kubectl apply` until one more pipeline is Ready."""
    url = server.create_database()
    await apply(kubectl, secret(name, url))
    schema = name.replace("-", "_")
    watcher = await asyncio.create_subprocess_exec(
        kubectl.program, f"--kubeconfig={kubectl.kubeconfig}", "get",
        "outboxpipelines.outbox.dev", "-n", NAMESPACE, "--watch", "-o",
        'jsonpath={.metadata.name} {.status.conditions[?(@.type=="Ready")].status}{"\\n"}',
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        start = time.perf_counter()
        await apply(kubectl, pipeline(name, nats_server.url, schema, name))
        assert watcher.stdout is not None
        while (await watcher.stdout.readline()).decode().split() != [name, "True"]:
            pass
        return time.perf_counter() - start
    finally:
        watcher.kill()
        await watcher.wait()


async def beside_neighbours(
    kubectl: Kubectl,
    server: PostgresServer,
    nats_server: NatsServer,
    count: int,
    *,
    namespaces: int,
    slow_nats: bool,
    answer_seconds: float,
    rounds: int,
) -> dict[str, Any]:
    """While they arrive, and when all of them wait; without any first."""
    spaces = [f"{NEIGHBOURS}-{number}" for number in range(namespaces)]
    for space in spaces:
        kubectl("create", "namespace", space)
    alone = [await healthy(kubectl, server, nats_server, f"alone-{i}") for i in range(rounds)]
    proxy = await TcpProxy(lambda: server.port).start()
    far_nats = await TcpProxy(lambda: nats_server.port).start()
    proxy.delay_seconds = answer_seconds / 2  # each way
    far_nats.delay_seconds = answer_seconds / 2 if slow_nats else 0.0
    try:
        documents: list[dict[str, Any]] = []
        for index in range(count):
            name = f"slow-{index}"
            url = server.url(f"slow_{index}").replace(f":{server.port}/", f":{proxy.port}/")
            nats_url = f"nats://127.0.0.1:{far_nats.port}"
            both = secret(name, url), pipeline(name, nats_url, f"slow_{index}", name)
            for one in both:
                one["metadata"]["labels"] = {_LABEL: "yes"}
                one["metadata"]["namespace"] = spaces[index % namespaces]
            documents += both
        for first in range(0, len(documents), 2 * _AT_ONCE):
            await apply(kubectl, *documents[first : first + 2 * _AT_ONCE])
        arriving = await healthy(kubectl, server, nats_server, "arriving")

        async def all_wait() -> bool:
            path = '{range .items[*]}{.status.conditions[?(@.type=="Ready")].status}{"\\n"}{end}'
            get = ("get", "obp", "-l", f"{_LABEL}=yes", "-A", "-o", f"jsonpath={path}")
            found = (await asyncio.to_thread(kubectl, *get)).split()
            assert "True" not in found
            return found.count("False") == count

        await eventually(all_wait, "all neighbours were looked at", seconds=300, pause=1.0)
        beside = [await healthy(kubectl, server, nats_server, f"beside-{i}") for i in range(rounds)]
    finally:
        await proxy.close()
        await far_nats.close()
    return {
        "neighbours": count,
        "in_namespaces": namespaces,
        "slow": "PostgreSQL and NATS" if slow_nats else "PostgreSQL",
        "answers_after_s": answer_seconds,
        "alone_ready_ms": percentiles(alone),
        "ready_while_they_arrive_ms": round(arriving * 1000),
        "ready_beside_them_ms": {**percentiles(beside), "longest": round(max(beside) * 1000)},
        "rounds": rounds,
    }


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The figures, with a control plane and an operator of their own."""
    with (
        tempfile.TemporaryDirectory() as folder,
        control_plane(unique_cluster("neighbours")) as cluster,
        running_server(fsync="on") as server,
        NatsServer() as nats_server,
    ):
        kubectl = Kubectl(kubectl_program(), cluster.kubeconfig)
        install_crds(kubectl)
        kubectl("create", "namespace", NAMESPACE)
        log = Path(folder) / "operator.log"
        with running_operator(cluster.kubeconfig, log, log_level="INFO", pauses={}) as operator:
            figures = await beside_neighbours(
                kubectl, server, nats_server, options.neighbours,
                namespaces=options.namespaces, slow_nats=options.slow_nats,
                answer_seconds=options.answer_seconds, rounds=options.rounds,
            )  # fmt: skip
            return {
                "date": time.strftime("%Y-%m-%d"),
                "cpus": os.cpu_count(),
                "load_of_the_machine": round(os.getloadavg()[1], 1),
                **figures,
                "passes": operator.metric("outbox_operator_reconciles_total"),
            }


def main() -> None:
    """Measure, write, show."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--neighbours", type=whole(1), default=200)
    parser.add_argument("--namespaces", type=whole(1), default=1)
    parser.add_argument("--slow-nats", action="store_true")
    parser.add_argument("--answer-seconds", type=positive, default=28.0)
    parser.add_argument("--rounds", type=whole(1), default=10)
    figures = asyncio.run(measure(parser.parse_args()))
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(figures, indent=2) + "\n")
    print(yaml.safe_dump(figures, sort_keys=False))
    print(f"written to {OUT}")


if __name__ == "__main__":
    main()
