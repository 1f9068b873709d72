"""What some ways of our own save beside those of the libraries: figures for the decision records.

Run by `make bench-decisions`; writes build/bench/decisions.json. All figures are CPU time of this
process, median of the rounds; the ways take turns within a round. Real kube-apiserver,
PostgreSQL and nats-server on loopback.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import statistics
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import asyncpg
import kubernetes
import kubernetes.aio.client
import kubernetes.aio.watch
import uvloop
import yaml

from bench import nats_ways
from bench.measuring import cpu_model
from outbox_operator.adapters.kubernetes.client import PAGE, Kube
from outbox_operator.adapters.postgres.rows import Row, Rows
from outbox_operator.relay.message import Renderer
from outbox_operator.wire.subjects import SubjectTemplate
from support.kube import ROOT, Cluster, control_plane, unique_cluster
from support.options import whole
from support.outbox import migrate
from support.postgres import running_server

OUT: Final = Path("build/bench/decisions.json")
NAMESPACE: Final = "default"
DEPLOYMENTS: Final = ROOT / "tests/unit/plan/kubernetes/golden/relay.yaml"
APPS: Final = "apps/v1"
AT_ONCE: Final = 20
ROWS: Final = 1_000
REPEATS: Final = 20

Way = Callable[[], Awaitable[Any]]


async def compared(ways: Mapping[str, Way], rounds: int, per: float) -> dict[str, float]:
    """Microseconds of CPU by way, for each of `per` things; one round before does not count."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            gc.collect()
            start = time.process_time()
            await way()
            if number:
                found[name].append((time.process_time() - start) / per * 1e6)
    return {name: round(statistics.median(each), 3) for name, each in found.items()}


async def held(way: Way) -> float:
    """Kilobytes that the result of a way keeps."""
    gc.collect()
    tracemalloc.start()
    result = await way()
    size = tracemalloc.get_traced_memory()[0] / 1000
    tracemalloc.stop()
    del result
    return size


# ---- Kubernetes


async def transport(options: argparse.Namespace) -> dict[str, Any]:
    """Listing and watching Deployments: ours, and the official asynchronous client's models."""
    with control_plane(unique_cluster("decisions")) as cluster:
        return await _transport(cluster, options.objects, options.rounds)


async def _transport(cluster: Cluster, count: int, rounds: int) -> dict[str, Any]:
    os.environ["KUBECONFIG"] = str(cluster.kubeconfig)
    kube = await Kube.connect(instance="bench")
    official = cast("Any", kubernetes.aio)
    configuration = official.client.Configuration()
    await official.config.load_kube_config(
        config_file=str(cluster.kubeconfig), client_configuration=configuration
    )
    client = official.client.ApiClient(configuration)
    apps = official.client.AppsV1Api(client)
    try:
        await _fill(kube, count)

        async def ours() -> list[dict[str, Any]]:
            items, _ = await kube.list(APPS, "deployments", NAMESPACE)
            assert len(items) == count
            return items

        async def models() -> list[Any]:
            items: list[Any] = []
            token = None
            while True:
                page = await apps.list_namespaced_deployment(NAMESPACE, limit=PAGE, _continue=token)
                items += page.items
                if not (token := page.metadata._continue):
                    assert len(items) == count
                    return items

        async def our_watch() -> None:
            seen = 0
            query = {"watch": "1", "resourceVersion": "0"}
            lines = kube._transport.stream(
                f"/apis/{APPS}/namespaces/{NAMESPACE}/deployments",
                query=query, lifetime_seconds=60.0, subject="deployments",
            )  # fmt: skip
            async for _ in lines:
                seen += 1
                if seen == count:
                    return

        async def models_watch() -> None:
            seen = 0
            async with official.watch.Watch() as watch:
                async for _ in watch.stream(
                    apps.list_namespaced_deployment, NAMESPACE, resource_version="0"
                ):
                    seen += 1
                    if seen == count:
                        return

        return {
            "objects": count,
            "client": kubernetes.__version__,
            "list_us_per_object": await compared({"ours": ours, "official": models}, rounds, count),
            "watch_us_per_event": await compared(
                {"ours": our_watch, "official": models_watch}, rounds, count
            ),
            "held_kb_per_object": {
                "ours": round(await held(ours) / count, 1),
                "official": round(await held(models) / count, 1),
            },
        }
    finally:
        await kube.close()
        await client.close()


