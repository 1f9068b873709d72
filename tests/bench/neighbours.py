"""How long a healthy pipeline waits beside many whose PostgreSQL hardly answers.

Run by `make bench-neighbours`; writes build/bench/neighbours.json. The neighbours are in namespaces
of their own, each with a login of its own, at a real PostgreSQL behind a proxy that holds every
piece back for so long that nobody gets in; `--slow-nats` does the same to their NATS.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from pathlib import Path
from typing import Any, Final

from bench.operator_bed import (
    AT_ONCE,
    NAMESPACE,
    OperatorBed,
    apply,
    operator_bed,
    pipeline,
    ready_conditions,
    secret,
    watching_ready,
    write,
)
from bench.reconcile import percentiles
from support.options import positive, whole
from support.tcp_proxy import TcpProxy
from support.waiting import eventually

OUT: Final = Path("build/bench/neighbours.json")
NEIGHBOURS: Final = "neighbours"
_LABEL: Final = "bench.outbox.dev/neighbour"


async def healthy(bed: OperatorBed, name: str) -> float:
    """Seconds from the answer of `kubectl apply` until one more pipeline is Ready."""
    url = bed.server.create_database()
    await apply(bed.kubectl, secret(name, url))
    schema = name.replace("-", "_")
    named = ("-n", NAMESPACE, "--field-selector", f"metadata.name={name}")
    async with watching_ready(bed.kubectl, *named) as ready:
        start = time.perf_counter()
        await apply(bed.kubectl, pipeline(name, bed.nats.url, schema, name))
        await ready(1)
        return time.perf_counter() - start


async def beside_neighbours(
    bed: OperatorBed,
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
        bed.kubectl("create", "namespace", space)
    alone = [await healthy(bed, f"alone-{i}") for i in range(rounds)]
    proxy = await TcpProxy(lambda: bed.server.port).start()
    far_nats = await TcpProxy(lambda: bed.nats.port).start()
    proxy.delay_seconds = answer_seconds / 2  # each way
    far_nats.delay_seconds = answer_seconds / 2 if slow_nats else 0.0
    try:
        documents: list[dict[str, Any]] = []
        for index in range(count):
            name = f"slow-{index}"
            url = bed.server.url(f"slow_{index}")
            url = url.replace(f":{bed.server.port}/", f":{proxy.port}/")
            nats_url = f"nats://127.0.0.1:{far_nats.port}"
            both = secret(name, url), pipeline(name, nats_url, f"slow_{index}", name)
            for one in both:
                one["metadata"]["labels"] = {_LABEL: "yes"}
                one["metadata"]["namespace"] = spaces[index % namespaces]
            documents += both
        for first in range(0, len(documents), 2 * AT_ONCE):
            await apply(bed.kubectl, *documents[first : first + 2 * AT_ONCE])
        arriving = await healthy(bed, "arriving")

        async def all_wait() -> bool:
            found = await ready_conditions(bed.kubectl, "-l", f"{_LABEL}=yes", "-A")
            assert "True" not in found
            return found.count("False") == count

        await eventually(all_wait, "all neighbours were looked at", seconds=300, pause=1.0)
        beside = [await healthy(bed, f"beside-{i}") for i in range(rounds)]
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
    with operator_bed("neighbours") as bed:
        figures = await beside_neighbours(
            bed, options.neighbours,
            namespaces=options.namespaces, slow_nats=options.slow_nats,
            answer_seconds=options.answer_seconds, rounds=options.rounds,
        )  # fmt: skip
        return {
            "date": time.strftime("%Y-%m-%d"),
            "cpus": os.cpu_count(),
            "load_of_the_machine": round(os.getloadavg()[1], 1),
            **figures,
            "passes": bed.operator.metric("outbox_operator_reconciles_total"),
        }


def main() -> None:
    """Measure, write, show."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--neighbours", type=whole(1), default=200)
    parser.add_argument("--namespaces", type=whole(1), default=1)
    parser.add_argument("--slow-nats", action="store_true")
    parser.add_argument("--answer-seconds", type=positive, default=28.0)
    parser.add_argument("--rounds", type=whole(1), default=10)
    write(asyncio.run(measure(parser.parse_args())), OUT)


if __name__ == "__main__":
    main()
