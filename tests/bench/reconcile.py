"""How fast and how cheaply the operator reconciles: writes build/bench/reconcile.json.

Run by `make bench-reconcile`. A real control plane, PostgreSQL and nats-server on loopback, the
operator as a process of its own (`operator_bed.py`). Figures are of one run on one machine; the
conditions stand in the file.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from pathlib import Path
from typing import Any, Final

import asyncpg
import nats.js.errors
from nats.aio.client import Client

from bench.measuring import cpu_seconds, peak_rss_mb
from bench.operator_bed import (
    AT_ONCE,
    NAMESPACE,
    OperatorBed,
    apply,
    conditions,
    operator_bed,
    pipeline,
    secret,
    watching_ready,
    write,
)
from support.kube import Kubectl
from support.nats import NatsServer, connected
from support.options import positive, whole
from support.postgres import PostgresServer
from support.waiting import eventually

OUT: Final = Path("build/bench/reconcile.json")


async def durable_exists(client: Client, stream: str, durable: str) -> bool:
    try:
        await client.jetstream().consumer_info(stream, durable)
    except nats.js.errors.NotFoundError:
        return False
    return True


async def migrated(connection: asyncpg.Connection[Any], schema: str) -> bool:
    found = await connection.fetchval("SELECT to_regclass($1)", f"{schema}.schema_version")
    if found is None:
        return False
    return bool(await connection.fetchval(f"SELECT count(*) FROM {schema}.schema_version"))


async def one_pipeline(
    kubectl: Kubectl, server: PostgresServer, nats_server: NatsServer, rounds: int
) -> dict[str, Any]:
    """`kubectl apply` of a pipeline until schema, streams and durable are there."""
    total, apply_only = [], []
    async with connected(nats_server) as client:
        for index in range(rounds):
            name, schema = f"single-{index}", f"single_{index}"
            url = server.create_database()
            await apply(kubectl, secret(name, url))
            connection = await asyncpg.connect(url)
            # A quiet moment, so that the round before does not count into this one.
            await asyncio.sleep(1.0)
            start = time.perf_counter()
            spent = await apply(kubectl, pipeline(name, nats_server.url, schema, name))
            stream, durable = name.upper().replace("-", "_"), f"{name}-all"

            async def done(
                connection: Any = connection, schema: str = schema, stream: str = stream,
                durable: str = durable,
            ) -> bool:  # fmt: skip
                return await migrated(connection, schema) and await durable_exists(
                    client, stream, durable
                )

            await eventually(done, f"{name} is there", seconds=30, pause=0.005)
            total.append(time.perf_counter() - start)
            apply_only.append(spent)
            await connection.close()
            kubectl("delete", "obp", name, "-n", NAMESPACE, "--wait=true")
            server.drop_database(url)
    return {
        **percentiles(total),
        "of_which_kubectl_itself_p50": round(statistics.median(apply_only) * 1000),
        "rounds": rounds,
    }


async def stream_and_consumer(
    kubectl: Kubectl, nats_server: NatsServer, rounds: int
) -> dict[str, Any]:
    """One EventStream and one EventConsumer without workload, until both say Ready."""
    total, apply_only = [], []
    for index in range(rounds):
        name = f"pair-{index}"
        spec = {"nats": {"url": nats_server.url}, "name": name, "subjects": [f"{name}.>"]}
        meta = {"name": name, "namespace": NAMESPACE}
        head = {"apiVersion": "outbox.dev/v1alpha1", "metadata": meta}
        documents = [
            {**head, "kind": "EventStream", "spec": spec},
            {**head, "kind": "EventConsumer", "spec": {"streamRef": {"name": name}}},
        ]
        await asyncio.sleep(0.5)
        start = time.perf_counter()
        watcher = await asyncio.create_subprocess_exec(
            kubectl.program, f"--kubeconfig={kubectl.kubeconfig}", "get",
            "eventconsumers.outbox.dev", "-n", NAMESPACE, "--watch", "-o",
            'jsonpath={.metadata.name} {.status.conditions[?(@.type=="Ready")].status}{"\\n"}',
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        spent = await apply(kubectl, *documents)
        assert watcher.stdout is not None
        while (await watcher.stdout.readline()).decode().split() != [name, "True"]:
            pass
        total.append(time.perf_counter() - start)
        apply_only.append(spent)
        watcher.kill()
        await watcher.wait()
        kubectl("delete", "evs,evc", name, "-n", NAMESPACE, "--wait=true")
    return {
        **percentiles(total),
        "of_which_kubectl_itself_p50": round(statistics.median(apply_only) * 1000),
        "rounds": rounds,
    }


def percentiles(seconds: list[float]) -> dict[str, int]:
    """p50 and p95 in milliseconds."""
    ordered = sorted(seconds)
    return {
        "p50": round(statistics.median(ordered) * 1000),
        "p95": round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))] * 1000),
    }


async def scale(bed: OperatorBed, count: int, idle_seconds: float) -> dict[str, Any]:
    """Many pipelines on one database server and one NATS, then silence."""
    url, pid = bed.server.create_database(), bed.pid
    await apply(bed.kubectl, secret("shared", url))
    documents = [pipeline(f"scale-{i}", bed.nats.url, f"scale_{i}", "shared") for i in range(count)]
    async with watching_ready(bed.kubectl, "-n", NAMESPACE) as ready:
        start, cpu_before = time.perf_counter(), cpu_seconds(pid)
        for first in range(0, count, AT_ONCE):
            await apply(bed.kubectl, *documents[first : first + AT_ONCE])
        applied = time.perf_counter() - start
        await asyncio.wait_for(ready(count), 300)
        reconciled, cpu_reconciled = time.perf_counter() - start, cpu_seconds(pid) - cpu_before
    await asyncio.sleep(150)  # until all rest: two passes over each have come to the same
    async with connected(bed.nats) as client:
        monitor = await asyncpg.connect(url)
        counted = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
        api = (await client.jetstream().account_info()).api.total
        calls = await monitor.fetchval(counted)
        cpu, begun = cpu_seconds(pid), time.perf_counter()
        await asyncio.sleep(idle_seconds)
        minutes = (time.perf_counter() - begun) / 60
        cpu_used = cpu_seconds(pid) - cpu
        api_used = (await client.jetstream().account_info()).api.total - api - 1
        calls_used = await monitor.fetchval(counted) - calls - 1
        await monitor.close()
    return {
        "pipelines": count,
        "apply_s": round(applied, 1),
        "reconciled_s": round(reconciled, 1),
        "reconciled_cpu_ms_each": round(cpu_reconciled / count * 1000),
        "peak_rss_mb": peak_rss_mb(pid),
        "idle_cpu_s_per_min": round(cpu_used / minutes, 2),
        "idle_nats_calls_per_min": round(api_used / minutes),
        "idle_postgres_calls_per_min": round(calls_used / minutes),
    }


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Everything, in one run."""
    with operator_bed("bench") as bed:
        return {
            "conditions": conditions(),
            "apply_to_streams_ready_ms": await one_pipeline(
                bed.kubectl, bed.server, bed.nats, options.rounds
            ),
            "stream_and_consumer_ready_ms": await stream_and_consumer(
                bed.kubectl, bed.nats, options.rounds
            ),
            "scale": await scale(bed, options.pipelines, options.idle_seconds),
        }


def main() -> None:
    """Measure, write, show."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--rounds", type=whole(1), default=20)
    parser.add_argument("--pipelines", type=whole(1), default=200)
    parser.add_argument("--idle-seconds", type=positive, default=120)
    write(asyncio.run(measure(parser.parse_args())), OUT)


if __name__ == "__main__":
    main()