async def _fill(kube: Kube, count: int) -> None:
    documents = yaml.safe_load_all(DEPLOYMENTS.read_text())
    [manifest] = [one for one in documents if one["kind"] == "Deployment"]
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        metadata = {
            **{k: v for k, v in manifest["metadata"].items() if k != "ownerReferences"},
            "namespace": NAMESPACE,
            "name": f"relay-{number}",
        }
        async with turns:
            await kube.apply({**manifest, "metadata": metadata})

    await asyncio.gather(*(one(number) for number in range(count)))


# ---- Rows


@dataclass(frozen=True, slots=True)
class _Object:
    """A row as an object of its own."""

    position: int
    event_id: str
    event_type: str
    partition_key: str
    routing_key: str | None
    payload: bytes | None
    headers: str | None
    created_at: int


async def rows(options: argparse.Namespace) -> dict[str, Any]:
    """A page of the relay's rows, from the server and in several forms."""
    with running_server(fsync="on") as server:
        url = server.create_database()
        await migrate(url)
        connection = await asyncpg.connect(url)
        try:
            return await _rows(connection, options.rounds)
        finally:
            await connection.close()


async def _rows(connection: asyncpg.Connection[Any], rounds: int) -> dict[str, Any]:
    await connection.execute(
        "INSERT INTO outbox.events (event_type, partition_key, payload) "
        "SELECT 'order.created', 'k' || n % 100, jsonb_build_object('pad', repeat('x', 440)) "
        "FROM generate_series(1, $1::int) n",
        ROWS,
    )
    statement = await connection.prepare(
        "SELECT position, event_id::text, event_type, partition_key, routing_key, "
        "convert_to(payload::text, 'UTF8') AS payload, NULL::text AS headers, "
        "(date_part('epoch', created_at) * 1e6)::bigint AS created_at "
        "FROM outbox.events ORDER BY position"
    )
    page = await statement.fetch()
    renderer = Renderer(
        SubjectTemplate.parse("shop.{event_type}"), "outbox", 0, "/shop/orders", "jsonb"
    )
    assert renderer.page(cast("Rows", page), 0) is not None

    async def fetch() -> None:
        for _ in range(REPEATS):
            await statement.fetch()

    def repeated(work: Callable[[], object]) -> Way:
        async def way() -> None:
            for _ in range(REPEATS):
                work()

        return way

    def by_index() -> None:
        for row in page:
            _ = row[0], row[1], row[2], row[3], row[4], row[5], row[6], row[7]

    def by_name() -> None:
        for row in page:
            _ = (
                row["position"], row["event_id"], row["event_type"], row["partition_key"],
                row["routing_key"], row["payload"], row["headers"], row["created_at"],
            )  # fmt: skip

    def as_named_tuples() -> list[Row]:
        return [Row.named(row) for row in cast("Rows", page)]

    def as_objects() -> list[_Object]:
        return [_Object(*row) for row in page]

    def one_by_one() -> None:
        for number, record in enumerate(cast("Rows", page)):
            row = Row.named(record)
            assert row.payload is not None
            renderer.render(row, row.payload, number)

    ways = {
        "fetch": fetch,
        "read by index": repeated(by_index),
        "read by name": repeated(by_name),
        "made named tuples": repeated(as_named_tuples),
        "made objects": repeated(as_objects),
        "rendered as a page, by index": repeated(lambda: renderer.page(cast("Rows", page), 0)),
        "rendered one by one, as named tuples": repeated(one_by_one),
    }
    return {
        "rows": ROWS,
        "driver": asyncpg.__version__,
        "us_per_row": await compared(ways, rounds, ROWS * REPEATS),
    }


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """What runs on asyncio's own event loop, as the operator does."""
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "rounds": options.rounds,
        "rows": await rows(options),
        "kubernetes": await transport(options),
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(prog="decisions", description=__doc__)
    parser.add_argument("--objects", type=whole(1), default=1_000)
    parser.add_argument("--rounds", type=whole(1), default=7)
    options = parser.parse_args()
    figures = asyncio.run(measure(options))
    # Relay and consumer runtime run on uvloop.
    figures["nats"] = uvloop.run(nats_ways.figures(options.rounds))
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
