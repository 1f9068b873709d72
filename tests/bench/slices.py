"""What many pipelines cost several leaders: writes build/bench/slices.json.

Run by `make bench-slices`. Pipelines of many namespaces, divided into slices with an operator
process each: how long it takes until all are ready, what each process costs a minute when nothing
happens and how much memory it has, and how long a pipeline waits whose leader was killed just
before it was applied. All are in one database and one account, as in `bench.scale`, whose figures
of one leader are what these are compared with. Every process watches everything: what that costs is
in these figures.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from bench.measuring import cpu_seconds, peak_rss_mb, rss_mb
from bench.operator_bed import AT_ONCE, apply, conditions, pipeline, ready_conditions, secret, write
from outbox_operator.controller.runtime.slices import slice_of
from support.kube import Kubectl, control_plane, install_crds, kubectl_program, unique_cluster
from support.nats import NatsServer
from support.operator import OperatorProcess, running_operator
from support.options import positive, whole
from support.postgres import running_server
from support.waiting import eventually

OUT: Final = Path("build/bench/slices.json")
_PATIENCE_SECONDS: Final = 3600.0
_DEFAULTS: Final = {"OUTBOX_LEASE_DURATION": "15", "OUTBOX_LEASE_DEADLINE": "10"}
"""The times that users have: how long a dead leader stays is measured."""


@dataclass(frozen=True)
class Leaders:
    """Operator processes that divide the namespaces."""

    kubectl: Kubectl
    nats: NatsServer
    operators: Sequence[OperatorProcess]
    namespaces: Sequence[str]

    def manifest(self, number: int) -> dict[str, Any]:
        """A pipeline, in the next namespace."""
        document = pipeline(f"scale-{number}", self.nats.url, f"scale_{number}", "shared")
        document["metadata"]["namespace"] = self.namespaces[number % len(self.namespaces)]
        return document

    async def settled(self) -> None:
        """Each leads one slice."""
        await eventually(
            lambda: all(one.metric("outbox_operator_leader") == 1 for one in self.operators),
            "the slices are divided", pause=0.5,
        )  # fmt: skip

    async def fill(self, count: int) -> dict[str, Any]:
        """Many pipelines, until all are ready."""
        start, cpu = time.perf_counter(), self._cpu()
        for first in range(0, count, AT_ONCE):
            numbers = range(first, min(count, first + AT_ONCE))
            await apply(self.kubectl, *(self.manifest(number) for number in numbers))
        applied = time.perf_counter() - start

        async def all_ready() -> bool:
            return (await ready_conditions(self.kubectl, "-A")).count("True") == count

        await eventually(all_ready, "all are Ready", seconds=_PATIENCE_SECONDS, pause=2.0)
        spent = [after - before for after, before in zip(self._cpu(), cpu, strict=True)]
        return {
            "apply_s": round(applied, 1),
            "ready_s": round(time.perf_counter() - start, 1),
            "cpu_s": [round(one, 1) for one in spent],
        }

    async def idle(self, seconds: float) -> dict[str, Any]:
        """What each process costs a minute in which nothing happens."""
        before, begun = self._cpu(), time.perf_counter()
        await asyncio.sleep(seconds)
        minutes = (time.perf_counter() - begun) / 60
        pids = [_pid(one) for one in self.operators]
        return {
            "minutes": round(minutes, 1),
            "cpu_s_per_min": [
                round((after - earlier) / minutes, 2)
                for after, earlier in zip(self._cpu(), before, strict=True)
            ],
            "objects": [int(one.metric("outbox_operator_objects")) for one in self.operators],
            "rss_mb": [rss_mb(pid) for pid in pids],
            "peak_rss_mb": [peak_rss_mb(pid) for pid in pids],
        }

    async def takeover(self, number: int) -> dict[str, Any]:
        """A leader is killed, and a pipeline of its slice applied at once."""
        document = self.manifest(number)
        namespace, name = document["metadata"]["namespace"], document["metadata"]["name"]
        index = str(slice_of(namespace, len(self.operators)))
        victim = next(
            one for one in self.operators if one.metric("outbox_operator_leader", slice=index)
        )
        start = time.perf_counter()
        victim.kill()
        await apply(self.kubectl, document)

        async def ready() -> bool:
            field = f"--field-selector=metadata.name={name}"
            return "True" in await ready_conditions(self.kubectl, "-n", namespace, field)

        await eventually(ready, "another leads", seconds=_PATIENCE_SECONDS, pause=0.2)
        return {"killed_to_ready_s": round(time.perf_counter() - start, 1)}

    def _cpu(self) -> list[float]:
        return [cpu_seconds(_pid(one)) for one in self.operators]


def _pid(operator: OperatorProcess) -> int:
    assert operator.process is not None
    return operator.process.pid


async def measure(leaders: Leaders, options: argparse.Namespace) -> dict[str, Any]:
    """All figures."""
    await leaders.settled()
    figures: dict[str, Any] = {
        "pipelines": options.pipelines,
        "slices": options.slices,
        "many_at_once": await leaders.fill(options.pipelines),
    }
    print(yaml.safe_dump(figures, sort_keys=False), flush=True)
    await asyncio.sleep(options.idle_seconds / 2)  # the last passes, before all rests
    figures["idle"] = await leaders.idle(options.idle_seconds)
    figures["takeover"] = await leaders.takeover(options.pipelines)
    return figures


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Servers, and a process for each slice."""
    namespaces = [f"team-{number}" for number in range(options.namespaces)]
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        cluster = stack.enter_context(control_plane(unique_cluster("slices")))
        server = stack.enter_context(running_server(fsync="on"))
        nats = stack.enter_context(NatsServer())
        kubectl = Kubectl(kubectl_program(), cluster.kubeconfig)
        install_crds(kubectl)
        url = server.create_database()
        for name in namespaces:
            kubectl("create", "namespace", name)
            login = secret("shared", url)
            login["metadata"]["namespace"] = name
            kubectl.apply(login)
        variables = {"OUTBOX_SLICES": str(options.slices), **_DEFAULTS}
        operators = [
            stack.enter_context(
                running_operator(
                    cluster.kubeconfig,
                    folder / f"{number}.log",
                    identity=f"pod-{number}",
                    log_level="INFO",
                    pauses={},
                    variables=variables,
                )
            )
            for number in range(options.slices)
        ]
        return asyncio.run(measure(Leaders(kubectl, nats, operators, namespaces), options))


def main() -> None:
    """Measure, write, show."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--pipelines", type=whole(1), default=5000)
    parser.add_argument("--slices", type=whole(2), default=3)
    parser.add_argument("--namespaces", type=whole(1), default=60)
    parser.add_argument("--idle-seconds", type=positive, default=600)
    options = parser.parse_args()
    write({"conditions": conditions(), "slices": run(options)}, OUT)


if __name__ == "__main__":
    main()
